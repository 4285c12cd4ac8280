"""What both linear classifiers share: whom they may be asked about, and their table."""

from collections.abc import Sequence
from dataclasses import dataclass

from dinonat.errors import LabelError, UsageError
from dinonat.evaluation.intervals import Measured
from dinonat.evaluation.samples import Basis, Sample, Task, task_of
from dinonat.records import Int64

COMMAND = "evaluate linear"
FOLDS = 5  # recordings are left out in so many parts


@dataclass(frozen=True)
class Linear(Measured):
    """One row of the table, in percent."""

    name: str  # as asked for
    features: str  # the weights behind it
    chosen: tuple[float, ...]  # what was chosen on the gallery for each part of the queries: C, or a rate


@dataclass(frozen=True)
class LinearTable(Basis):
    """The table and what it stands on."""

    rows: tuple[Linear, ...]
    folds: int  # classifiers that answered for a row, each without what it was asked about


def checked_task(gallery: Sample, query: Sample, leave_out: str) -> Task:
    """Return the task of a classifier; raises as `classify` does."""
    task = task_of(gallery, query, leave_out, command=COMMAND)
    if len(task.names) < 2:
        raise LabelError(
            f"{COMMAND}: the gallery has one class only ({task.names[0]}), so there is nothing to tell "
            "apart. Give labels of at least two."
        )
    if query is gallery and leave_out == "none":
        raise UsageError(
            f"{COMMAND}: a classifier would be asked about what it learned by heart. Take --leave-out "
            "recording or image, or give --query another set."
        )
    return task


def rows_of(
    task: Task, about: Sequence[tuple[str, str, tuple[float, ...]]], winners: list[Int64]
) -> tuple[Linear, ...]:
    """Return a row for each (name, features, chosen) and its winners (m,)."""
    figures = task.measured(winners) if winners else []
    return tuple(
        Linear(**vars(each), name=name, features=text, chosen=chosen)
        for (name, text, chosen), each in zip(about, figures, strict=True)
    )
