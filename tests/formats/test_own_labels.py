import numpy as np
import pandas as pd

from dinonat.formats.own_labels import as_rows
from dinonat.records import LABEL_COLUMNS, PROPOSAL_COLUMNS, as_table

ITEMS = pd.DataFrame(
    [
        {
            "image": "a.png",
            "kind": "image",
            "status": "ok",
            "width": 10,
            "height": 8,
            "prepare": "p",
            "lo": 1.0,
            "hi": 9.0,
            "unit": "grey",
        },
        {
            "image": "a.png",
            "kind": "region",
            "status": "ok",
            "width": 10,
            "height": 8,
            "prepare": "p",
            "lo": 1.0,
            "hi": 9.0,
            "unit": "grey",
        },
        {
            "image": "b.png",
            "kind": "image",
            "status": "failed",
            "width": 0,
            "height": 0,
            "prepare": "",
            "lo": np.nan,
            "hi": np.nan,
            "unit": "",
        },
    ]
)


def test_labels_become_rows_of_their_images() -> None:
    box = {"image": "a.png", "label": "car", "x": 1, "y": 2, "w": 3, "h": 4}
    whole = {"image": "a.png", "label": "night", "x": np.nan, "y": np.nan, "w": np.nan, "h": np.nan}
    labels = as_table([box, box, whole, {**box, "image": "b.png"}, {**box, "image": "c.png"}], LABEL_COLUMNS)
    rows = as_rows(labels, ITEMS, run="r", set_name="s")
    assert list(rows.columns) == list(PROPOSAL_COLUMNS)
    assert rows["label"].tolist() == ["car", "night"]
    assert rows["kind"].tolist() == ["region", "image"]
    assert rows.iloc[0][["x", "y", "w", "h", "width", "height"]].tolist() == [1, 2, 3, 4, 10, 8]
    assert set(rows["status"]) == {"accepted"}
    assert rows["score"].isna().all()
    assert rows["proposal"].is_unique
    assert rows.equals(as_rows(labels, ITEMS, run="r", set_name="s"))
    assert as_rows(labels.iloc[:0], ITEMS, run="r", set_name="s").empty
