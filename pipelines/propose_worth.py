"""Whether regions are worth a look, by proposing for the labelled images as if nobody had labelled them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.neighbors.index import search
from dinonat.pipelines.propose_graph import chunks
from dinonat.proposals.abstain import REVIEW
from dinonat.proposals.bank import Bank
from dinonat.proposals.box_scale import Scales, corrected
from dinonat.proposals.deciding import Decided, Net, narrowed, propose
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.objects import ranked, without_repeats
from dinonat.proposals.table import Origin
from dinonat.proposals.worth import Worth, gains, worth
from dinonat.records import Bool, Int64

FOLDS = 5  # parts of the labelled recordings (or images) that are left out in turn
FEWEST = 20  # regions by which the question is settled


def worth_of(
    known: EmbeddingSet,
    boxes: pd.DataFrame,
    usable: Bool,
    complete: Bool,
    about: Decided,
    net: Net | None,
    scales: Scales,
    *,
    alpha: float,
    overlap: float,
) -> Worth | None:
    """Return from which score on regions are worth showing; None where the labels are too few to tell.

    ``usable`` marks the rows of the set with regions, ``complete`` those of images whose things are all
    among ``boxes``: only there it shows what a proposal is worth.
    What is settled by leaving labels out (`deciding.narrowed`) is as all labels have settled it.
    """
    tables = []
    for kept, asked in _folds(known, usable & complete, about.bank):
        if len(np.unique(about.bank.classes[kept])) < 2:
            continue
        own = narrowed(about, kept, net=net, alpha=alpha)
        rows = chunks(known, asked, "region", usable)
        table = propose(own, rows, search=search, origin=Origin("", "", "", ""))
        if len(table):
            tables.append(without_repeats(ranked(corrected(table, scales)), overlap=overlap))
    every = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"advice": []})
    review = every[every["advice"] == REVIEW]
    if len(review) < FEWEST:
        return None
    return worth(review["score"].to_numpy(np.float64), gains(review, boxes))


def _folds(known: EmbeddingSet, usable: Bool, bank: Bank) -> Iterator[tuple[Int64, Bool]]:
    """Yield the rows of the bank that stay and the regions of the set asked about, whole recordings apart.

    Asked about are the ``usable`` ones of the images of the bank.
    """
    items = known.items
    there = np.flatnonzero(usable & items["image"].isin(bank.items["image"]).to_numpy())
    groups, _ = recordings_of(items.iloc[there])
    numbers = np.unique(groups, return_inverse=True)[1] % FOLDS
    for fold in np.unique(numbers):
        asked = np.zeros(len(items), bool)
        asked[there[numbers == fold]] = True
        yield np.flatnonzero(~bank.items["image"].isin(items["image"][asked]).to_numpy()), asked
