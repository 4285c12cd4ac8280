import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.errors import UsageError
from dinonat.images.pairing import common_area, parse_offset


@given(st.integers(-300, 300), st.integers(-200, 200))
def test_a_place_in_both_boxes_is_the_same_place(dx: int, dy: int) -> None:
    """Colour pixel (x, y) shows what thermal pixel (x - dx, y - dy) of the scaled picture shows."""
    width, height = 640, 480
    colour, thermal = common_area((width, height), (dx, dy))
    for u, v in ((0.0, 0.0), (0.3, 0.8), (1.0, 1.0)):
        at = [
            ((box[0] + u * (box[2] - box[0])) * width, (box[1] + v * (box[3] - box[1])) * height)
            for box in (colour, thermal)
        ]
        assert at[0][0] - at[1][0] == pytest.approx(dx)
        assert at[0][1] - at[1][1] == pytest.approx(dy)
    for box in (colour, thermal):
        assert 0 <= box[0] < box[2] <= 1
        assert 0 <= box[1] < box[3] <= 1
    assert colour[2] - colour[0] == pytest.approx(1 - abs(dx) / width)  # no more is cut than needed


def test_an_offset_that_leaves_little_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--pair-offset 0,300: leaves less than half"):
        common_area((640, 480), (0, 300))
    with pytest.raises(UsageError, match="less than half"):
        common_area((640, 480), (float("nan"), 0))
    with pytest.raises(UsageError, match="less than half"):
        common_area((1, 1), (9, 0))


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "1;2"])
def test_an_offset_is_two_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="expected two numbers of pixels"):
        parse_offset(text)
    assert parse_offset(" 4, -2.5") == (4.0, -2.5)
