"""Read InfiRay's .irg: a coarse picture, the temperatures of every pixel, and a visible picture."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dinonat.images.faults import fault
from dinonat.images.frames import effective_depth
from dinonat.images.rasters import Pixels, check_bounds
from dinonat.images.reading import OBJECT_PARAMETERS
from dinonat.records import Float32, ThermalFrame

HEADER = struct.Struct("<2sB")  # magic, length of the header
PLANE = struct.Struct("<BIHH")  # kind, bytes, rows, columns; coarse, fine and visible follow each other
SCENE = struct.Struct("<IIII")  # emissivity, two offsets of zero degrees, distance; each in 1/10 000
SHORTEST = HEADER.size + 3 * PLANE.size + SCENE.size

# Magic -> counts for one kelvin, and what is zero degrees Celsius in kelvin.
SCALES = {b"\xca\xac": (16.0, 273.15), b"\xba\xab": (10.0, 273.15), b"\x04\xa0": (10.0, 273.2)}
AUTEL = 1  # kind of the fine plane in files of Autel, whose counts are tenths too
AUTEL_SCALE = (10.0, 273.15)
ONE_GAIN = "the scale of InfiRay's normal gain was used; of its low gain (for hot objects) none is known"


class Layout(NamedTuple):
    """What the header of a file says."""

    fine_start: int
    shape: tuple[int, int]
    scale: tuple[float, float]
    meta: dict[str, float]


def decode_irg(path: Path) -> ThermalFrame:
    """Return the temperatures of an .irg file in degrees Celsius.

    Raises ThermalReadError where its planes do not fit each other or the file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        layout = _layout(path, stream.read(255), size)
        stream.seek(layout.fine_start)
        rows, columns = layout.shape
        data = stream.read(2 * rows * columns)
    counts = np.frombuffer(data, "<u2").reshape(layout.shape)
    return ThermalFrame(
        _celsius(counts, *layout.scale),
        "celsius",
        "white_hot",
        source_format="irg",
        bit_depth_effective=effective_depth(counts),
        meta=layout.meta,
        warnings=(ONE_GAIN,),
    )


def _celsius(counts: Pixels, size: float, zero: float) -> Float32:
    return (counts.astype(np.float64) / size - zero).astype(np.float32)


def _layout(path: Path, head: bytes, size: int) -> Layout:
    if len(head) < SHORTEST:
        raise fault(path, f"an .irg file of {size} bytes ends in its header", offset=size)
    magic, length = HEADER.unpack_from(head)
    if magic not in SCALES or not SHORTEST <= length <= len(head):
        raise fault(path, f"no header of .irg (its length is given as {length})", offset=0)
    planes = [PLANE.unpack_from(head, HEADER.size + number * PLANE.size) for number in range(3)]
    (_, coarse, coarse_rows, coarse_columns), (kind, fine, rows, columns), _ = planes
    check_bounds(path, (rows, columns))
    if (coarse_rows, coarse_columns) != (rows, columns) or coarse != rows * columns or fine != 2 * coarse:
        what = f"planes of {coarse} and {fine} bytes for {columns} x {rows} pixels"
        raise fault(path, what, offset=HEADER.size)
    if length + coarse + fine > size:
        raise fault(path, f"its temperatures need {length + coarse + fine} bytes, the file ends", offset=size)
    scale = AUTEL_SCALE if kind == AUTEL else SCALES[magic]
    return Layout(length + coarse, (rows, columns), scale, _scene(head))


def _scene(head: bytes) -> dict[str, float]:
    """Return the object parameters that the camera used, without those that make no sense."""
    emissivity, _, _, distance = SCENE.unpack_from(head, HEADER.size + 3 * PLANE.size)
    values = {"emissivity": emissivity / 1e4, "distance": distance / 1e4}
    return {
        name: value
        for name, value in values.items()
        if OBJECT_PARAMETERS[name][1] <= value <= OBJECT_PARAMETERS[name][2]
    }
