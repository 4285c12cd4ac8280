"""Where a fault is: relative to what was checked, which may have been unpacked into a folder of its own."""

from pathlib import Path

from dinonat.errors import LabelError
from dinonat.formats.handover import Fault


def as_fault(error: LabelError, checked: Path) -> Fault:
    """Return "PATH: SENTENCE" of an error as place and sentence; paths are relative to what was checked.

    >>> as_fault(LabelError("/set/labels/a.txt: too large."), Path("/set"))
    ('labels/a.txt', 'too large.')
    """
    folder = str(checked if checked.is_dir() or not checked.suffix else checked.parent)
    place, _, what = str(error).removeprefix(folder).partition(": ")
    kind = "folder" if str(error).startswith(folder) else "file"
    return place.strip("/") or kind, what.replace(f"{folder}/", "") or str(error)
