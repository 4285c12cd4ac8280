"""What `dinotool evaluate regions` says: networks beside what is made by hand, and a verdict for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dinonat.evaluation.classify import AUTO, FLOOR_NAME, Accuracy
from dinonat.evaluation.intervals import FEW, Interval
from dinonat.evaluation.samples import Basis
from dinonat.neighbors.parts import parse_features
from dinonat.pipelines.figures import about_intervals, left_out, of_classes, shortened, signed, with_interval
from dinonat.records import HAND_MADE

ALL = "all"
BY_HAND = ("hog", "raw", FLOOR_NAME)  # rows that are the same whatever the network
CLEARLY, UNSETTLED, BELOW = "clearly above", "not settled against", "clearly below"


@dataclass(frozen=True)
class Judged(Accuracy):
    """A row of the table: of a network, or of what is made by hand."""

    network: str = ""  # as asked for; "": made by hand

    @property
    def title(self) -> str:
        """What the row is called."""
        return f"{self.network} {self.name}".strip()


@dataclass(frozen=True)
class RegionsReport:
    """The table of `evaluate regions`, the protocol behind its figures, and what they come to."""

    gallery: str  # folder
    query: str
    kind: str
    weights: tuple[str, ...]  # as asked for
    models: tuple[str, ...]  # their fingerprints
    sets: tuple[tuple[str, str], ...]  # folders of the vectors of gallery and query
    temperature: float
    basis: Basis
    rows: tuple[Judged, ...]
    reasons: tuple[str, ...]  # what `auto` took of each network, and why
    verdicts: tuple[str, ...]  # of each network
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        basis = self.basis
        nothing = "nothing left out but the item itself"
        left = nothing if basis.left_out == "none" else left_out(basis)
        ks = dict.fromkeys(row.k for row in self.rows)
        return [
            *shortened(self.warnings),
            f"Gallery {self.gallery} ({basis.gallery} {self.kind}s), query {self.query} ({basis.query})",
            f"{of_classes(basis)}; {left}; T={self.temperature:g}",
            *(line for k in ks for line in table([row for row in self.rows if row.k == k], basis)),
            about_intervals(basis)
            + ("; those of differences are paired" if basis.interval_groups > 1 else ""),
            *(
                f"{name}: auto takes {reason}"
                for name, reason in zip(self.weights, self.reasons, strict=True)
                if reason
            ),
            *self.verdicts,
        ]


def table(rows: Sequence[Judged], basis: Basis) -> list[str]:
    """Return the lines of one k: balanced accuracies, and differences to the rows that are named above."""
    others = list(dict.fromkeys(each.than for row in rows for each in row.over))
    wide = max(len(row.title) for row in rows) + 2
    heads = ["balanced", *(f"less {name}" for name in others)]
    room = [max(26, len(head) + 2) for head in heads]
    lines = [f"  {f'k={rows[0].k}':{wide}}" + "".join(f"{h:>{n}}" for h, n in zip(heads, room, strict=True))]
    for row in rows:
        known = {each.than: each for each in row.over}
        cells = [with_interval(row.balanced, row.balanced_interval)]
        cells += [signed(known[name]) if name in known else "" for name in others]
        text = "".join(f"{cell:>{n}}" for cell, n in zip(cells, room, strict=True))
        lines.append(f"  {row.title:{wide}}{text}".rstrip())
    return [*lines, f"  {'majority, chance':{wide}}{basis.chance:>{room[0]}.1f}"]


def verdict(network: str, rows: Sequence[Judged], taken: Mapping[str, int], basis: Basis) -> str:
    """Say in words whether a network is worth more than what is made by hand; ``rows`` are its own.

    Judged is `auto`, what the toolkit takes; where it took (``taken``: weights -> queries) nothing of the
    network, nothing speaks for the network, and all parts together are judged.
    """
    asked, by_network = sum(taken.values()), sum(n for text, n in taken.items() if not made_by_hand(text))
    name = AUTO if by_network else ALL
    judged = [row for row in rows if row.name == name]
    said = [(row.k, standing(row)) for row in judged]
    words = [
        f"{word} at k={' and '.join(str(k) for k, own in said if own == word)}"
        for word in dict.fromkeys(word for _, word in said)
    ]
    figures = "; ".join(
        f"k={row.k}: " + ", ".join(f"{signed(each)} against {each.than}" for each in row.over)
        for row in judged
    )
    word, groups = basis.interval_by, basis.interval_groups
    few = f", as far as {groups} {word}s can tell" if 1 < groups < FEW else ""
    few = few or (f", since one {word} says nothing about others" if groups < 2 else "")
    before, after = "", ""
    if not by_network:
        before = f"auto takes nothing of the network ({' or '.join(taken)}); with it, "
    elif by_network < asked:
        after = f", which takes something of the network for {by_network} of {asked} queries,"
    return f"{network}: {before}{name}{after} is {', '.join(words)}{few} ({figures})"


def standing(row: Judged) -> str:
    """Say where a row stands against all that is made by hand: the worst of it counts."""
    by_hand = sorted((each for each in row.over if each.than in BY_HAND), key=lambda each: each.balanced)
    words = [_word(each.balanced_interval) for each in by_hand]
    worst = next(word for word in (BELOW, UNSETTLED, CLEARLY) if word in words)
    return f"{worst} {'what is made by hand' if worst == CLEARLY else by_hand[words.index(worst)].than}"


def _word(interval: Interval) -> str:
    low, high = interval
    return CLEARLY if low > 0 else BELOW if high < 0 else UNSETTLED


def made_by_hand(features: str) -> bool:
    """Say whether weights of parts name nothing that a network has touched.

    >>> made_by_hand("hog+raw"), made_by_hand("grid=0.7,hog=1"), made_by_hand("auto")
    (True, False, False)
    """
    return features != AUTO and set(parse_features(features)) <= set(HAND_MADE)
