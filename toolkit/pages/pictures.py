"""Pictures for people: thumbnails for pages, and prepared pictures with their boxes drawn in."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from dinonat.records import UInt8

# After Okabe and Ito (colours that colour-blind people tell apart), made lighter for dark pictures.
PALETTE = ("#ffb000", "#56b4e9", "#35d0a5", "#f0e442", "#ff8a5c", "#d99cf0", "#8fb8ff", "#b8e07a")
UNKNOWN = "#b9bec6"  # what was left without a label
SHADOW = "#101418"
NO_CLASS = "(no class)"


@dataclass(frozen=True)
class Mark:
    """A label on a picture: of the box in pixels, or of the whole picture where there is no box."""

    label: str
    advice: str  # "accept", "review" or "unknown"
    box_xywh: tuple[float, float, float, float] | None = None
    score: float = math.nan  # share of the vote in [0, 1]
    reason: str = ""
    warmest: str = ""  # how warm its warmest pixel is, with the unit

    @property
    def text(self) -> str:
        """Label and score as people read them.

        >>> Mark("car", "review", score=0.873).text, Mark("", "unknown").text
        ('car 0.87', 'unknown')
        """
        if self.advice == "unknown":
            return "unknown"
        return self.label if math.isnan(self.score) else f"{self.label} {self.score:.2f}"

    @property
    def details(self) -> str:
        """What a reader sees who points at the label.

        >>> Mark("car", "review", score=0.873, reason="near", warmest="up to 36.6 °C").details
        'car 0.87, up to 36.6 °C: near'
        """
        head = ", ".join(filter(None, (self.text, self.warmest)))
        return f"{head}: {self.reason}" if self.reason else head


def colours(labels: Iterable[str]) -> dict[str, str]:
    """Give each class its colour, by the order of the names; more classes than colours share them."""
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(sorted(set(labels)))}


def thumbnail(pixels: UInt8, *, side: int = 480) -> bytes:
    """Return a JPEG of ``pixels`` (H, W, 3) whose longer side is at most ``side``; never enlarged."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82, optimize=True)
    return stream.getvalue()


def png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG, as small as it gets."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def data_uri(picture: bytes, kind: str = "jpeg") -> str:
    """Return a picture as a ``data:`` address, so that a page needs no second file."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def draw(
    pixels: UInt8, marks: Sequence[Mark], *, palette: Mapping[str, str], shorter_side: int = 512
) -> Image.Image:
    """Return the picture with its boxes and labels, enlarged until its shorter side is readable.

    ``pixels`` (H, W, 3). Unknown boxes are thin and grey. Best scores are drawn last, so on top.
    """
    picture = Image.fromarray(pixels)
    scale = max(1.0, shorter_side / min(picture.size))
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(12, min(picture.size) // 32))
    for mark in sorted(marks, key=_importance):
        _draw_mark(pen, mark, font, colour_of(mark, palette), scale)
    return picture


def colour_of(mark: Mark, palette: Mapping[str, str]) -> str:
    """Return the colour of a mark: its class's, or grey where it has none."""
    return UNKNOWN if mark.advice == "unknown" else palette.get(mark.label, PALETTE[0])


def _importance(mark: Mark) -> tuple[bool, float]:
    """Sort key: unknown first, then by score."""
    return mark.advice != "unknown", 0.0 if math.isnan(mark.score) else mark.score


def _draw_mark(
    pen: ImageDraw.ImageDraw,
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: str,
    scale: float,
) -> None:
    """Draw one box with its text above it, or the text of the whole picture in the corner."""
    known = mark.advice != "unknown"
    left, top = 0.0, 0.0
    if mark.box_xywh is not None:
        x, y, w, h = (value * scale for value in mark.box_xywh)
        left, top, right, bottom = x, y, max(x + w - 1, x), max(y + h - 1, y)
        width = 2 if known else 1
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=SHADOW, width=width + 2)
        pen.rectangle((left, top, right, bottom), outline=colour, width=width)
    if known or mark.box_xywh is None:
        box = pen.textbbox((0, 0), printable(mark.text), font=font)
        height, room = box[3] + 4, box[2] + 6
        at = (max(0.0, left - 1), top - height if top >= height else top)
        pen.rectangle((*at, at[0] + room, at[1] + height), fill=colour)
        pen.text((at[0] + 3, at[1] + 1), printable(mark.text), fill=SHADOW, font=font)


def printable(text: object) -> str:
    r"""Show line breaks, control and direction signs as escapes, so that no name can disguise itself.

    >>> printable("a\nb\u202egnp.exe ü")
    'a\\nb\\u202egnp.exe ü'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
