"""The facts of all images as a table, one row each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dinonat.records import as_table
from dinonat.survey.finding import Finding, Seen

if TYPE_CHECKING:
    import pandas as pd  # half a second to load, which decoding processes need not pay

FACT_COLUMNS = {
    "image": "str",
    "status": "str",  # "ok" or "failed"
    "reason": "str",
    "bytes": "int64",
    "format": "str",
    "unit": "str",  # "celsius", "counts" or "grey"
    "look": "str",  # "grey", "false colour" or "photograph"
    "polarity": "str",
    "width": "int32",
    "height": "int32",
    "depth": "int32",  # bits that the values really use
    "camera": "str",
    "taken": "str",
    "min": "float32",  # in ``unit``
    "p1": "float32",
    "median": "float32",
    "p99": "float32",
    "max": "float32",
    "cut_low": "float32",  # share of the pixels in a plateau at the lower end
    "cut_high": "float32",
    "missing": "float32",  # share of the pixels without data
    "out_of_range": "float32",  # share beyond the calibrated range
    "flat": "bool",
    "kind": "int32",  # number of its kind in the table of kinds; 0 where it cannot be read
    "recording": "str",
    "findings": "object",  # list[str]: keys of the findings that name it
    "warnings": "object",  # list[str]: what its reader noticed
}


def fact_table(seen: Seen, findings: Sequence[Finding]) -> "pd.DataFrame":
    """Return FACT_COLUMNS for every image, in the order of the survey."""
    kinds = {image: group.number for group in seen.groups for image in group.images}
    named: dict[str, list[str]] = {}
    for finding in findings:
        for image in finding.images:
            named.setdefault(image, []).append(finding.key)
    rows: list[dict[str, Any]] = []
    for fact, recording in zip(seen.facts, seen.recordings.of, strict=True):
        levels = fact.levels
        row = {column: getattr(fact, column) for column in FACT_COLUMNS if hasattr(fact, column)}
        row |= {name: getattr(levels, name) for name in ("median", "cut_low", "cut_high", "missing")}
        row |= {"min": levels.least, "p1": levels.low, "p99": levels.high, "max": levels.most}
        row |= {"status": "failed" if fact.reason else "ok", "kind": kinds.get(fact.image, 0)}
        row |= {"recording": "" if fact.reason else recording, "warnings": list(fact.warnings)}
        rows.append(row | {"findings": named.get(fact.image, [])})
    return as_table(rows, FACT_COLUMNS)
