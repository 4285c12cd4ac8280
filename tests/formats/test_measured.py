from typing import Any

import numpy as np
import pytest

from dinonat.formats.measured import mixed_units, units_of, units_text


def test_units_are_counted_where_something_was_measured(proposals: Any) -> None:
    table = proposals(
        *[{"unit": unit, "t_max": value} for unit, value in (("counts", 7), ("celsius", 30), ("grey", 255))],
        {"unit": "celsius", "t_max": np.nan},
        {"unit": "celsius", "t_max": -40},
    )
    units = units_of(table)
    assert units == {"celsius": 2, "counts": 1, "grey": 1, "not measured": 1}
    text = "2 labels in celsius, 1 in counts, 1 only in grey levels, 1 not measured"
    assert units_text(units) == text
    assert (units_of(table.iloc[:0]), units_text({})) == ({}, "none")


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("t_max > 60", True),
        ("score > 0.5 and t_p95 - t_median > 3", True),
        ("score > 0.5", False),
        ("t_max > 60 and unit == 'celsius'", False),
    ],
)
def test_only_mixed_units_that_are_compared_are_said(proposals: Any, expression: str, says: bool) -> None:
    mixed = proposals({"unit": "counts", "t_max": 7}, {"unit": "celsius", "t_max": 30}, {"t_max": np.nan})
    assert len(mixed_units(mixed, expression)) == says
    for row in range(3):
        assert mixed_units(mixed.iloc[row : row + 1], expression) == []
