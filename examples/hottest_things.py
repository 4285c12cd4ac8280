"""List the proposed labels by the hottest pixel inside each box.

    python examples/hottest_things.py dinotool-workspace/proposals/RUN/proposals.parquet thermal/

The proposals know where things are; the files know how warm they are. Values are what the file holds
(`unit` says which: kelvin, celsius, counts of the camera, or grey levels), not what a network saw.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import dinonat


def hottest(proposals: pd.DataFrame, images: Path) -> pd.DataFrame:
    """Return image, label, score, box and the hottest value inside it, hottest first."""
    boxes = proposals[(proposals["kind"] == "region") & (proposals["advice"] != "unknown")]
    rows = []
    for name, group in boxes.groupby("image"):
        frame = dinonat.read_thermal(images / str(name))
        for row in group.itertuples():
            left, top = int(row.x), int(row.y)
            right, bottom = int(np.ceil(row.x + row.w)), int(np.ceil(row.y + row.h))
            rows.append(
                {
                    "image": name,
                    "label": row.label,
                    "score": round(float(row.score), 3),
                    "x": row.x,
                    "y": row.y,
                    "w": row.w,
                    "h": row.h,
                    "hottest": float(np.nanmax(frame.data[top:bottom, left:right])),
                    "unit": frame.unit,
                }
            )
    columns = ["image", "label", "score", "x", "y", "w", "h", "hottest", "unit"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["hottest", "image", "x", "y"], ascending=[False, True, True, True])


if __name__ == "__main__":
    file, folder = map(Path, sys.argv[1:3])
    hottest(dinonat.read_proposals(file), folder).to_csv(sys.stdout, index=False)
