from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.errors import ImageError
from dinonat.pretraining.sources import ALONE, MOST_TIMES, joined, pack_sources
from dinonat.records import ImageRef


def test_partners_point_at_each_other_where_both_were_read() -> None:
    """Asked: 2 alone, then 3 colour, then 3 thermal pictures; the first alone and one thermal one failed."""
    items, partners = joined([1, 2, 3, 4, 5, 7], alone=2, pairs=3)
    assert partners.tolist() == [ALONE, 4, ALONE, 5, 1, 3]
    assert items.tolist() == [0, 1, 2, 3, 4, 5]


@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.floats(0.05, 1.0),
    st.sets(st.integers(0, 119)),
)
def test_pairs_make_up_their_share(alone: int, pairs: int, share: float, failed: set[int]) -> None:
    places = [place for place in range(alone + 2 * pairs) if place not in failed]
    items, partners = joined(places, alone, pairs, share)
    paired = partners != ALONE
    assert (partners[partners[paired]] == np.flatnonzero(paired)).all()
    times = np.bincount(items, minlength=len(places))
    assert (times[paired] == times[partners[paired]]).all()  # both of a pair equally often
    if not paired.any() or paired.all():
        assert items.tolist() == list(range(len(places)))
        return
    of_pairs = times[paired].sum()
    if share == 1:
        assert of_pairs == len(items)
    else:
        assert times.min() >= 1  # nothing is left out
        # The repeated part is rounded to whole pictures or pairs.
        assert abs(of_pairs - share * len(items)) <= 2 or times.max() == MOST_TIMES
        assert min(np.ptp(times[paired]), np.ptp(times[~paired])) == 0  # only one part is repeated
        assert max(np.ptp(times[paired]), np.ptp(times[~paired])) <= 1  # evenly
    np.testing.assert_array_equal(items, joined(places, alone, pairs, share)[0])


def test_a_share_that_is_none_is_a_defect() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="expected a share"):
            joined(range(6), 2, 2, share)
    assert joined([], 0, 0)[0].size == 0


def test_folders_and_pairs_come_into_one_array(tmp_path: Path) -> None:
    """Every picture has a grey of its own, so the array tells which is which."""
    refs = {}
    for number, name in enumerate(["a0", "a1", "c0", "c1", "c2", "t0", "t1", "t2"]):
        value = np.full((12, 16, 3), (20 * number, 250, 0), np.uint8)  # in colour: not prepared
        Image.fromarray(value).save(tmp_path / f"{name}.png")
        refs[name] = ImageRef(tmp_path, f"{name}.png")
    (tmp_path / "c1.png").write_bytes(b"no picture, only some text here")
    alone, colour, thermal = ([refs[name] for name in refs if name[0] == kind] for kind in "act")
    box = (0.0, 0.0, 0.5, 1.0)
    found = pack_sources(
        alone, colour, thermal, tmp_path / "p.npy", boxes={refs["t0"]: box}, pair_share=0.8, side=8
    )
    assert found.packed.names == tuple(f"{name}.png" for name in refs if name != "c1")
    assert found.paired.tolist() == [[2, 4], [3, 6]]
    assert [found.packed.pixels[place, 0, 0, 0] for place in found.paired[1]] == [80, 140]
    assert found.packed.aspects.tolist() == pytest.approx([16 / 12] * 4 + [8 / 12] + [16 / 12] * 2)
    assert found.pictures.items.tolist() == sorted([0, 1, 5] + 3 * [2, 4] + 3 * [3, 6])
    with pytest.raises(ImageError, match=r"Not one of 1 pairs could be read\. The first: c1"):
        pack_sources(alone, [refs["c1"]], [refs["t1"]], tmp_path / "q.npy", side=8)
