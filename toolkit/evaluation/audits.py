"""How an audit of so many proposals would fare: drawn again and again from proposals whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinonat.proposals.calibration import expected_error, fit, threshold
from dinonat.records import Bool, Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Promise:
    """What became of one precision that was asked for; shares in [0, 1], means over the audits."""

    asked: float
    held: float  # share of the audits after which the rest has it, or nothing was accepted
    precision: float  # of what was accepted of the rest; NaN where nothing ever was
    coverage: float  # share of the rest that was accepted
    oracle: float  # share of the rest that could have been, had its truth been known
    none: float  # share of the audits after which nothing was accepted


@dataclass(frozen=True)
class AuditsTried:
    """Audits of ``size`` items, ``times`` of them."""

    size: int
    times: int
    error: float  # mean calibration error of the probability on the rest
    error_before: float  # the same of the bare score
    promises: tuple[Promise, ...]


def try_audits(
    scores: Float64,
    right: Bool,
    groups: Int64,
    *,
    size: int = 100,
    precisions: Sequence[float] = (0.9, 0.95),
    times: int = 200,
    seed: int = 0,
) -> AuditsTried | None:
    """Audit ``size`` of n items at random, ``times`` times, and see how the rest fares.

    ``scores`` (n,) in [0, 1], ``right`` (n,), ``groups`` (n,) recordings. Each audit fits probability and
    thresholds as `select --audit` and `propose-labels` do (`proposals.calibration`). None where fewer
    than half as many items again would be left to judge by.
    """
    n = len(scores)
    if n < 1.5 * size or not size:
        return None
    generator = np.random.default_rng(seed)
    every, errors, before = np.ones(n), [], []
    outcomes: list[list[tuple[float, float, float]]] = [[] for _ in precisions]
    for _ in range(times):
        audited = np.zeros(n, bool)
        audited[generator.permutation(n)[:size]] = True
        rest = ~audited
        known = fit(scores[audited], right[audited], groups[audited]).probability(scores[rest])
        errors.append(expected_error(known, right[rest], every[rest]))
        before.append(expected_error(scores[rest], right[rest], every[rest]))
        for found, precision in zip(outcomes, precisions, strict=True):
            limit = threshold(scores[audited], right[audited], precision).above
            taken = scores[rest] > limit
            share = float(right[rest][taken].mean()) if taken.any() else float("nan")
            found.append((share, float(taken.mean()), oracle_coverage(scores[rest], right[rest], precision)))
    promises = [_promise(asked, found) for asked, found in zip(precisions, outcomes, strict=True)]
    return AuditsTried(size, times, float(np.mean(errors)), float(np.mean(before)), tuple(promises))


def oracle_coverage(scores: Float64, right: Bool, precision: float) -> float:
    """Return the largest share (n,) above any threshold on the score of which ``precision`` is right.

    >>> oracle_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, False]), 0.6)
    0.75
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(right[order])
    count = np.arange(1, len(ranked) + 1)
    last = np.append(ranked[1:] != ranked[:-1], True)  # a threshold cannot part equal scores
    fine = last & (hits >= precision * count - 1e-9)
    return float(count[fine].max() / len(ranked)) if fine.any() else 0.0


def _promise(asked: float, found: Sequence[tuple[float, float, float]]) -> Promise:
    share, coverage, oracle = np.array(found).T
    none = np.isnan(share)
    return Promise(
        asked,
        held=float((none | (share >= asked)).mean()),
        precision=float(share[~none].mean()) if not none.all() else float("nan"),
        coverage=float(coverage.mean()),
        oracle=float(oracle.mean()),
        none=float(none.mean()),
    )
