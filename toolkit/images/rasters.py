"""Decode PNG, JPEG, WebP and BMP to the numbers they hold, without losing depth."""

import mmap
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.images.exif import facts_of, polarity_of
from dinonat.images.faults import fault
from dinonat.images.jpeg_ls import decode_jpeg_ls, header_of
from dinonat.records import Polarity

Pixels = NDArray[Any]

# 8192 x 8192: a picture at this bound needs about 1 GB as float32 with its colours. It lies below
# Pillow's own alarm, so that an accepted picture never triggers it.
MAX_PIXELS = 2**26
MAX_SIDE = 2**17
CUT_IT = "Cut it into tiles or make it smaller."

PILLOW_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP"}

# A grey picture stored as colour has at most 0.03 % of pixels whose channels lie further apart than
# 16 of 255 (rounding of JPEG, a slight tint); grey with a coloured scale or isotherm from 0.4 %.
GREY_SPREAD = 16
GREY_SHARE = 0.001

# BT.601 (0.299, 0.587, 0.114) in 16-bit fixed point; they add up to 1, so equal channels stay exact.
LUMINANCE_WEIGHTS = (19595, 38470, 7471)
LUMINANCE_SCALE = 65536


@dataclass(frozen=True, eq=False)
class Raster:
    """The numbers of one picture, upright: (H, W) for one channel, (H, W, 3) for colour."""

    pixels: Pixels
    source_format: str
    full_hw: tuple[int, int]  # (height, width) of the picture, also where it was decoded smaller
    n_frames: int = 1
    no_data: float | None = None  # the value that means "nothing measured here"
    min_is_white: bool = False  # larger numbers are meant to be shown darker
    warnings: tuple[str, ...] = ()
    polarity: Polarity = "unknown"
    meta: Mapping[str, Any] = field(default_factory=dict)  # camera and time, where the file says them


def decode(path: Path, source_format: str, *, at_least: int | None = None) -> Raster:
    """Decode the first picture of a PNG, JPEG, WebP or BMP file.

    With ``at_least`` a colour JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as both
    sides keep that many pixels: several times faster, and no detail is lost that a later reduction
    to half of it could show. Raises ThermalReadError above MAX_PIXELS, before any pixel is allocated;
    damaged files raise whatever the decoder raises (reader.py turns it into a sentence).
    """
    if source_format == "jpeg-ls":
        return _decode_jpeg_ls(path)
    # A mapped file gives what is left of it; a stream first makes room for all that is asked, and a
    # damaged PNG asks for 4 GB. Pillow warns of sizes and of EXIF; both are checked here.
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        warnings.catch_warnings(action="ignore"),
    ):
        stream = cast(BinaryIO, mapped)
        picture = _open_bounded(stream, path, source_format)
        full_hw = (picture.height, picture.width)
        if source_format == "png" and _is_deep_png(stream):
            pixels = _decode_deep_png(stream)
        else:
            if at_least is not None and picture.mode in {"RGB", "CMYK"}:
                picture.draft("RGB", (at_least, at_least))
            picture.load()
            pixels = _to_array(picture)
        facts = facts_of(picture)
    pixels = upright(one_channel_if_grey(pixels), facts.orientation)
    return Raster(
        pixels,
        source_format,
        turned(full_hw, facts.orientation),
        polarity=polarity_of(facts.description),
        meta=facts.meta,
    )


def _decode_jpeg_ls(path: Path) -> Raster:
    """Decode a JPEG-LS stream; the size in its frame header (ITU-T T.87, C.2.2) is checked first."""
    data = path.read_bytes()
    header = header_of(data)
    if header is None:
        raise fault(path, "a JPEG-LS without a frame header", offset=0)
    check_bounds(path, (header.height, header.width * header.channels))
    pixels = one_channel_if_grey(without_alpha(decode_jpeg_ls(data)))
    return Raster(pixels, "jpeg-ls", (header.height, header.width))


def _open_bounded(stream: BinaryIO, path: Path, source_format: str) -> Image.Image:
    try:
        picture = Image.open(stream, formats=[PILLOW_FORMATS[source_format]])
    except Image.DecompressionBombError as error:
        raise fault(path, f"more than the {MAX_PIXELS} pixels that are read", advice=CUT_IT) from error
    check_bounds(path, (picture.height, picture.width))
    return picture


def check_bounds(path: Path, size_hw: Sequence[int], *, times: int = 1) -> None:
    """Raise ThermalReadError when (height, width) is empty or larger than this process should allocate.

    That is ``times`` MAX_PIXELS, for a picture of which less than its colours is held.
    """
    height, width = size_hw
    most = times * MAX_PIXELS
    if min(height, width) < 1:
        raise fault(path, f"holds no pixels ({width} x {height})", advice="")
    if height * width > most or max(height, width) > MAX_SIDE:
        raise fault(
            path,
            f"{width} x {height} pixels, more than the {most} that are read",
            advice=CUT_IT,
        )


def _is_deep_png(stream: BinaryIO) -> bool:
    """Tell whether a PNG has 16 bits in more than one channel, which Pillow cuts to 8 silently."""
    stream.seek(24)  # signature 8, chunk length and name 8, width and height 8
    depth, colour_type = struct.unpack("BB", stream.read(2))
    stream.seek(0)
    return bool(depth == 16 and colour_type != 0)


def _decode_deep_png(stream: BinaryIO) -> Pixels:
    stream.seek(0)
    with Image.open(stream, formats=["PNG"]) as picture:
        picture.verify()  # the sums of its chunks, which libpng reads over at the end of the pixels
    stream.seek(0)
    return without_alpha(np.asarray(imagecodecs.png_decode(stream.read())))


def _to_array(picture: Image.Image) -> Pixels:
    """Turn a Pillow picture into numbers; never through "L" from a deep mode, which clips at 255."""
    if picture.mode.startswith("I"):  # "I;16"; "I" for a 16-bit PNG in older versions of Pillow
        return np.asarray(picture).astype(np.uint16)  # native byte order
    if picture.mode in {"L", "LA"}:
        return np.asarray(picture.getchannel(0))
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    if picture.mode in {"RGBA", "RGBX"}:
        return np.asarray(picture)[..., :3]
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def without_alpha(pixels: Pixels) -> Pixels:
    """Drop the opacity channel of (H, W, 2) and (H, W, 4); return (H, W) or (H, W, 3)."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]


def one_channel_if_grey(pixels: Pixels) -> Pixels:
    """Reduce (H, W, 3) that holds a grey picture to its luminance (H, W); colour stays as it is.

    Thermal sets are often stored as "24-bit grey", their channels equal or nearly so: at 8 bits a
    picture is grey where at most GREY_SHARE of its pixels have channels further apart than
    GREY_SPREAD. Deeper channels must be equal.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.dtype != np.uint8:
        equal = (pixels[..., :1] == pixels).all()
        return np.ascontiguousarray(pixels[..., 0]) if equal else pixels
    limit = GREY_SHARE * pixels.shape[0] * pixels.shape[1]
    # One pixel in 64 settles most photographs: what it counts is a lower bound of the whole.
    if _coloured(pixels[::8, ::8]) > limit or _coloured(pixels) > limit:
        return pixels
    red, green, blue = (
        weight * pixels[..., channel].astype(np.uint32) for channel, weight in enumerate(LUMINANCE_WEIGHTS)
    )
    return ((red + green + blue + LUMINANCE_SCALE // 2) // LUMINANCE_SCALE).astype(np.uint8)


def _coloured(pixels: Pixels) -> int:
    """Count the pixels of (H, W, 3) uint8 whose channels lie further apart than GREY_SPREAD."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    low = np.minimum(np.minimum(red, green), blue)
    high = np.maximum(np.maximum(red, green), blue)
    return int(np.count_nonzero(high - low > GREY_SPREAD))


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn (H, W, ...) as EXIF's orientation 1 to 8 asks; other values count as 1."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turned(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (height, width) after ``upright``."""
    height, width = size_hw
    return (width, height) if orientation in {5, 6, 7, 8} else (height, width)
