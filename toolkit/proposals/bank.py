"""Labelled items as a bank of examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.neighbors.parts import Vectors
from dinonat.proposals.choose import Choice, choose
from dinonat.proposals.leave_out import recordings_of
from dinonat.records import PARTS, Int64


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


def choose_for(bank: Bank, *, kind: str, k: int, temperature: float | None = None) -> Choice:
    """Choose the weights of the parts for a bank, by `proposals.choose`."""
    groups, word = bank.groups
    return choose(bank.ready, bank.classes, groups, kind=kind, k=k, temperature=temperature, left_out=word)


def stacked(banks: Sequence[tuple[pd.DataFrame, Vectors]]) -> tuple[pd.DataFrame, Vectors]:
    """Put items and their parts under each other."""
    items = pd.concat([each for each, _ in banks], ignore_index=True)
    return items, {name: np.concatenate([ready[name] for _, ready in banks]) for name in PARTS}
