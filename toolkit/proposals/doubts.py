"""What to look at before labelling more: what is like nothing else, what is there twice, doubtful labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dinonat.neighbors.exact import Groups
from dinonat.neighbors.graph import Graph, Search, most_of_own
from dinonat.proposals.votes import balanced_vote, nearest_per_class
from dinonat.records import Bool, Float32, Int64, as_table

DOUBT_COLUMNS = {
    "doubt": "str",  # OUTLIER, DUPLICATE or LABEL
    "item": "str",
    "image": "str",
    "kind": "str",
    **dict.fromkeys("xywh", "float32"),
    "group": "int32",  # of duplicates, from 0; else -1
    "label": "str",  # what a person said; "" where nobody did
    "other": "str",  # the image it repeats, or the label that its neighbours suggest
    "value": "float32",  # cosine to the 5th neighbour or to what it repeats; support of label / other
}
OUTLIER, DUPLICATE, LABEL = "outlier", "duplicate", "label"

FENCE = 1.5  # Tukey's: interquartile ranges beyond the third quartile
MOST = 200  # rows of a list; more are counted, and nobody reads them
SAME = 0.98  # cosine of what shows the same thing again
PASSES = 200  # pictures of one chain of likeness that others may repeat; bounds the time
TRUSTED = 0.5  # share of the labels that the vote must find again before it may doubt others
VOTERS, TEMPERATURE = 5, 0.1  # of each class, where labels are doubted


class Doubts(NamedTuple):
    """One list: DOUBT_COLUMNS, most doubtful first, and a sentence that says what it holds."""

    table: pd.DataFrame
    sentence: str


def outliers(items: pd.DataFrame, graph: Graph) -> Doubts:
    """List the items that are far from all others; ``items`` (ITEM_COLUMNS) are the rows of ``graph``.

    By the distance 1 - cosine to the k // 3-th neighbour (the k-th in Sun et al. 2022; but of a recording
    that is like no other, a row has that many neighbours only). Far is beyond Tukey's fence, the third
    quartile of all distances and 1.5 interquartile ranges more. Farthest first, at most 200.
    """
    place = most_of_own(graph.k) - 1
    known = np.isfinite(graph.similarity[:, place])
    distance = np.where(known, 1 - graph.similarity[:, place], -np.inf)
    if not known.any():
        return Doubts(_table(items, np.zeros(0, np.int64), OUTLIER), "Nothing to compare items with.")
    low, high = np.quantile(distance[known], [0.25, 0.75])
    fence = float(high + FENCE * (high - low))
    # Quartiles of many equal distances lie on each other, and rounding is not far.
    far = np.flatnonzero(distance > fence + 1e-4)
    order = far[np.lexsort((far, -distance[far]))]
    table = _table(items, order[:MOST], OUTLIER, value=1 - distance[order[:MOST]])
    return Doubts(
        table,
        f"{len(far):,} of {_counted(items)} {'is' if len(far) == 1 else 'are'} like nothing else: less than "
        f"{1 - fence:.2f} alike to the neighbour number {place + 1}.{_cut(len(far))}",
    )


def near_duplicates(items: pd.DataFrame, graph: Graph, vectors: Float32, *, same: float = SAME) -> Doubts:
    """List the items that repeat an earlier one: cosine of at least ``same`` to it, and to nothing before.

    ``vectors`` (n, D), unit rows, are those of ``items`` and of the ``graph``, whose edges say what may
    repeat what. Of each group the first item is kept and not listed: every other is that like it, so a
    slow drift over many frames is several groups, not one. Largest group first; all of them are listed.
    """
    kept = _kept(graph, vectors, same)
    rows = np.flatnonzero(kept != np.arange(len(kept)))
    firsts, inverse, sizes = np.unique(kept[rows], return_inverse=True, return_counts=True)
    rank = np.empty(len(firsts), np.int64)
    rank[np.lexsort((firsts, -sizes))] = np.arange(len(firsts))
    order = np.lexsort((rows, rank[inverse]))
    rows, group = rows[order], rank[inverse][order]
    value = (vectors[rows] * vectors[kept[rows]]).sum(axis=1)
    images = items["image"].to_numpy()
    table = _table(items, rows, DUPLICATE, group=group, other=images[kept[rows]], value=value)
    if not len(rows):
        return Doubts(table, f"None of {_counted(items)} repeats another one (cosine of at least {same:g}).")
    return Doubts(
        table,
        f"{len(rows):,} of {_counted(items)} {'repeats' if len(rows) == 1 else 'repeat'} another one (cosine "
        f"of at least {same:g}), in {len(firsts):,} group{'' if len(firsts) == 1 else 's'}: label one "
        "of each.",
    )


def label_errors(
    items: pd.DataFrame,
    labels: Sequence[int] | Int64,
    names: Sequence[str],
    shares: Float32,
    *,
    given_by_people: Bool | None = None,
) -> Doubts:
    """List labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021).

    ``items`` (n rows) have ``labels`` (n,), numbers of ``names``; ``shares`` (n, C) are each class's share
    when the item and its recording have no say (`vote_shares`). A class is believed of an item whose share
    reaches the mean share of that class among the items labelled so; an item is listed where the most
    believed class is not its label. First where label / other is least, both in parts of their thresholds:
    on thermal_modules with every twentieth label turned, of as many listed first as were turned 45 % are,
    by the difference of the shares 39 %. Only rows ``given_by_people`` (n,) are listed and counted, None:
    all; what was taken for an example beside them (background, say) is no label that anybody could correct.
    Where the vote finds less than half of the labels again, nothing is listed: it is the vote that errs.
    """
    given = np.asarray(labels, np.int64)
    rows, every = np.arange(len(given)), np.arange(len(names))
    usual = np.array([shares[given == c, c].mean() if (given == c).any() else np.inf for c in every])
    support = shares / np.where(usual > 0, usual, np.inf)
    believed = np.where(support >= 1, shares, -1.0)
    other = believed.argmax(axis=1)
    asked = np.ones(len(given), bool) if given_by_people is None else given_by_people
    again = float((shares[asked].argmax(axis=1) == given[asked]).mean()) if asked.any() else 0.0
    if again < TRUSTED:
        return Doubts(
            _table(items, np.zeros(0, np.int64), LABEL),
            f"No label is doubted: alike items find {again:.0%} of the labels again, too few to doubt any.",
        )
    doubted = np.flatnonzero((believed.max(axis=1, initial=-1) >= 0) & (other != given) & asked)
    own, its = support[rows, given][doubted], support[rows, other][doubted]
    order = np.lexsort((doubted, -its, own / its))
    doubted, value = doubted[order][:MOST], (own / its)[order][:MOST]
    said = np.array(names, object)
    table = _table(items, doubted, LABEL, label=said[given[doubted]], other=said[other[doubted]], value=value)
    return Doubts(
        table,
        f"{len(order):,} of {int(asked.sum()):,} labels {'is' if len(order) == 1 else 'are'} in doubt: "
        f"items that are alike have another one. The first are the most doubtful; many of the last are right."
        f"{_cut(len(order))}",
    )


def vote_shares(
    vectors: Float32, classes: Int64, groups: Int64, *, n_classes: int, search: Search
) -> Float32:
    """Return the shares (n, n_classes) of the class-balanced vote on labelled items, none for its own group.

    ``vectors`` (n, D), unit rows, with ``classes`` and ``groups`` (n,). Five items of a class vote, at a
    temperature of 0.1: that finds more wrong labels than what is best for new items.
    """
    exclude: Groups = (groups, groups)
    near = nearest_per_class(
        vectors,
        classes,
        vectors,
        n_classes=n_classes,
        k=VOTERS * n_classes,
        search=search,
        exclude=exclude,
    )
    return balanced_vote(near.similarity, temperature=TEMPERATURE)


def together(lists: Sequence[Doubts]) -> pd.DataFrame:
    """Put lists under each other, as one table of DOUBT_COLUMNS."""
    filled = [each.table for each in lists if len(each.table)]
    return pd.concat(filled, ignore_index=True) if filled else as_table([], DOUBT_COLUMNS)


def _kept(graph: Graph, vectors: Float32, same: float) -> Int64:
    """Return, for each row, the earlier row that it repeats, or itself."""
    kept = np.arange(len(graph))
    rows, places = np.nonzero(graph.similarity >= same)
    edges = coo_array((np.ones(len(rows)), (rows, graph.index[rows, places])), shape=(len(kept), len(kept)))
    chains = connected_components(edges, directed=False)[1]
    linked = np.zeros(len(kept), bool)
    linked[rows], linked[graph.index[rows, places]] = True, True
    members = np.flatnonzero(linked)
    members = members[np.argsort(chains[members], kind="stable")]
    borders = np.flatnonzero(np.diff(chains[members])) + 1
    for left in np.split(members, borders) if len(members) else []:
        for _ in range(PASSES):
            if len(left) < 2:
                break
            alike = (vectors[left] * vectors[left[0]]).sum(axis=1) >= same
            alike[0] = True
            kept[left[alike]] = left[0]
            left = left[~alike]
    return kept


def _counted(items: pd.DataFrame) -> str:
    """Say how many ``items`` there are, and of what kind where they are of one."""
    kinds = items["kind"].unique()
    word = kinds[0] if len(kinds) == 1 else "item"
    return f"{len(items):,} {word}{'' if len(items) == 1 else 's'}"


def _cut(count: int) -> str:
    return f" The first {MOST} are listed." if count > MOST else ""


def _table(items: pd.DataFrame, rows: Int64, doubt: str, **own: object) -> pd.DataFrame:
    """Return DOUBT_COLUMNS of some rows of the items."""
    taken = items.iloc[rows][["item", "image", "kind", *"xywh"]].reset_index(drop=True)
    rest = {"doubt": doubt, "group": -1, "label": "", "other": "", "value": np.nan, **own}
    return as_table(taken.assign(**rest), DOUBT_COLUMNS)  # type: ignore[arg-type]
