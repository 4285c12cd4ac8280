"""What proposed boxes are worth against true ones: found, in the right place, rightly named, and paid for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.evaluation.average_precision import agnostic, average_precision, hits_of
from dinonat.evaluation.clicks import Bill, Prices, box_bill, box_fates
from dinonat.evaluation.intervals import RESAMPLES
from dinonat.evaluation.located import centred_boxes, located, nearest_true, rank_of_first, ranks
from dinonat.evaluation.rates import Float64, Rate, bootstrap
from dinonat.records import Bool, Int64

CANDIDATES = (1, 5, 10, 30)  # boxes an image at which recall is read
CUTS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # shares of the proposals, the best first


@dataclass(frozen=True)
class BoxesJudged:
    """Boxes proposed in images whose true boxes are known."""

    images: int  # judged
    true: int  # boxes in them
    candidates: float  # regions an image, whatever the advice
    shown: int  # proposals that are not left unknown
    groups: int
    word: str
    iou: float
    figures: Mapping[str, Rate]  # by the names that `judge_boxes` lists
    by_class: Mapping[str, float]  # class -> average precision
    bill: Bill
    cuts: tuple[tuple[int, float], ...]  # proposals shown, the best first; share of the clicks saved by them


def judge_boxes(
    regions: pd.DataFrame,
    truth: pd.DataFrame,
    images: pd.DataFrame,
    *,
    iou: float = 0.5,
    prices: Prices | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BoxesJudged:
    """Judge the boxes of ``regions`` (PROPOSAL_COLUMNS) by those of ``truth`` (LABEL_COLUMNS).

    ``images`` (n > 0) has image, height, width, group and word for every judged image, groups numbered from
    0 without gaps: all rows of the other tables lie in them.

    Figures: found_K, the share of the true boxes met by one of the K most object-like regions of their
    image, and found, by any that is not left unknown; corloc, the share of the images with an object in which
    the first box meets one, and centred, that of a box in the middle; ap, the mean over the classes of the
    average precision, ap_agnostic, as if all were one class, and ap_all, if nothing were left unknown;
    place, the share of the proposals that meet a true box, and right, of those that have its label, too;
    saved, the share of the clicks saved.
    """
    prices = prices or Prices()
    group = dict(zip(images["image"].astype(str), images["group"].astype(int), strict=True))
    shown = regions[regions["advice"] != "unknown"]
    own = _Own(group, truth, iou)
    fates = box_fates(shown, truth, list(group), prices)
    sums = {
        **own.found("found", shown, ["score"], [np.inf]),
        **own.found("found_{}", regions, ["objectness", "score"], CANDIDATES),
        **own.localised(regions.assign(sure=regions["advice"] != "unknown"), images),
        **own.proposals(shown),
    }
    classes = hits_of(_scored(shown), truth, group, iou=iou)
    whole = hits_of(_scored(regions), truth, group, iou=iou)
    one = hits_of(agnostic(_scored(shown)), agnostic(truth), group, iou=iou)
    groups = np.array(list(group.values()), np.int64)
    by_group = np.stack([np.bincount(groups, weights=column) for column in fates.T], axis=1)  # (G, 6)

    def figures(times: Float64) -> dict[str, float]:
        paid = box_bill(by_group * times[:, None], prices)
        precisions = [hits.average_precision(times) for hits in classes.values()]
        return {
            **{name: _ratio(float(times @ of), float(times @ among)) for name, (of, among) in sums.items()},
            "ap": _mean(precisions),
            "ap_all": _mean([hits.average_precision(times) for hits in whole.values()]),
            "ap_agnostic": _mean([hits.average_precision(times) for hits in one.values()]),
            "saved": paid.saved,
        }

    return BoxesJudged(
        images=len(images),
        true=len(truth),
        candidates=len(regions) / len(images),
        shown=len(shown),
        groups=int(groups.max()) + 1,
        word=str(images["word"].iloc[0]),
        iou=iou,
        figures=bootstrap(figures, groups, resamples=resamples, seed=seed),
        by_class=average_precision(_scored(shown), truth, list(group), iou=iou),
        bill=box_bill(fates, prices),
        cuts=tuple(_cut(shown, truth, list(group), prices, share) for share in CUTS),
    )


@dataclass(frozen=True, eq=False)
class _Own:
    """Sums for each group, from which a share follows however often each is drawn."""

    group: Mapping[str, int]  # image -> number
    truth: pd.DataFrame
    iou: float

    def sums(self, images: Sequence[str], of: Bool) -> tuple[Float64, Float64]:
        """Return how many of ``of`` (n,) hold in each group, and how many there are."""
        number: Int64 = np.array([self.group[image] for image in images], np.int64)
        size = max(self.group.values()) + 1
        of_all = np.bincount(number, minlength=size).astype(np.float64)
        return np.bincount(number, weights=of, minlength=size).astype(np.float64), of_all

    def found(
        self, name: str, boxes: pd.DataFrame, order: Sequence[str], most: Sequence[float]
    ) -> dict[str, tuple[Float64, Float64]]:
        """Return which true boxes are met by the first boxes of their image."""
        places = rank_of_first(ranks(boxes, order), self.truth, iou=self.iou)
        images = self.truth["image"].astype(str).to_list()
        return {name.format(k): self.sums(images, (places <= k) & np.isfinite(places)) for k in most}

    def localised(self, regions: pd.DataFrame, sizes: pd.DataFrame) -> dict[str, tuple[Float64, Float64]]:
        """Return in which images the first box meets an object: the best proposal, and one in the middle."""
        held = [image for image in self.group if image in set(self.truth["image"].astype(str))]
        shapes = zip(sizes["height"].astype(int), sizes["width"].astype(int), strict=True)
        middle = centred_boxes(dict(zip(sizes["image"].astype(str), shapes, strict=True)))
        first = ranks(regions, ["sure", "score", "objectness"])
        marks = {"corloc": first, "centred": middle}
        return {
            name: self.sums(held, located(boxes, self.truth, held, iou=self.iou))
            for name, boxes in marks.items()
        }

    def proposals(self, shown: pd.DataFrame) -> dict[str, tuple[Float64, Float64]]:
        """Return which proposals meet a true box, and which have its label, too."""
        overlap, label = nearest_true(shown, self.truth)
        images, place = shown["image"].astype(str).to_list(), overlap >= self.iou
        right = place & (label == shown["label"].astype(str).to_numpy(object))
        return {"place": self.sums(images, place), "right": self.sums(images, right)}


def _cut(
    shown: pd.DataFrame, truth: pd.DataFrame, images: list[str], prices: Prices, share: float
) -> tuple[int, float]:
    """Return how many proposals a share of them is, and what they alone save."""
    best = shown.sort_values("score", ascending=False, kind="stable").head(round(share * len(shown)))
    return len(best), box_bill(box_fates(best, truth, images, prices), prices).saved


def _scored(shown: pd.DataFrame) -> pd.DataFrame:
    """Return proposals with a score that can be ordered, as double precision."""
    return shown.assign(score=shown["score"].fillna(0).astype("float64"))


def _ratio(of: float, among: float) -> float:
    return float(of / among) if among else float("nan")


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if value == value]
    return float(np.mean(there)) if there else float("nan")
