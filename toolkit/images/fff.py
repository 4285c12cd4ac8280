"""FLIR's container FFF: a header, a directory, records; alone, many in a file, or inside a JPEG."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dinonat.errors import ThermalReadError
from dinonat.images.faults import COPY_AGAIN, fault

MAGIC = b"FFF\0"
HEADER = 64  # bytes
ENTRY = struct.Struct("HHIIII")  # type, subtype, version, id, offset, length; 32 bytes with what follows
ENTRY_SIZE = 32
VERSION, DIRECTORY, COUNT = 0x14, 0x18, 0x1C
VERSIONS = range(90, 200)  # 100 and 101 are seen; read in the wrong byte order they are far outside
MAX_ENTRIES = 256  # 14 are usual
MAX_FRAMES = 1_000_000
OVERHANG = 16  # bytes by which the last record of a recording may end after its file

RAW_DATA, CAMERA_INFO = 0x01, 0x20
BIG_ENDIAN_MARK = 0x100  # a record starts with a small number; read as LE it is large where it is BE


class Entry(NamedTuple):
    """One record of a directory: where it lies from the start of its frame."""

    kind: int
    start: int
    length: int

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.start + self.length


class Piece(NamedTuple):
    """Bytes that follow each other in a stream and in the file they come from."""

    start: int  # in the stream
    in_file: int


@dataclass(frozen=True, eq=False)
class Blob:
    """The bytes of one FFF frame, which may lie in a file as a whole or in the parts of a JPEG."""

    path: Path
    stream: BinaryIO
    start: int  # of the frame in the stream
    size: int  # bytes from there to the end of the stream
    pieces: tuple[Piece, ...] = (Piece(0, 0),)

    def read(self, start: int, length: int, what: str) -> bytes:
        """Return exactly these bytes of the frame; raise ThermalReadError where they do not exist."""
        if start + length > self.size:
            raise self.fault(f"{what} ends {start + length - self.size} bytes after the data", start)
        self.stream.seek(self.start + start)
        data = self.stream.read(length)
        if len(data) != length:  # the file has become shorter since it was opened
            raise self.fault(f"{what} cannot be read to its end", start)
        return data

    def fault(self, what: str, start: int, *, advice: str = COPY_AGAIN) -> ThermalReadError:
        """Return the error for something wrong at byte ``start`` of the frame, or where the data end."""
        place = self.start + min(start, self.size)
        piece = max((piece for piece in self.pieces if piece.start <= place), default=self.pieces[0])
        return fault(self.path, what, offset=piece.in_file + place - piece.start, advice=advice)


def directory(blob: Blob) -> tuple[Entry, ...]:
    """Return the used entries of a frame's record directory.

    Raises ThermalReadError where header or directory are not those of FFF, or lie outside the data.
    """
    return _directory(blob)[0]


def _directory(blob: Blob) -> tuple[tuple[Entry, ...], int]:
    """Return the used entries and where the directory ends."""
    head = blob.read(0, HEADER, "the header of an FFF frame")
    if not head.startswith(MAGIC):
        raise blob.fault(f"no FFF frame (it starts with {head[:4]!r})", 0)
    order = _byte_order(head)
    if order is None:
        raise blob.fault("an FFF header of no known version", VERSION)
    start, count = struct.unpack_from(order + "II", head, DIRECTORY)
    if count > MAX_ENTRIES:
        raise blob.fault(f"a record directory of {count} entries, {MAX_ENTRIES} at most are read", COUNT)
    table = blob.read(start, ENTRY_SIZE * count, "the record directory")
    found = []
    for place in range(0, len(table), ENTRY_SIZE):
        kind, _, _, _, first, length = struct.unpack_from(order + ENTRY.format, table, place)
        if kind and length:
            found.append(Entry(kind, first, length))
    _check_apart(blob, found, start, start + len(table))
    return tuple(found), start + len(table)


def _byte_order(head: bytes) -> str | None:
    """Return the byte order in which the version makes sense (records have their own)."""
    return next(
        (order for order in "><" if struct.unpack_from(order + "I", head, VERSION)[0] in VERSIONS), None
    )


def _check_apart(blob: Blob, entries: list[Entry], start: int, end: int) -> None:
    """Raise where a record that is needed lies over the header, the directory or the other one.

    It would decode to numbers that look like pixels.
    """
    needed = [next((e for e in entries if e.kind == kind), None) for kind in (RAW_DATA, CAMERA_INFO)]
    raw, camera = needed
    for entry in filter(None, needed):
        if entry.start < HEADER or (entry.start < end and start < entry.end):
            raise blob.fault(f"record {entry.kind} lies over the record directory", entry.start)
    if raw and camera and raw.start < camera.end and camera.start < raw.end:
        raise blob.fault("the records of pixels and of calibration lie over each other", camera.start)


def record(blob: Blob, entries: tuple[Entry, ...], kind: int) -> Entry | None:
    """Return the first record of a kind, or None.

    The last record of a recording may end a few bytes after the file, in its padding: it is cut
    there. Raises ThermalReadError where it lies further outside.
    """
    entry = next((entry for entry in entries if entry.kind == kind), None)
    if entry is None or entry.end <= blob.size:
        return entry
    if entry.end > blob.size + OVERHANG or entry.start >= blob.size:
        raise blob.fault(f"record {kind} ends {entry.end - blob.size} bytes after the data", entry.start)
    return Entry(kind, entry.start, blob.size - entry.start)


def byte_order(start_of_record: bytes) -> str:
    """Return "<" or ">" for a record that starts with an order mark."""
    return ">" if int.from_bytes(start_of_record[:2], "little") >= BIG_ENDIAN_MARK else "<"


def walk(path: Path, stream: BinaryIO, size: int) -> tuple[tuple[int, ...], int]:
    """Return where each frame of a file starts, and where the last one ends.

    A frame reaches to the end of its last record: their lengths differ, and a search for the first
    bytes of a frame finds them among pixels. Raises ThermalReadError where the first frame is none.
    """
    starts: list[int] = []
    place = 0
    while place + HEADER <= size and len(starts) < MAX_FRAMES:
        length = _length_of_frame(Blob(path, stream, place, size - place), first=not starts)
        if length is None:
            break
        starts.append(place)
        place += length
        if length < HEADER:  # an empty or damaged frame leads nowhere
            break
    if not starts:
        raise fault(path, f"{size} bytes are too few for an FFF frame", offset=size)
    return tuple(starts), place


def _length_of_frame(blob: Blob, *, first: bool) -> int | None:
    """Return a frame's length, 0 where its directory is damaged, None where no frame starts."""
    blob.stream.seek(blob.start)
    if not first and blob.stream.read(len(MAGIC)) != MAGIC:
        return None
    try:
        entries, end = _directory(blob)
        # Not before the end of the directory: else a hostile file has the same bytes read many times.
        return max(end, *(entry.end for entry in entries)) if entries else 0
    except ThermalReadError:
        if first:
            raise
        return 0  # decoding it says what is wrong
