"""The pictures of `dinotool agreement`: pairs that can be read, as squares, and crops of what is labelled."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from dinonat.agreement.items import Item
from dinonat.agreement.squares import Squares, copies, in_grey, kept_side
from dinonat.embeddings.framing import cut
from dinonat.errors import ImageError
from dinonat.images.alignment import Alignment, measure_alignment
from dinonat.images.batches import WHOLE, Box, read_prepared
from dinonat.images.listing import spread
from dinonat.images.prepare import DEFAULT, parse_preparation
from dinonat.images.reading import Reading
from dinonat.pipelines.agreement_labels import labelled_items
from dinonat.pipelines.inputs import shown
from dinonat.pipelines.pairs import Gathered, common_boxes
from dinonat.pipelines.partners import counted, sizes
from dinonat.pipelines.progress import track
from dinonat.records import Bool, ImageRef, Int64, Loaded, UInt8

CROP_SIDE, CONTEXT = 96, 0.05  # of labelled things, as `embed` shows regions
STRETCHED = 1.1  # ratio of the two pictures' aspects from which it is said
SHAPES = 64  # pairs whose shapes are looked at


@dataclass(frozen=True, eq=False)
class Light:
    """The pictures of one light, in one preparation."""

    squares: Squares
    crops: UInt8  # (m, 96, 96, 3), of the labelled things
    files: tuple[str, ...]  # (n,), sha256 and frame

    @cached_property
    def digest(self) -> str:
        """Name the very pixels that networks are shown."""
        made = hashlib.sha256()
        for pixels in (self.squares.whole, self.squares.kept, self.crops):
            made.update(f"{pixels.shape}".encode())
            made.update(np.ascontiguousarray(pixels).data)
        return made.hexdigest()

    def part(self, pairs: Bool, items: Bool) -> "Light":
        """Return the pairs, and the things, that are marked."""
        return Light(
            Squares(self.squares.whole[pairs], self.squares.kept[pairs]),
            self.crops[items],
            tuple(name for name, kept in zip(self.files, pairs, strict=True) if kept),
        )

    def inverted(self) -> "Light":
        """Return the same with black and white turned around."""
        return Light(self.squares.inverted(), 255 - self.crops, self.files)

    def in_grey(self) -> "Light":
        """Return the same without colours."""
        return Light(self.squares.in_grey(), in_grey(self.crops), self.files)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pairs of which both pictures could be read, everything in their order."""

    pairs: Gathered
    colour: Light
    thermal: dict[str, Light]  # by preparation
    groups: Int64  # (n,), recordings by number; a pair of unknown recording is one of its own
    unknown: int  # pairs of unknown recording
    items: tuple[Item, ...]
    alignment: Alignment
    copies: tuple[str, ...]  # names of thermal pictures that are their partners again
    odd: tuple[str, ...]  # pairs that fit no better than strangers, though most do
    remarks: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many recordings are known to be others: those that nobody knows may be one."""
        return int(self.groups.max()) + 1 - max(0, self.unknown - 1)


def read_pairs(
    pairs: Gathered,
    *,
    prepare: Sequence[str],
    invert: str,
    reading: Reading,
    size: int,
    offset: tuple[float, float],
    labels: Path | None,
    workers: int,
) -> Pictures:
    """Read both pictures of each pair; one that cannot be read costs its pair.

    Raises ImageError where fewer than two pairs are left, LabelError for a bad file of labels.
    """
    remarks, broken = list[str](), list[str]()
    items = labelled_items(pairs, labels, offset, workers, remarks)
    boxes = common_boxes(pairs, offset, workers=workers)
    known = {ref.name: name for ref, name in zip(pairs.thermal, pairs.recordings, strict=True) if name}
    own = [[item.colour for item in items], [item.thermal for item in items]]
    prepared = [(f"thermal, {each}", parse_preparation(each, invert=invert)) for each in prepare]
    sides = [
        ("colour", DEFAULT, pairs.colour, own[0]),  # where it is grey, as any grey picture
        *((title, preparation, pairs.thermal, own[1]) for title, preparation in prepared),
    ]
    things = [item.pair for item in items]
    lights, lost = [], np.zeros(len(pairs), bool)
    for title, preparation, refs, parts in sides:
        how = shown(refs, preparation, reading, recordings=known, workers=workers, title=title)
        loaded = track(read_prepared(refs, workers=workers, shown=how), title, total=len(refs))
        light, failed = _squared(loaded, len(refs), boxes, list(zip(things, parts, strict=True)), size)
        lights.append(light)
        broken += failed.values()
        lost[list(failed)] = True
    if (~lost).sum() < 2:
        raise ImageError(f"Fewer than two of {len(pairs)} pairs can be read. The first: {broken[0]}")
    return _gathered(pairs, items, lights, prepare, ~lost, remarks, broken)


def _gathered(
    pairs: Gathered,
    items: Sequence[Item],
    lights: Sequence[Light],
    prepare: Sequence[str],
    kept: Bool,
    remarks: Sequence[str],
    broken: Sequence[str],
) -> Pictures:
    place = np.cumsum(kept) - 1
    marks = np.array([kept[item.pair] for item in items], dtype=bool)
    colour, *thermal = (light.part(kept, marks) for light in lights)
    pairs = pairs.part(kept)
    names = [name or f"\0{i}" for i, name in enumerate(pairs.recordings)]
    one_file = [at for at, (a, b) in enumerate(zip(colour.files, thermal[0].files, strict=True)) if a == b]
    same = sorted({*one_file, *copies(colour.squares, thermal[0].squares).tolist()})
    alignment = alignment_of(colour.squares, thermal[0].squares)
    return Pictures(
        pairs=pairs,
        colour=colour,
        thermal=dict(zip(prepare, thermal, strict=True)),
        groups=np.unique(names, return_inverse=True)[1].astype(np.int64),
        unknown=pairs.recordings.count(""),
        items=tuple(
            Item(int(place[item.pair]), item.label, item.colour, item.thermal)
            for item, mark in zip(items, marks, strict=True)
            if mark
        ),
        alignment=alignment,
        copies=tuple(pairs.thermal[at].name for at in same),
        odd=tuple(f"{pairs.colour[at].name} and {pairs.thermal[at].name}" for at in alignment.odd),
        remarks=tuple(dict.fromkeys([*_shapes(pairs), *_without_colour(pairs, colour), *remarks, *broken])),
    )


def alignment_of(colour: Squares, thermal: Squares) -> Alignment:
    """Measure whether partners lie on each other, by their edges."""
    count = len(colour.kept)
    both = np.concatenate([colour.kept, thermal.kept])
    return measure_alignment(both, np.stack([np.arange(count), count + np.arange(count)], axis=1))


def _squared(
    loaded: Iterable[Loaded],
    count: int,
    boxes: dict[ImageRef, Box],
    things: Sequence[tuple[int, Box]],
    size: int,
) -> tuple[Light, dict[int, str]]:
    """Make squares of ``count`` pictures, and crops of the things in them; say which could not be read.

    Pictures come one by one and go: of large ones there is never more than one here.
    """
    whole, kept = (np.zeros((count, side, side, 3), np.uint8) for side in (size, kept_side(size)))
    crops = np.zeros((len(things), CROP_SIDE, CROP_SIDE, 3), np.uint8)
    of: dict[int, list[int]] = {}
    for at, (pair, _) in enumerate(things):
        of.setdefault(pair, []).append(at)
    failed: dict[int, str] = {}
    files: list[str] = []
    for place, one in enumerate(loaded):
        files.append(f"{one.sha256}#{one.ref.frame}")
        if one.prepared is None:
            failed[place] = f"{one.reason} Its pair is left out."
            continue
        for squares in (whole, kept):
            squares[place] = _square(one.prepared.pixels, boxes.get(one.ref, WHOLE), squares.shape[1])
        for at in of.get(place, []):
            crops[at] = _crop(one.prepared.pixels, things[at][1])
    return Light(Squares(whole, kept), crops, tuple(files)), failed


def _crop(pixels: UInt8, box: Box) -> UInt8:
    height, width = pixels.shape[:2]
    left, top, right, low = box
    box_xywh = (left * width, top * height, (right - left) * width, (low - top) * height)
    return cut(pixels, box_xywh, side=CROP_SIDE, crop="square", context=CONTEXT)


def _square(pixels: UInt8, box: Box, side: int) -> UInt8:
    image = Image.fromarray(pixels)
    left, right = (share * image.width for share in box[::2])
    top, low = (share * image.height for share in box[1::2])
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, (left, top, right, low)))


def _without_colour(pairs: Gathered, colour: Light) -> list[str]:
    """Say where colour pictures hold no colour: grey ones, or thermal ones in the wrong folder."""
    grey = (np.ptp(colour.squares.whole, axis=3) == 0).all(axis=(1, 2))
    names = [pairs.colour[at].name for at in np.flatnonzero(grey)]
    return [counted(names, "colour picture is grey", "colour pictures are grey")] if names else []


def _shapes(pairs: Gathered) -> list[str]:
    """Say where partners have other shapes: squares of both then hardly show the same field."""
    couples = spread(list(zip(pairs.colour, pairs.thermal, strict=True)), SHAPES)
    sides = [sizes([couple[side] for couple in couples], 0) for side in (0, 1)]
    odd = [
        f"{one.name} {a[0]}x{a[1]} and {other.name} {b[0]}x{b[1]}"
        for (one, other), a, b in zip(couples, *sides, strict=True)
        if a and b and not 1 / STRETCHED < (a[0] * b[1]) / (a[1] * b[0]) < STRETCHED
    ]
    if not odd:
        return []
    return [
        counted(odd, "pair has pictures of two shapes", "pairs have pictures of two shapes")
        + " Both are squashed to one square, so they agree only where both show the same field."
    ]
