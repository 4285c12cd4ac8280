"""The labels that people gave, as rows beside what was proposed from them: both leave by one door."""

import numpy as np
import pandas as pd

from dinonat.geometry import clip_xywh
from dinonat.records import ACCEPTED, PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

GIVEN = "given"  # source and advice of such a row
FROM_IMAGE = ("width", "height", "prepare", "lo", "hi", "unit")


def as_rows(
    labels: pd.DataFrame, items: pd.DataFrame, *, set_name: str, boxes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return labels that people gave as rows of PROPOSAL_COLUMNS with status "accepted".

    ``labels`` has label_id, run ("" for what was drawn), image, kind, label, x, y, w, h, mask_counts.
    ``items`` (ITEM_COLUMNS) tells the sizes of the images; a label of an image that is not among the
    readable ones is left out. Temperatures of a whole image are those of its item, those of a box the
    ones of the same box among ``boxes`` (ITEM_COLUMNS), if anybody measured it. Score, margin and
    similarity are NaN: nobody voted. Without them the images that somebody labelled would leave as
    images with nothing in them.
    """
    images = items[(items["kind"] == "image") & (items["status"] == "ok")].drop_duplicates("image")
    facts = images[["image", *FROM_IMAGE]]
    rows = labels.merge(facts, on="image", how="inner", validate="many_to_one")
    sides = rows[list("xywh")].astype(float)
    measured = _measured(rows, images if boxes is None else pd.concat([images, boxes]))
    columns = {
        **{name: rows[name] for name in ("image", "kind", "label", "run", "mask_counts", *FROM_IMAGE)},
        **{side: sides[side] for side in "xywh"},
        **{name: measured[name].to_numpy() for name in TEMPERATURE_COLUMNS},
        "proposal": rows["label_id"],
        "item": rows["label_id"],
        "neighbours": [[] for _ in range(len(rows))],
        "reason": "labelled by a person",
        "advice": GIVEN,
        "source": GIVEN,
        "status": ACCEPTED,
        "set": set_name,
        "cluster": -1,
        **dict.fromkeys(("score", "margin", "similarity", "objectness"), np.nan),
        **dict.fromkeys(("second", "model", "features", "method"), ""),
    }
    return as_table(pd.DataFrame(columns, index=rows.index), PROPOSAL_COLUMNS)


def _measured(rows: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return the TEMPERATURE_COLUMNS of each row: those of the item with its image and its box.

    Items have their boxes cut to the image, in the precision of the table; so have the rows here.
    """
    key = ["image", *"xywh"]
    known = items[items["status"] == "ok"][[*key, *TEMPERATURE_COLUMNS]].drop_duplicates(key)
    sizes = rows[["height", "width"]].to_numpy(np.int64)
    cut = rows[list("xywh")].to_numpy(np.float64, copy=True)
    whole = np.isnan(cut[:, 0])
    cut[whole] = np.pad(sizes[whole, ::-1], ((0, 0), (2, 0)))  # an image's own box
    for height, width in np.unique(sizes, axis=0).tolist():
        own = (sizes == (height, width)).all(axis=1)
        cut[own] = clip_xywh(cut[own], (height, width))
    asked = pd.DataFrame(cut.astype(np.float32), columns=list("xywh")).assign(image=rows["image"].to_numpy())
    return asked.merge(known, on=key, how="left", validate="many_to_one")
