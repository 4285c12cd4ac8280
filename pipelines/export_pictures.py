"""The pictures of an export: what they are called in its files, and the pictures themselves."""

import csv
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import UsageError
from dinonat.formats.catalog import Format
from dinonat.formats.handover import Outgoing
from dinonat.pages.gather import reference
from dinonat.pages.proxies import proxy_names, turned_files, write_manifest, write_proxies
from dinonat.pipelines.progress import say, track

PROXIES, NAMES = "proxies.csv", "names.csv"


def file_names(images: Sequence[str], *, root: Path, proxies: bool, flat: bool) -> list[str]:
    """Return what each image (its name in the set) is called in the files of an export.

    Proxies have names that every tool can open. ``flat`` names hold no folders, and no two have the
    same stem, because their labels lie in files called after it.
    """
    names = proxy_names([reference(root, name) for name in images]) if proxies else list(images)
    return flat_names(names) if flat else names


def flat_names(names: Sequence[str]) -> list[str]:
    """Return the names with ``_`` for slashes and line ends, which lists of names cannot hold.

    Where stems would clash, they get their suffix, then a number.

    >>> flat_names(["day/a.png", "day_a.png", "b.jpg", "b.png"])
    ['day_a_png.png', 'day_a_png-2.png', 'b_jpg.jpg', 'b_png.png']
    """
    spelled = [re.sub(r"[/\r\n]", "_", name) for name in names]
    often = Counter(PurePosixPath(name).stem.casefold() for name in spelled)
    taken: set[str] = set()
    flat = []
    for name in spelled:
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        wish = stem if often[stem.casefold()] == 1 else f"{stem}_{suffix[1:]}"
        number, free = 1, wish
        while free.casefold() in taken:
            number += 1
            free = f"{wish}-{number}"
        taken.add(free.casefold())
        flat.append(free + suffix)
    return flat


def put_proxies(
    asked: Outgoing, files: Sequence[tuple[int, str]], folder: Path, known: EmbeddingSet
) -> pd.DataFrame:
    """Write the pictures of an export, 8 bit and upright, with their manifest; return it.

    ``files`` are (row in ``asked.images``, path below ``folder``); a picture may stand in several places.
    """
    first = dict(reversed(files))
    rows = sorted(first)
    sums = known.items[known.items["kind"] == "image"].set_index("image")["sha256"]
    images = asked.images.iloc[rows].assign(sha256=lambda table: sums[table["image"]].to_numpy())
    say(f"Writing {len(images)} pictures")
    manifest = write_proxies(
        images, folder, [first[row] for row in rows], root=Path(known.meta["root"]), shown=known.shown
    )
    for row, file in files:
        if file != first[row]:
            _copy(folder / first[row], folder / file)
    write_manifest(manifest, folder / PROXIES)
    return manifest


def put_copies(asked: Outgoing, files: Sequence[tuple[int, str]], folder: Path, known: EmbeddingSet) -> None:
    """Copy the pictures themselves; UsageError where one is a frame of a file: no other tool can open it."""
    root = Path(known.meta["root"])
    for row, file in track(files, "copy pictures"):
        ref = reference(root, asked.images["image"].iloc[row])
        if ref.n_frames > 1:
            raise UsageError(
                f"{ref.name}: one frame of a file, and this format needs pictures. Add --proxies."
            )
        _copy(ref.file, folder / file)


def write_names(asked: Outgoing, folder: Path) -> bool:
    """Write which image each file name stands for, where they differ; return whether any does."""
    images = asked.images
    if (images["image"] == images["file_name"]).all():
        return False
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file_name", "image"))
    writer.writerows(images[["file_name", "image"]].itertuples(index=False))
    (folder / NAMES).write_text(stream.getvalue(), encoding="utf-8")
    return True


def remarks(names: Iterable[str], known: EmbeddingSet) -> list[str]:
    """Say which images other tools show black, or turned, where no pictures were written for them."""
    rows = known.items[(known.items["kind"] == "image") & known.items["image"].isin(list(names))]
    said = []
    deep = int(rows["unit"].isin(["celsius", "counts"]).sum())
    if deep:
        said.append(
            f"{deep} images hold temperatures or counts, which many tools show black or not at all. "
            "--proxies writes 8-bit pictures for them."
        )
    turned = turned_files(rows["image"], root=Path(known.meta["root"]))
    if turned:
        more = f" and {len(turned) - 1} more" if len(turned) > 1 else ""
        said.append(
            f"{turned[0]}{more}: turned by an EXIF tag; tools that ignore it show boxes elsewhere. --proxies "
            "writes upright pictures."
        )
    return said


def places_of(asked: Outgoing, format_: Format) -> list[tuple[int, str]]:
    """Return (row of the image, path below the export) of every picture that the format wants."""
    if format_.places is not None:
        return format_.places(asked)
    images = asked.images[["split", "file_name"]].itertuples(index=False, name=None)
    return [(row, format_.picture(split, name)) for row, (split, name) in enumerate(images)]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
