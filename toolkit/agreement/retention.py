"""Do labels of colour pictures name what thermal pictures show? k-NN across the lights, over k-NN within.

Items are labelled boxes, or whole pictures, of aligned pairs: the same things in both lights.
"""

from collections.abc import Mapping

import numpy as np

from dinonat.agreement.estimates import Estimate, Float64
from dinonat.agreement.rows import CENTRED, Figures
from dinonat.evaluation.intervals import RESAMPLES, accuracies, resampled
from dinonat.neighbors.exact import search
from dinonat.neighbors.parts import unit
from dinonat.proposals.votes import knn
from dinonat.records import Bool, Float32, Int64

NEIGHBOURS, TEMPERATURE = 5, 0.07


def retention_figures(
    colour: Mapping[str, Float32],
    thermal: Mapping[str, Float32],
    classes: Int64,
    groups: Int64,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """Classify thermal items (n, d) by their nearest among colour ones, and among thermal ones.

    ``classes`` and ``groups`` (n,) number the class and the recording of each item; nothing of its own
    recording votes for it. For each vector, as it is and with each light's mean taken off: the balanced
    accuracy "across" (colour gallery), "within" (thermal gallery), as shares, and "retained", the first over
    the second.
    """
    figures: Figures = {}
    for name in colour:
        for suffix, centre in (("", False), (CENTRED, True)):
            one, other = (_ready(side[name], centre=centre) for side in (colour, thermal))
            right = [_right(gallery, other, classes, groups) for gallery in (one, other)]
            shares = resampled(np.stack(right), classes, groups, resamples, seed)[:, 1] / 100
            across, within = (
                Estimate(accuracies(row, classes)[1] / 100, again, len(np.unique(groups)))
                for row, again in zip(right, shares, strict=True)
            )
            kinds = {"across": across, "within": within, "retained": _ratio(across, within)}
            figures |= {f"{name}{suffix}/k-NN/{kind}": each for kind, each in kinds.items()}
    return figures


def _right(gallery: Float32, queries: Float32, classes: Int64, groups: Int64) -> Bool:
    vote = knn(
        gallery,
        classes,
        queries,
        n_classes=int(classes.max()) + 1,
        k=NEIGHBOURS,
        search=search,
        exclude=(groups, groups),
        temperature=TEMPERATURE,
    )
    shares = vote(NEIGHBOURS)
    right: Bool = (shares.argmax(axis=1) == classes) & (shares.sum(axis=1) > 0)
    return right


def _ratio(one: Estimate, other: Estimate) -> Estimate:
    value = one.value / other.value if other.value > 0 else float("nan")
    below: Float64 = np.where(other.resampled > 0, other.resampled, np.nan)
    return Estimate(value, one.resampled / below, one.groups)


def _ready(rows: Float32, *, centre: bool) -> Float32:
    return unit(rows - rows.mean(axis=0) if centre else rows)
