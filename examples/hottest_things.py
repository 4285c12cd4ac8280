"""List the proposed labels from the hottest to the coldest.

    python examples/hottest_things.py dinotool-workspace/proposals/RUN/proposals.parquet

`t_max` is the warmest pixel inside a label's mask (its box where it has none), `above` how far that lies
over the median there. `unit` says in what: degrees Celsius, counts of the camera, or grey levels of a
picture made for the eye. Different units cannot be compared, so each has its own part of the list.
"""

import sys
from pathlib import Path

import pandas as pd

import dinonat

COLUMNS = ["unit", "t_max", "above", "label", "score", "image", "x", "y", "w", "h"]


def hottest(proposals: pd.DataFrame) -> pd.DataFrame:
    """Return COLUMNS of the labels that were measured and not left unknown, hottest first in each unit."""
    labels = proposals[(proposals["advice"] != "unknown") & proposals["t_max"].notna()]
    table = labels.assign(above=labels["t_max"] - labels["t_median"])[COLUMNS]
    by = ["unit", "t_max", "image", "x", "y"]
    return table.sort_values(by, ascending=[True, False, True, True, True])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    hottest(dinonat.read_proposals(file)).to_csv(sys.stdout, index=False, float_format="%.2f")
