"""Find the images below a folder, in one fixed order, without decoding any of them."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dinonat.errors import ImageError
from dinonat.images.faults import printable
from dinonat.images.reader import count_frames
from dinonat.images.sniffing import UNKNOWN, sniff
from dinonat.records import ImageRef

Item = TypeVar("Item")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".fff", ".seq", ".csq", ".irg", ".jls")
ARRAYS = (".npy", ".npz")
TEXTS = (".csv",)  # labels and recordings lie beside images: only grids of numbers are images
EXTENSIONS = frozenset({*PICTURES, *ARRAYS, *TEXTS})
WORKSPACE_FILE = "dinotool-workspace.json"

Skipped = tuple[str, str]  # relative POSIX path, reason


@dataclass(frozen=True)
class Listing:
    """The images of a folder, sorted, and what was passed over with the reason."""

    refs: tuple[ImageRef, ...]
    skipped: tuple[Skipped, ...]


def list_images(folder: Path, *, list_file: Path | None = None) -> Listing:
    """List the images below ``folder``, sorted by relative POSIX path, then by frame.

    Files are candidates by their extension (EXTENSIONS, any case); whether they are images shows
    when they are read. Texts that hold no grid of numbers are passed over, and so are hidden
    files and folders and workspaces; links are followed, but no folder is listed twice. A file
    of several frames (SEQ, CSQ, a TIFF of equal pages, an array) gives one reference a frame.
    ``list_file`` names the images instead, one path or ``path#frame`` a line relative to ``folder``
    (entries end with NUL instead of line breaks where the file holds any NUL).
    Raises ImageError where the folder cannot be read or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise ImageError(f"{printable(folder)}: {what}. Give a folder that holds images.")
    skipped: list[Skipped] = []
    if list_file is None:
        refs = [ref for path in _walk(folder, skipped) for ref in _frames(folder, path)]
    else:
        refs = list(_named(folder, list_file, skipped))
    if not refs:
        raise ImageError(_nothing_found(folder, list_file, skipped))
    return Listing(tuple(sorted(set(refs))), tuple(sorted(skipped)))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return every n-th of what was listed, so that there are at most ``most``.

    >>> spread("abcdefg", 3), spread("ab", 3), spread("", 3)
    (['a', 'd', 'g'], ['a', 'b'], [])
    """
    return list(items[:: max(1, -(-len(items) // most))])


def _nothing_found(folder: Path, list_file: Path | None, skipped: list[Skipped]) -> str:
    where = f"{printable(folder)}" if list_file is None else f"{printable(list_file)}"
    first = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
    kinds = ", ".join(sorted(extension[1:] for extension in EXTENSIONS))
    return f"{where}: no image found{first}. Give a folder that holds {kinds} files."


def _walk(folder: Path, skipped: list[Skipped]) -> Iterator[str]:
    """Yield the relative paths of candidates. Links to folders come last, so a real name wins."""
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        if not folders:
            links.sort(reverse=True)
            folders.append(links.pop())
        here = folders.pop()
        entries = _enter(folder, here, seen, skipped)
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{here}/{entry.name}" if here else entry.name
            if entry.name.startswith("."):
                continue
            if not _is_text(path):
                skipped.append((printable(path), "its name is not valid UTF-8; rename it"))
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(path)
            elif Path(entry.name).suffix.lower() in EXTENSIONS:
                reason = _why_not_a_file(folder / path)
                if reason:
                    skipped.append((printable(path), reason))
                elif _may_be_an_image(folder / path):
                    yield path


def _enter(
    folder: Path, here: str, seen: set[tuple[int, int]], skipped: list[Skipped]
) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, or none with the reason in ``skipped``."""
    try:
        facts = (folder / here).stat()
        if here and _leads_up(folder / here):
            skipped.append((printable(here), "a link to a folder above"))
            return []
        if (facts.st_dev, facts.st_ino) in seen:
            skipped.append((printable(here), "a link to a folder that is listed already"))
            return []
        seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder / here) as scan:
            entries = list(scan)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        if not here:
            raise ImageError(f"{printable(folder)}: {reason}. Check its permissions.") from error
        skipped.append((printable(here), reason))
        return []
    if any(entry.name == WORKSPACE_FILE for entry in entries):
        skipped.append((printable(here) or ".", "a workspace"))
        return []
    return entries


def _leads_up(path: Path) -> bool:
    """Tell whether a link points to one of the folders that it lies in: a loop, or a way out."""
    if not path.is_symlink():
        return False
    lies_in = os.path.join(os.path.realpath(path.parent), "")
    return lies_in.startswith(os.path.join(os.path.realpath(path), ""))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_text(path: str) -> bool:
    """Tell whether a name can be written to JSON and tables."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_not_a_file(path: Path) -> str:
    """Return why ``path`` cannot be an image file, or "" where it may be one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"
    return "" if stat.S_ISREG(mode) else "not a regular file"


def _may_be_an_image(path: Path) -> bool:
    """Tell whether a candidate is one: tables are not; anything else that is damaged shall be named."""
    if path.suffix.lower() not in TEXTS:
        return True
    try:
        return sniff(path) != UNKNOWN
    except ImageError:
        return True


def _frames(folder: Path, path: str) -> list[ImageRef]:
    """Return one reference for each frame of a file; a damaged file gives one, and fails later."""
    try:
        count = max(count_frames(folder / path), 1)
    except (ImageError, MemoryError):  # whatever the damage is, reading the image will name it
        count = 1
    return [ImageRef(folder, path, frame, count) for frame in range(count)]


def _named(folder: Path, list_file: Path, skipped: list[Skipped]) -> Iterator[ImageRef]:
    """Yield the references that a list file names; what is missing goes to ``skipped``."""
    for entry in _entries(list_file):
        path, frame = entry, ""
        if not (folder / entry).is_file() and "#" in entry:
            path, _, frame = entry.rpartition("#")
        relative = _below(folder, path)
        if relative is None:
            skipped.append((printable(entry), "lies outside the folder"))
            continue
        reason = _why_not_a_file(folder / relative)
        frames = [] if reason else _frames(folder, relative)
        if frame:
            frames = [ref for ref in frames if str(ref.frame) == frame]
        if not frames:
            skipped.append((printable(entry), reason or f"has no frame {frame}"))
        yield from frames


def _entries(list_file: Path) -> Iterable[str]:
    try:
        text = list_file.read_bytes().decode("utf-8-sig")  # as it stands: names may hold any line end
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(
            f"{printable(list_file)}: cannot be read as a list of images ({error}). "
            "Give a UTF-8 text file with one path a line."
        ) from error
    lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip()]


def _below(folder: Path, path: str) -> str | None:
    """Return ``path`` relative to ``folder`` with POSIX separators; None where it leaves it."""
    whole = os.path.normpath(os.path.join(os.path.abspath(folder), path))
    relative = os.path.relpath(whole, os.path.abspath(folder))
    if relative == os.curdir or relative.split(os.sep)[0] == os.pardir:
        return None
    return Path(relative).as_posix()
