"""Read arrays that NumPy saved (.npy, .npz): never a pickle, and nothing allocated on a header's word."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dinonat.images.faults import fault, printable
from dinonat.images.rasters import Pixels, check_bounds
from dinonat.images.tiffs import MAX_FRAMES

HEADER_BYTES = 16384  # NumPy itself reads no header above 10 000
VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
EXPECTED = "Expected are numbers of shape (H, W) or (N, H, W), or colour of shape (H, W, 3) in uint8"

# An archive's list of members lies at its end: 22 bytes and perhaps a comment (APPNOTE.TXT 4.3.16).
END, END_BYTES, MAX_COMMENT = b"PK\x05\x06", 22, 65535
LARGE_ARCHIVE = b"PK\x06\x07"
MAX_DIRECTORY = 2**20  # bytes: some ten thousand members
MAX_MEMBERS = 256  # whose headers are read
MAX_MEMBER_BYTES = 2**31  # unpacked; every frame costs unpacking all before it
MAX_WORK = 2**35  # bytes unpacked to read every frame, about; a minute
MAX_RATIO = 1100  # Deflate reaches 1032 (zlib's own figure): more is a lie about sizes
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # what NumPy writes
ENCRYPTED = 0x1


@dataclass(frozen=True)
class Header:
    """What an array's header promises; ``start`` is the byte where its values begin."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def is_colour(self) -> bool:
        """Whether the array is one picture of colour, perhaps with opacity."""
        return len(self.shape) == 3 and self.shape[2] in {3, 4} and self.kind == np.uint8

    @property
    def is_single(self) -> bool:
        """Whether the array is one picture: (H, W), (H, W, 1) or colour."""
        return len(self.shape) == 2 or self.is_colour or self.shape[2] == 1

    @property
    def frames(self) -> int:
        """How many pictures lie behind each other."""
        return 1 if self.is_single else self.shape[0]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one picture: (H, W), (H, W, 1) or (H, W, 3)."""
        return self.shape if self.is_single else self.shape[1:]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one picture, in integers that do not overflow."""
        return int(self.kind.itemsize * np.prod(self.frame_shape, dtype=object))


def npy_header(path: Path) -> Header:
    """Return the header of a .npy file whose pixels can be read; ThermalReadError for others."""
    with path.open("rb") as stream:
        header = _header(path, stream.read(HEADER_BYTES), "it")
    size, needed = path.stat().st_size, header.start + header.frames * header.frame_bytes
    if size < needed:
        raise fault(path, f"its array needs {needed} bytes, but the file ends", offset=size)
    return header


def read_npy(path: Path, frame: int) -> Pixels:
    """Return one frame of a .npy file, in native byte order; only its pages of the file are touched."""
    header = npy_header(path)
    _check_frame(path, header, frame)
    whole: Pixels = np.memmap(
        path,
        dtype=header.kind,
        mode="r",
        offset=header.start,
        shape=header.shape,
        order="F" if header.fortran else "C",
    )
    return _native(whole if header.is_single else whole[frame])


def npz_header(path: Path) -> Header:
    """Return the header of the array that is read from a .npz file (see ``read_npz``)."""
    with _archive(path) as archive:
        return _chosen(path, archive)[1]


def read_npz(path: Path, frame: int) -> tuple[Pixels, str]:
    """Return one frame of a .npz archive, in native byte order, and its array's name where it holds others.

    Of several arrays the one with the most numbers is read, one that was measured before one of
    colour, and the first of equals. Members are never unpacked to disk, and no further than needed.
    """
    with _archive(path) as archive:
        info, header = _chosen(path, archive)
        others = len(archive.infolist()) > 1
        _check_frame(path, header, frame)
        at_once = header.frames if header.fortran else 1  # in Fortran's order frames are interleaved
        first = 0 if header.fortran else frame
        if at_once > 1 and at_once * header.frame_bytes > MAX_MEMBER_BYTES // 8:
            raise fault(
                path,
                f"{printable(info.filename)} interleaves {header.frames} frames (Fortran order)",
                advice="Save it with np.ascontiguousarray, or as .npy.",
            )
        with archive.open(info) as stream:
            stream.seek(header.start + first * header.frame_bytes)
            data = stream.read(at_once * header.frame_bytes)
            stream.read(1)  # at the end of the member its checksum is compared
        if len(data) < at_once * header.frame_bytes:
            raise fault(path, f"{printable(info.filename)} ends early", offset=info.header_offset)
    shape = header.shape if at_once == header.frames else header.frame_shape
    whole = np.frombuffer(data, header.kind).reshape(shape, order="F" if header.fortran else "C")
    single = header.is_single or shape == header.frame_shape
    return _native(whole if single else whole[frame]), info.filename.removesuffix(".npy") if others else ""


def _header(path: Path, head: bytes, what: str) -> Header:
    """Parse a header from the first bytes of an array; NumPy's own parser, on bytes that end."""
    stream = io.BytesIO(head)
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            version = np.lib.format.read_magic(stream)
            if version not in VERSIONS:  # 3.0 is for names of fields, which pixels have none of
                raise ValueError(f"version {version}")
            shape, fortran, kind = VERSIONS[version](stream)
    except Exception as error:  # a damaged header raises what its text leads the parser to
        raise fault(path, f"the header of {what} is no array's", offset=0) from error
    _check_kind(path, shape, kind, what)
    header = Header(tuple(int(side) for side in shape), kind, bool(fortran), stream.tell())
    check_bounds(path, header.frame_shape[:2])
    if header.frames > MAX_FRAMES:
        raise fault(path, f"{what} holds {header.frames} frames", advice=f"{MAX_FRAMES} are read: split it.")
    return header


def _check_kind(path: Path, shape: tuple[int, ...], kind: np.dtype[Any], what: str) -> None:
    if kind.hasobject:
        raise fault(path, f"{what} holds Python objects, which are never loaded", advice=f"{EXPECTED}.")
    if kind.kind not in "uifb" or len(shape) not in {2, 3} or min(shape) < 1:
        sides = " x ".join(str(side) for side in shape[:8]) or "no axes"
        raise fault(path, f"{what} holds {printable(str(kind)[:40])}, {sides}", advice=f"{EXPECTED}.")


def _check_frame(path: Path, header: Header, frame: int) -> None:
    if not 0 <= frame < header.frames:
        raise fault(path, f"has {header.frames} frames, frame {frame} was asked for", advice="")


def _native(values: Pixels) -> Pixels:
    """Return an array of its own in memory: (H, W) or (H, W, 3), native order, float32 for floats."""
    if values.ndim == 3:
        values = values[..., 0] if values.shape[2] == 1 else values[..., :3]
    if values.dtype.kind == "f":
        with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite: no data
            return np.ascontiguousarray(values, np.float32)
    if values.dtype.kind == "b":
        return np.ascontiguousarray(values, np.uint8)
    return np.array(values, values.dtype.newbyteorder("="), order="C")


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; whatever the zip module finds damaged in it ends as one sentence."""
    try:
        with path.open("rb") as stream:
            _check_directory(path, stream)
            with zipfile.ZipFile(stream) as archive:
                yield archive
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise fault(path, f"a damaged archive ({printable(str(error)[:80])})", offset=0) from error
    except (OSError, ValueError, struct.error, OverflowError) as error:
        raise fault(path, "a damaged archive (its directory does not fit the file)", offset=0) from error


def _check_directory(path: Path, stream: IO[bytes]) -> None:
    """Raise where the list of members is missing or would take long to read."""
    size = stream.seek(0, io.SEEK_END)
    start = max(0, size - END_BYTES - MAX_COMMENT - 20)
    stream.seek(start)
    tail = stream.read()
    at = len(tail) - END_BYTES if tail[-END_BYTES:].startswith(END) else tail.rfind(END)
    if at < 0 or at + END_BYTES > len(tail):
        raise fault(path, "an archive without its end", offset=size)
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length > MAX_DIRECTORY or LARGE_ARCHIVE in tail[max(0, at - 20) : at]:
        raise fault(
            path,
            "an archive with more members or bytes than are read",
            offset=start + at,
            advice="Save each recording as one .npy.",
        )
    stream.seek(0)


def _chosen(path: Path, archive: zipfile.ZipFile) -> tuple[zipfile.ZipInfo, Header]:
    """Return the member to read and its header; the first problem where none can be read."""
    problem = fault(path, "an archive without arrays (.npy)", advice=f"{EXPECTED}.")
    best: tuple[tuple[bool, int], zipfile.ZipInfo, Header] | None = None
    candidates = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    for number, info in enumerate(candidates[:MAX_MEMBERS]):
        try:
            header = _member_header(path, archive, info)
        except type(problem) as error:
            problem = error if number == 0 else problem
            continue
        rank = (not header.is_colour, header.frames * header.frame_bytes // header.kind.itemsize)
        if best is None or rank > best[0]:
            best = (rank, info, header)
    if best is None:
        raise problem
    return best[1:]


def _member_header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    name, size = printable(info.filename[:80]), path.stat().st_size
    if not 0 <= info.header_offset < size:
        raise fault(path, f"{name} would lie outside the archive", offset=size)
    if info.compress_type not in METHODS or info.flag_bits & ENCRYPTED:
        raise fault(path, f"{name} is encrypted or packed as NumPy never packs", offset=info.header_offset)
    packed, unpacked = info.compress_size, info.file_size
    if unpacked > MAX_MEMBER_BYTES or unpacked > MAX_RATIO * max(packed, 1):
        raise fault(
            path,
            f"{name} would unpack {packed} bytes to {unpacked}",
            offset=info.header_offset,
            advice="Save large recordings as .npy.",
        )
    with archive.open(info) as stream:
        header = _header(path, stream.read(HEADER_BYTES), name)
    if not header.fortran and header.frames * unpacked > MAX_WORK:
        raise fault(
            path,
            f"{name} holds {header.frames} frames, and each would cost unpacking all before it",
            offset=info.header_offset,
            advice="Save it as .npy.",
        )
    needed = header.start + header.frames * header.frame_bytes
    if needed != unpacked:
        raise fault(path, f"{name} needs {needed} bytes, has {unpacked}", offset=info.header_offset)
    return header
