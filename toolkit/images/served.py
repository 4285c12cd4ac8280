"""One image as bytes for a page: its values in 16 bits, or eight bits as the network saw it, or a part."""

import io
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dinonat.errors import ImageError
from dinonat.geometry import shown_around
from dinonat.images.batches import Shown, decoded, sentence_about
from dinonat.images.faults import printable
from dinonat.images.prepare import Limits, prepare
from dinonat.images.reader import read_thermal
from dinonat.images.sixteen import block_means, sixteen
from dinonat.records import Float32, ImageRef, ThermalFrame, UInt8

MOST_SIDE = 4096  # pixels; longer sides come shrunk, so that no answer is above 32 MiB
KEPT_BYTES = 2**29  # of frames that a process keeps: parts of one image are asked for one by one
KEPT = 8  # frames at most
LOSSLESS = 128  # pixels; smaller pictures come as PNG: a JPEG would blur them
QUALITY = 88
UNREADABLE, COLOURED, OUTSIDE = "unreadable", "coloured", "outside"

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the whole image


@dataclass(frozen=True)
class Wanted:
    """What is asked of one image; equal questions about an unchanged file have equal answers."""

    form: str  # a key of FORMS
    name: str  # of the image, for messages
    file: Path
    frame: int = 0
    stamp: tuple[int, int] = (0, 0)  # the file's size and time of change
    limits: Limits | None = None  # values that the network saw as black and white, where known
    box: Box | None = None
    side: int = MOST_SIDE  # longest side of a picture of eight bits


@dataclass(frozen=True, eq=False)
class Served:
    """Bytes with their media type and facts, or the ``reason`` why there are none."""

    body: bytes = b""
    media: str = "application/octet-stream"
    facts: dict[str, str] = field(default_factory=dict)
    fault: str = ""  # "unreadable", "coloured", "outside": of a box that no pixel lies in
    reason: str = ""


_kept: OrderedDict[tuple[Path, int, tuple[int, int]], ThermalFrame] = OrderedDict()


def serve(wanted: Wanted, *, shown: Shown) -> Served:
    """Answer one question; whatever is wrong with the file is a sentence with the image's name."""
    try:
        return FORMS[wanted.form](wanted, shown)
    except (ImageError, OSError, MemoryError) as error:
        return Served(fault=UNREADABLE, reason=sentence_about(wanted.name, wanted.file, error))


def lost(wanted: Wanted, reason: str) -> Served:
    """Return the answer about an image whose decoder died."""
    return Served(fault=UNREADABLE, reason=f"{printable(wanted.name)}: lost, {reason}.")


def values(wanted: Wanted, shown: Shown) -> Served:
    """Return the image, or the part in ``box``, as little-endian uint16 (`sixteen`), row by row.

    Sides above MOST_SIDE are shrunk by whole-block means. Facts: the size of what is sent; Left and Top,
    where it begins in the whole image; Scale, full pixels per pixel; Offset, Step, Unit; Lo and Hi, the
    limits under which the network saw the image (Lo above Hi: hot is shown dark).
    """
    frame = _frame(wanted, shown)
    if frame.rgb is not None:
        return Served(fault=COLOURED, reason=f"{printable(wanted.name)}: a colour picture, without values.")
    corners = _corners(wanted.box, frame.data.shape)
    if corners is None:
        return _outside(wanted)
    left, top, right, bottom = corners
    part = frame.data[top:bottom, left:right]
    scale = -(-max(part.shape) // MOST_SIDE)
    told = sixteen(block_means(part, scale))
    lo, hi = _limits(frame, wanted, shown)
    facts = {"Left": left, "Top": top, "Scale": scale, "Offset": told.offset, "Step": told.step}
    facts |= {"Lo": lo, "Hi": hi, "Height": told.levels.shape[0], "Width": told.levels.shape[1]}
    named = {key: repr(value) for key, value in facts.items()}
    return Served(told.levels.astype("<u2").tobytes(), facts=named | {"Unit": frame.unit})


def whole(wanted: Wanted, shown: Shown) -> Served:
    """Return the image in eight bits as the network saw it, its longer side ``side`` pixels at most."""
    frame = _frame(wanted, shown)
    scale = -(-max(frame.data.shape) // MOST_SIDE)
    if scale > 1 and frame.rgb is None:
        frame = replace(frame, data=block_means(frame.data, scale))
    return _picture(_grey(frame, wanted, shown), wanted.side)


def crop(wanted: Wanted, shown: Shown) -> Served:
    """Return a box with what is around it in eight bits, not enlarged.

    The fact Box says where the box lies in it: x, y, width, height as shares of its sides.
    """
    frame = _frame(wanted, shown)
    assert wanted.box is not None
    x, y, w, h = wanted.box
    reach = shown_around(w, h)
    corners = _corners((x - reach, y - reach, w + 2 * reach, h + 2 * reach), frame.data.shape)
    if corners is None:
        return _outside(wanted)
    left, top, right, bottom = corners
    if wanted.limits is not None and shown.preparation.mode != "clahe":  # pixels do not depend on others
        rgb = None if frame.rgb is None else frame.rgb[top:bottom, left:right]
        part = replace(frame, data=frame.data[top:bottom, left:right], rgb=rgb)
        pixels = _grey(part, wanted, shown)
    else:
        pixels = _grey(frame, wanted, shown)[top:bottom, left:right]
    width, height = right - left, bottom - top
    shares = ((x - left) / width, (y - top) / height, w / width, h / height)
    told = _picture(pixels, wanted.side)
    return replace(told, facts=told.facts | {"Box": " ".join(f"{share:.5f}" for share in shares)})


def photograph(wanted: Wanted, shown: Shown) -> Served:
    """Return a colour picture (or a grey one by percentiles), its longer side ``side`` pixels at most.

    The facts Full-Width and Full-Height say how large it is on disk.
    """
    ref = ImageRef(wanted.file.parent, wanted.file.name, wanted.frame, wanted.frame + 1)
    pixels, (height, width) = decoded(ref, at_least=wanted.side)
    told = _picture(pixels, wanted.side)
    return replace(told, facts=told.facts | {"Full-Width": str(width), "Full-Height": str(height)})


FORMS = {"values": values, "whole": whole, "crop": crop, "photograph": photograph}


def _frame(wanted: Wanted, shown: Shown) -> ThermalFrame:
    """Read a frame, or take it from the last few: a page asks for many parts of one image."""
    key = (wanted.file, wanted.frame, wanted.stamp)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    frame = read_thermal(wanted.file, frame=wanted.frame, reading=shown.reading)
    _kept[key] = frame
    while len(_kept) > KEPT or sum(map(_bytes, _kept.values())) > KEPT_BYTES:
        _kept.popitem(last=False)
    return frame


def _bytes(frame: ThermalFrame) -> int:
    return frame.data.nbytes + (0 if frame.rgb is None else frame.rgb.nbytes)


def _corners(box: Box | None, size_hw: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom of the whole pixels that a box touches; None where there are none."""
    height, width = size_hw[:2]
    if box is None:
        return 0, 0, width, height
    x, y, w, h = box
    left, top = max(0, int(np.floor(x))), max(0, int(np.floor(y)))
    right, bottom = min(width, int(np.ceil(x + w))), min(height, int(np.ceil(y + h)))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _outside(wanted: Wanted) -> Served:
    return Served(fault=OUTSIDE, reason=f"{printable(wanted.name)}: no pixel of it lies in this box.")


def _grey(frame: ThermalFrame, wanted: Wanted, shown: Shown) -> UInt8:
    return prepare(frame, shown.preparation, limits=wanted.limits).pixels


def _limits(frame: ThermalFrame, wanted: Wanted, shown: Shown) -> Limits:
    """Return the values that become black and white; with known ones, one pixel tells which is which."""
    if wanted.limits is None:
        prepared = prepare(frame, shown.preparation)
    else:
        corner: Float32 = frame.data[:1, :1]
        plain = replace(shown.preparation, mode="percentile")
        prepared = prepare(replace(frame, data=corner), plain, limits=wanted.limits)
    return prepared.lo, prepared.hi


def _picture(pixels: UInt8, side: int) -> Served:
    """Encode (H, W) or (H, W, 3), made smaller where a side is above ``side``."""
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = pixels[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    facts = {"Width": str(picture.width), "Height": str(picture.height)}
    stream = io.BytesIO()
    if max(picture.size) <= LOSSLESS:
        picture.save(stream, "PNG", compress_level=3)
        return Served(stream.getvalue(), "image/png", facts)
    picture.save(stream, "JPEG", quality=QUALITY)
    return Served(stream.getvalue(), "image/jpeg", facts)


def _is_grey(pixels: UInt8) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())
