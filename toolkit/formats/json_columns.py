"""Columns of a table as text of JSON, all rows at once: ten times as fast as a dict for each row."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Cells = Any  # pyarrow.StringArray: null where there is nothing
COMMA = ord(",")
ESCAPED = r'["\\\x00-\x1f]'  # what JSON does not take as it is


def number_cells(values: np.ndarray) -> Cells:
    """Return floats as JSON, in the fewest digits that give them back; null where they are not finite.

    >>> number_cells(np.array([0.5, np.nan, 3])).to_pylist()
    ['0.5', None, '3.0']
    """
    finite = np.isfinite(values)
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    signs = np.frombuffer(text, np.uint8)
    commas = signs == COMMA
    ends = np.append(np.flatnonzero(commas), len(text))
    offsets = np.append(0, ends - np.arange(len(ends)))[: len(values) + 1]
    known = None if finite.all() else pa.py_buffer(np.packbits(finite, bitorder="little"))
    buffers = [known, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(signs[~commas])]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def whole_cells(values: np.ndarray, known: np.ndarray | None = None) -> Cells:
    """Return whole numbers as JSON; null where they are not ``known``.

    >>> whole_cells(np.array([3, -1]), np.array([True, False])).to_pylist()
    ['3', None]
    """
    return pc.cast(pa.array(values, mask=None if known is None else ~known), pa.string())


def text_cells(column: pd.Series) -> Cells:
    r"""Return texts as JSON, in quotes; null where they are empty or missing.

    >>> text_cells(pd.Series(["a", "", 'b"'])).to_pylist()
    ['"a"', None, '"b\\""']
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        return _quoted(column.cat.categories).take(pa.array(codes, mask=codes < 0))
    return _quoted(column)


def members(cells: dict[str, Cells]) -> Cells:
    """Return ``,"key":value`` for each key that a row has, one after the other.

    >>> members({"a": number_cells(np.array([1.5, np.nan])), "b": whole_cells(np.array([2, 3]))}).to_pylist()
    [',"a":1.5,"b":2', ',"b":3']
    """
    parts: list[Cells | str] = []
    for name, column in cells.items():
        key = f",{json.dumps(name)}:"
        parts += [key, column] if not column.null_count else [joined([key, column], missing=None)]
    return joined(parts)


def joined(parts: Sequence[Cells | str], *, missing: str | None = "") -> Cells:
    """Return what the parts are, one after the other, for each row; ``missing`` None: null where one is.

    >>> joined(["[", whole_cells(np.array([1, 2])), "]"]).to_pylist()
    ['[1]', '[2]']
    """
    handling = {"null_handling": "emit_null"} if missing is None else {"null_handling": "replace"}
    given = [pa.scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*given, "", **handling, null_replacement=missing or "")


def in_one(cells: Cells) -> memoryview:
    """Return the text of all rows, one after the other, as UTF-8; without a copy, and without nulls.

    >>> bytes(in_one(whole_cells(np.array([1, 23]))))
    b'123'
    """
    if not len(cells):
        return memoryview(b"")
    _, offsets, text = cells.buffers()
    first, last = np.frombuffer(offsets, np.int32)[[cells.offset, cells.offset + len(cells)]]
    return memoryview(text)[first:last]


def _quoted(texts: pd.Series | pd.Index) -> Cells:
    """Return texts in quotes; null for empty ones."""
    given = pa.array(texts.astype("str"), pa.string())
    if isinstance(given, pa.ChunkedArray):  # of tables that were put under each other
        given = given.combine_chunks()
    given = pc.if_else(pc.equal(given, ""), None, given)
    if pc.any(pc.match_substring_regex(given, ESCAPED)).as_py():
        return pa.array([text and orjson.dumps(text).decode() for text in given.to_pylist()], pa.string())
    return joined(['"', given, '"'], missing=None)
