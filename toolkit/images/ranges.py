"""Limits that many images share: of a recording, or of the whole set."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from dinonat.errors import ImageError
from dinonat.images.prepare import Limits, Preparation
from dinonat.images.reader import read_thermal
from dinonat.images.reading import AS_STORED, Reading
from dinonat.images.workers import run_in_workers
from dinonat.records import Float32, ImageRef, Unit

POINTS = 512  # quantiles that stand for an image: 2 kB of it, whatever its size

Sketch = tuple[Unit, Float32]  # unit of the values, and POINTS of them
Track = Callable[[Iterable[Sketch | None]], Iterable[Sketch | None]]


def pooled_limits(
    refs: Sequence[ImageRef],
    preparation: Preparation,
    *,
    recordings: Mapping[str, str],
    workers: int = 0,
    reading: Reading = AS_STORED,
    track: Track = iter,
) -> dict[str, Limits]:
    """Return the limits of each image by its name, shared by its recording or by the set.

    Every image weighs the same, whatever its size; images of different units never share limits, so
    that counts and degrees in one folder do not spoil each other. An image of no recording has its
    own. Colour pictures and unreadable files have none. ``track`` may show progress.
    """
    sketch = partial(_sketch, reading=reading)
    results = run_in_workers(sketch, refs, workers=workers, on_death=_lost, belongs_to=lambda ref: ref.file)
    groups: dict[tuple[Hashable, Unit], dict[str, Float32]] = defaultdict(dict)
    for ref, found in zip(refs, track(results), strict=True):
        if found is not None:
            unit, points = found
            groups[_shares_with(ref.name, preparation, recordings), unit][ref.name] = points
    limits: dict[str, Limits] = {}
    for members in groups.values():
        low, high = np.percentile(np.concatenate(list(members.values())), [preparation.lo, preparation.hi])
        limits |= dict.fromkeys(members, (float(low), float(high)))
    return limits


def _shares_with(name: str, preparation: Preparation, recordings: Mapping[str, str]) -> Hashable:
    """Return what decides with whom an image shares its limits."""
    if preparation.mode == "dataset":
        return "set"
    recording = recordings.get(name, "")
    return ("recording", recording) if recording else ("image", name)


def _sketch(ref: ImageRef, *, reading: Reading) -> Sketch | None:
    """Return evenly spaced quantiles of an image's valid values: the middles of POINTS equal shares."""
    try:
        frame = read_thermal(ref.file, frame=ref.frame, reading=reading)
    except (ImageError, OSError, MemoryError):
        return None  # whoever embeds the image will say why
    valid = np.sort(frame.data[np.isfinite(frame.data)])
    if frame.rgb is not None or not valid.size:
        return None
    places = (np.arange(POINTS) + 0.5) / POINTS * valid.size
    return frame.unit, valid[places.astype(np.int64)]


def _lost(ref: ImageRef, reason: str) -> None:
    """Leave out an image that killed its decoder."""
