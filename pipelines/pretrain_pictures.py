"""What `dinotool pretrain` trains on: folders and aligned pairs, read once and packed into one array."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from dinonat.images.listing import list_images, spread
from dinonat.images.pairing import parse_offset
from dinonat.images.polarity import find_mixed
from dinonat.images.polarity import sentence as polarity_sentence
from dinonat.neighbors.pairs import split_recordings
from dinonat.pipelines.lengths import say_once
from dinonat.pipelines.pairs import (
    Gathered,
    check_pairs,
    common_boxes,
    gather_pairs,
    without_held_out,
    without_pairs,
)
from dinonat.pretraining import ranks
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.sources import Sources, pack_sources
from dinonat.records import ImageRef, UInt8
from dinonat.settings import Settings

NAMED = 10  # unreadable images that are named
LOOKED_AT = 200  # pictures of a folder, evenly over it, whose polarity is looked at
JUDGED_BY = 1000  # held-out pairs, evenly over them: all are compared with all, eight times a run
NEARLY_ALL = 0.9  # of them are grey: the folder is a thermal one


class PictureSettings(Settings):
    """Where pictures come from."""

    folders: tuple[Path, ...] = ()
    pairs: tuple[Path, Path] | None = None  # folders of colour and thermal pictures of the same places
    pair_list: Path | None = None  # CSV colour,thermal; None: pairs by name or time
    pair_offset: tuple[float, float] = (
        0.0,
        0.0,
    )  # of the thermal picture, pixels of the colour one, right and down
    pair_share: float = Field(
        0.5, gt=0, le=1
    )  # of what is shown comes from pairs, where there are folders, too
    held_out: float = Field(0.2, ge=0, lt=1)  # share of the pairs, whole recordings, that is only judged by
    recordings: Path | None = None  # CSV image,recording of the pairs
    picture_side: int = Field(176, ge=32)  # images are decoded once and kept squashed to this square
    workers: int = 2  # processes that decode

    @field_validator("pair_offset", mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """Take DX,DY as it is written on the command line."""
        return parse_offset(value) if isinstance(value, str) else value


@dataclass(frozen=True, eq=False)
class Asked:
    """References to all pictures, before one is read."""

    alone: tuple[ImageRef, ...]
    pairs: Gathered | None
    held_out: Gathered | None  # pairs of recordings that are not trained on, evenly at most JUDGED_BY

    @property
    def names(self) -> list[list[str]]:
        """What is trained on, by name."""
        pairs = (self.pairs.colour, self.pairs.thermal) if self.pairs else ()
        return [[ref.name for ref in refs] for refs in (self.alone, *pairs)]


@dataclass(frozen=True, eq=False)
class Given:
    """Pictures that were read."""

    pictures: Pictures
    failed: int
    held_out: tuple[UInt8, UInt8] | None  # of both lights, in the same order


def asked_for(settings: PictureSettings, workspace: Path) -> Asked:
    """List folders and find pairs; what is no image or has no partner is said.

    Raises UsageError where the folders of pairs have none, ImageError for a folder without images.
    """
    refs = [ref for folder in settings.folders for ref in _listed(folder)]
    if settings.pairs is None:
        return Asked(tuple(refs), None, None)
    colour, thermal = settings.pairs
    if ranks.rank() > 0:  # what the first process finds is remembered, so that the others only read it
        ranks.wait()
    found = gather_pairs(
        colour,
        thermal,
        workspace=workspace,
        list_file=settings.pair_list,
        recordings=settings.recordings,
        workers=settings.workers,
    )
    if ranks.rank() == 0:
        ranks.wait()
    for remark in found.remarks:
        say_once(remark)
    apart = (
        split_recordings(found.recordings, settings.held_out)
        if settings.held_out
        else np.zeros(len(found), bool)
    )
    names = np.array(found.recordings)
    say_once(_split(found, int(apart.sum()), int((names == "").sum())))
    alone, left_out = without_held_out(without_pairs(refs, found), found, set(names[apart].tolist()))
    if left_out:
        say_once(left_out)
    judges = np.isin(np.arange(len(found)), spread(np.flatnonzero(apart).tolist(), JUDGED_BY))
    return Asked(tuple(alone), found.part(~apart), found.part(judges) if apart.any() else None)


def _listed(folder: Path) -> list[ImageRef]:
    listing = list_images(folder)
    for path, reason in listing.skipped:
        say_once(f"{path}: {reason}")
    return list(listing.refs)


def _split(found: Gathered, apart: int, unknown: int) -> str:
    kept = f"{len(found)} pairs (recordings {found.by})" if found.by else f"{len(found)} pairs"
    if not apart:
        return f"{kept}; none is left to judge by: they are of one recording, or nobody knows of which"
    doubt = f"; {unknown} of unknown recordings are trained on, and may be of those" if unknown else ""
    judges = len(spread(range(apart), JUDGED_BY))
    some = f" {judges} of them, evenly," if judges < apart else ""
    return f"{kept}; {apart} of whole recordings are not trained on, and{some} judge{doubt}"


def packed(asked: Asked, settings: PictureSettings, folder: Path) -> Given:
    """Read every picture once; of several processes the first does, and the others open what it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(map(len, asked.names))
    say_once(f"Reading {total} images once, squashed to {settings.picture_side} px")
    if ranks.rank() > 0:
        ranks.wait()
    sources = _pack(asked.alone, asked.pairs, settings, folder / "pictures.npy")
    apart = _pack((), asked.held_out, settings, folder / "held_out.npy") if asked.held_out else None
    if ranks.rank() == 0:
        ranks.wait()
    for name, reason in sources.packed.failures[:NAMED]:
        say_once(f"{name}: {reason}")
    if asked.pairs is not None:
        for sentence in check_pairs(sources, asked.pairs, offset=settings.pair_offset):
            say_once(sentence)
    for each in settings.folders:
        if mixed := _two_polarities(sources, asked, each):
            say_once(f"{each}: {mixed}")
    held_out = None
    if apart is not None:
        held_out = (apart.packed.pixels[apart.paired[:, 0]], apart.packed.pixels[apart.paired[:, 1]])
    return Given(sources.pictures, len(sources.packed.failures), held_out)


def _pack(
    alone: Sequence[ImageRef], pairs: Gathered | None, settings: PictureSettings, path: Path
) -> Sources:
    colour, thermal = (pairs.colour, pairs.thermal) if pairs else ((), ())
    boxes = common_boxes(pairs, settings.pair_offset, workers=settings.workers) if pairs else {}
    share = settings.pair_share if pairs and alone else None
    return pack_sources(
        alone,
        colour,
        thermal,
        path,
        boxes=boxes,
        pair_share=share,
        side=settings.picture_side,
        workers=settings.workers,
    )


def _two_polarities(sources: Sources, asked: Asked, folder: Path) -> str:
    """Say whether a thermal folder seems to hold white-hot and black-hot pictures, looking at some."""
    places = [place for place, ref in enumerate(asked.alone) if ref.root == folder]
    there = np.flatnonzero(np.isin(sources.packed.places, places))
    some = np.array(spread(there.tolist(), LOOKED_AT), np.int64)
    grey = [
        bool((sources.packed.pixels[place] == sources.packed.pixels[place][..., :1]).all()) for place in some
    ]
    if not grey or np.mean(grey) < NEARLY_ALL:
        return ""
    names = [sources.packed.names[place] for place in some]
    return polarity_sentence(find_mixed(sources.packed.pixels, places=some), names)
