"""Read one image into a ThermalFrame: the file's content decides how, its name never does."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import UnidentifiedImageError

from dinonat.errors import ImageError
from dinonat.images.faults import printable
from dinonat.images.rasters import LUMINANCE_SCALE, LUMINANCE_WEIGHTS, Pixels, Raster, decode
from dinonat.images.tiffs import decode_tiff
from dinonat.records import Bool, Float32, ThermalFrame, UInt8, Unit

UNKNOWN = "unknown"
PLAUSIBLE = {"kelvin": (200.0, 700.0), "celsius": (-60.0, 200.0)}  # for a hint, never applied
RADIOMETRIC = {"flir-jpeg": "FLIR", "dji-jpeg": "DJI"}
READ = "PNG, JPEG, TIFF, BMP and WebP are read"

MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)
MAX_SEGMENTS = 4096  # a radiometric JPEG has a few dozen
MIN_PAYLOAD = 2 * 160 * 120  # bytes of the smallest frame that a DJI camera stores


def sniff(path: Path) -> str:
    """Return the format of a file by its first bytes.

    One of "png", "jpeg", "tiff", "bmp", "webp", "flir-jpeg", "dji-jpeg" (display JPEGs with a
    radiometric payload), else "unknown". Raises ImageError where there is no file or it is empty.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
            raise ImageError(f"{printable(path)}: not a regular file.")
        if facts.st_size == 0:
            raise ImageError(f"{printable(path)}: an empty file (0 bytes). Copy it again from its source.")
        with path.open("rb") as stream:
            return _sniff_stream(stream)
    except OSError as error:
        raise ImageError(f"{printable(path)}: cannot be opened ({error.strerror or error}).") from error


def _sniff_stream(stream: BinaryIO) -> str:
    head = stream.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    found = next((name for magic, name in MAGIC if head.startswith(magic)), UNKNOWN)
    return _kind_of_jpeg(stream) if found == "jpeg" else found


def _kind_of_jpeg(stream: BinaryIO) -> str:
    """Walk the segments up to the picture data; payloads of other makers' bytes are never searched."""
    from_dji, payload = False, {0xE3: 0, 0xE4: 0}
    stream.seek(2)
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(stream)
        if marker in {None, 0xDA, 0xD9}:
            break
        length = int.from_bytes(stream.read(2), "big") - 2
        if length < 0:
            break
        start = stream.read(min(length, 4096))
        if marker == 0xE1 and start.startswith(b"FLIR\0"):
            return "flir-jpeg"
        from_dji |= marker == 0xE1 and start.startswith(b"Exif\0") and b"DJI\0" in start
        if marker in payload:
            payload[marker] += length
        stream.seek(length - len(start), 1)
    return "dji-jpeg" if from_dji and max(payload.values()) >= MIN_PAYLOAD else "jpeg"


def _next_marker(stream: BinaryIO) -> int | None:
    """Return the next marker that has a length, or None where the bytes are not a JPEG's."""
    byte = stream.read(1)
    if byte != b"\xff":
        return None
    while byte == b"\xff":  # fill bytes
        byte = stream.read(1)
    return byte[0] if byte else None


def read_thermal(path: Path | str, *, frame: int = 0) -> ThermalFrame:
    """Read one frame of an image file as it was measured, upright by its EXIF orientation.

    8-bit images have unit "grey", 16-bit and float ones "counts": no file says which unit they are
    in, and counts never pretend to be degrees. Colour pictures keep their ``rgb``.
    Raises ImageError, one sentence, for anything that cannot be read.
    """
    return to_frame(read_raster(Path(path), frame=frame), frame=frame)


def read_raster(path: Path, *, frame: int = 0, at_least: int | None = None) -> Raster:
    """Decode by content; ``at_least`` as in ``rasters.decode``. Raises ImageError only."""
    source_format = sniff(path)
    if source_format == UNKNOWN:
        raise ImageError(f"{printable(path)}: not an image by its content, whatever its name. {READ}.")
    try:
        if source_format == "tiff":
            return decode_tiff(path, frame=frame)
        if frame != 0:
            raise ImageError(f"{printable(path)}: has one frame, frame {frame} was asked for.")
        return _decode_flat(path, source_format, at_least)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        # Pillow's own sentence for an unreadable header names an object, not a cause.
        unreadable = isinstance(error, UnidentifiedImageError)
        cause = "its header cannot be read" if unreadable else str(error) or type(error).__name__
        raise ImageError(
            f"{printable(path)}: a damaged {source_format} file ({printable(cause)}). "
            "Copy it again from its source."
        ) from error


def _decode_flat(path: Path, source_format: str, at_least: int | None) -> Raster:
    maker = RADIOMETRIC.get(source_format)
    if maker is None:
        return decode(path, source_format, at_least=at_least)
    raster = decode(path, "jpeg", at_least=at_least)
    note = (
        f"a radiometric JPEG of {maker}: its display picture was read, which may carry a palette, "
        "overlays and visible edges, not its temperatures"
    )
    return replace(raster, source_format=source_format, warnings=(*raster.warnings, note))


def to_frame(raster: Raster, *, frame: int = 0) -> ThermalFrame:
    """Turn decoded numbers into a ThermalFrame: float32, NaN for no data, with unit and depth."""
    if raster.pixels.ndim == 3:
        rgb = to_eight_bits(raster.pixels)
        return ThermalFrame(
            luminance(rgb),
            "grey",
            source_format=raster.source_format,
            frame=frame,
            n_frames=raster.n_frames,
            rgb=rgb,
            warnings=raster.warnings,
        )
    data, depth, unit, notes = _measured(raster)
    return ThermalFrame(
        data,
        unit,
        source_format=raster.source_format,
        frame=frame,
        n_frames=raster.n_frames,
        bit_depth_effective=depth,
        warnings=notes,
    )


def _measured(raster: Raster) -> tuple[Float32, int, Unit, tuple[str, ...]]:
    """Return data, effective depth, unit and warnings of a picture with one channel."""
    pixels, notes = raster.pixels, list(raster.warnings)
    missing = _missing(pixels, raster.no_data)
    measured = pixels if missing is None else pixels[~missing]
    depth, unit = effective_depth(measured), _unit(measured)
    if raster.min_is_white and pixels.dtype == np.uint8:
        pixels = 255 - pixels
    elif raster.min_is_white:
        notes.append("marked as 'minimum is white'; its counts are kept as stored")
    data = pixels.astype(np.float32)
    if missing is not None:
        data[missing] = np.nan
    if pixels.dtype.kind == "f":
        notes.extend(_guess_of_unit(data))
    elif unit == "grey" and pixels.dtype != np.uint8:
        notes.append(f"stored with {8 * pixels.itemsize} bits, but its values need only 8: a display image")
    return data, depth, unit, tuple(notes)


def _missing(pixels: Pixels, no_data: float | None) -> Bool | None:
    """Return where nothing was measured: not finite, or the file's own no-data value."""
    missing: Bool | None = ~np.isfinite(pixels) if pixels.dtype.kind == "f" else None
    if no_data is None or not _can_hold(pixels.dtype, no_data):
        return missing
    marked: Bool = pixels == pixels.dtype.type(no_data)
    return marked if missing is None else missing | marked


def _can_hold(kind: np.dtype[Any], value: float) -> bool:
    """Tell whether ``value`` exists in a type: -9999 in unsigned pixels marks none, and must not wrap."""
    if kind.kind == "f":
        return True
    return value.is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max


def _unit(measured: Pixels) -> Unit:
    """Say whether values are display grey (8 bits, whatever the container) or counts."""
    if measured.dtype == np.uint8:
        return "grey"
    if measured.dtype.kind == "f" or measured.size == 0:
        return "counts"
    return "grey" if measured.min() >= 0 and measured.max() <= 255 else "counts"


def _guess_of_unit(data: Float32) -> list[str]:
    """Say what float values look like; nothing is ever applied on a guess."""
    valid = data[np.isfinite(data)]
    if valid.size == 0:
        return []
    low, high = float(valid.min()), float(valid.max())
    looks = next((unit for unit, (least, most) in PLAUSIBLE.items() if least <= low and 1 < high <= most), "")
    hint = f"; they may be {looks}" if looks else ""
    return [f"float values {low:.6g} to {high:.6g} without a unit{hint}"]


def effective_depth(pixels: Pixels) -> int:
    """Return how many bits the values really use: at least 8 for integers, 32 for floats.

    Some sets store 8-bit pictures in 16-bit files, and some cameras leave low bits unused.
    """
    if pixels.dtype.kind == "f":
        return 32
    if pixels.dtype == np.uint8 or pixels.size == 0:
        return 8
    above = pixels.astype(np.int64) - min(int(pixels.min()), 0)
    used = int(np.bitwise_or.reduce(above, axis=None))  # every bit that is set anywhere
    unused_low = (used & -used).bit_length() - 1 if used else 0
    return max(8, used.bit_length() - unused_low) if used > 255 else 8


def to_eight_bits(rgb: Pixels) -> UInt8:
    """Bring colour (H, W, 3) of any depth to 8 bits by dropping the low ones."""
    if rgb.dtype == np.uint8:
        return rgb
    if rgb.dtype.kind == "f":
        top = 1.0 if np.nanmax(rgb) <= 1.0 else 255.0
        return np.nan_to_num(np.clip(rgb / top * 255.0, 0, 255) + 0.5).astype(np.uint8)
    above = np.clip(rgb, 0, None)
    shift = max(int(above.max()).bit_length() - 8, 0)
    return (above >> shift).astype(np.uint8)


def luminance(rgb: UInt8) -> Float32:
    """Return BT.601 luminance (H, W) in [0, 255]; equal channels give exactly their value.

    In fixed point the sums stay below 2**24, so float32 holds them exactly.
    """
    weights = np.array(LUMINANCE_WEIGHTS, np.float32)
    return (rgb.astype(np.float32) @ weights) / np.float32(LUMINANCE_SCALE)
