from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.embeddings.tiling import Tile, merged, tiles
from dinonat.geometry import counts_to_mask, mask_to_counts
from dinonat.records import Region

SIZE = (60, 80)


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([2, 3]), st.floats(0, 0.5))
def test_tiles_are_alike_cover_the_picture_and_share_what_was_asked(
    height: int, width: int, count: int, overlap: float
) -> None:
    found = tiles((height, width), count=count, overlap=overlap)
    covered = np.zeros((height, width), dtype=int)
    for x, y, w, h in found:
        assert covered[y : y + h, x : x + w].size == w * h > 0
        covered[y : y + h, x : x + w] += 1
    assert covered.min() == 1 or overlap > 0
    assert covered.all()
    assert len({(tile.width, tile.height) for tile in found}) == 1
    columns = sorted({tile.x for tile in found})
    shared = [left + found[0].width - right for left, right in pairwise(columns)]
    assert all(each >= overlap * found[0].width - 2 for each in shared)


def region(mask: np.ndarray, x: int, y: int, w: int, h: int) -> Region:
    mask[y : y + h, x : x + w] = True
    return Region((x, y, w, h), 0.5, tuple(mask_to_counts(mask)), "contrast")


def picture(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    out = np.zeros(SIZE, np.float32)
    for x, y, w, h in boxes:
        out[y : y + h, x : x + w] = 1
    return out


def test_what_tiles_find_lies_where_the_picture_has_it_and_comes_once() -> None:
    left, right = Tile(0, 0, 50, 60), Tile(30, 0, 50, 60)
    once = region(np.zeros((60, 50), bool), 35, 20, 8, 6)  # in what both tiles share
    again = region(np.zeros((60, 50), bool), 5, 20, 8, 6)
    regions = merged([], [(left, [once]), (right, [again])], picture((35, 20, 8, 6)), max_regions=30)
    assert [one.box_xywh for one in regions] == [(35, 20, 8, 6)]
    np.testing.assert_array_equal(counts_to_mask(regions[0].mask_counts, SIZE), picture((35, 20, 8, 6)) > 0)


def test_what_a_tile_cuts_off_is_left_to_its_neighbour() -> None:
    left = Tile(0, 0, 50, 60)
    cut_off = region(np.zeros((60, 50), bool), 44, 20, 6, 6)
    on_the_border = region(np.zeros((60, 50), bool), 0, 40, 6, 6)  # of the picture: nothing is missing
    regions = merged([], [(left, [cut_off, on_the_border])], picture((44, 20, 12, 6)), max_regions=30)
    assert [one.box_xywh for one in regions] == [(0, 40, 6, 6)]


def test_the_whole_picture_judges_and_the_best_stay() -> None:
    whole = region(np.zeros(SIZE, bool), 10, 10, 12, 12)
    noise = region(np.zeros((60, 50), bool), 20, 30, 8, 8)  # a tile thought it an object
    shown = picture((10, 10, 12, 12))
    both = merged([whole], [(Tile(30, 0, 50, 60), [noise])], shown, max_regions=30)
    assert [one.box_xywh for one in both] == [(10, 10, 12, 12), (50, 30, 8, 8)]
    assert both[0].objectness > both[1].objectness > 0
    assert merged([whole], [(Tile(30, 0, 50, 60), [noise])], shown, max_regions=1) == both[:1]
    assert merged([], [], shown, max_regions=30) == []
