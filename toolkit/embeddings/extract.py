"""From prepared images to the rows and vectors of a shard: pictures, and the regions in them.

Pictures of one padded size go through the network together, in the order of the listing and never
across the border of a shard: a shard depends on its own images alone, which is what makes resuming
give the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, field_validator
from torch import Tensor

from dinonat.embeddings.descriptors import hand_made
from dinonat.embeddings.encode import Vectors, as_input, attended, crop_vectors, network_vectors, zeros
from dinonat.embeddings.framing import (
    Crop,
    Shape,
    cut,
    fitted,
    one_plane,
    padded,
    shown,
    under_tokens,
    valid_tokens,
)
from dinonat.embeddings.tiling import Tile, merged, tiles
from dinonat.embeddings.warmth import UNMEASURED, warmth
from dinonat.files import short_hash
from dinonat.geometry import box_of_mask, clip_xywh, counts_to_mask, mask_to_counts
from dinonat.models.network import Network
from dinonat.records import ITEM_COLUMNS, PARTS, Loaded, Prepared, Region, UInt8, as_table
from dinonat.saliency.regions import SALIENCIES, propose_regions
from dinonat.settings import Settings

Given = Mapping[str, Sequence[Region]]  # image name -> its boxes

HELD = 64_000_000  # pixels that may wait for their batch to fill
CROPS = 4  # times as many region crops in a batch as whole pictures: they are that much smaller
OUTSIDE = "the given box lies outside the image"


class Recipe(Settings):
    """What decides the vectors of an image, besides the network."""

    size: int = Field(224, ge=32, le=4096)  # shorter side of a whole picture, pixels
    square: bool = False  # squash whole pictures to size x size instead
    saliency: str = "ncut+attention"  # one of SALIENCIES
    max_regions: int = Field(30, ge=1, le=1000)
    min_area: int = Field(0, ge=0)  # pixels of the picture that a region's mask has at least
    tight: bool = False  # masks end at half of an object's strength, not where people draw boxes
    tiles: Literal[0, 2, 3] = 0  # regions are also sought in tiles x tiles tiles, each seen at `size`
    tile_overlap: float = Field(0.2, ge=0, le=0.5)  # of a tile's side, shared with its neighbour
    region_size: int = Field(96, ge=32, le=1024)  # side of a region's crop, pixels
    region_crop: Crop = "square"
    region_context: float = Field(0.05, ge=0, le=10)  # of the region's longer side, on every side of it
    batch: int = Field(16, ge=1)

    @field_validator("saliency")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SALIENCIES:
            raise ValueError(f"not known; choose one of {', '.join(SALIENCIES)}")
        return name


@dataclass(frozen=True, eq=False)
class _Picture:
    """A readable image on its way through the network."""

    number: int  # its place in the shard
    image: Loaded
    prepared: Prepared
    original: UInt8  # (H, W, 3), or (H, W) where it is grey
    shape: Shape  # (height, width) at which the network sees it
    pixels: UInt8  # (h, w, 3) or (h, w), resized and padded

    @property
    def size(self) -> Shape:
        """(height, width) of the original."""
        return self.original.shape[0], self.original.shape[1]


@dataclass(frozen=True, eq=False)
class _Described:
    """An image and its regions: their rows, and as many vectors of each part."""

    number: int
    rows: list[dict[str, Any]]
    vectors: Vectors


def embed_shard(
    network: Network,
    images: Iterable[Loaded],
    recipe: Recipe,
    *,
    given: Given | None = None,
    recordings: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, Vectors]:
    """Return the rows (ITEM_COLUMNS) and the vectors of the images of one shard, and of their regions.

    Each image is followed by its regions: those ``given`` for its name or, where that is None, those
    that saliency proposes. An image that could not be read is one failed row with vectors of zeros,
    and so is a given box that lies outside its image. ``recordings`` maps image names.
    """
    described: list[_Described] = []

    def readable() -> Iterator[_Picture]:
        for number, image in enumerate(images):
            if image.prepared is None:
                described.append(_Described(number, [_failed_row(image)], zeros(network, 1)))
            else:
                yield _picture(number, image, image.prepared, recipe, network.stride)

    with torch.inference_mode():
        for batch in _batches(readable(), recipe.batch):
            described += _describe(network, batch, recipe, given)
    described.sort(key=lambda one: one.number)
    known = recordings or {}
    rows = [row | {"recording": known.get(row["image"], "")} for one in described for row in one.rows]
    vectors = {name: np.concatenate([one.vectors[name] for one in described]) for name in PARTS}
    return as_table(rows, ITEM_COLUMNS), vectors


def _picture(number: int, image: Loaded, prepared: Prepared, recipe: Recipe, stride: int) -> _Picture:
    original = one_plane(prepared.pixels)
    height, width = original.shape[:2]
    shape = fitted((height, width), size=recipe.size, square=recipe.square)
    seen = padded(shown(original, shape), stride=stride)
    return _Picture(number, image, prepared, original, shape, seen)


def _batches(pictures: Iterable[_Picture], batch: int) -> Iterator[list[_Picture]]:
    """Yield pictures of one padded size together, at most ``batch``; large ones do not pile up."""
    waiting: dict[tuple[int, ...], list[_Picture]] = {}
    for picture in pictures:
        shape = picture.pixels.shape[:2]
        waiting.setdefault(shape, []).append(picture)
        if len(waiting[shape]) == batch:
            yield waiting.pop(shape)
        elif sum(one.size[0] * one.size[1] for group in waiting.values() for one in group) > HELD:
            yield from waiting.values()
            waiting.clear()
    yield from waiting.values()


def _describe(
    network: Network, batch: Sequence[_Picture], recipe: Recipe, given: Given | None
) -> list[_Described]:
    """Describe pictures of one padded size, and their regions."""
    tokens, regions = _seen(network, batch, recipe, given)
    crops = (
        cut(
            picture.original,
            region.box_xywh,
            side=recipe.region_size,
            crop=recipe.region_crop,
            context=recipe.region_context,
        )
        for picture, found in zip(batch, regions, strict=True)
        for region in found
    )
    of_regions = crop_vectors(network, crops, batch=CROPS * recipe.batch)
    by_hand = hand_made([picture.original for picture in batch])
    described, start = [], 0
    for i, (picture, found) in enumerate(zip(batch, regions, strict=True)):
        own = {name: values[start : start + len(found)] for name, values in of_regions.items()}
        start += len(found)
        lost = _outside(picture, given)
        own_tokens = [each[i : i + 1] for each in tokens]
        whole = network_vectors(own_tokens, valid_tokens(picture.shape, network.strides))
        whole |= {name: values[i : i + 1] for name, values in by_hand.items()}
        parts = [whole, own, zeros(network, len(lost))]
        rows = [_row(picture, None), *(_row(picture, region) for region in found)]
        rows += [_row(picture, region) | {"status": "failed", "reason": OUTSIDE} for region in lost]
        vectors = {name: np.concatenate([part[name] for part in parts]) for name in PARTS}
        described.append(_Described(picture.number, rows, vectors))
    return described


def _seen(
    network: Network, batch: Sequence[_Picture], recipe: Recipe, given: Given | None
) -> tuple[list[Tensor], list[list[Region]]]:
    """Return the tokens of a batch, and the regions of each of its pictures: given or found."""
    if given is not None:
        own = [given.get(picture.image.ref.name, ()) for picture in batch]
        x = as_input(network, [picture.pixels for picture in batch])
        return network.tokens(x), [
            _within(regions, one.size) for regions, one in zip(own, batch, strict=True)
        ]
    tokens, regions = _looked_at(network, batch, recipe)
    if recipe.tiles and recipe.saliency != "none":
        regions = [_tiled(network, *one, recipe) for one in zip(batch, regions, strict=True)]
    return tokens, regions


def _tiled(network: Network, picture: _Picture, whole: Sequence[Region], recipe: Recipe) -> list[Region]:
    """Return the regions of a picture, of which ``whole`` are known, and of its tiles."""
    windows = tiles(picture.size, count=recipe.tiles, overlap=recipe.tile_overlap)
    parts = [_part(picture, window, recipe, network.stride) for window in windows]
    _, found = _looked_at(network, parts, recipe)  # all of one size
    luminance = under_tokens(picture.original, picture.size, (1, 1))
    together = merged(
        whole, list(zip(windows, found, strict=True)), luminance, max_regions=recipe.max_regions
    )
    return _within(together, picture.size)


def _part(picture: _Picture, window: Tile, recipe: Recipe, stride: int) -> _Picture:
    """Return a tile of a picture as a picture of its own."""
    x, y, width, height = window
    original = picture.original[y : y + height, x : x + width]
    shape = fitted((height, width), size=recipe.size, square=recipe.square)
    seen = padded(shown(original, shape), stride=stride)
    return replace(picture, original=original, shape=shape, pixels=seen)


def _looked_at(
    network: Network, batch: Sequence[_Picture], recipe: Recipe
) -> tuple[list[Tensor], list[list[Region]]]:
    """Return the tokens of a batch of one padded size, and what saliency finds in each picture."""
    x = as_input(network, [picture.pixels for picture in batch])
    attention: list[list[list[Tensor]] | None] = [None] * len(batch)
    if "attention" in recipe.saliency:
        tokens, weights = network.tokens_and_attention(x)
        attention = [[[block[i] for block in stage] for stage in weights] for i in range(len(batch))]
    else:
        tokens = network.tokens(x)
    maps = [[each[i] for each in tokens[-2:]] for i in range(len(batch))]
    return tokens, [_proposed(network, *one, recipe) for one in zip(batch, maps, attention, strict=True)]


def _proposed(
    network: Network,
    picture: _Picture,
    maps: Sequence[Tensor],
    attention: list[list[Tensor]] | None,
    recipe: Recipe,
) -> list[Region]:
    """Return the regions that saliency finds in one picture from its last two maps, in original pixels."""
    if recipe.saliency == "none":
        return []
    valid = valid_tokens(picture.shape, network.strides)
    looked_at = attended(network, attention, valid, maps[-1]) if attention else None  # [] where there is none
    height, width = valid[-2]
    luminance = under_tokens(picture.original, picture.shape, network.strides)
    regions = propose_regions(
        maps[-2][:height, :width].cpu().numpy(),
        looked_at,
        luminance,
        method=recipe.saliency,
        max_regions=recipe.max_regions,
        min_area=recipe.min_area,
        tight=recipe.tight,
    )
    if luminance.shape != picture.size:
        covered = (luminance.shape[0], luminance.shape[1])
        regions = [_cropped(region, covered, picture.size) for region in regions]
    return _within(regions, picture.size)


def _cropped(region: Region, covered_hw: Shape, size_hw: Shape) -> Region:
    """Cut the mask of a region found in an extended picture back to the picture."""
    if not region.mask_counts:
        return region
    mask = counts_to_mask(region.mask_counts, covered_hw)[: size_hw[0], : size_hw[1]]
    return replace(region, box_xywh=box_of_mask(mask), mask_counts=tuple(mask_to_counts(mask)))


def _within(regions: Sequence[Region], size_hw: Shape) -> list[Region]:
    """Return the regions with their boxes cut to the picture, without empty ones and repeated boxes."""
    boxes = clip_xywh([region.box_xywh for region in regions], size_hw).tolist()
    kept: dict[tuple[float, ...], Region] = {}
    for region, (x, y, w, h) in zip(regions, boxes, strict=True):
        if w > 0 and h > 0:
            kept.setdefault((x, y, w, h), replace(region, box_xywh=(x, y, w, h)))
    return list(kept.values())


def _outside(picture: _Picture, given: Given | None) -> list[Region]:
    """Return the given regions that have no pixel in the picture."""
    own = (given or {}).get(picture.image.ref.name, ())
    return [region for region in own if not _within([region], picture.size)]


def _row(picture: _Picture, region: Region | None) -> dict[str, Any]:
    """Return the row of a picture, or of a region in it."""
    height, width = picture.size
    box = (0.0, 0.0, float(width), float(height)) if region is None else region.box_xywh
    prepared = picture.prepared
    return {
        **_identity(picture.image, "image" if region is None else "region", box),
        "width": width,
        "height": height,
        "objectness": float("nan") if region is None else region.objectness,
        "mask_counts": [] if region is None else list(region.mask_counts),
        "source": "" if region is None else region.source,
        "label": "" if region is None else region.label,
        "status": "ok",
        "reason": "",
        "unit": prepared.unit,
        "prepare": prepared.mode,
        "lo": prepared.lo,
        "hi": prepared.hi,
        **warmth(picture.image.measured, box, () if region is None else region.mask_counts),
    }


def _failed_row(image: Loaded) -> dict[str, Any]:
    """Return the row of an image that could not be read."""
    nothing = {
        "width": 0,
        "height": 0,
        "objectness": float("nan"),
        "mask_counts": [],
        "source": "",
        "label": "",
    }
    unknown = {"unit": "", "prepare": "", "lo": float("nan"), "hi": float("nan"), **UNMEASURED}
    failed = {"status": "failed", "reason": image.reason}
    return {**_identity(image, "image", (0.0, 0.0, 0.0, 0.0)), **nothing, **failed, **unknown}


def _identity(image: Loaded, kind: str, box_xywh: tuple[float, float, float, float]) -> dict[str, Any]:
    """Return the columns that say which item this is; its name hashes the values that are stored."""
    x, y, w, h = np.array(box_xywh, dtype=np.float32).tolist()
    name = image.ref.name
    item = short_hash(name, kind, [x, y, w, h])
    return {"item": item, "image": name, "kind": kind, "x": x, "y": y, "w": w, "h": h, "sha256": image.sha256}
