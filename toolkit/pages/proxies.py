"""Display copies: the 8-bit pictures that annotation tools can show, on the pixel grid of the boxes."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dinonat.errors import ImageError
from dinonat.files import write_bytes
from dinonat.images.batches import read_prepared
from dinonat.pages.gather import reference
from dinonat.records import UInt8

ORIENTATION = 0x0112  # EXIF tag; 1 = as stored


def write_display_copies(
    images: pd.DataFrame, folder: Path, *, root: Path, preparation: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Write images (columns image, width, height) below ``root`` as PNG; return what became what.

    Pixels are prepared as the network saw them, turned as EXIF asks, and carry no tag of the original:
    no position, no camera. The table has the columns ``image, file_name, mode, lo, hi, unit`` (the
    values that became black and white). Raises ImageError where an image cannot be read any more, or
    has another size than the boxes were made for.
    """
    names = [str(name) for name in images["image"]]
    sizes = zip(images["width"], images["height"], strict=True)
    files = copy_names(names)
    rows = []
    loaded_all = read_prepared([reference(root, name) for name in names], **dict(preparation or {}))
    for name, file_name, (width, height), loaded in zip(names, files, sizes, loaded_all, strict=True):
        prepared = loaded.prepared
        if prepared is None:
            raise ImageError(f"{loaded.reason} It could be read when the set was made; embed again.")
        now = prepared.pixels.shape
        if now[:2] != (height, width):
            raise ImageError(
                f"{name}: {now[1]}x{now[0]} pixels now, {width}x{height} when the set was made; embed again."
            )
        write_bytes(folder / file_name, _png(prepared.pixels))
        rows.append((name, file_name, prepared.mode, prepared.lo, prepared.hi, prepared.unit))
    return pd.DataFrame(rows, columns=["image", "file_name", "mode", "lo", "hi", "unit"])


def copy_names(names: Sequence[str]) -> list[str]:
    """Return the file of each copy: the same folder and stem, ``.png``; with its old suffix if two clash.

    >>> copy_names(["x/a.jpg", "b.jpg", "b.tif", "c.tif#1"])
    ['x/a.png', 'b.jpg.png', 'b.tif.png', 'c.tif#1.png']
    """
    stems = [_stem(name) for name in names]
    folded = [stem.casefold() for stem in stems]  # some file systems do not tell A from a
    seen, twice = set[str](), set[str]()
    for stem in folded:
        (twice if stem in seen else seen).add(stem)
    return [
        f"{name if fold in twice else stem}.png"
        for name, stem, fold in zip(names, stems, folded, strict=True)
    ]


def turned_files(names: Iterable[str], *, root: Path) -> list[str]:
    """Return the images whose file asks to be turned: readers that ignore EXIF see other pixels."""
    return [name for name in names if _orientation(reference(root, name).file) not in (0, 1)]


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file if "#" in file else file.rpartition(".")[0] or file)


def _orientation(path: Path) -> int:
    """Return EXIF's orientation from the head of a file; 1 where there is none or it cannot be read."""
    try:
        with Image.open(path) as picture:
            return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged head is no turn, and whoever reads the pixels will say what is wrong
        return 1


def _png(pixels: UInt8) -> bytes:
    """Encode (H, W, 3) as PNG, with one channel where the three are equal."""
    grey = bool(
        np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
    )
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(stream, "PNG")
    return stream.getvalue()
