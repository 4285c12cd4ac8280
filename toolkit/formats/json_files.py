"""JSON files of labels, parsed as a whole, and the pictures that they name."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from dinonat.errors import LabelError
from dinonat.formats.collecting import no_collecting
from dinonat.formats.tables import read_text


@no_collecting()
def load_json(path: Path, give: str) -> Any:
    """Return what a JSON file holds; NaN, which is no JSON but often written, is understood.

    Raises LabelError where it is missing, too large or not JSON; ``give`` names what was expected.
    """
    text = read_text(path)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{path}: not JSON ({error}). Give {give}.") from error


def has_picture(folder: Path, name: str) -> bool:
    """Say whether the file ``name`` lies below ``folder``; names that lead out of it are not looked up."""
    place = PurePosixPath(name)
    if not name or place.is_absolute() or ".." in place.parts:
        return False
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
