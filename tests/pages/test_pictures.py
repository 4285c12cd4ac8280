import io
import math

import numpy as np
import pytest
from PIL import Image

from dinonat.pages.pictures import PALETTE, Mark, colours, data_uri, draw, printable, thumbnail


def rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_a_box_is_drawn_along_its_pixels() -> None:
    pixels = np.full((100, 120, 3), 90, np.uint8)
    mark = Mark("car", "review", (30, 40, 50, 20), 0.5)
    drawn = np.asarray(draw(pixels, [mark], palette={"car": PALETTE[1]}, shorter_side=100))
    assert drawn.shape == pixels.shape
    colour = rgb(PALETTE[1])
    for x, y in [(30, 45), (79, 45), (50, 59), (30, 59), (79, 59)]:  # inside edges of the box
        assert tuple(drawn[y, x]) == colour
    assert tuple(drawn[50, 50]) == (90, 90, 90)
    assert tuple(drawn[80, 110]) == (90, 90, 90)


def test_small_pictures_are_enlarged_with_their_boxes() -> None:
    drawn = draw(np.zeros((40, 24, 3), np.uint8), [Mark("a", "unknown", (0, 0, 24, 40))], palette={})
    assert drawn.size == (512, 853)


@pytest.mark.parametrize(
    "mark",
    [
        Mark("ü" * 300, "review", (-50, -50, 10, 10), math.nan),
        Mark("", "unknown"),
        Mark("\n\t\u202e", "review", (1, 1, 0, 0), 1.0),
        Mark("日本", "accept", (39, 39, 1, 1), 1.0),
    ],
)
def test_no_mark_stops_the_drawing(mark: Mark) -> None:
    assert draw(np.zeros((40, 40, 3), np.uint8), [mark], palette={}).size == (512, 512)


def test_thumbnails_never_grow_and_are_the_same_twice() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 900, 3), dtype=np.uint8)
    jpeg = thumbnail(pixels, side=480)
    assert jpeg == thumbnail(pixels, side=480)
    assert Image.open(io.BytesIO(jpeg)).size == (480, 160)
    assert Image.open(io.BytesIO(thumbnail(pixels[:5, :5]))).size == (5, 5)
    assert data_uri(b"\x00").endswith(",AA==")


def test_colours_follow_the_names_not_their_order() -> None:
    assert colours(["b", "a", "b"]) == colours(["a", "b"]) == {"a": PALETTE[0], "b": PALETTE[1]}
    assert len(set(colours(map(str, range(30))).values())) == len(PALETTE)


def test_what_cannot_be_seen_is_shown() -> None:
    assert printable("a\n\u202e\x00ü") == "a\\n\\u202e\\x00ü"
