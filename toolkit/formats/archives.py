"""Zip files that people bring back from a tool: only the label files, and only into a folder of their own."""

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dinonat.errors import LabelError
from dinonat.formats.catalog import sniff
from dinonat.formats.class_folders import CLASSES
from dinonat.formats.tables import LARGEST_FILE

MOST_ENTRIES = 1_000_000
MOST_BYTES = 4 << 30  # unpacked, of all label files
MOST_TIMES = 200  # unpacked against packed; text packs ten to forty times
SMALL = 1 << 20  # bytes up to which a ratio says nothing: many equal short rows pack well
LABELS = (".json", ".jsonl", ".xml", ".txt", ".csv", ".parquet", ".yaml", ".yml", ".names", ".data")
BLOCK = 1 << 20  # bytes unpacked at a time
APPLE = "__MACOSX/"  # what macOS adds


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield a folder with the label files of a zip file, removed afterwards; any other path as it is.

    Pictures are not unpacked. A single folder around everything is looked through. Nothing is written
    before the whole list of entries is found harmless, and every entry is counted while it is unpacked,
    because the list may lie. Of several folders the one that is an export is taken. Raises LabelError,
    one sentence, for entries that lead out of the folder, links, archives that are too large, encrypted,
    torn, hold only other archives, no export or several. What is raised inside names the archive, not
    the folder that it was unpacked into.
    """
    if path.is_dir() or not zipfile.is_zipfile(path):
        if path.suffix.lower() == ".zip" and path.is_file():
            raise LabelError(f"{path}: not a whole zip file. Download it again.")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dinotool-") as made:
        _unpack(path, Path(made))
        try:
            yield _export(path, _inside(Path(made)))
        except LabelError as error:
            if made not in str(error):
                raise
            raise LabelError(str(error).replace(made, str(path))) from error


def _unpack(path: Path, folder: Path) -> None:
    """Write the label files of a zip file below ``folder``."""
    try:
        with zipfile.ZipFile(path) as archive:
            left = MOST_BYTES
            for entry, name in _wanted(path, archive.infolist()):
                left -= _write_entry(path, archive, entry, folder / name, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise LabelError(f"{path}: not a whole zip file ({error}). Download it again.") from error
    except RuntimeError as error:  # what zipfile raises without the password
        raise LabelError(
            f"{path}: cannot be unpacked ({error}). Unpack it yourself and give the folder."
        ) from error


def _wanted(path: Path, entries: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return the label files and their paths. Raises LabelError where any entry is harmful."""
    if len(entries) > MOST_ENTRIES:
        raise LabelError(f"{path}: {len(entries)} entries, more than {MOST_ENTRIES}. Unpack it yourself.")
    wanted: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        steps = PurePosixPath(name).parts
        if name.startswith("/") or ".." in steps or any(":" in step for step in steps[:1]) or "\0" in name:
            raise LabelError(
                f"{path}: its entry {entry.filename!r} leads out of the archive. It is not unpacked."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise LabelError(
                f"{path}: its entry {entry.filename!r} is a link. Put the file itself in its place."
            )
        if entry.is_dir() or name.startswith(APPLE) or any(step.startswith(".") for step in steps):
            continue
        if name.lower().endswith(LABELS):
            _refuse_swollen(path, entry)
            wanted[PurePosixPath(name).as_posix()] = entry
    if not wanted:
        nested = any(entry.filename.lower().endswith(".zip") for entry in entries)
        advice = "It holds other archives: unpack it." if nested else "Give the export itself."
        raise LabelError(f"{path}: no label file in it ({', '.join(LABELS)}). {advice}")
    if sum(entry.file_size for entry in wanted.values()) > MOST_BYTES:
        raise LabelError(
            f"{path}: its label files are larger than {MOST_BYTES >> 30} GiB. Unpack it yourself."
        )
    return [(entry, name) for name, entry in wanted.items()]


def _refuse_swollen(path: Path, entry: zipfile.ZipInfo) -> None:
    """Raise LabelError where an entry says that it is larger than labels are."""
    if entry.flag_bits & 1:
        raise LabelError(f"{path}: encrypted. Unpack it with its password, and give the folder.")
    if entry.file_size > LARGEST_FILE:
        raise LabelError(
            f"{path}: its entry {entry.filename!r} is over {LARGEST_FILE >> 20} MiB, which labels are not."
        )
    if entry.file_size > SMALL and entry.file_size > MOST_TIMES * max(entry.compress_size, 1):
        raise LabelError(
            f"{path}: its entry {entry.filename!r} grows more than {MOST_TIMES} times when it is unpacked, "
            "which labels do not. It is not unpacked."
        )


def _write_entry(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int
) -> int:
    """Unpack one file and return its bytes; LabelError where it is more than it said."""
    target.parent.mkdir(parents=True, exist_ok=True)
    limit = min(left, max(SMALL, MOST_TIMES * entry.compress_size), LARGEST_FILE)
    size = 0
    with archive.open(entry) as packed, target.open("wb") as file:
        while block := packed.read(BLOCK):
            size += len(block)
            if size > limit:
                raise LabelError(f"{path}: its entry {entry.filename!r} is larger than it says.")
            file.write(block)
    return size


def _inside(folder: Path) -> Path:
    """Return the folder below single folders: many tools pack one around everything."""
    while True:
        inside = list(folder.iterdir())
        if (
            len(inside) != 1
            or not inside[0].is_dir()
            or inside[0].name in ("labels", "annotations", "Annotations")
        ):
            return folder
        folder = inside[0]


def _export(path: Path, folder: Path) -> Path:
    """Return what of an unpacked archive is an export. Raises LabelError where nothing is, or several are."""
    if _is_export(folder):
        return folder
    below = sorted(each for each in folder.iterdir() if each.is_dir())
    found = [each for each in map(_inside, below) if _is_export(each)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(each.name for each in below)
        raise LabelError(f"{path}: holds several exports ({names}). Unpack it and give one of its folders.")
    files = [each for each in folder.iterdir() if each.suffix.lower() in LABELS]
    if len(files) == 1 and not below:
        return files[0]
    if not files:
        names = ", ".join(each.name for each in below)
        raise LabelError(f"{path}: no export in its folders ({names}). Give the export itself.")
    return folder


def _is_export(folder: Path) -> bool:
    """Say whether a folder without its pictures shows a format."""
    return sniff(folder) != "folders" or (folder / CLASSES).is_file()
