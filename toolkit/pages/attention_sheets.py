"""The figure of attention: heads and stages beside each other, colour above thermal, on one fixed scale.

Every map is drawn on the same logarithmic scale around 1, what even attention gives. Maps stretched to
full contrast, each by its own extremes, would make a picture of noise out of an untrained network.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dinonat.pages.pictures import printable
from dinonat.records import Float32, UInt8
from dinonat.saliency.attention import Layer, Looks

MOST = 4.0  # times even attention: the brightest colour; the darkest is its inverse
MARKS = {"1/4": 1 / 4, "1/2": 1 / 2, "1": 1.0, "2": 2.0, "4": 4.0}
SAID = "1 is what even attention gives; the ends mean 1/4 or less and 4 or more. One scale for all maps."
# Ten colours of viridis (van der Walt and Smith 2015, CC0): lightness rises evenly, for colour-blind eyes
# and on grey paper, too, so what is brighter gets more attention.
VIRIDIS = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
DETAIL = 0.5  # how strong the outlines of a picture are under the map that lies over it
BROAD = 40  # what fills more than this part of a picture's side, about, is no outline

WIDTH = 1600  # pixels that a sheet is wide at most, if more rows of heads can make it so
TILE = 112  # pixels a side of a head's map: a whole number for each cell of maps of 7, 14, 28 and 56
GAP, MARGIN, CAPTION, NAMES, BAR = 6, 14, 17, 62, 241
LARGE = 2 * TILE + GAP + CAPTION  # a picture is as high as two maps and the caption between them
INK, PALE, PAPER = "#15191e", "#5b6470", "#ffffff"


class Row(NamedTuple):
    """One picture and where a network looks in it."""

    name: str  # as "colour" or "thermal"
    pixels: UInt8  # (H, W, 3) or (H, W), as the network saw it
    looks: Looks


class Pair(NamedTuple):
    """Pictures that are drawn together: two of one scene, or one that has no partner."""

    title: str
    rows: Sequence[Row]


class _Block(NamedTuple):
    """Square images of one size with their captions, which fill columns from above."""

    name: str
    side: int
    tiles: Sequence[tuple[str, Image.Image]]


def sheet(pairs: Sequence[Pair], *, heading: str = "") -> Image.Image:
    """Draw pairs below each other: each picture, the overall attention laid over it, and every head.

    All looks are one network's. Cells of heads are drawn as they are, with sharp edges; only what is laid
    over a picture is smoothed. The scale stands below. Names are escaped, and shortened to their room.
    """
    high = _heads_high(pairs[0].rows[0].looks)
    drawn = [[_row(row, high) for row in pair.rows] for pair in pairs]
    width = max(image.width for images in drawn for image in images)
    parts = [_line(heading, width, 18)] if heading else []
    for pair, images in zip(pairs, drawn, strict=True):
        parts += [_line(pair.title, width, 15), *images]
    return _stacked([*parts, _legend(width)])


def painted(values: Float32) -> UInt8:
    """Return the colours (..., 3) of relative attention on the scale from 1 / MOST to MOST.

    >>> painted(np.float32([0, 1 / MOST, MOST, 99])).tolist()
    [[68, 1, 84], [68, 1, 84], [253, 231, 37], [253, 231, 37]]
    """
    return _coloured(_place(values))


def cells(layer: Layer, number: int, shape_hw: tuple[int, int], *, side: int = TILE) -> Image.Image:
    """Draw a map of a layer as far as it lies over a picture of ``shape_hw``, every cell as it is.

    The longer side of the picture becomes ``side`` pixels.
    """
    whole = Image.fromarray(painted(layer.maps[number]))
    return _over(whole, layer.cell, shape_hw, side, Image.Resampling.NEAREST)


def _place(values: Float32) -> Float32:
    """Return where relative attention lies on the scale, in [0, 1]; 1 is in the middle."""
    least = np.maximum(values, 1e-6)  # no attention at all has no logarithm
    place: Float32 = np.clip(0.5 + np.log(least) / (2 * np.log(MOST)), 0, 1).astype(np.float32)
    return place


def _coloured(place: Float32) -> UInt8:
    """Return the colours (..., 3) of places on the scale in [0, 1]."""
    knots = np.array([list(bytes.fromhex(colour)) for colour in VIRIDIS])
    at = np.clip(place, 0, 1) * (len(knots) - 1)
    channels = [np.interp(at, np.arange(len(knots)), channel) for channel in knots.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _laid_over(pixels: UInt8, layer: Layer, side: int) -> Image.Image:
    """Draw the first map of a layer, smoothed, with the outlines of the picture.

    The picture's own brightness is left out, for on this scale brighter means more attention: where the
    picture is even, colours are those of the scale.
    """
    shape_hw = (pixels.shape[0], pixels.shape[1])
    smooth = Image.fromarray(_place(layer.maps[0]))
    place = _over(smooth, layer.cell, shape_hw, side, Image.Resampling.BICUBIC)
    grey = _over(Image.fromarray(pixels).convert("L"), 1, shape_hw, side, Image.Resampling.BICUBIC)
    broad = grey.filter(ImageFilter.GaussianBlur(side / BROAD))
    outlines = np.asarray(grey, np.float32) - np.asarray(broad, np.float32)
    colours = _coloured(np.asarray(place)) + DETAIL * outlines[..., None]
    return Image.fromarray(np.clip(np.round(colours), 0, 255).astype(np.uint8))


def _over(
    whole: Image.Image, cell: float, shape_hw: tuple[int, int], side: int, resampling: Image.Resampling
) -> Image.Image:
    """Resize what covers a picture in cells of ``cell`` px, and cut off what reaches beyond it."""
    height, width = shape_hw
    scale = side / max(shape_hw)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return whole.resize(size, resampling, box=(0, 0, width / cell, height / cell))


def _heads_high(looks: Looks) -> int:
    """Return how many maps stand above each other, an even number, so that a sheet is not too wide."""
    counts = [len(layer.maps) for layer in looks.layers]
    for high in range(2, max(counts), 2):
        blocks = [(LARGE, ceil(2 / (high // 2))), *((TILE, ceil(count / high)) for count in counts)]
        if NAMES + sum(columns * (side + GAP) - GAP + MARGIN for side, columns in blocks) <= WIDTH:
            return high
    return max(counts) + max(counts) % 2


def _row(row: Row, high: int) -> Image.Image:
    """Draw one picture with all its maps, and its name on the left."""
    blocks = [_block(block, high if block.side == TILE else high // 2) for block in _blocks(row)]
    width = NAMES + sum(block.width + MARGIN for block in blocks)
    out = Image.new("RGB", (width, max(block.height for block in blocks)), PAPER)
    _write(out, row.name, (6, 2 * CAPTION), NAMES - 10, 13, INK)
    x = NAMES
    for block in blocks:
        out.paste(block, (x, 0))
        x += block.width + MARGIN
    return out


def _blocks(row: Row) -> Iterator[_Block]:
    shape_hw = (row.pixels.shape[0], row.pixels.shape[1])
    whole = Image.fromarray(row.pixels).convert("RGB")
    picture = _over(whole, 1, shape_hw, LARGE, Image.Resampling.BICUBIC)
    laid = _laid_over(row.pixels, row.looks.overall, LARGE)
    yield _Block("", LARGE, [("picture", picture), ("overall attention, with outlines", laid)])
    for layer in row.looks.layers:
        maps = [cells(layer, number, shape_hw) for number in range(len(layer.maps))]
        yield _Block(layer.name, TILE, [(f"head {i}", each) for i, each in enumerate(maps, start=1)])


def _block(block: _Block, high: int) -> Image.Image:
    """Fill the tiles of a block into columns of ``high``, each below its caption."""
    step_x, step_y = block.side + GAP, block.side + GAP + CAPTION
    columns = ceil(len(block.tiles) / high)
    rows = min(high, len(block.tiles))
    out = Image.new("RGB", (columns * step_x - GAP, CAPTION + rows * step_y), PAPER)
    _write(out, block.name, (0, 0), out.width, 13, INK)
    for i, (caption, tile) in enumerate(block.tiles):
        x, y = i // high * step_x, CAPTION + i % high * step_y
        _write(out, caption, (x, y), block.side, 12, PALE)
        out.paste(tile, (x, y + CAPTION))
    return out


def _legend(width: int) -> Image.Image:
    """Say what the colours mean, and draw the scale with its marks."""
    out = Image.new("RGB", (width, 66), PAPER)
    _write(out, SAID, (NAMES, 2), width - NAMES, 13, INK)
    bar = np.tile(np.linspace(0, 1, BAR, dtype=np.float32), (12, 1))
    out.paste(Image.fromarray(_coloured(bar)), (NAMES, 22))
    pen = ImageDraw.Draw(out)
    for text, times in MARKS.items():
        x = NAMES + round(float(_place(np.array([times], np.float32))[0]) * (BAR - 1))
        pen.line((x, 34, x, 38), fill=INK)
        pen.text((x, 41), text, font=ImageFont.load_default(size=12), fill=INK, anchor="mt")
    return out


def _line(text: str, width: int, size: int) -> Image.Image:
    out = Image.new("RGB", (width, size + 14), PAPER)
    _write(out, text, (6, 6), width - 12, size, INK)
    return out


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    out = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), PAPER)
    y = 0
    for part in parts:
        out.paste(part, (0, y))
        y += part.height
    return out


def _write(out: Image.Image, text: str, at: tuple[int, int], room: int, size: int, ink: str) -> None:
    """Write one line of at most ``room`` pixels, the middle left out where it is longer."""
    font, line = ImageFont.load_default(size=size), printable(text)
    if len(line) > room or font.getlength(line) > room:  # no letter is narrower than a pixel
        line = _shortened(line, font, room)
    ImageDraw.Draw(out).text(at, line, font=font, fill=ink)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """Return beginning and end of a text too long for ``room``, as much as has a place there."""
    for kept in range(min(len(text), room // 4), 0, -1):
        line = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
        if font.getlength(line) <= room:
            return line
    return ""
