"""Candidates measured in turn, round after round: what the machine does meanwhile falls on all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple, TypeVar

from dinonat.pipelines.progress import track

Work = Callable[[], object]
Name = TypeVar("Name")


class Spent(NamedTuple):
    """Seconds that a work took."""

    wall: float  # by the clock
    cpu: float  # of this process on all its cores


def spent_here(work: Work) -> Spent:
    """Run ``work`` on the CPU and return what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def medians_in_turn(
    works: Mapping[Name, Work],
    *,
    rounds: int,
    spend: Callable[[Work], Spent] = spent_here,
    said: str = "",
) -> dict[Name, Spent]:
    """Return the medians of what each work takes: all run one after another, ``rounds`` times.

    A round before those makes plans, fills caches and wakes the device; it is not counted. ``spend`` runs
    a work and says what it took.
    """
    taken: dict[Name, list[Spent]] = {name: [] for name in works}
    numbers = range(rounds + 1)
    for number in track(numbers, said) if said else numbers:
        for name, work in works.items():
            spent = spend(work)
            if number:
                taken[name].append(spent)
    return {name: Spent(*map(median, zip(*each, strict=True))) for name, each in taken.items()}
