import numpy as np
import pytest

from dinonat.errors import UsageError
from dinonat.pages.attention_sheets import LARGE, MARKS, MOST, WIDTH, Pair, Row, cells, painted, sheet
from dinonat.pages.blind_sheets import COLUMNS, SIDE, blind_key, blind_sheet
from dinonat.saliency.attention import Layer, Looks

NANO = (1, 2, 4, 8)
STRIDES = (4, 8, 16, 32)


def looks(heads: tuple[int, ...] = NANO, *, value: float = 1.0, side: int = 224) -> Looks:
    layers = [
        Layer(f"stage {i + 1}", np.full((count, side // cell, side // cell), value, np.float32), cell)
        for i, (count, cell) in enumerate(zip(heads, STRIDES, strict=True))
    ]
    return Looks(Layer("overall", np.full((1, side // 4, side // 4), value, np.float32), 4), layers)


def row(name: str = "colour", level: int = 90, **given: object) -> Row:
    return Row(name, np.full((224, 224, 3), level, np.uint8), looks(**given))


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours (..., 3) uint8."""
    linear = np.where(colours <= 10.31475, colours / 3294.6, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16


def test_brighter_is_more_evenly_so_over_the_whole_scale() -> None:
    light = lightness(painted(np.geomspace(1 / MOST, MOST, 129).astype(np.float32)))
    assert (np.diff(light) > 0).all()
    steps = np.diff(light[::16])
    assert steps.max() < 1.6 * steps.min()
    middle = lightness(painted(np.ones(1, np.float32)))[0]
    assert middle == pytest.approx((light[0] + light[-1]) / 2, abs=3)


def test_the_scale_is_logarithmic_fixed_and_clipped() -> None:
    def at(*times: float) -> list[list[int]]:
        return painted(np.float32(times)).tolist()

    dark, middle, bright = at(1 / MOST, 1, MOST)
    assert middle == [34, 144, 140]  # halfway between the two colours in the middle of the table
    assert at(0, 1e-9, MOST**3) == [dark, dark, bright]
    assert at(1, 1)[0] == middle  # whatever else is drawn with it
    light = lightness(painted(np.float32([1 / 2, 1, 2])))
    assert light[1] - light[0] == pytest.approx(light[2] - light[1], abs=2)


def test_even_attention_looks_even_and_says_where_it_is_on_the_scale() -> None:
    even = painted(np.ones(1, np.float32))[0]
    drawn = np.asarray(sheet([Pair("even", [row(), row("thermal")])]))
    alike = (drawn == even).all(axis=-1)
    heads = sum(NANO) * 112 * 112  # each head a square of one colour, and the picture without outlines
    assert alike[:-66].sum() == 2 * (heads + LARGE * LARGE)
    assert alike[-66:].sum() in range(12, 12 * 4)  # the middle of the scale below


def test_a_hot_cell_is_the_brightest_place_of_its_map() -> None:
    values = np.full((1, 14, 14), 0.8, np.float32)
    values[0, 3, 10] = 3.0
    drawn = lightness(np.asarray(cells(Layer("stage 3", values, 16), 0, (224, 224), side=112)))
    assert drawn.shape == (112, 112)
    hot = np.zeros((112, 112), bool)
    hot[3 * 8 : 4 * 8, 10 * 8 : 11 * 8] = True
    np.testing.assert_array_equal(drawn == drawn.max(), hot)


def test_a_hot_cell_lies_over_what_it_is_about() -> None:
    given = looks()
    given.overall.maps[0, 40:44, 8:12] = 4.0
    drawn = np.asarray(sheet([Pair("", [Row("colour", np.full((224, 224, 3), 90, np.uint8), given)])]))
    top, left = np.argwhere((drawn == 90).all(axis=-1)).min(axis=0)  # where the picture begins
    beside = drawn[top : top + LARGE, left + LARGE + 6 :][:, :LARGE]
    hot = np.argwhere((beside == painted(np.float32([4]))).all(axis=-1))
    assert len(hot) > 100
    np.testing.assert_allclose(hot.mean(axis=0) / LARGE, [42 / 56, 10 / 56], atol=0.01)


def test_what_reaches_beyond_the_picture_is_cut_off() -> None:
    values = np.ones((1, 5, 7), np.float32)
    values[0, :, 6] = 4  # of 16 px: a picture 72 high and 96 + 4 wide ends in the last column
    values[0, 4] = 1 / 4
    drawn = np.asarray(cells(Layer("stage 3", values, 16), 0, (72, 100), side=100))
    assert drawn.shape[:2] == (72, 100)
    assert (drawn[:64, 96:] == painted(np.float32([4]))).all()
    assert (drawn[64:, :] == painted(np.float32([1 / 4]))).all()
    assert (drawn[:64, :96] == painted(np.float32([1]))).all()


@pytest.mark.parametrize(
    ("heads", "rows"),
    [(NANO, 1), (NANO, 2), ((2, 4, 8, 16), 2), ((4, 8, 16, 32), 1), ((1, 1, 1, 1), 2), ((3, 6, 12, 24), 2)],
)
def test_every_network_fits_the_width_of_a_page(heads: tuple[int, ...], rows: int) -> None:
    one = sheet([Pair("a", [row(heads=heads)] * rows)])
    assert one.width <= WIDTH
    assert (sum(heads) * 112 * 112 + 2 * LARGE * LARGE) * rows < one.width * one.height
    two = sheet([Pair("a", [row(heads=heads)] * rows)] * 2, heading="a network")
    assert two.width == one.width
    assert 1.5 * one.height < two.height < 2 * one.height


def test_a_vit_has_one_block_and_pictures_need_not_be_square() -> None:
    given = Looks(
        Layer("overall", np.ones((1, 4, 6), np.float32), 16),
        [Layer("last block", np.ones((6, 4, 6), np.float32), 16)],
    )
    drawn = sheet([Pair("a", [Row("colour", np.zeros((64, 90), np.uint8), given)])])
    assert 3 * 112 + 2 * LARGE < drawn.width < WIDTH


def test_names_cannot_break_a_sheet() -> None:
    plain = np.asarray(sheet([Pair("", [row("")])]))
    for name in ("x" * 5000, "\u202egnp\n\x00", "日本"):
        drawn = np.asarray(sheet([Pair(name, [row(name)])]))
        assert drawn.shape == plain.shape
        changed = np.argwhere((drawn != plain).any(axis=-1))
        assert len(changed)
        below = changed[changed[:, 0] > 29]  # of the row's name, which stays left of the picture
        assert below[:, 1].max() < 62
        assert changed[:, 1].max() < plain.shape[1] - 4


def test_the_marks_are_those_of_the_scale() -> None:
    for text, times in MARKS.items():
        numerator, _, below = text.partition("/")
        assert int(numerator) / int(below or 1) == times
    assert (min(MARKS.values()), max(MARKS.values())) == (1 / MOST, MOST)


def test_half_of_a_blind_key_is_true_and_no_stranger_is_of_the_same_recording() -> None:
    recordings = list("aabbccdd")
    keys = [blind_key(recordings, seed=seed) for seed in range(40)]
    for key in keys:
        assert sorted(i for i, _ in key) == sorted(j for _, j in key) == list(range(8))
        strangers = [(i, j) for i, j in key if i != j]
        assert len(strangers) == 4
        assert all(recordings[i] != recordings[j] for i, j in strangers)
    assert keys[0] == blind_key(recordings, seed=0)
    true = np.mean([[i == j for i, j in key] for key in keys], axis=0)
    assert (true > 0.2).all()  # no place and no pair gives the answer away
    assert (true < 0.8).all()
    chosen = np.mean([[dict(key)[i] == i for i in range(8)] for key in keys], axis=0)
    assert ((chosen > 0.2) & (chosen < 0.8)).all()


@pytest.mark.parametrize("recordings", [[], ["a", "b"], ["a"] * 8, ["a"] * 7 + ["b"]])
def test_what_cannot_be_shuffled_between_recordings_is_said(recordings: list[str]) -> None:
    with pytest.raises(UsageError, match="at least 4 pairs"):
        blind_key(recordings, seed=0)


def test_a_blind_sheet_shows_the_maps_that_the_key_says() -> None:
    levels = np.float32([0.3, 0.6, 1.0, 1.6, 3.0])
    layers = [Layer("overall", np.full((1, 56, 56), level, np.float32), 4) for level in levels]
    key = [(0, 1), (2, 2), (4, 3), (1, 0), (3, 4)]
    drawn = np.asarray(blind_sheet(layers, layers, key, (224, 224)))
    step = (drawn.shape[0] // 3, drawn.shape[1] // COLUMNS)
    for place, pair in enumerate(key):
        y, x = place // COLUMNS * step[0], place % COLUMNS * step[1]
        found = drawn[y : y + step[0], x : x + step[1]]
        middles = []
        for index in pair:
            where = np.argwhere((found == painted(levels[index : index + 1])).all(axis=-1))
            assert len(where) % (SIDE * SIDE) == 0
            middles.append(where[:, 1].mean())
        assert middles[0] == middles[1] if pair[0] == pair[1] else middles[0] < middles[1] - SIDE
