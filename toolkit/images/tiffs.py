"""Decode TIFF: 8, 16 and 32 bits, float, either byte order, compressed, several pages."""

import math
import mmap
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps

from dinonat.images.faults import fault
from dinonat.images.rasters import (
    MAX_PIXELS,
    Pixels,
    Raster,
    check_bounds,
    one_channel_if_grey,
    upright,
    without_alpha,
)

MAX_FRAMES = 100_000  # a file with more pages is damaged or hostile

REDUCED_OR_MASK = 1 | 4  # NewSubfileType: a thumbnail, or a transparency mask
GREY_PHOTOMETRICS = {0, 1}  # MinIsWhite, MinIsBlack
RGB_PHOTOMETRIC = 2
NO_DATA_TAG = "GDAL_NODATA"

# Only codecs that are told how much they may write: none, LZW, Deflate (two numbers), PackBits,
# LZMA, Zstandard. A JPEG in a TIFF goes to Pillow, which compares its size with the page's.
BOUNDED_CODECS = {1, 5, 8, 32946, 32773, 34925, 50000}
JPEG_CODEC = 7
LZW_CODEC = 5


def frame_pages(path: Path) -> tuple[int, ...]:
    """Return the page number of each frame of a TIFF.

    Thumbnails and masks are no frames. Where the other pages have one shape and type each is a
    frame; else only the largest is (the first of equals): the rest are previews.
    Raises ThermalReadError or the error of tifffile where the file is damaged.
    """
    facts = path.stat()
    return _frame_pages(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)  # a file of many pages is asked once for each of them
def _frame_pages(path: Path, size: int, changed_ns: int) -> tuple[int, ...]:
    shapes: dict[int, tuple[tuple[int, ...], str]] = {}
    offsets: set[int] = set()
    with tifffile.TiffFile(path) as file:
        for number, page in enumerate(file.pages):
            if number >= MAX_FRAMES:
                raise fault(path, f"more than {MAX_FRAMES} pages", advice="Split the file.")
            page = page.aspage()
            if page.offset in offsets:  # the last page points back to an earlier one
                break
            offsets.add(page.offset)
            if not page.subfiletype & REDUCED_OR_MASK or number == 0:
                shapes[number] = (tuple(page.shape), str(page.dtype))
        if file.pages and file.pages.first.subfiletype & REDUCED_OR_MASK and len(shapes) > 1:
            del shapes[0]
    if not shapes:
        raise fault(path, "a TIFF without pages")
    if len(set(shapes.values())) == 1:
        return tuple(shapes)
    return (max(shapes, key=lambda number: (math.prod(shapes[number][0]), -number)),)


def decode_tiff(path: Path, *, frame: int = 0) -> Raster:
    """Decode one frame of a TIFF file (frames as in ``frame_pages``).

    Raises ThermalReadError for a frame that is not there and for pages above MAX_PIXELS (those of one
    channel above twice as many), before they are allocated; damaged files raise whatever the decoder raises.
    """
    pages = frame_pages(path)
    if not 0 <= frame < len(pages):
        raise fault(path, f"has {len(pages)} frames, frame {frame} was asked for", advice="")
    with tifffile.TiffFile(path) as file:
        page = file.pages[pages[frame]].aspage()
        _check_page(path, page)
        plain = page.photometric in GREY_PHOTOMETRICS or page.photometric == RGB_PHOTOMETRIC
        if not plain or page.compression == JPEG_CODEC:
            pixels = one_channel_if_grey(_by_pillow(path, pages[frame]))
            return Raster(pixels, "tiff", (pixels.shape[0], pixels.shape[1]), len(pages))
        pixels, notes = _bands(_samples(path, page, pages[frame]), page)
        pixels = upright(one_channel_if_grey(pixels), page.tags.valueof("Orientation", default=1))
        size_hw = (pixels.shape[0], pixels.shape[1])
        return Raster(pixels, "tiff", size_hw, len(pages), _no_data(page), page.photometric == 0, notes)


def _check_page(path: Path, page: tifffile.TiffPage) -> None:
    # One channel of twice the pixels takes half the memory that colours take beside their luminance.
    one_channel = page.samplesperpixel == 1 and page.photometric in GREY_PHOTOMETRICS
    check_bounds(path, (page.imagelength, page.imagewidth), times=2 if one_channel else 1)
    samples = page.samplesperpixel * page.imagedepth
    tile = math.prod(int(side) for side in page.chunks)
    if samples * page.imagelength * page.imagewidth > 4 * MAX_PIXELS or tile > 4 * MAX_PIXELS:
        raise fault(
            path,
            f"{samples} samples for each of {page.imagewidth} x {page.imagelength} "
            "pixels are more than is read",
            advice="Keep one to four bands, or cut it into tiles.",
        )
    if page.dtype is None or page.dtype.kind not in "uif" or page.imagedepth != 1:
        raise fault(path, f"a TIFF of type {page.dtype} and axes {page.axes} is not read", advice="")
    size = path.stat().st_size
    if any(
        start + length > size for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)
    ):
        raise fault(path, "its pixels would lie behind its end", offset=size)
    if page.compression not in BOUNDED_CODECS | {JPEG_CODEC}:
        raise fault(
            path,
            f"TIFF compression {page.compression} is not read",
            advice="Save it uncompressed, or with LZW or Deflate.",
        )


def _samples(path: Path, page: tifffile.TiffPage, number: int) -> Pixels:
    """Decode a page as it is stored.

    LZW goes to libtiff: the decoder that tifffile uses for it follows damaged codes through memory
    that was never written, and takes the process with it.
    """
    if page.compression != LZW_CODEC:
        return page.asarray()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        pixels: Pixels = imagecodecs.tiff_decode(mapped, index=number)
    if pixels.shape != page.shape or pixels.dtype != page.dtype:
        raise fault(path, f"pixels {pixels.shape} of {pixels.dtype} where {page.shape} are declared")
    return pixels


def _bands(pixels: Pixels, page: tifffile.TiffPage) -> tuple[Pixels, tuple[str, ...]]:
    """Return (H, W) or (H, W, 3), and what was left out."""
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if page.axes.startswith("S"):  # planes one after the other
        native = np.moveaxis(native, 0, -1)  # (H, W, S)
    if native.ndim == 2 or page.photometric == RGB_PHOTOMETRIC:
        return without_alpha(native), ()
    extra = page.extrasamples if isinstance(page.extrasamples, Sequence) else (page.extrasamples,)
    only_alpha = native.shape[2] == 2 and any(int(kind) in {1, 2} for kind in extra)
    note = () if only_alpha else (f"{native.shape[2]} bands, the first is used",)
    return native[..., 0], note


def _by_pillow(path: Path, page_number: int) -> Pixels:
    """Decode JPEG, palette, CMYK, YCbCr and Lab pages, upright, to (H, W, 3) uint8.

    Codings of photographs: there is no depth to lose.
    """
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["TIFF"]) as picture:
        picture.seek(page_number)
        check_bounds(path, (picture.height, picture.width))
        if picture.mode.startswith(("I", "F")):  # to "RGB" would clip them at 255
            raise fault(path, "a TIFF with deep pixels in this coding is not read", advice="")
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _no_data(page: tifffile.TiffPage) -> float | None:
    text = page.tags.valueof(NO_DATA_TAG)
    try:
        return None if text is None else float(str(text).strip().strip("\x00"))
    except ValueError:
        return None
