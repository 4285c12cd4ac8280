"""Which regions are worth a look: those that save a person more clicks than they cost."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dinonat.geometry import iou_xywh
from dinonat.proposals.abstain import REVIEW, UNKNOWN
from dinonat.proposals.leave_out import Float64
from dinonat.proposals.objects import BOX

# Clicks saved. A box with its class takes three to draw. One to accept a proposal that sits as it should; two
# to adjust it, or to give it another class; one to reject it. `evaluation.clicks` has the same prices.
ACCEPTED, CORRECTED, REJECTED = 2.0, 1.0, -1.0
KEPT, NEARLY = 0.7, 0.3  # IoU from which a box is left as it is, and adjusted instead of drawn anew
LEAST_SHOWN = 0.1  # share of the regions that is shown whatever they cost: the next round learns from them


@dataclass(frozen=True)
class Worth:
    """From which score on regions are shown, and what that did to the labelled images, each left out."""

    least: float
    shown: int
    of: int
    right: int  # to accept or to correct
    saved: float  # clicks; below 0 they cost more than they save

    def line(self) -> str:
        """Say it."""
        what = f"save {self.saved:.0f} clicks" if self.saved > 0 else f"cost {-self.saved:.0f} clicks"
        return (
            f"Regions from score {self.least:.2f} on are shown: in the labelled images, each left out, "
            f"{self.shown} of {self.of}, {self.right} of them to accept or to correct; they {what} "
            f"against drawing{'' if self.saved > 0 else '; a few are shown all the same, to learn from'}"
        )


def gains(proposals: pd.DataFrame, boxes: pd.DataFrame) -> Float64:
    """Return how many clicks each proposal (n,) of completely labelled images saves.

    ``proposals`` has image, label, score, x, y, w, h, ``boxes`` (LABEL_COLUMNS) all that is there. In each
    image, best scores first, a proposal takes the box that saves most; each box counts once.
    """
    saved = np.full(len(proposals), REJECTED)
    there = dict(list(boxes.groupby("image", sort=False)))
    rows = proposals.reset_index(drop=True)
    for image, own in rows.groupby("image", sort=False):
        if image in there:
            own = own.iloc[np.argsort(-own["score"].to_numpy(), kind="stable")]
            each = _saved_by(own, there[image])
            for row, by_box in zip(own.index, each, strict=True):
                best = int(by_box.argmax())
                if by_box[best] > REJECTED:
                    saved[row] = by_box[best]
                    each[:, best] = REJECTED
    return saved


def _saved_by(own: pd.DataFrame, real: pd.DataFrame) -> Float64:
    """Return the clicks (n, m) that proposals save if they stand for boxes of the same image."""
    overlap = iou_xywh(own[BOX].to_numpy(np.float64), real[BOX].to_numpy(np.float64))
    same = own["label"].to_numpy(object)[:, None] == real["label"].to_numpy(object)[None, :]
    kept = overlap >= KEPT
    corrected = (same & (overlap >= NEARLY)) | kept
    return np.where(same & kept, ACCEPTED, np.where(corrected, CORRECTED, REJECTED))


def worth(scores: Float64, saved: Float64) -> Worth:
    """Return the score from which on regions save most, from ``scores`` (n,) and ``gains`` (n,), n > 0.

    All of one score are shown or none. The score lies halfway to the best one that is not worth it, and is 0
    where all are. Where the best choice shows less than a tenth, a tenth is shown.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, total = scores[order], np.cumsum(saved[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each score
    allowed = last[last + 1 >= LEAST_SHOWN * len(ranked)]
    end = int(allowed[np.argmax(total[allowed])])
    right = int((saved[order[: end + 1]] > REJECTED).sum())
    least = float((ranked[end] + ranked[end + 1]) / 2) if end + 1 < len(ranked) else 0.0
    return Worth(least, end + 1, len(ranked), right, float(total[end]))


def shown(proposals: pd.DataFrame, found: Worth) -> pd.DataFrame:
    """Return ``proposals`` (PROPOSAL_COLUMNS) in which regions below the score are left unknown, with why."""
    below = (
        (proposals["kind"] == "region")
        & (proposals["advice"] == REVIEW)
        & (proposals["score"] < np.float32(found.least))
    )
    why = (
        f"scores below {found.least:.2f}: in the labelled images, each left out, such regions cost more "
        "clicks to review than they save"
    )
    reasons = proposals["reason"]
    return proposals.assign(
        advice=proposals["advice"].mask(below, UNKNOWN), reason=reasons.mask(below, why + "; " + reasons)
    )
