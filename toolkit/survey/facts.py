"""Look at one image after another, each once: what it is, what its values are, what is odd about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dinonat.errors import ImageError
from dinonat.images.batches import sentence
from dinonat.images.faults import printable
from dinonat.images.palettes import kind_of_colour
from dinonat.images.reader import read_thermal
from dinonat.images.reading import AS_STORED, Reading
from dinonat.images.workers import run_in_workers
from dinonat.records import Float32, ImageRef, ThermalFrame
from dinonat.survey.levels import EMPTY, Levels, Stored, levels_of, stored
from dinonat.survey.naming import COLOUR, THERMAL, named
from dinonat.survey.traces import Traces, shrunk, traces_of

# A frame shows nothing where its middle 98 percent span less than this, or where no part of it is
# brighter than another beyond its noise (a shutter in front of the sensor, a lens cap, fog).
FLAT = {"grey": 6.0, "celsius": 0.25, "counts": 12.0}
PARTS = 16  # along each side
STRUCTURE = 0.12  # spread of the means of the parts, over the spread of the pixels
SMALLEST_STRUCTURED = 160 * 120  # pixels: in smaller frames the parts hold too few to average out noise

GREY, PAINTED, FALSE_COLOUR, PHOTOGRAPH = "grey", "grey with colour", "false colour", "photograph"
MASK = "label mask"
MASK_LEVELS = 64  # at most, and as good as every pixel equals its neighbour: no camera makes such pictures
MASK_EQUAL = 0.95
OBJECT_KEYS = ("emissivity", "distance", "reflected")


@dataclass(frozen=True, eq=False)
class Facts:
    """What one look at one image found; ``reason`` says why where it cannot be read."""

    ref: ImageRef
    reason: str = ""
    bytes: int = 0
    format: str = ""
    unit: str = ""
    look: str = ""  # "grey", "grey with colour", "false colour", "photograph" or "label mask"
    polarity: str = "unknown"
    width: int = 0
    height: int = 0
    depth: int = 0
    camera: str = ""
    taken: str = ""  # ISO 8601, as the file says
    levels: Levels = EMPTY
    flat: bool = False
    out_of_range: float = 0.0  # share of the pixels beyond the range that the camera is calibrated for
    object: tuple[tuple[str, float], ...] = ()  # emissivity, distance, reflected temperature: as used
    warnings: tuple[str, ...] = ()
    traces: Traces | None = field(default=None, repr=False)

    @property
    def image(self) -> str:
        """Name of the image in its set."""
        return self.ref.name

    @property
    def size(self) -> str:
        """Width and height in words."""
        return f"{self.width} x {self.height}"


def survey(refs: Sequence[ImageRef], *, workers: int = 0, reading: Reading = AS_STORED) -> Iterator[Facts]:
    """Yield the facts of each image in the order of ``refs``, looked at in ``workers`` processes.

    A file that cannot be read, or that kills its decoder, gives facts with a ``reason``.
    """
    return run_in_workers(
        partial(_look, reading=reading), refs, workers=workers, on_death=_lost, belongs_to=_file
    )


def _look(ref: ImageRef, *, reading: Reading) -> Facts:
    try:
        size = ref.file.stat().st_size
        with np.errstate(all="ignore"):  # infinities in damaged values are facts, not faults
            return facts_of(ref, read_thermal(ref.file, frame=ref.frame, reading=reading), size)
    except (ImageError, OSError, MemoryError) as error:
        return Facts(ref, sentence(ref, error))


def _lost(ref: ImageRef, reason: str) -> Facts:
    return Facts(ref, f"{printable(ref.name)}: lost, {reason}.")


def _file(ref: ImageRef) -> Path:
    return ref.file


def facts_of(ref: ImageRef, frame: ThermalFrame, size: int = 0) -> Facts:
    """Return the facts of a frame that was read."""
    values = stored(frame)
    levels = levels_of(values, grey=frame.unit == "grey")
    height, width = frame.data.shape
    whole = (
        frame.data if levels.missing == 0 else np.where(np.isfinite(frame.data), frame.data, levels.median)
    )
    small = shrunk(whole)
    look, meta = look_of(frame, values, levels), frame.meta
    return Facts(
        ref,
        reason="" if levels.missing < 1 else f"{printable(ref.name)}: no pixel of it holds data.",
        bytes=size,
        format=frame.source_format,
        unit=frame.unit,
        look=look,
        polarity=frame.polarity,
        width=width,
        height=height,
        depth=frame.bit_depth_effective,
        camera=str(meta.get("camera", "")),
        taken=str(meta.get("taken", "")),
        levels=levels,
        flat=_is_flat(frame, look, levels, small),
        out_of_range=float(meta.get("out_of_range_share", 0.0)),
        object=tuple((key, float(meta[key])) for key in OBJECT_KEYS if _is_number(meta.get(key))),
        warnings=frame.warnings,
        traces=traces_of(frame, values, small, levels) if levels.missing < 1 else None,
    )


def view_of(fact: Facts) -> str:
    """Say whether an image is thermal or colour, by a word in its name, else by what it holds.

    Masks are neither. Grey pictures without such a word count as thermal: nobody can see it from the
    pixels alone.
    """
    if fact.look == MASK:
        return MASK
    word = named(fact.ref.path).view
    if word:
        return word
    return COLOUR if fact.look == PHOTOGRAPH else THERMAL


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def look_of(frame: ThermalFrame, values: Stored, levels: Levels) -> str:
    """Say what a frame looks like: measured values are grey, for the rest see `kind_of_colour`."""
    if 1 < levels.distinct <= MASK_LEVELS and np.mean(values[:, 1:] == values[:, :-1]) > MASK_EQUAL:
        return MASK
    return GREY if frame.rgb is None else kind_of_colour(frame.rgb)


def _is_flat(frame: ThermalFrame, look: str, levels: Levels, small: Float32) -> bool:
    """Tell whether a frame shows nothing: hardly any range, or noise without structure."""
    if frame.rgb is not None or levels.missing > 0.5 or look == MASK:
        return False
    if levels.high - levels.low < FLAT[frame.unit]:
        return True
    if frame.data.size < SMALLEST_STRUCTURED:
        return False
    parts = small.reshape(PARTS, -1, PARTS, small.shape[1] // PARTS).mean(axis=(1, 3))
    # Noise alone leaves one over the root of the pixels in a part.
    noise = PARTS / float(np.sqrt(frame.data.size))
    whole = float(np.nanstd(frame.data[::4, ::5]))
    return whole > 0 and float(parts.std()) / whole < max(STRUCTURE, 1.6 * noise)
