"""When not to propose: too far from every labelled item of the class, or too close between two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dinonat.proposals.methods import JOINT, SAID, VOTE, agreeing
from dinonat.proposals.votes import TEMPERATURE, Near, balanced_vote, voters_per_class
from dinonat.records import Float32, Int64

ACCEPT, REVIEW, UNKNOWN = "accept", "review", "unknown"  # to accept: only an audit earns it
BACKGROUND = "background"
EVEN = 1e-6  # a lead that rounding may have made
ENOUGH = 10  # labelled items that must have gone to a class before it has a threshold of its own


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Below these an item is left unknown; from votes among the labelled items themselves."""

    likeness: Float32  # (C,) least mean cosine to the winner's voters, by winner
    margin: float  # least lead over the second class, in shares of the vote
    share: float  # of the labelled items that lie below each threshold, when left out
    measured: int  # labelled items behind the thresholds; 0: there are none, nothing is left unknown


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a method says of each item (m,)."""

    winner: Int64  # class
    second: Int64  # class, -1 where there is only one
    score: Float32  # share of the winner
    margin: Float32  # lead over the second
    likeness: Float32  # mean cosine to the nearest items of the winner, as many as `compared` says
    near: Near
    compared: Int64  # (C,)
    method: str = VOTE  # that decided
    chosen: Mapping[str, Int64] = field(
        default_factory=dict
    )  # method -> (m,) its winner, -1: it said nothing

    @property
    def agree(self) -> list[str]:
        """Names of the methods that chose the winner, for each item."""
        chosen = self.chosen or {self.method: np.where(self.score > 0, self.winner, -1)}
        return agreeing(chosen, self.winner)

    @property
    def similarity(self) -> Float32:
        """Cosine (m,) to the nearest labelled item of any class."""
        best: Float32 = self.near.similarity.max(axis=(1, 2), initial=-1)
        return best


def verdict(
    near: Near,
    *,
    compared: Int64,
    temperature: float = TEMPERATURE,
    shares: Float32 | None = None,
    method: str = VOTE,
    chosen: Mapping[str, Int64] | None = None,
) -> Verdict:
    """Say who won by the ``shares`` (m, C), by how much, and how alike they are; None: by a balanced vote.

    Likeness is taken to the nearest ``compared`` (C,) items of a class, from `comparable`, whichever
    ``method`` made the shares. Equal shares go to the smaller class.
    """
    if shares is None:
        shares = balanced_vote(near.similarity, temperature=temperature)
    order = np.argsort(-shares, axis=1, kind="stable")
    winner, rows = order[:, 0], np.arange(len(shares))
    several = shares.shape[1] > 1
    second = order[:, 1] if several else np.full(len(shares), -1, np.int64)
    score = shares[rows, winner]
    margin = score - shares[rows, second] if several else score
    likeness = near.likeness(compared)[rows, winner]
    return Verdict(winner, second, score, margin, likeness, near, compared, method, chosen or {})


def comparable(classes: Int64, groups: Int64, *, n_classes: int, k: int) -> Int64:
    """Return how many items of each class (C,) an item can be compared with whatever group is left out.

    At most as many as vote, at least 1. Thresholds come from comparisons with fewer items than new
    ones have: the mean of the nearest two is higher than that of the nearest three.
    """
    counts = np.bincount(classes, minlength=n_classes)
    numbers = np.unique(groups, return_inverse=True)[1]
    largest = np.zeros(n_classes, np.int64)
    for c in range(n_classes):
        largest[c] = np.bincount(numbers[classes == c]).max(initial=0)
    least: Int64 = np.maximum(1, np.minimum(voters_per_class(counts, k), counts - largest))
    return least


def thresholds(left_out: Verdict, n_classes: int, *, share: float = 0.1) -> Thresholds:
    """Set the thresholds so that ``share`` of the labelled items would lie below each.

    ``left_out`` is the verdict on the labelled items themselves, each without its own recording (or
    itself). Likeness has a threshold for each winning class, the ``share`` quantile of the items that
    went to it (after Sun et al. 2022), or that of all classes
    where fewer than 10 did. Items that nothing could vote for do not count.
    """
    voted = left_out.score > 0
    if not voted.any() or share <= 0:
        return Thresholds(np.full(n_classes, -np.inf, np.float32), -np.inf, share, 0)
    pooled = np.quantile(left_out.likeness[voted], share)
    likeness = np.full(n_classes, pooled, np.float32)
    for c in range(n_classes):
        own = left_out.likeness[voted & (left_out.winner == c)]
        if len(own) >= ENOUGH:
            likeness[c] = np.quantile(own, share)
    several = bool((left_out.second >= 0).any())
    # Half the share: a low lead is rarer among strangers than a low likeness, and costs more known items.
    margin = float(np.quantile(left_out.margin[voted], share / 2)) if several else -np.inf
    return Thresholds(likeness, margin, share, int(voted.sum()))


def advise(
    said: Verdict, limits: Thresholds, classes: Sequence[str], *, background: str | None = None
) -> tuple[list[str], list[str]]:
    """Return the advice (``review`` or ``unknown``) for each item and the reason for it, in words.

    ``background`` names the class of examples that are nothing: what it wins stays unknown. Of several
    methods the reason says which ones chose another class.
    """
    far = said.likeness < limits.likeness[said.winner]
    close = (said.margin < limits.margin) | ((said.second >= 0) & (said.margin <= EVEN))
    nothing = np.array([name == background for name in classes])[said.winner]
    cases = [
        (
            said.score <= 0,
            UNKNOWN,
            lambda i: "no labelled item could be compared, or reached along the graph",
        ),
        (nothing, UNKNOWN, lambda i: _background(said, classes, i)),
        (far, UNKNOWN, lambda i: _far(said, limits, classes, i)),
        (close, UNKNOWN, lambda i: f"too close between two classes: {_lead(said, classes, i)}"),
        (np.ones(len(far), bool), REVIEW, lambda i: _review(said, classes, i)),
    ]
    first = np.argmax([marks for marks, _, _ in cases], axis=0)  # (m,) which case comes first
    doubts = _doubts(said, classes)
    return [cases[c][1] for c in first], [cases[c][2](i) + doubts[i] for i, c in enumerate(first)]


def _doubts(said: Verdict, classes: Sequence[str]) -> list[str]:
    """Say of each item whether the methods agree, nothing where there is only one."""
    if len(said.chosen) < 2:
        return [""] * len(said.winner)
    words = []
    for i, winner in enumerate(said.winner):
        others = {name: int(each[i]) for name, each in said.chosen.items() if each[i] != winner}
        against = [
            f"{SAID[name]} says {repr(classes[c]) if c >= 0 else 'nothing'}" for name, c in others.items()
        ]
        words.append("; " + ", ".join(against) if against else "; all methods agree")
    return words


def _examples(said: Verdict, classes: Sequence[str], i: int) -> str:
    """Name the voters of the winner."""
    voters = int(said.compared[said.winner[i]])
    name = f"'{classes[said.winner[i]]}'"
    return f"the {voters} nearest {name} examples" if voters > 1 else f"the nearest {name} example"


def _lead(said: Verdict, classes: Sequence[str], i: int) -> str:
    """Say the shares of the first two classes."""
    first, second = classes[said.winner[i]], classes[said.second[i]]
    of = {VOTE: "vote", JOINT: "methods' shares"}.get(said.method, "shares")
    return f"'{first}' has {said.score[i]:.2f} of the {of}, '{second}' {said.score[i] - said.margin[i]:.2f}"


def _background(said: Verdict, classes: Sequence[str], i: int) -> str:
    return f"looks like the background of the labelled images ({_review(said, classes, i)})"


def _far(said: Verdict, limits: Thresholds, classes: Sequence[str], i: int) -> str:
    return (
        f"only {said.likeness[i]:.2f} alike to {_examples(said, classes, i)}; "
        f"{1 - limits.share:.0%} of labelled items reach {limits.likeness[said.winner[i]]:.2f}"
    )


def _review(said: Verdict, classes: Sequence[str], i: int) -> str:
    alike = f"{said.likeness[i]:.2f} alike to {_examples(said, classes, i)}"
    return f"{alike}; {_lead(said, classes, i)}" if said.second[i] >= 0 else alike
