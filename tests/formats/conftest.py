from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat.geometry import mask_to_counts
from dinonat.records import LATER_COLUMNS, PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS

Make = Callable[..., pd.DataFrame]


@pytest.fixture
def proposals() -> Make:
    """A function that completes rows of a few keys to a table of proposals; a mask may be an array."""

    def make(*rows: dict[str, Any]) -> pd.DataFrame:
        full = [_row(number, row) for number, row in enumerate(rows)]
        return pd.DataFrame(
            {name: _column([row[name] for row in full], kind) for name, kind in PROPOSAL_COLUMNS.items()}
        )

    return make


def _column(values: list[Any], kind: str) -> Any:
    """A column in its own type at once: many small tables are made, and conversions take their time."""
    if kind == "str":
        return pd.array(values, dtype="str")
    column = np.empty(len(values), kind)
    column[:] = values
    return column


def _row(number: int, given: dict[str, Any]) -> dict[str, Any]:
    mask = given.get("mask")
    x, y, w, h = given.get("box", (0, 0, 4, 4))
    default = {
        "proposal": f"p{number:03}", "run": "run1", "set": "set1", "item": f"i{number:03}", "image": "a.png",
        "kind": "region", "x": x, "y": y, "w": w, "h": h, "width": 10, "height": 8,
        "mask_counts": [] if mask is None else mask_to_counts(np.asarray(mask, bool)),
        "label": "car", "score": 0.875, "margin": 0.5, "second": "person", "similarity": 0.75,
        "advice": "review", "reason": "3 of 4 neighbours agree", "objectness": 0.5, "source": "ncut",
        "cluster": -1, "neighbours": ["n1"], "status": "proposed", "model": "0123456789abcdef",
        "features": "mean=1", "prepare": "percentile", "lo": 1.0, "hi": 9.0, "unit": "grey",
        **dict.fromkeys(TEMPERATURE_COLUMNS, np.nan), **LATER_COLUMNS,
    }  # fmt: skip
    return {**default, **{key: value for key, value in given.items() if key in PROPOSAL_COLUMNS}}
