"""From thermal images without labels to annotation files that a person can correct."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinonat.images.reader import iter_frames, read_thermal
    from dinonat.images.reading import parse_reading
    from dinonat.records import read_proposals

# Name -> module that defines it. Nothing here may load torch (tests/test_hygiene.py).
_LAZY = {
    "read_thermal": "dinonat.images.reader",
    "iter_frames": "dinonat.images.reader",
    "parse_reading": "dinonat.images.reading",
    "read_proposals": "dinonat.records",
}

__all__ = ["iter_frames", "parse_reading", "read_proposals", "read_thermal"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'dinonat' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
