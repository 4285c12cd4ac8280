"""Which method decides: the vote, diffusion, the linear classifier, or all three together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dinonat.proposals.leave_out import Float64, balanced_weights, log_likelihood, standard_error
from dinonat.records import Bool, Float32, Int64

VOTE, DIFFUSE, LINEAR = METHODS = ("vote", "diffuse", "linear")
JOINT, AUTO = "joint", "auto"
ASKED = (*METHODS, JOINT, AUTO)  # what a user can ask for
SAID = {VOTE: "the vote", DIFFUSE: "diffusion", LINEAR: "the linear classifier", JOINT: "all three together"}
CLEARLY = 2.0  # standard errors by which one method must beat all three together to be taken alone
Shares = Mapping[str, Float32]  # method -> (n, C)


@dataclass(frozen=True)
class Judged:
    """What a method got right of the labelled items, each without its own group, in percent."""

    name: str
    balanced: float  # accuracy, classes counting alike
    sure: float  # accuracy on the half of the items with the largest scores
    likelihood: float  # mean logarithm of the share that the item's own class got, classes counting alike
    error: float  # standard error of the balanced accuracy's difference from that of all together
    taken: bool


def needed(method: str) -> tuple[str, ...]:
    """Return the methods that ``method`` asks for: all of them for "joint" and "auto"."""
    return METHODS if method in (JOINT, AUTO) else (method,)


def joint(shares: Shares) -> Float32:
    """Return the mean share (n, C) over the methods that say anything of an item.

    Scores of the methods are not on one scale, but winners that several find stay ahead of one that a
    single method is sure of. On thermal crops the mean was within a point of the best method whichever
    that was, which no choice by few labels is.
    """
    every = np.stack(list(shares.values()))
    speaking = (every.sum(axis=2) > 0).sum(axis=0)
    mean: Float32 = (every.sum(axis=0) / np.maximum(speaking, 1)[:, None]).astype(np.float32)
    return mean


def deciding(shares: Shares, method: str) -> Float32:
    """Return the shares (n, C) by which ``method`` decides."""
    return joint(shares) if method == JOINT else shares[method]


def winners(shares: Shares) -> dict[str, Int64]:
    """Return the class (n,) that each method chose, -1 where it said nothing; equal ones: the smaller."""
    return {
        name: np.where(each.sum(axis=1) > 0, each.argmax(axis=1) if each.shape[1] else -1, -1)
        for name, each in shares.items()
    }


def agreeing(chosen: Mapping[str, Int64], winner: Int64) -> list[str]:
    """Return for each item (n,) the names of the methods that chose its ``winner``, spaces between."""
    columns = [np.where(each == winner, name, "") for name, each in chosen.items()]
    return [" ".join(name for name in row if name) for row in zip(*columns, strict=True)]


def decide(left_out: Shares, classes: Int64, groups: Int64) -> tuple[str, tuple[Judged, ...]]:
    """Return which method to take by what each said of labelled items without their group, and the table.

    ``left_out`` method -> (n, C) shares, ``classes`` (n,), ``groups`` (n,). All together is the start; one
    method alone replaces it where its balanced accuracy is better by two standard errors of the paired
    difference, taken over the groups, and its likelihood is no worse: with few labels the best of four is
    mostly luck.
    """
    table = {JOINT: joint(left_out), **left_out}
    weight = balanced_weights(classes)
    right = {name: weight * (_hit(shares, classes)) for name, shares in table.items()}
    likely = {name: weight @ log_likelihood(shares, classes) for name, shares in table.items()}
    taken = JOINT
    for name in sorted(left_out, key=lambda name: -right[name].sum()):
        more = right[name] - right[taken]
        if more.sum() > CLEARLY * standard_error(more, groups) and likely[name] >= likely[taken]:
            taken = name
    judged = tuple(
        Judged(
            name,
            balanced=100 * float(right[name].sum()),
            sure=_sure(shares, classes),
            likelihood=float(likely[name]),
            error=100 * standard_error(right[name] - right[JOINT], groups),
            taken=name == taken,
        )
        for name, shares in table.items()
    )
    return taken, judged


def _hit(shares: Float32, classes: Int64) -> Bool:
    hit: Bool = (shares.argmax(axis=1) == classes) & (shares.sum(axis=1) > 0)
    return hit


def _sure(shares: Float32, classes: Int64) -> float:
    """Return the accuracy in percent on the half with the largest shares."""
    order = np.argsort(-shares.max(axis=1), kind="stable")[: max(1, len(shares) // 2)]
    hit: Float64 = _hit(shares, classes)[order].astype(np.float64)
    return 100 * float(hit.mean()) if len(hit) else 0.0


def judged_lines(judged: Sequence[Judged]) -> list[str]:
    """Return the comparison of methods as aligned text, what was taken with a star, a head for each table.

    Each table begins with all three together: images and regions may each have one.
    """
    head = f"  {'method, on the labels':34}{'balanced':>9}{'surest half':>13}{'likelihood':>12}"
    lines = []
    for one in judged:
        lines += [head] if one.name == JOINT else []
        lines.append(
            f"{'*' if one.taken else ' '} {one.name:34}"
            f"{one.balanced:9.1f}{one.sure:13.1f}{one.likelihood:12.2f}"
        )
    return lines
