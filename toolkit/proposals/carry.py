"""Which parts of an item still mean the same in another set: colour and thermal pictures of one world."""

import numpy as np

from dinonat.neighbors.parts import Vectors
from dinonat.records import Bool, Float32, Int64

SAMPLED = 1000  # items of each set that are compared
NEAREST = 5
LOSS = 0.95  # of the likeness of the part that carries best; below, a part sees the set before the thing


def carried(
    ready: Vectors, other: Vectors, *, groups: tuple[Int64, Int64], same_light: bool = True
) -> dict[str, float]:
    """Return the parts that carry from one set to the other, with how much of their likeness is left.

    ``ready`` part -> (n, d) and ``other`` part -> (m, d), each centred on its own set; ``groups`` (n,)
    and (m,) number recordings across both sets, and nothing is compared within one. No labels are
    needed. A part's likeness across the sets is the mean cosine of an item to its 5 nearest of the
    other set, divided by the same within the sets (geometric mean), both among equally many items.
    Left out are parts that keep less than 0.95 of what the best part keeps: on paired_road, colour to
    thermal, HOG keeps 0.98, the mean of a trained network's tokens 0.87 and its grid 0.83, and they are
    wrong there; within one world all keep the same to 0.03. Without ``same_light`` (one set colour, the
    other thermal) raw pixels are left out as well: what is bright in one may be dark in the other, so
    they find near neighbours of the wrong class.
    """
    usable = {name: part for name, part in ready.items() if same_light or name != "raw" or len(ready) == 1}
    count = min(SAMPLED, len(groups[0]), len(groups[1]))
    if count <= 2 * NEAREST:
        return dict.fromkeys(usable, 1.0)
    rows, others = _evenly(len(groups[0]), count), _evenly(len(groups[1]), count)
    one, two = groups[0][rows], groups[1][others]
    kept = {}
    for name, part in usable.items():
        a, b = part[rows], other[name][others]
        across = (_likeness(a @ b.T, one[:, None] == two) + _likeness(b @ a.T, two[:, None] == one)) / 2
        within = _likeness(a @ a.T, one[:, None] == one) * _likeness(b @ b.T, two[:, None] == two)
        kept[name] = across / max(within, 1e-12) ** 0.5
    best = max(kept.values())
    return {name: value for name, value in kept.items() if value >= LOSS * best}


def _evenly(n: int, count: int) -> Int64:
    return np.linspace(0, n - 1, count).astype(np.int64)


def _likeness(cosines: Float32, own: Bool) -> float:
    """Return the mean of the best 5 of each row that are not ``own``, 0 where it is negative."""
    near = -np.sort(-np.where(own, -1.0, cosines), axis=1)[:, :NEAREST]
    return max(float(near.mean()), 0.0)
