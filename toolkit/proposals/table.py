"""The table of proposals: a row for each item that was asked about, with all that makes it traceable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.files import short_hash
from dinonat.proposals.abstain import REVIEW, Verdict
from dinonat.proposals.methods import VOTE
from dinonat.records import PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, Bool, Int64, as_table

OBJECT = "object"  # label of a region without labelled examples
FROM_ITEM = (
    "item", "image", "kind", "x", "y", "w", "h", "width", "height", "mask_counts", "objectness", "source",
    "prepare", "lo", "hi", "unit", *TEMPERATURE_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """What made the rows of one run, the same for all of them."""

    run: str
    set: str
    model: str  # fingerprint of the network
    features: str  # parts of the search vector and their weights


def proposal_name(run: str, item: str) -> str:
    """Return the id of what ``run`` proposes for an item, and of the label that people make of it."""
    return short_hash(run, item)


def became_labels(items: pd.DataFrame, labels: pd.DataFrame) -> Bool:
    """Mark the ``items`` (n,) whose proposal is one of ``labels`` (run, image, label_id) now.

    Wherever its box lies: a person may have moved it off the item.
    """
    marks: Bool = np.zeros(len(items), bool)
    for run, rows in labels[labels["run"] != ""].groupby("run"):
        there = np.flatnonzero(items["image"].isin(rows["image"]))
        names = [proposal_name(str(run), item) for item in items["item"].iloc[there]]
        marks[there] |= np.isin(names, rows["label_id"].to_list())
    return marks


def voted_rows(
    items: pd.DataFrame,
    said: Verdict,
    advice: Sequence[str],
    reasons: Sequence[str],
    *,
    names: Sequence[str],
    labelled: Sequence[str],
    k: int,
    origin: Origin,
) -> pd.DataFrame:
    """Return a row of PROPOSAL_COLUMNS for each of ``items`` (rows of ITEM_COLUMNS) from its verdict.

    ``names`` are the labels of the classes, "" for one that is no label (background); ``labelled``
    the item names of the bank: kept are the nearest ``k`` that voted, and of other methods than the vote the
    nearest ones of the class that won.
    """
    _, rows = said.near.nearest(k) if said.method == VOTE else said.near.of_class(said.winner)
    second = [names[c] if c >= 0 else "" for c in said.second]
    own = {
        "label": [names[c] for c in said.winner],
        "score": said.score,
        "margin": said.margin,
        "second": second,
        "similarity": said.similarity,
        "advice": list(advice),
        "reason": list(reasons),
        "cluster": np.full(len(items), -1),
        "neighbours": [list(dict.fromkeys(labelled[row] for row in each if row >= 0)) for each in rows],
        "method": np.where(said.score > 0, said.method, ""),
        "agree": said.agree,
    }
    return _table(items, own, origin)


def clustered_rows(items: pd.DataFrame, clusters: Int64, *, origin: Origin) -> pd.DataFrame:
    """Return a row of PROPOSAL_COLUMNS for each of ``items`` where nobody labelled anything.

    Regions are called ``object``, images ``cluster-NN``; their score is the objectness, NaN for images.
    """
    sizes = np.bincount(clusters)
    regions = (items["kind"] == "region").to_numpy()
    digits = max(2, len(str(len(sizes) - 1)))
    own = {
        "label": [
            OBJECT if region else f"cluster-{c:0{digits}}"
            for c, region in zip(clusters, regions, strict=True)
        ],
        "score": np.where(regions, items["objectness"], np.nan),
        "margin": np.full(len(items), np.nan),
        "second": [""] * len(items),
        "similarity": np.full(len(items), np.nan),
        "advice": [REVIEW] * len(items),
        "reason": [f"no labels: cluster {c} of {len(sizes)}, {sizes[c]} alike items" for c in clusters],
        "cluster": clusters,
        "neighbours": [[] for _ in range(len(items))],
        "method": [""] * len(items),
        "agree": [""] * len(items),
    }
    return _table(items, own, origin)


def _table(items: pd.DataFrame, own: dict[str, object], origin: Origin) -> pd.DataFrame:
    """Put together what comes from the items, from the vote and from the run."""
    columns = {
        **{name: items[name].to_numpy() for name in FROM_ITEM},
        **own,
        "proposal": [proposal_name(origin.run, item) for item in items["item"]],
        "status": ["proposed"] * len(items),
        "run": [origin.run] * len(items),
        "set": [origin.set] * len(items),
        "model": [origin.model] * len(items),
        "features": [origin.features] * len(items),
    }
    return as_table(pd.DataFrame(columns), PROPOSAL_COLUMNS)
