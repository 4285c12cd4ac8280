"""All pictures that a run learns from in one array: those of folders, and pairs beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinonat.errors import ImageError
from dinonat.images.batches import Box, Packed, pack_pictures
from dinonat.pretraining.pictures import Pictures
from dinonat.records import ImageRef, Int64

ALONE = -1  # the partner of a picture that has none
MOST_TIMES = 100  # that a picture comes in one epoch


@dataclass(frozen=True, eq=False)
class Sources:
    """One pack of folders' pictures, then colour, then thermal ones, and what is trained on of it."""

    packed: Packed
    pictures: Pictures

    @property
    def paired(self) -> Int64:
        """Return places (P, 2) of the colour and the thermal picture of each pair that was read whole."""
        partners = self.pictures.partners
        colour = np.flatnonzero(partners > np.arange(len(partners)))
        return np.stack([colour, partners[colour]], axis=1)


def pack_sources(
    alone: Sequence[ImageRef],
    colour: Sequence[ImageRef],
    thermal: Sequence[ImageRef],
    path: Path,
    *,
    boxes: Mapping[ImageRef, Box] | None = None,
    pair_share: float | None = None,
    side: int = 176,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Sources:
    """Pack the pictures of folders and of pairs (``colour[i]`` belongs to ``thermal[i]``) into one file.

    ``boxes`` as in `pack_pictures`; ``pair_share`` as in `joined`. A picture whose partner cannot be
    read counts as one of a folder. Raises ImageError where no picture, or of given pairs not one
    whole pair, can be read.
    """
    packed = pack_pictures(
        [*alone, *colour, *thermal], path, side=side, boxes=boxes, workers=workers, progress=progress
    )
    items, partners = joined(packed.places, len(alone), len(colour), pair_share)
    if colour and (partners == ALONE).all():
        first = f" The first: {packed.failures[0][1]}" if packed.failures else ""
        raise ImageError(f"Not one of {len(colour)} pairs could be read.{first}")
    return Sources(packed, Pictures(packed.pixels, packed.aspects, items, partners))


def joined(
    places: Sequence[int], alone: int, pairs: int, pair_share: float | None = None
) -> tuple[Int64, Int64]:
    """Return the items (M,) of an epoch and the partner of each packed picture (N,).

    ``places`` tells of each packed picture which of the asked ones it is: first come ``alone`` without
    partner, then the colour pictures of ``pairs``, then their thermal ones in the same order; what could
    not be read is missing. Pictures of pairs make up about ``pair_share`` of the items, 0 < share <= 1:
    the smaller part is repeated, up to 100 times, both pictures of a pair equally often; 1 leaves the
    others out, None takes every picture once. Nothing is drawn: equal arguments, equal items.
    """
    at = {place: index for index, place in enumerate(places)}
    partners = np.full(len(places), ALONE, np.int64)
    both = [(at[c], at[c + pairs]) for c in range(alone, alone + pairs) if c in at and c + pairs in at]
    couples = np.array(both, np.int64).reshape(-1, 2)
    partners[couples[:, 0]], partners[couples[:, 1]] = couples[:, 1], couples[:, 0]
    single: Int64 = np.flatnonzero(partners == ALONE).astype(np.int64)
    if pair_share is None or not len(couples) or (not len(single) and pair_share > 0):
        return np.arange(len(places), dtype=np.int64), partners
    if not 0 < pair_share <= 1:
        raise ValueError(f"pair_share={pair_share}: expected a share above 0 and at most 1")
    if pair_share == 1:
        return np.sort(couples.ravel()), partners
    odds = pair_share / (1 - pair_share)  # pictures of pairs for each of the others
    others = _repeated(single, 2 * len(couples) / odds)
    return np.sort(np.concatenate([others, _repeated(couples, odds * len(single) / 2).ravel()])), partners


def _repeated(rows: Int64, wanted: float) -> Int64:
    """Return about ``wanted`` rows, at least all of them; what does not fit evenly is spread over them."""
    count = max(len(rows), round(min(wanted, MOST_TIMES * len(rows))))
    return rows[np.arange(count) * len(rows) // count]
