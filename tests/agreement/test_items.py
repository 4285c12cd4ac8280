import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.agreement.items import Item, items_of
from dinonat.images.batches import WHOLE
from dinonat.images.pairing import common_area
from dinonat.records import LABEL_COLUMNS

NAMES = [("rgb/a.png", "ir/a_t.png"), ("rgb/b.png", "ir/b_t.png")]
SIZES = [((400, 300), (160, 120)), ((400, 300), (100, 100))]
NOWHERE = (np.nan,) * 4

Row = tuple[str, str, float, float, float, float]


def labels(*rows: Row) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[*LABEL_COLUMNS]).astype(LABEL_COLUMNS)


def boxes(item: Item) -> list[float]:
    return [*item.colour, *item.thermal]


def test_thermal_labels_win_over_colour_labels() -> None:
    """However many there are."""
    cars = [("rgb/a.png", "car", 40, 30, 40, 30), ("rgb/b.png", "car", 40, 30, 40, 30)]
    table = labels(*cars, ("ir/b_t.png", "dog", 10, 20, 30, 40))
    found, word = items_of(table, NAMES, SIZES)
    assert word == "thermal"
    assert [(item.pair, item.label) for item in found] == [(1, "dog")]
    assert found[0].thermal == pytest.approx((0.1, 0.2, 0.4, 0.6))
    found, word = items_of(table[:1], NAMES, SIZES)
    assert word == "colour"
    assert [(item.pair, item.label) for item in found] == [(0, "car")]
    assert found[0].colour == pytest.approx((0.1, 0.1, 0.2, 0.2))


def test_labels_of_names_that_both_lights_share_are_thermal() -> None:
    """In pixels of the thermal picture, as its name says it is."""
    found, word = items_of(
        labels(("a.png", "car", 16, 12, 16, 12)), [("a.png", "a.png")], [((400, 300), (160, 120))]
    )
    assert word == "thermal"
    assert boxes(found[0]) == pytest.approx([0.1, 0.1, 0.2, 0.2] * 2)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((120, 90, 30, 24), "thermal"),  # lies in both: a thermal one, if in doubt
        ((300, 200, 50, 50), "colour"),  # beyond the thermal picture
    ],
)
def test_names_of_both_lights_are_of_the_one_in_which_more_boxes_lie(
    box: tuple[float, ...], expected: str
) -> None:
    names, sizes = [("a.png", "a.png"), ("b.png", "b.png")], [((400, 300), (160, 120))] * 2
    table = labels(("a.png", "car", 16, 12, 16, 12), ("b.png", "car", *box))
    found, word = items_of(table, names, sizes)
    assert (word, len(found)) == (expected, 2)
    wide, high = sizes[0][expected == "thermal"]
    x, y, w, h = box
    assert boxes(found[1]) == pytest.approx([x / wide, y / high, (x + w) / wide, (y + h) / high] * 2)


INSIDE = st.tuples(*[st.floats(0.15, 0.45)] * 2, *[st.floats(0.02, 0.35)] * 2)
SIDES = st.tuples(st.integers(20, 2000), st.integers(20, 2000))
OFFSETS = st.tuples(*[st.floats(-0.12, 0.12)] * 2)


@settings(deadline=None)
@given(INSIDE, SIDES, SIDES, OFFSETS, st.booleans())
def test_a_box_keeps_its_place_in_the_partner(
    box: tuple[float, ...],
    colour: tuple[int, int],
    thermal: tuple[int, int],
    shares: tuple[float, float],
    of_thermal: bool,
) -> None:
    """A thermal pixel x of W_t lies on the colour picture at x W_c / W_t + offset."""
    own = thermal if of_thermal else colour
    offset = (shares[0] * colour[0], shares[1] * colour[1])
    x, y, w, h = (share * side for share, side in zip(box, own * 2, strict=True))
    name = NAMES[0][1 if of_thermal else 0]
    found, word = items_of(labels((name, "car", x, y, w, h)), NAMES[:1], [(colour, thermal)], offset=offset)
    assert word == ("thermal" if of_thermal else "colour")
    (item,) = found
    given_ = item.thermal if of_thermal else item.colour
    assert given_ == pytest.approx((box[0], box[1], box[0] + box[2], box[1] + box[3]), abs=1e-5)
    for axis in (0, 1, 2, 3):
        wide, far = colour[axis % 2], offset[axis % 2]
        on_colour = item.thermal[axis] * thermal[axis % 2] * (wide / thermal[axis % 2]) + far
        assert item.colour[axis] * wide == pytest.approx(on_colour, abs=1e-4 * wide)


def test_a_box_lies_where_the_common_area_says() -> None:
    """A label of all that both pictures share is all of it in both."""
    colour, thermal, offset = (400, 300), (160, 120), (40.0, -30.0)
    area = common_area(colour, offset)
    left, top, right, low = area[1]
    box = (left * 160, top * 120, (right - left) * 160, (low - top) * 120)
    found, _ = items_of(labels(("ir/a_t.png", "all", *box)), NAMES[:1], [(colour, thermal)], offset=offset)
    assert boxes(found[0]) == pytest.approx([*area[0], *area[1]])


@pytest.mark.parametrize(
    ("name", "box", "offset", "kept"),
    [
        ("ir/a_t.png", (0, 0, 16, 12), (0, 0), True),
        ("ir/a_t.png", (0, 0, 16, 12), (-40, 0), False),  # left of the colour picture
        ("ir/a_t.png", (0, 0, 16, 12), (40, 0), True),
        ("ir/a_t.png", (144, 108, 16, 12), (40, 0), False),  # right of it
        ("ir/a_t.png", (144, 108, 16, 12), (0, 30), False),  # below it
        ("rgb/a.png", (0, 0, 40, 30), (40, 0), False),  # left of the thermal picture
        ("rgb/a.png", (0, 0, 40, 30), (-40, -30), True),
        ("rgb/a.png", (360, 270, 40, 30), (0, -30), False),  # below it
        ("rgb/a.png", (360, 270, 41, 30), (0, 0), True),  # a fraction of a pixel beyond its border
        ("rgb/a.png", (360, 270, 60, 30), (0, 0), False),  # well beyond
        ("rgb/a.png", (-20, 0, 60, 30), (0, 0), False),
        ("rgb/a.png", (-40, 0, 40, 30), (-40, 0), False),  # inside the partner, but not where it was drawn
        ("ir/a_t.png", (-16, 0, 16, 12), (40, 0), False),
        ("rgb/a.png", (40, 30, 0, 30), (0, 0), False),  # of no width
    ],
)
def test_what_one_of_the_pictures_does_not_show_is_dropped(
    name: str, box: tuple[float, ...], offset: tuple[float, float], kept: bool
) -> None:
    found, word = items_of(labels((name, "car", *box)), NAMES[:1], SIZES[:1], offset=offset)
    assert (len(found), word) == ((1, "thermal" if name.startswith("ir") else "colour") if kept else (0, ""))


def test_colour_labels_stand_in_where_no_thermal_label_lies_in_both() -> None:
    table = labels(("ir/a_t.png", "dog", 0, 0, 16, 12), ("rgb/a.png", "car", 80, 30, 40, 30))
    found, word = items_of(table, NAMES[:1], SIZES[:1], offset=(-40, 0))
    assert (word, [item.label for item in found]) == ("colour", ["car"])
    assert boxes(found[0]) == pytest.approx([0.2, 0.1, 0.3, 0.2, 0.3, 0.1, 0.4, 0.2])


def test_labels_of_whole_pictures_are_whole_in_both_whatever_the_offset() -> None:
    table = labels(("ir/a_t.png", "yard", *NOWHERE), ("ir/b_t.png", "roof", *NOWHERE))
    found, word = items_of(table, NAMES, SIZES, offset=(40, 30))
    assert word == "thermal"
    assert found == [Item(0, "yard", WHOLE, WHOLE), Item(1, "roof", WHOLE, WHOLE)]


def test_boxes_win_over_labels_of_whole_pictures() -> None:
    table = labels(("ir/a_t.png", "yard", *NOWHERE), ("ir/b_t.png", "dog", 10, 20, 30, 40))
    found, _ = items_of(table, NAMES, SIZES)
    assert [(item.pair, item.label) for item in found] == [(1, "dog")]


def test_names_are_matched_as_everywhere_and_others_are_left_out() -> None:
    table = labels(("b_t.png", "dog", 10, 20, 30, 40), ("c_t.png", "cat", 1, 2, 3, 4))
    found, word = items_of(table, NAMES, SIZES)
    assert (word, [(item.pair, item.label) for item in found]) == ("thermal", [(1, "dog")])
    assert items_of(table[1:], NAMES, SIZES) == ([], "")
    assert items_of(table[:0], NAMES, SIZES) == ([], "")
