"""Progress on stderr: a bar with rate and time left, or a plain line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

EVERY_SECONDS = 15.0  # between the plain lines where stderr is a file or a pipe


def say(text: str) -> None:
    """Print one line to stderr; stdout belongs to the result."""
    print(text, file=sys.stderr, flush=True)


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from ``iterable`` and show how far it is: a bar on a terminal, else a line now and then."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from _bar(iterable, description, total)
    else:
        yield from _lines(iterable, description, total)


def _bar(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """Show a rich bar while yielding."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, rate="")
        start = time.monotonic()
        for count, item in enumerate(iterable, start=1):
            yield item
            progress.update(task, advance=1, rate=f"{rate(count, start):.1f}/s")


def _lines(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """Print a line every EVERY_SECONDS while yielding; nothing at all for what is done sooner."""
    start = shown = time.monotonic()
    for count, item in enumerate(iterable, start=1):
        yield item
        if time.monotonic() - shown >= EVERY_SECONDS:
            shown = time.monotonic()
            say(line(description, count, total, rate(count, start)))


def rate(count: int, start: float) -> float:
    """Things per second since ``start`` (time.monotonic)."""
    return count / max(time.monotonic() - start, 1e-6)


def line(description: str, count: int, total: int | None, per_second: float) -> str:
    """Say where the work stands in one line.

    >>> line("embed", 50, 200, 10.0)
    'embed: 50 of 200, 10.0/s, about 15 s left'
    >>> line("list", 50, None, 10.0)
    'list: 50, 10.0/s'
    """
    if total is None:
        return f"{description}: {count}, {per_second:.1f}/s"
    left = (total - count) / per_second
    return f"{description}: {count} of {total}, {per_second:.1f}/s, about {duration(left)} left"


def duration(seconds: float) -> str:
    """Write seconds as people say them.

    >>> duration(42), duration(600), duration(7500)
    ('42 s', '10 min', '2.1 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
