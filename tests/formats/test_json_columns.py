import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.formats.json_columns import in_one, joined, members, number_cells, text_cells, whole_cells

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(values=st.lists(st.floats(), max_size=30))
def test_numbers_are_those_of_json(values: list[float]) -> None:
    cells = number_cells(np.array(values, float)).to_pylist()
    assert [None if cell is None else json.loads(cell) for cell in cells] == [
        value if math.isfinite(value) else None for value in values
    ]


@given(values=st.lists(TEXT | st.none(), max_size=30), repeating=st.booleans())
def test_texts_are_those_of_json(values: list[str | None], repeating: bool) -> None:
    column = pd.Series(values, dtype="str")
    cells = text_cells(column.astype("category") if repeating else column).to_pylist()
    assert [cell and json.loads(cell) for cell in cells] == [value or None for value in values]


@given(rows=st.lists(st.tuples(TEXT, st.floats(), st.integers(-1, 5)), max_size=20), begin=st.integers(0, 3))
def test_members_of_all_rows_are_lines_of_json(rows: list[tuple[str, float, int]], begin: int) -> None:
    texts, numbers, wholes = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    known = np.array(wholes, int) >= 0
    cells = {
        'a "key"': text_cells(pd.Series(texts, dtype="str")),
        "b": number_cells(np.array(numbers, float)),
        "c": whole_cells(np.array(wholes, int), known),
    }
    lines = joined(['{"id":', whole_cells(np.arange(len(rows))), members(cells), "}\n"])[begin:]
    for number, line in enumerate(bytes(in_one(lines)).decode().split("\n")[:-1], start=begin):
        text, value, whole = rows[number]
        wish = {"id": number, 'a "key"': text or None, "b": value, "c": whole if whole >= 0 else None}
        wish["b"] = value if math.isfinite(value) else None
        assert json.loads(line) == {key: one for key, one in wish.items() if one is not None}
    assert bytes(in_one(lines)).count(b"\n") == max(0, len(rows) - begin)


@pytest.mark.parametrize(("missing", "wish"), [("", ["ab", "a"]), ("-", ["ab", "a-"]), (None, ["ab", None])])
def test_what_is_missing_is_left_out_said_or_nothing_at_all(
    missing: str | None, wish: list[str | None]
) -> None:
    cells = text_cells(pd.Series(["b", ""], dtype="str"))
    found = joined(["a", cells], missing=missing).to_pylist()
    assert [one and one.replace('"', "") for one in found] == wish
