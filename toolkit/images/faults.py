"""Say what is wrong with a file, so that whoever reads it finds the file and the place."""

from pathlib import Path

from dinonat.errors import ThermalReadError

COPY_AGAIN = "Copy it again from its source."


def fault(
    path: Path | str, what: str, *, offset: int | None = None, advice: str = COPY_AGAIN
) -> ThermalReadError:
    """Return the error for a file: its name, ``what`` is wrong, at which byte ``offset``, what to do.

    >>> print(fault("a.jpg", "the raw record ends after the file", offset=0x40))
    a.jpg: the raw record ends after the file, at byte 64. Copy it again from its source.
    """
    place = "" if offset is None else f", at byte {offset}"
    error = ThermalReadError(f"{printable(path)}: {what}{place}. {advice}".rstrip())
    error.path, error.offset = str(path), offset
    return error


def printable(path: Path | str) -> str:
    """Return a path for a message: line breaks and undecodable bytes escaped, umlauts kept."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))
