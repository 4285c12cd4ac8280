"""Read FLIR's radiometric files: JPEG (also DJI's XT and XT2), FFF, SEQ and CSQ."""

from functools import lru_cache
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dinonat.errors import ThermalReadError
from dinonat.images.faults import fault
from dinonat.images.fff import CAMERA_INFO, HEADER, OVERHANG, RAW_DATA, Blob, Piece, directory, record, walk
from dinonat.images.flir_counts import UInt16, decode_counts
from dinonat.images.frames import effective_depth
from dinonat.images.planck import Calibration, celsius, described, read_calibration, seen_as, why_not
from dinonat.images.reading import AS_STORED, Reading
from dinonat.images.segments import segments
from dinonat.records import Float32, ThermalFrame, Unit

JPEG_START = b"\xff\xd8"
APP1 = 0xE1
PART = b"FLIR\0\1"  # then the number of the part, the number of the last one, and the data
PART_HEAD = 8  # bytes
MAX_HEAD = 2**26  # bytes of a JPEG that are looked at: 256 parts of 64 kB are 16 MB
MAX_CAMERA = 2**16  # bytes of a camera record; 2476 at most are seen


class Frames(NamedTuple):
    """Where the frames of a file lie."""

    starts: tuple[int, ...]
    end: int  # of the last one
    size: int  # of the file
    jpeg: bool


class Raw(NamedTuple):
    """What a file holds of one frame."""

    counts: UInt16  # (H, W)
    coding: str  # "bare", "png" or "jpeg-ls"
    camera: bytes | None  # the camera record
    warnings: tuple[str, ...]


def frame_offsets(path: Path) -> tuple[int, ...]:
    """Return where each frame of an FFF, SEQ or CSQ file starts; a JPEG has one, at 0.

    Raises ThermalReadError where the first frame is none.
    """
    return _frames(path).starts


def counts_of(path: Path, *, frame: int = 0) -> UInt16:
    """Return the counts (H, W) of one frame as the sensor gave them. Raises ThermalReadError."""
    return _raw(path, frame).counts


def decode_flir(path: Path, *, frame: int = 0, reading: Reading = AS_STORED) -> ThermalFrame:
    """Read one frame in degrees Celsius, in the orientation of the sensor.

    Object parameters in ``reading`` replace the camera's. Where there is no calibration, or one that
    makes no sense, the frame has unit "counts" and a warning says why. Raises ThermalReadError.
    """
    raw = _raw(path, frame)
    frames = _frames(path)
    calibration = None if raw.camera is None else read_calibration(raw.camera)
    if calibration is not None:
        calibration = seen_as(calibration, reading.object)
    data, unit, notes = _measured(raw.counts, calibration)
    share = 0.0 if calibration is None else _share_outside(raw.counts, calibration)
    if share and calibration is not None and calibration.counts is not None:
        low, high = calibration.counts
        notes += (
            f"{share:.2%} of the pixels lie outside the calibrated counts {low} to {high}: extrapolated",
        )
    return ThermalFrame(
        data,
        unit,
        "white_hot",
        source_format=_name(frames, raw.coding),
        frame=frame,
        n_frames=len(frames.starts),
        bit_depth_effective=effective_depth(raw.counts),
        meta={} if calibration is None else {**described(calibration), "out_of_range_share": share},
        warnings=(*raw.warnings, *notes, *_after(frames)),
    )


def _measured(counts: UInt16, calibration: Calibration | None) -> tuple[Float32, Unit, tuple[str, ...]]:
    """Return degrees, or counts where there can be none, and what is to be said about them."""
    obstacle = "the file holds no calibration" if calibration is None else why_not(calibration)
    if calibration is not None and not obstacle:
        degrees = celsius(counts, calibration)
        missing = float(np.count_nonzero(np.isnan(degrees))) / degrees.size
        if missing < 1:
            note = f"{missing:.2%} of the pixels have counts without a temperature: no data there"
            return degrees, "celsius", (note,) if missing else ()
        obstacle = "its calibration gives no temperature for any pixel"
    return counts.astype(np.float32), "counts", (f"counts, not degrees: {obstacle}",)


def _share_outside(counts: UInt16, calibration: Calibration) -> float:
    if calibration.counts is None:
        return 0.0
    low, high = calibration.counts
    return float(np.count_nonzero((counts < low) | (counts > high))) / counts.size


def _name(frames: Frames, coding: str) -> str:
    if frames.jpeg:
        return "flir-jpeg"
    if coding == "jpeg-ls":
        return "flir-csq"
    return "flir-seq" if len(frames.starts) > 1 else "flir-fff"


def _after(frames: Frames) -> tuple[str, ...]:
    rest = frames.size - frames.end
    if rest >= HEADER:
        return (f"{rest} bytes after the last frame are none: the recording may have been longer",)
    return ("the file ends inside its last frame",) if rest < -OVERHANG else ()


def _frames(path: Path) -> Frames:
    try:
        facts = path.stat()
        return _walked(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=8)  # a recording is asked once for each of its frames
def _walked(path: Path, size: int, changed_ns: int) -> Frames:
    with path.open("rb") as stream:
        if stream.read(2) == JPEG_START:
            return Frames((0,), size, size, jpeg=True)
        return Frames(*walk(path, stream, size), size, jpeg=False)


def _unreadable(path: Path, error: OSError) -> ThermalReadError:
    return fault(path, f"cannot be read ({error.strerror or error})", advice="")


def _raw(path: Path, frame: int) -> Raw:
    """Read the records of one frame that are needed: pixels and calibration."""
    starts = _frames(path).starts
    if not 0 <= frame < len(starts):
        raise fault(path, f"has {len(starts)} frames, frame {frame} was asked for", advice="")
    try:
        with path.open("rb") as stream:
            return _records(_blob(path, stream, starts[frame]))
    except OSError as error:
        raise _unreadable(path, error) from error


def _records(blob: Blob) -> Raw:
    entries = directory(blob)
    pixels, camera = record(blob, entries, RAW_DATA), record(blob, entries, CAMERA_INFO)
    if pixels is None:
        raise blob.fault(
            "an FFF header without pixels (it names no raw data record)",
            0,
            advice="Export it as a radiometric file.",
        )
    length = 0 if camera is None else min(camera.length, MAX_CAMERA)
    about = None if camera is None else blob.read(camera.start, length, "the camera record")
    counts, coding, notes = decode_counts(blob, pixels)
    return Raw(counts, coding, about, notes)


def _blob(path: Path, stream: BinaryIO, start: int) -> Blob:
    """Return one frame's bytes: of an FFF file where they lie, of a JPEG joined from its parts."""
    head = stream.read(2)
    if head != JPEG_START:
        return Blob(path, stream, start, stream.seek(0, SEEK_END) - start)
    data = head + stream.read(MAX_HEAD)
    parts = _parts(path, data)
    pieces, size = [], 0
    for begin, length in parts:
        pieces.append(Piece(size, begin))
        size += length
    joined = b"".join(data[begin : begin + length] for begin, length in parts)
    return Blob(path, BytesIO(joined), 0, size, tuple(pieces))


def _parts(path: Path, data: bytes) -> list[tuple[int, int]]:
    """Return start and length of each part of the FFF frame in a JPEG, in their order."""
    found: dict[int, tuple[int, int]] = {}
    last, end = 0, len(JPEG_START)
    for marker, start, length in segments(data):
        end = start + length
        if marker != APP1 or length < PART_HEAD or not data.startswith(PART, start):
            continue
        number, last = data[start + PART_HEAD - 2], data[start + PART_HEAD - 1]
        if number in found:
            raise fault(path, f"part {number} of its FLIR data is there twice", offset=start)
        found[number] = (start + PART_HEAD, length - PART_HEAD)
    missing = next((number for number in range(last + 1) if number not in found), None)
    if missing is not None:
        raise fault(path, f"part {missing} of {last + 1} of its FLIR data is missing", offset=end)
    return [found[number] for number in range(last + 1)]
