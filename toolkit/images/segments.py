"""Walk the segments before the picture data of a JPEG, where cameras keep what they measured."""

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

Bytes = bytes | bytearray | memoryview | mmap

START = b"\xff\xd8"
JPEG_LS_FRAME = 0xF7
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
ENDS = {0xDA, 0xD9}  # picture data, end of the picture
MAX_SEGMENTS = 4096  # a radiometric JPEG has a few dozen


class Segment(NamedTuple):
    """One segment: its payload is ``data[start : start + length]``."""

    marker: int  # 0xE1 for APP1
    start: int
    length: int


def segments(data: Bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG up to its picture data.

    Their lengths lead from one to the next; the bytes are never searched, because payloads hold
    markers and whole pictures of their own. Ends quietly where the bytes stop being a JPEG's and
    before a segment that is cut short.

    >>> list(segments(bytes.fromhex("ffd8 ffe1 0004 4142 ffda")))
    [Segment(marker=225, start=6, length=2)]
    """
    place = len(START) if bytes(data[:2]) == START else len(data)
    for _ in range(MAX_SEGMENTS):
        found = _marker(data, place)
        if found is None or found[0] in ENDS:
            return
        marker, place = found
        if marker in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(data[place : place + 2], "big") - 2  # the length counts itself
        if length < 0 or place + 2 + length > len(data):
            return
        yield Segment(marker, place + 2, length)
        place += 2 + length


def _marker(data: Bytes, place: int) -> tuple[int, int] | None:
    """Return the marker at ``place`` and where it ends, or None where there is none."""
    if place >= len(data) or data[place] != 0xFF:
        return None
    while place < len(data) and data[place] == 0xFF:  # fill bytes
        place += 1
    return (data[place], place + 1) if place < len(data) else None
