"""COCO files, parsed: our own line by line in little memory, those of other tools as a whole."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dinonat.errors import LabelError
from dinonat.formats.collecting import no_collecting
from dinonat.formats.tables import LARGEST_FILE

OURS = b'{"info": {"description":"dinotool export"'  # how `coco.write` begins
ENTRIES = b'"annotations": ['
# Where the instances files of an export lie; the last is what Roboflow gives back.
PLACES = (
    "annotations/instances_*.json",
    "annotations/*.json",
    "instances_*.json",
    "*.json",
    "*/_annotations.coco.json",
)


@dataclass(frozen=True, eq=False)
class Parsed:
    """One JSON object with its annotations apart, which may be too many to hold."""

    head: dict[str, Any]  # all but the annotations
    annotations: Iterable[Any] | None  # to be gone through once; None where there is no such list


def instances_files(path: Path) -> list[Path]:
    """Return the instances files that a path means: itself, or those of the folder, in order.

    Raises LabelError where the folder holds none.
    """
    if not path.is_dir():
        return [path]
    for pattern in PLACES:
        found = [file for file in sorted(path.glob(pattern)) if file.is_file() and not starts_a_list(file)]
        if found:
            return found
    raise LabelError(
        f"{path}: no COCO file in it. Expected annotations/instances_NAME.json, or give the file itself."
    )


def parse(path: Path) -> Parsed:
    """Parse a COCO file, NaN and Infinity included (checking reports them).

    Raises LabelError where it is missing, too large, not JSON, or not one JSON object.
    """
    try:
        if _one_entry_a_line(path):
            return _by_line(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    coco = load(path)
    if not isinstance(coco, dict):
        raise LabelError(
            f"{path}: a JSON {type(coco).__name__}, not the object with images, annotations and categories "
            "that COCO is. A results file cannot stand alone; give the instances file."
        )
    annotations = coco.pop("annotations", None)
    return Parsed(coco, annotations if isinstance(annotations, list) else None)


@no_collecting()
def load(path: Path) -> Any:
    """Parse a JSON file as a whole. Raises LabelError where it is missing, too large or not JSON."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LabelError(
                f"{path}: larger than {LARGEST_FILE >> 20} MiB, which no label file is that is not ours."
            )
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _value(data.removeprefix(b"\xef\xbb\xbf"), str(path))


def _unreadable(path: Path, error: OSError) -> LabelError:
    """Return the sentence for a file that cannot be read."""
    return LabelError(f"{path}: cannot be read ({error.strerror}). Give a file with labels.")


def _value(data: bytes, where: str) -> Any:
    """Parse JSON bytes; UTF-16 with its mark is understood, and so is NaN."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)  # takes the NaN that orjson rightly refuses
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{where}: not JSON ({error}). Give a COCO instances file.") from error


def starts_a_list(path: Path) -> bool:
    """Say whether a JSON file is a list, as results are."""
    try:
        with path.open("rb") as stream:
            return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    except OSError as error:
        raise _unreadable(path, error) from error


def _one_entry_a_line(path: Path) -> bool:
    """Say whether a file still is as `coco.write` left it: every annotation a line of its own."""
    with path.open("rb") as stream:
        if stream.read(len(OURS)) != OURS:
            return False
        stream.seek(0)
        for line in stream:
            if line.rstrip() == ENTRIES:
                break
        last = b","
        for line in stream:
            text = line.rstrip()
            if text == b"]}":
                return last != b"," and not stream.read().strip()
            if text:
                if not text.startswith(b"{") or not text.endswith((b"}", b"},")) or last != b",":
                    return False
                last = text[-1:]
    return False


def _by_line(path: Path) -> Parsed:
    """Parse the head, and leave the annotations to be read a line at a time."""
    with path.open("rb") as stream:
        head = bytearray()
        lines = 0
        for line in stream:
            lines += 1
            if line.rstrip() == ENTRIES:
                break
            head += line
    head_value = _value(bytes(head).rstrip().removesuffix(b",") + b"}", f"{path}, its head")
    return Parsed(head_value, _entries_by_line(path, lines, len(head)))


def _entries_by_line(path: Path, lines: int, start: int) -> Iterator[Any]:
    """Yield the annotations after the first ``lines`` lines."""
    with path.open("rb") as stream:
        stream.seek(start)
        stream.readline()
        for number, line in enumerate(stream, start=lines + 1):
            text = line.rstrip()
            if text == b"]}":
                return
            if text:
                yield _value(text.removesuffix(b","), f"{path}, line {number}")
