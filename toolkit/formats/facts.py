"""What is known of each label beside its class, box and mask, as dicts that JSON can hold."""

from typing import Any

import numpy as np
import pandas as pd

from dinonat.formats.handover import NUMBERS, TEXTS
from dinonat.records import TEMPERATURE_COLUMNS

Facts = dict[str, str | float | int]


def label_facts(labels: pd.DataFrame, *, without: tuple[str, ...] = ()) -> list[Facts]:
    """Return TEXTS, NUMBERS and cluster of each label; what does not exist is left out.

    Numbers have six decimals, temperatures two: hundredths of their ``unit``. ``without`` names facts
    that the format says elsewhere.
    """
    columns: list[tuple[str, list[Any]]] = [
        *((name, _texts(labels[name])) for name in TEXTS if name not in without),
        *((name, _numbers(labels[name], name)) for name in NUMBERS if name not in without),
    ]
    if "cluster" not in without:
        columns.append(("cluster", [c if c >= 0 else None for c in labels["cluster"].tolist()]))
    known = [(name, cells) for name, cells in columns if any(cell is not None for cell in cells)]
    names = [name for name, _ in known]
    if not known:
        return [{} for _ in range(len(labels))]
    rows = zip(*(cells for _, cells in known), strict=True)
    return [{n: cell for n, cell in zip(names, row, strict=True) if cell is not None} for row in rows]


def scores(labels: pd.DataFrame) -> list[float | None]:
    """Return the score of each label with six decimals, None where there is none."""
    return _numbers(labels["score"], "score")


def _texts(column: pd.Series) -> list[str | None]:
    """Return the texts of a column, None for empty ones."""
    return [str(cell) if isinstance(cell, str) and cell else None for cell in column.tolist()]


def _numbers(column: pd.Series, name: str) -> list[float | None]:
    """Return the finite numbers of a column, rounded, None for the others."""
    values = column.to_numpy(np.float64, na_value=np.nan).round(2 if name in TEMPERATURE_COLUMNS else 6)
    if not np.isfinite(values).any():
        return [None] * len(values)
    return [value if abs(value) < np.inf else None for value in values.tolist()]
