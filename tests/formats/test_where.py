from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.errors import UsageError
from dinonat.formats.where import where

TABLE = pd.DataFrame(
    {
        "label": pd.array(["car", "bus", "car"], dtype="str"),
        "score": np.float32([0.9, 0.5, np.nan]),
        "cluster": np.int32([1, 2, -1]),
        "neighbours": [["a"], [], ["b"]],
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("score > 0.8", [0]),
        ("score > 0.4 and label == 'car'", [0]),
        ("label in ['bus', 'tram'] or cluster == -1", [1, 2]),
        ("not (label == 'car')", [1]),
        ("(score > 0.8) | (cluster > 1)", [0, 1]),
        ("score * 2 > cluster", [0]),
        ("0.4 < score < 0.6", [1]),
        ("score != score", [2]),
        (" label == '@x.__class__' ", []),
    ],
)
def test_rows_are_chosen(expression: str, rows: list[int]) -> None:
    assert where(TABLE, expression).index.tolist() == rows


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("@x > 1", "not an expression"),
        ("score.__class__ == 1", "Attribute is not allowed"),
        ("label.str.len() > 2", "Call is not allowed"),
        ("__import__('os')", "Call is not allowed"),
        ("__builtins__ == 1", "no column"),
        ("label[0] == 'c'", "Subscript is not allowed"),
        ("9 ** 9 ** 9 > score", "Pow is not allowed"),
        ("[x for x in label]", "not allowed"),
        ("lambda: 1", "Lambda is not allowed"),
        ("f'{score}' == '1'", "JoinedStr is not allowed"),
        ("(y := score) > 1", "NamedExpr is not allowed"),
        ("scor > 1", "Did you mean 'score'"),
        ("neighbours == 1", "no column"),
        ("score", "not true or false"),
        ("1 == 1", "not true or false"),
        ("label > 3", "cannot be evaluated"),
        ("score = 3", "not an expression"),
        ("", "not an expression"),
        ("import os", "not an expression"),
        ("(" * 1500, "not an expression"),
        ("score > 0" + " " * 3000, "characters"),
        ("`score` > 1", "not an expression"),
    ],
)
def test_all_else_is_refused_in_a_sentence(expression: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        where(TABLE, expression)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_rows_or_a_sentence(expression: str) -> None:
    with suppress(UsageError):  # anything else fails
        assert set(where(TABLE, expression).index) <= {0, 1, 2}


def test_a_table_without_rows_stays_one() -> None:
    assert where(TABLE.iloc[:0], "score > 1").empty
