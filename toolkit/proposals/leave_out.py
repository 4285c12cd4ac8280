"""Votes among labelled items, none for its own recording, and how much to trust their differences."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dinonat.neighbors.parts import Weights
from dinonat.proposals.votes import balanced_vote, plain_vote, voters_per_class
from dinonat.records import Bool, Float32, Int64

Float64 = NDArray[np.float64]

NEIGHBOURS = (5, 20)  # k of the plain votes
GUESS = 0.02  # of an even guess that is mixed into shares before their logarithm is taken


def recordings_of(items: pd.DataFrame) -> tuple[Int64, str]:
    """Return which items have to be left out together, as a group number each, and the word for it.

    ``items`` has the columns of ITEM_COLUMNS. Groups are recordings (an image without one stands for
    itself) where at least two are known, else images where there are two, else single items.
    """
    image, recording = items["image"].astype(str), items["recording"].astype(str)
    known = recording.where(recording != "", "image " + image)
    for word, names in (("recording", known), ("image", image)):
        if names.nunique() > 1 and (word == "image" or (recording != "").any()):
            return pd.factorize(names, sort=True)[0].astype(np.int64), word
    return np.arange(len(items), dtype=np.int64), "item"


def thinned(classes: Int64, largest: int) -> Int64:
    """Return the rows of at most about ``largest`` items, evenly taken from each class in proportion.

    Classes that would fall below 50 items keep 50, or all they have.
    """
    kept = []
    for c in np.unique(classes):
        own = np.flatnonzero(classes == c)
        count = min(len(own), max(50, len(own) * largest // len(classes)))
        kept.append(own[np.linspace(0, len(own) - 1, count).astype(np.int64)])
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def folds(groups: Int64, *, most: int) -> Iterator[Bool]:
    """Yield masks (n,) of at most ``most`` parts of whole groups, which together are everything.

    Groups are dealt out by their numbers, so that neighbours come into different parts.
    """
    numbers = np.unique(groups)
    for start in range(min(most, len(numbers))):
        yield np.isin(groups, numbers[start::most])


def combined(cosines: Mapping[str, Float32], weights: Weights, own: Bool) -> Float32:
    """Return the cosines (n, n) of joined vectors from those of their parts; -inf where ``own``.

    They combine as sum w^2 cos / sum w^2, so scanning many weightings costs no new products.
    """
    total = sum(weight**2 for weight in weights.values())
    whole = np.zeros(own.shape, np.float32)
    for name, weight in weights.items():
        whole += np.float32(weight**2 / total) * cosines[name]
    whole[own] = -np.inf
    return whole


def hits(cosines: Float32, classes: Int64, *, k: int, temperature: float) -> Float64:
    """Return which votes are right (n, votes): plain at each k of NEIGHBOURS, then the balanced one.

    ``cosines`` (n, n) between the labelled items, -inf where one may not vote for the other.
    """
    n_classes = int(classes.max()) + 1
    near, rows = _top(cosines, max(NEIGHBOURS))
    labels = np.where(np.isfinite(near), classes[rows], -1)
    shares = [
        plain_vote(near[:, :few], labels[:, :few], n_classes=n_classes, temperature=temperature)
        for few in NEIGHBOURS
    ]
    shares.append(balanced_vote(_top_of_classes(cosines, classes, n_classes, k), temperature=temperature))
    right = [(share.argmax(axis=1) == classes) & (share.sum(axis=1) > 0) for share in shares]
    return np.stack(right, axis=1).astype(np.float64)


def told(cosines: Float32, classes: Int64, *, k: int, temperatures: Sequence[float]) -> Float64:
    """Return the log-likelihood (n,) of the balanced vote, at the temperature that makes it best on all.

    ``cosines`` as for `hits`; classes count alike.
    """
    near = _top_of_classes(cosines, classes, int(classes.max()) + 1, k)
    return max(
        (log_likelihood(balanced_vote(near, temperature=each), classes) for each in temperatures),
        key=lambda likely: float(likely @ balanced_weights(classes)),
    )


def _top(cosines: Float32, k: int) -> tuple[Float32, Int64]:
    """Return the best ``k`` of each row and where they stand, best first, ties by the smaller column."""
    k = min(k, cosines.shape[1])
    rows = np.sort(np.argpartition(-cosines, k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(cosines, rows, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, 1), np.take_along_axis(rows, order, 1)


def _top_of_classes(cosines: Float32, classes: Int64, n_classes: int, k: int) -> Float32:
    """Return the cosines (n, C, v) to the voters of each class, -inf where there are fewer."""
    voters = voters_per_class(np.bincount(classes, minlength=n_classes), k)
    near = np.full((len(cosines), n_classes, int(voters.max())), -np.inf, np.float32)
    for c in np.flatnonzero(voters):
        near[:, c, : voters[c]] = _top(cosines[:, classes == c], int(voters[c]))[0]
    return near


def log_likelihood(shares: Float32, classes: Int64) -> Float64:
    """Return the logarithm (n,) of the share that each item's own class got; rows of zeros count as even.

    Shares are mixed with 2 % of an even guess: one item that is surely wrong must not outweigh all others.
    """
    n_classes = shares.shape[1]
    there = shares.sum(axis=1) > 0
    own = np.where(there, shares[np.arange(len(classes)), classes], 1 / max(n_classes, 1))
    even: Float64 = np.log((1 - GUESS) * own.astype(np.float64) + GUESS / max(n_classes, 1))
    return even


def balanced_weights(classes: Int64) -> Float64:
    """Return what each item adds to the balanced accuracy when it is right: 1 / (classes x its count)."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    weights: Float64 = 1.0 / (len(counts) * counts[inverse])
    return weights


def standard_error(difference: Float64, groups: Int64) -> float:
    """Return the standard error of the sum of ``difference`` (n,), whole groups being the sample.

    Items of one recording are right or wrong together, so they count as one (cluster-robust variance).
    """
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=difference)
    if len(sums) < 2:
        return float("inf")
    return float(np.sqrt(len(sums) / (len(sums) - 1) * ((sums - sums.mean()) ** 2).sum()))
