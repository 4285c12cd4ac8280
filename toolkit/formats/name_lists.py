"""Lists of image names: which images of a set are meant."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from dinonat.errors import LabelError
from dinonat.formats.tables import HEADERS, column_of, plain_headers, read_text

LISTS = ("images", "names", "selected", "selection")  # keys under which a JSON object may hold the list


def read_names(path: Path) -> list[str]:
    """Return the image names of a list, each once, in its order.

    A list is a text with a name a line (or parted by NUL, as `dinotool inspect` writes names that hold
    line ends), a CSV with a column ``image`` among others, or JSON: a list of names or of objects
    with ``image``, or an object that holds one as "images", as a page saves what was selected on it.
    ``matching.match_names`` then finds the images that are meant. Raises LabelError where no name is in it.
    """
    text = read_text(path)
    names = _from_json(text) if text.lstrip()[:1] in ("[", "{") else None
    if names is None and "\0" in text:
        names = text.split("\0")
    if names is None:
        names = _from_csv(path, text)
    if names is None:
        names = [line.strip() for line in io.StringIO(text)]
    kept = list(dict.fromkeys(name for name in names if name.strip()))
    if not kept:
        raise LabelError(
            f"{path}: no image is named in it. Give a file with a name a line, a CSV with a column image, "
            "or the JSON list that a page saved."
        )
    return kept


def _from_json(text: str) -> list[str] | None:
    """Return the names of a JSON list; None where the text is no JSON: a name may begin with a bracket."""
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict):
        value = next((value[key] for key in LISTS if isinstance(value.get(key), list)), [])
    return list(_named(value)) if isinstance(value, list) else []


def _named(entries: list[Any]) -> Iterable[str]:
    """Yield the names among the entries of a list."""
    for entry in entries:
        name = entry
        if isinstance(entry, dict):
            name = next((entry[key] for key in HEADERS["image"] if isinstance(entry.get(key), str)), None)
        if isinstance(name, str):
            yield name


def _from_csv(path: Path, text: str) -> list[str] | None:
    """Return the column of images of a CSV; None where the first line is no header that has one."""
    first = text.lstrip().partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        place = column_of(plain_headers(next(rows, [])), "image")
        if place is None:
            return None
        return [row[place].strip() for row in rows if len(row) > place]
    except csv.Error as error:
        raise LabelError(
            f"{path}: not a CSV file ({error}). Give a file with an image name a line."
        ) from error
