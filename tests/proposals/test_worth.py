import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.evaluation.clicks import Prices, box_bill, box_fates
from dinonat.proposals.worth import ACCEPTED, CORRECTED, REJECTED, gains, shown, worth

BOX = ["image", "label", "score", "x", "y", "w", "h"]


def table(*rows):
    return pd.DataFrame(list(rows), columns=BOX)


TRUE = table(("a", "car", 1, 0, 0, 10, 10), ("a", "bus", 1, 50, 50, 10, 10), ("b", "car", 1, 0, 0, 8, 8))


@pytest.mark.parametrize(
    ("row", "saved"),
    [
        (("a", "car", 0.5, 0, 0, 10, 10), ACCEPTED),
        (("a", "car", 0.5, 0, 0, 10, 5), CORRECTED),  # IoU 0.5
        (("a", "bus", 0.5, 0, 0, 10, 10), CORRECTED),  # another class
        (("a", "bus", 0.5, 0, 0, 10, 5), REJECTED),
        (("a", "car", 0.5, 30, 30, 10, 10), REJECTED),
        (("c", "car", 0.5, 0, 0, 10, 10), REJECTED),  # nothing is there
    ],
)
def test_a_proposal_saves_what_it_spares_a_person(row, saved):
    assert gains(table(row), TRUE).tolist() == [saved]


def test_a_box_counts_once_for_the_better_score():
    found = table(("a", "car", 0.4, 0, 0, 10, 10), ("a", "car", 0.9, 0, 0, 10, 9))
    assert gains(found, TRUE).tolist() == [REJECTED, ACCEPTED]


def test_clicks_are_those_of_the_bill_where_boxes_lie_apart():
    found = table(
        ("a", "car", 0.9, 0, 0, 10, 10), ("a", "car", 0.8, 50, 50, 10, 10), ("a", "car", 0.7, 90, 0, 5, 5),
        ("b", "car", 0.6, 0, 0, 8, 4),
    )  # fmt: skip
    bill = box_bill(box_fates(found, TRUE, ["a", "b"], Prices()), Prices())
    assert gains(found, TRUE).sum() == bill.from_nothing - bill.clicks


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([2.0, 1.0, -1.0])), min_size=1, max_size=40))
def test_the_threshold_saves_as_much_as_any_that_shows_a_tenth(pairs):
    scores, saved = np.array([s / 5 for s, _ in pairs]), np.array([g for _, g in pairs])
    found = worth(scores, saved)
    sums = [saved[scores >= least].sum() for least in np.unique(scores) if (scores >= least).mean() >= 0.1]
    assert found.saved == max(sums) == saved[scores >= found.least].sum()
    assert found.shown == (scores >= found.least).sum()


def test_what_scores_less_is_left_unknown_and_says_why():
    found = worth(np.array([0.9, 0.8, 0.3]), np.array([2.0, 1.0, -1.0]))
    assert (found.shown, found.right, found.saved) == (2, 2, 3.0)
    assert found.least == pytest.approx(0.55)
    rows = pd.DataFrame(
        {
            "kind": ["region", "region", "image", "region"],
            "advice": ["review", "review", "review", "accept"],
            "score": np.float32([0.56, 0.54, 0.1, 0.1]),
            "reason": ["near"] * 4,
        }
    )
    said = shown(rows, found)
    assert said["advice"].to_list() == ["review", "unknown", "review", "accept"]
    assert "cost more clicks" in said["reason"][1]
    assert said["reason"][1].endswith("; near")  # why the label, beside why it is not shown
    assert said["reason"][0] == "near"
    assert "save 3 clicks" in found.line()
    assert "learn" not in found.line()
    costly = worth(np.array([0.5]), np.array([-1.0])).line()
    assert "cost 1 clicks" in costly
    assert "shown all the same, to learn from" in costly
