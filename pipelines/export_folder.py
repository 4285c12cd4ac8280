"""The folder of an export: staged beside its place, synced once, renamed; and what is kept of it."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dinonat.errors import UsageError, WorkspaceError
from dinonat.formats.handover import Outgoing
from dinonat.pipelines import workspace as places

MANIFEST, LOSSES = "manifest.json", "loss_report.txt"
# What was written, as import-labels wants it: beside the files, or in their place with --out.
RECORD, ABOUT = "record", "about.json"
RECORDED = ("labels.parquet", "images.parquet", ABOUT)
HELD = ["proposal", "run", "image", "kind", "label", *"xywh", "mask_counts", "status", "cluster"]
SCHEMA = pa.schema(
    [(name, pa.float64() if name in "xywh" else pa.string()) for name in HELD[:-3]]
    + [("mask_counts", pa.list_(pa.int32())), ("status", pa.string()), ("cluster", pa.int32())]
)


@dataclass(frozen=True, eq=False)
class Exported:
    """What an export held: labels (label_id, run, image, kind, label, x, y, w, h, mask_counts), images."""

    name: str
    set: str
    format: str
    labels: pd.DataFrame
    images: pd.DataFrame  # image, file_name, width, height, split


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder`` that takes its place once it is whole and on the disk.

    An earlier export of the same name is replaced; after a kill at any moment the name holds the old
    one, the new one or, between two renames, none, and the next export tidies up. Raises UsageError
    where ``folder`` holds what no export of ours wrote, and WorkspaceError where it cannot be written.
    """
    _refuse_foreign(folder)
    staging, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        staging.mkdir()
        yield staging
        _sync(staging)
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    except OSError as error:
        raise WorkspaceError(
            f"{folder}: cannot be written ({error.strerror or error}). Free some space or give another "
            "folder with --out; what lay there before is kept."
        ) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (staging, old):
            _remove(left)


def refuse_corrected(folder: Path) -> None:
    """Refuse to replace an export that somebody has corrected where it lies, before it was brought in."""
    files: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    for name, digest in files.items() if isinstance(files, dict) else ():
        if digest and (folder / name).is_file() and _digest(folder / name) != digest:
            raise WorkspaceError(
                f"{folder}: {name} was changed after it was exported, and would be replaced. Bring it in "
                f"with `dinotool import-labels {folder}`, then export again; --set again=true replaces it."
            )


def digests(folder: Path, *, but: set[str]) -> dict[str, str]:
    """Return the SHA-256 of every file below ``folder``; of ``but`` (pictures) only that they are there."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        found[name] = "" if name in but else _digest(path)
    return found


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_record(asked: Outgoing, folder: Path) -> None:
    """Write what is exported, so that a corrected file can be told from what it was."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(asked.labels[HELD], schema=SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), folder / "labels.parquet", compression="zstd")
    images = pa.Table.from_pandas(asked.images, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(images, folder / "images.parquet", compression="zstd")


def read_record(workspace: Path, name: str) -> Exported:
    """Return what the export ``name`` held; raise WorkspaceError where the workspace does not know."""
    folder = places.exports_folder(workspace, name)
    try:
        labels = pd.read_parquet(folder / RECORD / "labels.parquet").rename(columns={"proposal": "label_id"})
        images = pd.read_parquet(folder / RECORD / "images.parquet")
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{folder}: no record of what was exported ({error}). Export again, or give the file that came "
            "back without --export."
        ) from error
    labels["mask_counts"] = pd.Series(
        [tuple(counts.tolist()) for counts in labels["mask_counts"]], dtype=object
    )
    labels["cluster"] = labels.get("cluster", -1)
    made = places.read_object(folder / RECORD / ABOUT)
    return Exported(name, str(made["set"]), str(made["format"]), labels, images)


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder in which somebody else has files."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"--out {folder}: a file. Give a folder for the export.")
    known: set[str] = set()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = {MANIFEST, *json.loads((folder / MANIFEST).read_text("utf-8"))["files"]}
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    known |= {*RECORDED} if folder.name == RECORD else {f"{RECORD}/{name}" for name in RECORDED}
    part = f".{RECORD}."  # what a killed export left of a record
    foreign = next((name for name in there if name not in known and not name.startswith(part)), None)
    if foreign is not None:
        raise UsageError(
            f"{folder}: holds {foreign}, which no export wrote there. Give --out a folder that is empty or "
            "new; an export replaces its folder as a whole."
        )


def _tidy(folder: Path) -> None:
    """Remove what exports that were killed left beside ``folder``; put back what one had moved away."""
    for left in sorted(
        folder.parent.glob(f".{glob.escape(folder.name)}.*"), reverse=True
    ):  # parts before old ones
        parts = left.name.removeprefix(f".{folder.name}.").split(".")
        if (
            len(parts) != 2
            or not parts[0].isdigit()
            or parts[1] not in ("part", "old")
            or _runs(int(parts[0]))
        ):
            continue
        if parts[1] == "old" and not folder.exists():
            left.rename(folder)
        else:
            _remove(left)


def _remove(left: Path) -> None:
    """Remove what is left of an export, if it is there; half removed, no old one must be put back."""
    gone = left.with_suffix(".part")
    if left.exists() and left != gone:
        left.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _runs(process: int) -> bool:
    """Say whether a process of this number is there."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync(folder: Path) -> None:
    """Bring all files to the disk at once; file by file where the system cannot (Windows)."""
    if hasattr(os, "sync"):
        os.sync()
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
