"""How `dinotool evaluate` writes accuracies for people: a table with intervals, and what they stand on."""

from collections.abc import Mapping, Sequence

from dinonat.evaluation.intervals import FEW, LEVEL, RESAMPLES, Interval, Measured
from dinonat.evaluation.samples import Basis

SHOWN = 5  # warnings that a summary names
ABREAST = 2  # pairs of columns that a line of text can hold


def shortened(warnings: Sequence[str]) -> list[str]:
    """Return the first warnings, and how many more there are."""
    more = [f"... and {len(warnings) - SHOWN} more"] if len(warnings) > SHOWN else []
    return [*warnings[:SHOWN], *more]


def remarks(table: Basis) -> list[str]:
    """Return what makes figures less than they seem: one class only, classes that nobody could know."""
    said = []
    if len(table.classes) == 1:
        said.append(
            f"The gallery holds one class only ({table.classes[0]}), so every answer is that class and the "
            "figures say nothing. Give labels of at least two."
        )
    if table.strange:
        said.append(
            f"The gallery has no {_few(table.strange)}: such queries can only be wrong. Leave them out with "
            "--set classes=[...], or add labels."
        )
    return said


def heading(gallery: str, query: str, kind: str, models: Sequence[str], table: Basis) -> str:
    """Say which sets were compared, and with what network."""
    return (
        f"Gallery {gallery} ({table.gallery} {kind}s), query {query} ({table.query}), "
        f"network {' and '.join(dict.fromkeys(models))}"
    )


def of_classes(table: Basis) -> str:
    """Say how many classes there are, and the first of them.

    >>> from types import SimpleNamespace
    >>> of_classes(SimpleNamespace(classes=("cat", "dog")))
    '2 classes (cat, dog)'
    """
    return f"{len(table.classes)} class{'es' * (len(table.classes) != 1)} ({_few(table.classes)})"


def left_out(table: Basis) -> str:
    """Say what of the gallery is hidden from a query."""
    return f"its {table.left_out} left out ({table.recordings} {table.left_out}s)"


def figures(cells: Mapping[tuple[str, str], Measured], table: Basis) -> list[str]:
    """Return the table: a line for each vector, a pair of columns for each protocol.

    ``cells`` maps (vector, protocol) to its figures; protocols that do not fit abreast follow below.
    """
    names = list(dict.fromkeys(name for name, _ in cells))
    protocols = list(dict.fromkeys(protocol for _, protocol in cells))
    lines = []
    for start in range(0, len(protocols), ABREAST):
        abreast = protocols[start : start + ABREAST]
        heads = [f"{what} {protocol}".strip() for protocol in abreast for what in ("top-1", "balanced")]
        lines.append(f"  {'vector':10}" + "".join(f"{head:>20}" for head in heads))
        for name in names:
            row = [cells[name, protocol] for protocol in abreast]
            texts = [
                text
                for each in row
                for text in (
                    with_interval(each.top1, each.top1_interval),
                    with_interval(each.balanced, each.balanced_interval),
                )
            ]
            lines.append(f"  {name:10}" + "".join(f"{text:>20}" for text in texts))
        for name, top1 in (("majority", table.majority), ("chance", table.chance)):
            pair = "".join(f"{value:>20.1f}" for value in (top1, table.chance))
            lines.append(f"  {name:10}{pair * len(abreast)}")
    return lines


def with_interval(value: float, interval: Interval) -> str:
    """Write a figure in percent with its interval, if it has one.

    >>> with_interval(71.64, (68.9, 74.02)), with_interval(50.0, (float("nan"), float("nan")))
    ('71.6 (68.9-74.0)', '50.0')
    """
    low, high = interval
    return f"{value:.1f}" if low != low else f"{value:.1f} ({low:.1f}-{high:.1f})"


def signed(one: Measured) -> str:
    """Write a difference of balanced accuracies in points with its interval, if it has one.

    >>> signed(Measured(0, 1.52, (0, 0), (-0.3, 10.7))), signed(Measured(0, -2.0, *[(float("nan"),) * 2] * 2))
    ('+1.5 (-0.3 to +10.7)', '-2.0')
    """
    low, high = one.balanced_interval
    return f"{one.balanced:+.1f}" if low != low else f"{one.balanced:+.1f} ({low:+.1f} to {high:+.1f})"


def about_intervals(table: Basis) -> str:
    """Say what the intervals rest on, or why there are none."""
    word, count = table.interval_by, table.interval_groups
    if count < 2:
        return f"No intervals: all queries are from one {word}, which says nothing about others"
    rough = f"; of fewer than {FEW} {word}s they are rough" if count < FEW else ""
    thin = f"; {_few(table.thin)} in one {word} only, of which they cannot tell" if table.thin else ""
    return f"{100 * LEVEL:.0f} % intervals: {RESAMPLES} resamples of the query's {count} {word}s{rough}{thin}"


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
