"""The pictures behind labelled items, read once more and framed as the network saw them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dinonat.embeddings.framing import cut, shown
from dinonat.errors import ImageError
from dinonat.records import Float32, Loaded, UInt8

ROOM = 8 / 7  # sides of a picture in sides of a view: 256 px for 224, as DINO's evaluation has it


@dataclass(frozen=True, eq=False)
class Pictures:
    """One picture for each item, squashed to a square."""

    pixels: UInt8  # (n, S, S, 3); may be a memory map
    aspects: Float32  # (n,) width over height before that


def side_of(kind: str, settings: Mapping[str, Any]) -> int:
    """Return the side in pixels at which the network saw items of ``kind``, by the settings of their set."""
    return int(settings["region_size" if kind == "region" else "size"])


def frame(
    loaded: Iterable[Loaded], items: pd.DataFrame, pixels: UInt8, *, settings: Mapping[str, Any]
) -> Float32:
    """Fill ``pixels`` (n, S, S, 3) with the picture of each item, and return their aspects (n,).

    ``loaded`` are the images of the ``items`` (ITEM_COLUMNS), each once; ``settings`` are those of the set:
    regions are cut out by the same rule as when they were embedded. Raises ImageError for an image
    that cannot be read any more, or is no longer the same file.
    """
    aspects, side = np.ones(len(items), np.float32), pixels.shape[1]
    rows = items.reset_index(drop=True).groupby("image", sort=False).indices
    for image in loaded:
        own = rows[image.ref.name]
        picture = _still_there(image, str(items["sha256"].iloc[own[0]]))
        for row in own:
            item = items.iloc[row]
            if item["kind"] == "image":
                pixels[row] = shown(picture, (side, side))
                aspects[row] = 1.0 if settings["square"] else picture.shape[1] / picture.shape[0]
            else:
                box = [float(item[name]) for name in "xywh"]
                crop, context = settings["region_crop"], settings["region_context"]
                pixels[row] = cut(picture, box, side=side, crop=crop, context=context)
    return aspects


def _still_there(image: Loaded, sha256: str) -> UInt8:
    if image.prepared is None:
        raise ImageError(
            f"{image.ref.file}: was read when it was embedded, and is not now ({image.reason}). Bring it "
            "back, or leave --augmented out: stored vectors need no images."
        )
    if image.sha256 != sha256:
        raise ImageError(
            f"{image.ref.file}: has changed since it was embedded. Embed the folder again with --again, or "
            "leave --augmented out."
        )
    return image.prepared.pixels
