"""The labels that people gave, as rows beside what was proposed from them: both leave by one door."""

import numpy as np
import pandas as pd

from dinonat.files import short_hash
from dinonat.records import PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

GIVEN = "given"  # source and advice of such a row
ACCEPTED = "accepted"  # its status
FROM_IMAGE = ("width", "height", "prepare", "lo", "hi", "unit")


def as_rows(labels: pd.DataFrame, items: pd.DataFrame, *, run: str, set_name: str) -> pd.DataFrame:
    """Return labels (LABEL_COLUMNS) as rows of PROPOSAL_COLUMNS with status "accepted".

    ``items`` (ITEM_COLUMNS) tells the sizes of the images; a label of an image that is not among the
    readable ones is left out. Score, margin and similarity are NaN: nobody voted. Without them the
    images that somebody labelled would leave as images with nothing in them.
    """
    images = items[(items["kind"] == "image") & (items["status"] == "ok")].drop_duplicates("image")
    facts = images[["image", *FROM_IMAGE]]
    rows = labels.drop_duplicates().merge(facts, on="image", how="inner", validate="many_to_one")
    sides = rows[["x", "y", "w", "h"]].astype(float)
    names = [
        short_hash(run, GIVEN, image, label, box)
        for image, label, box in zip(rows["image"], rows["label"], sides.to_numpy().tolist(), strict=True)
    ]
    whole = sides["x"].isna()
    empty: list[list[str]] = [[] for _ in names]
    columns = {
        **{name: rows[name] for name in ("image", "label", *FROM_IMAGE)},
        **{side: sides[side] for side in "xywh"},
        "kind": np.where(whole, "image", "region"),
        "proposal": names,
        "item": names,
        "mask_counts": empty,
        "neighbours": empty,
        "reason": "labelled by a person",
        "advice": GIVEN,
        "source": GIVEN,
        "status": ACCEPTED,
        "run": run,
        "set": set_name,
        "cluster": -1,
        **dict.fromkeys(("score", "margin", "similarity", "objectness", *TEMPERATURE_COLUMNS), np.nan),
        **dict.fromkeys(("second", "model", "features"), ""),
    }
    return as_table(pd.DataFrame(columns, index=rows.index), PROPOSAL_COLUMNS)
