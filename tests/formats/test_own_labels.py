from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat.formats.own_labels import as_rows
from dinonat.records import ITEM_COLUMNS, LABEL_COLUMNS, PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

BOX = {"image": "a.png", "label": "car", "x": 1, "y": 2, "w": 3, "h": 4}
WHOLE = {"image": "a.png", "label": "night", "x": np.nan, "y": np.nan, "w": np.nan, "h": np.nan}


def item(image: str, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    x, y, w, h = box
    blank = {name: "" if kind in ("str", "object") else np.nan for name, kind in ITEM_COLUMNS.items()}
    return {
        **blank, "image": image, "kind": "image", "status": "ok", "x": x, "y": y, "w": w, "h": h,
        "width": 10, "height": 8, "prepare": "p", "lo": 1.0, "hi": 9.0, "unit": "celsius", **more,
    }  # fmt: skip


ITEMS = as_table(
    [
        item("a.png", (0, 0, 10, 8), t_max=9.5),
        item("a.png", (0, 0, 4, 4), kind="region", t_max=5.0),
        item("b.png", (0, 0, 0, 0), status="failed", width=0, height=0),
        item("c.png", (0, 0, 20, 6), width=20, height=6, t_max=7.5),
    ],
    ITEM_COLUMNS,
)


def labels_of(*rows: dict[str, Any]) -> pd.DataFrame:
    kinds = ["region" if row["x"] == row["x"] else "image" for row in rows]
    facts = {"label_id": [f"id{i}" for i in range(len(rows))], "run": "", "kind": kinds}
    return as_table(list(rows), LABEL_COLUMNS).assign(**facts, mask_counts=[(4,)] * len(rows))


def test_labels_become_rows_of_their_images() -> None:
    labels = labels_of(BOX, WHOLE, {**BOX, "image": "b.png"}, {**BOX, "image": "d.png"})
    rows = as_rows(labels, ITEMS, set_name="s")
    assert list(rows.columns) == list(PROPOSAL_COLUMNS)
    assert rows["label"].tolist() == ["car", "night"]
    assert rows["kind"].tolist() == ["region", "image"]
    assert rows.iloc[0][["x", "y", "w", "h", "width", "height"]].tolist() == [1, 2, 3, 4, 10, 8]
    assert rows["lo"].tolist() == [1, 1]
    assert set(rows["status"]) == {"accepted"}
    assert rows["score"].isna().all()
    assert rows["proposal"].tolist() == rows["item"].tolist() == ["id0", "id1"]
    assert rows["mask_counts"].tolist() == [(4,), (4,)]
    assert rows.equals(as_rows(labels, ITEMS, set_name="s"))
    assert as_rows(labels.iloc[:0], ITEMS, set_name="s").empty


def test_temperatures_are_those_of_the_image_and_of_the_very_same_box() -> None:
    third = {"image": "c.png", "label": "car", "x": -1.7, "y": 0.1, "w": 30, "h": 2.3}
    labels = labels_of(BOX, WHOLE, third, {**BOX, "x": 2}, {**WHOLE, "image": "c.png"})
    boxes = as_table(
        [
            item("a.png", (1, 2, 3, 4), kind="region", t_max=3.25),
            item("a.png", (2, 2, 3, 4), kind="region", t_max=99.0, status="failed"),
            item("c.png", (0, 0.1, 20, 2.3), kind="region", t_max=4.25),  # cut, as embedding stores it
        ],
        ITEM_COLUMNS,
    )
    rows = as_rows(labels, ITEMS, set_name="s", boxes=boxes)
    assert rows["t_max"].tolist() == pytest.approx([3.25, 9.5, 4.25, np.nan, 7.5], nan_ok=True)
    alone = as_rows(labels, ITEMS, set_name="s")
    assert alone["t_max"].tolist() == pytest.approx([np.nan, 9.5, np.nan, np.nan, 7.5], nan_ok=True)
    assert alone[list(TEMPERATURE_COLUMNS)].dtypes.eq("float32").all()
