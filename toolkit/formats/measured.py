"""In which units labels were measured, said in words: a number without its unit misleads."""

from collections.abc import Mapping

import pandas as pd

from dinonat.formats.where import columns_of
from dinonat.records import TEMPERATURE_COLUMNS

UNMEASURED = "not measured"
IN_WORDS = {
    "celsius": "in celsius",
    "counts": "in counts",
    "grey": "only in grey levels",
    UNMEASURED: "not measured",
}


def units_of(labels: pd.DataFrame) -> dict[str, int]:
    """Return how many labels (PROPOSAL_COLUMNS) have temperatures in which unit, degrees first."""
    units = labels["unit"].astype("str").where(labels["t_max"].notna(), UNMEASURED)
    counts = units.value_counts()
    return {unit: int(counts[unit]) for unit in IN_WORDS if unit in counts}


def units_text(units: Mapping[str, int]) -> str:
    """Write such counts for people.

    >>> units_text({"celsius": 120, "counts": 3, "not measured": 1})
    '120 labels in celsius, 3 in counts, 1 not measured'
    """
    parts = [f"{count} {IN_WORDS[unit]}" for unit, count in units.items()]
    first, _, rest = ", ".join(parts).partition(" ")
    return f"{first} labels {rest}" if parts else "none"


def mixed_units(labels: pd.DataFrame, expression: str) -> list[str]:
    """Return a sentence where ``--where`` compares degrees, counts and grey levels with one number.

    ``labels`` are those that the expression chooses from. None is needed where it asks for the unit.
    """
    named = columns_of(expression)
    if "unit" in named or not named & TEMPERATURE_COLUMNS.keys():
        return []
    units = units_of(labels[labels["t_max"].notna()])
    if len(units) < 2:
        return []
    return [
        f"--where {expression}: chose from {units_text(units)}, all compared with the same numbers. Add to "
        "it, say, unit == 'celsius'."
    ]
