"""Labelled items as a bank of examples: what they decide once, and their votes on everything else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.neighbors.parts import Vectors, Weights, joined
from dinonat.proposals.abstain import Thresholds, Verdict, advise, comparable, thresholds, verdict
from dinonat.proposals.choose import Choice, choose
from dinonat.proposals.leave_out import recordings_of
from dinonat.proposals.table import Origin, voted_rows
from dinonat.proposals.votes import Search, nearest_per_class
from dinonat.records import PARTS, Float32, Int64

Chunk = tuple[pd.DataFrame, Vectors]  # rows of ITEM_COLUMNS and their parts, centred


@dataclass(frozen=True, eq=False)
class Bank:
    """Labelled items: row i of all fields is the same one."""

    items: pd.DataFrame  # ITEM_COLUMNS
    ready: Vectors  # part -> (n, d), centred on the set, unit rows
    classes: Int64  # (n,) number in `names`
    names: tuple[str, ...]
    background: str | None = None  # the one of `names` whose examples are nothing

    @property
    def groups(self) -> tuple[Int64, str]:
        """What is left out together, and the word for it."""
        return recordings_of(self.items)


@dataclass(frozen=True)
class Voting:
    """How the bank votes."""

    k: int = 20
    temperature: float = 0.07
    abstain: float = 0.1  # share of the labelled items that would be left unknown for their likeness


def make_bank(
    items: pd.DataFrame, ready: Vectors, labels: Sequence[str], *, background: str | None = None
) -> Bank:
    """Return a bank with ``labels`` (n,) numbered by name, ``background`` last: a tie goes to a thing."""
    names = tuple(sorted(set(labels) - {background}))
    if background is not None and background in labels:
        names = (*names, background)
    else:
        background = None
    number = {name: i for i, name in enumerate(names)}
    classes = np.array([number[label] for label in labels], dtype=np.int64)
    return Bank(items.reset_index(drop=True), ready, classes, names, background)


def choose_for(bank: Bank, *, kind: str, voting: Voting) -> Choice:
    """Choose the weights of the parts for a bank, by `proposals.choose`."""
    groups, word = bank.groups
    return choose(
        bank.ready,
        bank.classes,
        groups,
        kind=kind,
        k=voting.k,
        temperature=voting.temperature,
        left_out=word,
    )


def limits_of(bank: Bank, vectors: Float32, *, voting: Voting, search: Search) -> Thresholds:
    """Return below what the bank leaves an item unknown, from the votes among its own items."""
    groups, _ = bank.groups
    return thresholds(
        _verdict(bank, vectors, vectors, voting, search, exclude=(groups, groups)),
        len(bank.names),
        share=voting.abstain,
    )


def vote_on(
    bank: Bank,
    chunks: Iterable[Chunk],
    weights: Weights,
    *,
    voting: Voting,
    search: Search,
    origin: Origin,
) -> tuple[pd.DataFrame, Thresholds]:
    """Return the proposals for the items of ``chunks`` (PROPOSAL_COLUMNS) and the thresholds they met."""
    vectors = joined(bank.ready, weights)
    limits = limits_of(bank, vectors, voting=voting, search=search)
    names = ["" if name == bank.background else name for name in bank.names]
    labelled = bank.items["item"].to_list()
    tables = []
    for items, ready in chunks:
        said = _verdict(bank, vectors, joined(ready, weights), voting, search)
        advice, reasons = advise(said, limits, bank.names, background=bank.background)
        tables.append(
            voted_rows(
                items, said, advice, reasons, names=names, labelled=labelled, k=voting.k, origin=origin
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), limits


def _verdict(
    bank: Bank,
    vectors: Float32,
    queries: Float32,
    voting: Voting,
    search: Search,
    *,
    exclude: tuple[Int64, Int64] | None = None,
) -> Verdict:
    near = nearest_per_class(
        vectors,
        bank.classes,
        queries,
        n_classes=len(bank.names),
        k=voting.k,
        search=search,
        exclude=exclude,
    )
    compared = comparable(bank.classes, bank.groups[0], n_classes=len(bank.names), k=voting.k)
    return verdict(near, compared=compared, temperature=voting.temperature)


def stacked(banks: Sequence[tuple[pd.DataFrame, Vectors]]) -> tuple[pd.DataFrame, Vectors]:
    """Put items and their parts under each other."""
    items = pd.concat([each for each, _ in banks], ignore_index=True)
    return items, {name: np.concatenate([ready[name] for _, ready in banks]) for name in PARTS}
