"""From decoded numbers to a ThermalFrame: unit, effective depth, what is missing, what is to be said."""

from dataclasses import replace
from typing import Any

import numpy as np

from dinonat.images.palettes import kind_of_colour
from dinonat.images.rasters import LUMINANCE_SCALE, LUMINANCE_WEIGHTS, Pixels, Raster
from dinonat.images.reading import Reading
from dinonat.records import Bool, Float32, ThermalFrame, UInt8, Unit

PLAUSIBLE = {"kelvin": (200.0, 700.0), "degrees Celsius": (-60.0, 200.0)}  # for a hint, never applied
COLOUR_NOTES = {
    "false colour": ("in false colours: brightness ranks temperatures at best; take the radiometric file",),
    "grey with colour": ("grey with a coloured scale, overlay, tint or window in it",),
}
NOT_LINEAR = {"dji-jpeg", "flir-jpeg", "flir-fff", "flir-seq", "flir-csq"}  # counts follow Planck's law
WITHOUT_A_UNIT = "without a unit"
ABSOLUTE_ZERO = -273.15  # degrees Celsius


def to_frame(raster: Raster, *, frame: int = 0) -> ThermalFrame:
    """Turn decoded numbers into a ThermalFrame: float32, NaN for no data, with unit and depth."""
    if raster.pixels.ndim == 3:
        rgb = to_eight_bits(raster.pixels)
        return ThermalFrame(
            luminance(rgb),
            "grey",
            raster.polarity,
            source_format=raster.source_format,
            frame=frame,
            n_frames=raster.n_frames,
            rgb=rgb,
            meta=raster.meta,
            warnings=(*raster.warnings, *COLOUR_NOTES.get(kind_of_colour(rgb), ())),
        )
    data, depth, unit, notes = _measured(raster)
    return ThermalFrame(
        data,
        unit,
        raster.polarity,
        source_format=raster.source_format,
        frame=frame,
        n_frames=raster.n_frames,
        bit_depth_effective=depth,
        meta=raster.meta,
        warnings=notes,
    )


def in_degrees(frame: ThermalFrame, reading: Reading) -> ThermalFrame:
    """Return a frame of counts in degrees Celsius by the scale that the user gave, else as it is.

    Degrees have a scale already, grey levels never had one, and the counts of FLIR and DJI lie on no
    straight line.
    """
    if reading.scale is None or frame.unit != "counts" or frame.source_format in NOT_LINEAR:
        return frame
    degrees = frame.data.astype(np.float64) * reading.scale.size
    if reading.scale.unit == "K":
        degrees += ABSOLUTE_ZERO
    hints = tuple(note for note in frame.warnings if WITHOUT_A_UNIT not in note)
    return replace(frame, data=degrees.astype(np.float32), unit="celsius", warnings=hints)


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
        notes.extend(guess_of_unit(data))
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


def guess_of_unit(data: Float32) -> list[str]:
    """Say what float values look like; nothing is ever applied on a guess."""
    valid = data[np.isfinite(data)]
    if valid.size == 0:
        return []
    low, high = float(valid.min()), float(valid.max())
    looks = next((unit for unit, (least, most) in PLAUSIBLE.items() if least <= low and 1 < high <= most), "")
    letter = looks[:1].upper() if looks == "kelvin" else "C"
    hint = f"; they may be {looks}: --scale 1{letter} says so" if looks else ""
    return [f"float values {low:.6g} to {high:.6g} {WITHOUT_A_UNIT}{hint}"]


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
