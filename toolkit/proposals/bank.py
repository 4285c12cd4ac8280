"""Labelled items as a bank of examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dinonat.neighbors.parts import Vectors
from dinonat.proposals.choose import Choice, choose
from dinonat.proposals.leave_out import recordings_of
from dinonat.records import PARTS, Float32, Int64


@dataclass(frozen=True, eq=False)
class Bank:
    """Labelled items: row i of all fields is the same one."""

    items: pd.DataFrame  # ITEM_COLUMNS
    ready: Vectors  # part -> (n, d), centred on the set, unit rows
    classes: Int64  # (n,) number in `names`
    names: tuple[str, ...]
    background: str | None = None  # the one of `names` whose examples are nothing
    bare: Vectors | None = None  # part -> (n, d) not centred, unit rows, where that is to be compared

    @property
    def groups(self) -> tuple[Int64, str]:
        """What is left out together, and the word for it."""
        return recordings_of(self.items)


def make_bank(
    items: pd.DataFrame,
    ready: Vectors,
    labels: Sequence[str],
    *,
    background: str | None = None,
    bare: Vectors | None = None,
) -> Bank:
    """Return a bank with ``labels`` (n,) numbered by name, ``background`` last: a tie goes to a thing."""
    names = tuple(sorted(set(labels) - {background}))
    if background is not None and background in labels:
        names = (*names, background)
    else:
        background = None
    number = {name: i for i, name in enumerate(names)}
    classes = np.array([number[label] for label in labels], dtype=np.int64)
    return Bank(items.reset_index(drop=True), ready, classes, names, background, bare)


def choose_for(bank: Bank, *, kind: str, k: int, temperature: float | None = None) -> Choice:
    """Choose the weights of the parts for a bank, by `proposals.choose`."""
    groups, word = bank.groups
    return choose(
        bank.ready,
        bank.classes,
        groups,
        kind=kind,
        k=k,
        temperature=temperature,
        left_out=word,
        bare=bank.bare,
    )


def settled(bank: Bank, *, centred: bool) -> Bank:
    """Return the bank with the vectors that were chosen, centred or not, and no others."""
    return replace(bank, ready=bank.ready if centred or bank.bare is None else bank.bare, bare=None)


def of_rows(bank: Bank, rows: Int64) -> Bank:
    """Return the bank of some of the items; the names of the classes stay, whoever is left of them."""
    items = bank.items.iloc[rows].reset_index(drop=True)
    ready = {name: part[rows] for name, part in bank.ready.items()}
    return replace(bank, items=items, ready=ready, classes=bank.classes[rows], bare=None)


def stacked(parts: Sequence[Vectors]) -> dict[str, Float32]:
    """Put the parts of items under those of others."""
    return {name: np.concatenate([ready[name] for ready in parts]) for name in PARTS}
