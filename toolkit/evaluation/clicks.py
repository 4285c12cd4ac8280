"""What a person would pay to make proposals right, in clicks, beside labelling everything from nothing."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dinonat.geometry import iou_xywh
from dinonat.proposals.objects import BOX
from dinonat.records import Bool

Float64 = NDArray[np.float64]
KINDS = ("unchanged", "label", "box", "both", "rejected", "missed")


@dataclass(frozen=True)
class Prices:
    """Clicks that each act takes, and how well a box must sit.

    Counted, not timed: a box needs two corners and a class; a class two clicks, one to open the list and one
    to choose; to accept or to reject one.
    """

    accept: float = 1.0
    reject: float = 1.0
    relabel: float = 2.0
    adjust: float = 2.0  # a box whose place is right
    draw: float = 3.0  # a box with its class
    choose: float = 2.0  # the class of an image that has no proposal
    keep: float = 0.7  # IoU from which a box is left as it is
    place: float = 0.3  # IoU from which a box is adjusted instead of drawn anew


@dataclass(frozen=True)
class Bill:
    """What becomes of proposals, by count, and the clicks."""

    unchanged: int
    label: int  # corrected: only the label was wrong
    box: int  # only the box
    both: int
    rejected: int
    missed: int  # true ones that nothing was proposed for
    clicks: float
    from_nothing: float  # clicks to label the same without proposals

    @property
    def saved(self) -> float:
        """Share of the clicks that the proposals save; below 0 they cost more than they save."""
        return 1 - self.clicks / self.from_nothing if self.from_nothing else float("nan")

    @property
    def shown(self) -> int:
        """How many proposals a person looks at."""
        return self.unchanged + self.label + self.box + self.both + self.rejected


def image_fates(right: Bool, shown: Bool) -> Float64:
    """Return how often each of KINDS happens to each image (n, 6)."""
    fates = np.zeros((len(right), len(KINDS)))
    fates[:, 0], fates[:, 1], fates[:, 5] = right & shown, ~right & shown, ~shown
    return fates


def image_bill(fates: Float64, prices: Prices) -> Bill:
    """Return what images cost: one click for a right label, a choice for a wrong one and for none."""
    each = [prices.accept, prices.relabel, 0, 0, prices.reject, prices.choose]
    return _bill(fates, np.array(each), prices.choose * float(fates.sum()))


def box_fates(found: pd.DataFrame, truth: pd.DataFrame, images: list[str], prices: Prices) -> Float64:
    """Return how often each of KINDS happens in each of ``images`` (n, 6).

    ``found`` are the proposals shown, ``truth`` the true boxes, both with image, label, x, y, w, h. In an
    image the person matches them so that the clicks are fewest; a proposal is left as it is from an IoU of
    ``prices.keep`` on, and not worth adjusting below ``prices.place``.
    """
    proposed, true = ({str(k): v for k, v in boxes.groupby("image")} for boxes in (found, truth))
    fates = np.zeros((len(images), len(KINDS)))
    for row, image in zip(fates, images, strict=True):
        own, real = proposed.get(image, found[:0]), true.get(image, truth[:0])
        kinds = _matched(own, real, prices)
        row[:4] = np.bincount(kinds, minlength=4)[:4]
        row[4], row[5] = len(own) - len(kinds), len(real) - len(kinds)
    return fates


def box_bill(fates: Float64, prices: Prices) -> Bill:
    """Return what boxes cost."""
    whole = fates.sum(axis=0)
    return _bill(fates, _box_prices(prices), prices.draw * float(whole[[0, 1, 2, 3, 5]].sum()))


def _box_prices(prices: Prices) -> Float64:
    corrected = [prices.accept, prices.relabel, prices.adjust, prices.relabel + prices.adjust]
    return np.array([*corrected, prices.reject, prices.draw])


def _matched(own: pd.DataFrame, real: pd.DataFrame, prices: Prices) -> NDArray[np.int64]:
    """Return, for each pair that is worth it, which of the first four KINDS it is."""
    if own.empty or real.empty:
        return np.zeros(0, np.int64)
    overlap = iou_xywh(own[BOX].to_numpy(np.float64), real[BOX].to_numpy(np.float64))
    other = own["label"].to_numpy(object)[:, None] != real["label"].to_numpy(object)[None, :]
    kinds = other + 2 * (overlap < prices.keep)
    # A pair saves a rejection and a box drawn; of equal ones the better box goes first.
    saved = prices.reject + prices.draw - _box_prices(prices)[kinds]
    saved = np.where((overlap >= prices.place) & (saved > 0), saved + 1e-3 * overlap, 0.0)
    rows, columns = linear_sum_assignment(saved, maximize=True)
    worth = saved[rows, columns] > 0
    found: NDArray[np.int64] = kinds[rows[worth], columns[worth]].astype(np.int64)
    return found


def _bill(fates: Float64, prices: Float64, from_nothing: float) -> Bill:
    counts = fates.sum(axis=0)
    named = {kind: int(n) for kind, n in zip(KINDS, counts, strict=True)}
    return Bill(**named, clicks=float(counts @ prices), from_nothing=from_nothing)
