"""What is known of each label beside its class, box and mask, as dicts for orjson.

Numbers keep every digit: float32 stays float32, which orjson (OPT_SERIALIZE_NUMPY) writes with the fewest
digits that give it back.
"""

from typing import Any

import numpy as np
import pandas as pd

from dinonat.formats.handover import NUMBERS, TEXTS

Facts = dict[str, Any]


def label_facts(labels: pd.DataFrame, *, without: tuple[str, ...] = ()) -> list[Facts]:
    """Return TEXTS, NUMBERS and cluster of each label; what does not exist is left out.

    ``without`` names facts that the format says elsewhere.
    """
    columns: list[tuple[str, list[Any]]] = [
        *((name, _texts(labels[name])) for name in TEXTS if name not in without),
        *((name, numbers(labels[name])) for name in NUMBERS if name not in without),
        ("cluster", [c if c >= 0 else None for c in labels["cluster"].tolist()]),
    ]
    known = [(name, cells) for name, cells in columns if any(cell is not None for cell in cells)]
    if not known:
        return [{} for _ in range(len(labels))]
    names = [name for name, _ in known]
    rows = zip(*(cells for _, cells in known), strict=True)
    return [{n: cell for n, cell in zip(names, row, strict=True) if cell is not None} for row in rows]


def numbers(column: pd.Series) -> list[Any]:
    """Return the finite numbers of a column as float32, or else float; None where there is none."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    there = np.isfinite(values)
    if not there.any():
        return [None] * len(values)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    exact = (narrow[there] == values[there]).all()  # float32 that was widened on the way
    cells = list(narrow) if exact else values.tolist()
    return cells if there.all() else [c if good else None for c, good in zip(cells, there, strict=True)]


def _texts(column: pd.Series) -> list[str | None]:
    """Return the texts of a column, None for empty ones."""
    return [cell if isinstance(cell, str) and cell else None for cell in column.tolist()]
