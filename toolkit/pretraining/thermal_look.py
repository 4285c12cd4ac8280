"""Colour views made to look like thermal ones: what a student sees where its teacher sees the colours.

Two ingredients, drawn for each view: another tone (one channel mixed from the three by chance, its curve
bent, half of them inverted, stretched to full range as thermal images are prepared) and the low resolution
of thermal cameras. Only the student's views are changed: with such views for the teacher, too, from the
first step, little was learned at all.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.pretraining.views import chance, rows_of

BEND = 0.5  # gamma is exp(uniform in -BEND .. BEND)
LOW_SIDES = (10, 48)  # pixels a side that are left of a view in low resolution
CLIPPED = (0.01, 0.99)  # quantiles that become black and white, as `percentile` prepares thermal images


@dataclass(frozen=True)
class ThermalLook:
    """How often each ingredient is used, 0 to 1."""

    tone: float
    low_resolution: float


@dataclass(frozen=True)
class LookDraws:
    """All chance of the look of ``count`` views of each of B pictures, on the CPU.

    Its tensors have count * B rows, one view of all pictures after the other, as those of ``Draws``.
    """

    count: int
    toned: Tensor  # (n,) bool
    weights: Tensor  # (n, 3) of the channels
    gamma: Tensor  # (n,)
    inverted: Tensor  # (n,) bool
    side: Tensor  # (n,) pixels that are left in low resolution; 0: all

    def of(self, pictures: Tensor) -> "LookDraws":
        """Return the same draws for some of the pictures only, whose positions in the batch are given."""
        rows = rows_of(pictures, self.count, len(self.toned))
        names = ("toned", "weights", "gamma", "inverted", "side")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def draw_look(
    pictures: int, look: ThermalLook, size: int, generator: torch.Generator, count: int = 1
) -> LookDraws:
    """Draw the look of ``count`` views, ``size`` pixels a side, of each of so many pictures."""
    rows = count * pictures
    weights = -torch.log(torch.rand(rows, 3, generator=generator).clamp(min=1e-6))  # uniform on the simplex
    gamma = torch.exp(BEND * (2 * torch.rand(rows, generator=generator) - 1))
    side = torch.randint(LOW_SIDES[0], LOW_SIDES[1] + 1, (rows,), generator=generator)
    coarse = chance(rows, look.low_resolution, generator) & (side < size)
    return LookDraws(
        count,
        toned=chance(rows, look.tone, generator),
        weights=weights / weights.sum(1, keepdim=True),
        gamma=gamma,
        inverted=chance(rows, 0.5, generator),
        side=side * coarse,
    )


def thermal_like(view: Tensor, draws: LookDraws) -> Tensor:
    """Return views (count B, 3, H, W) in [0, 1], changed as drawn; no view depends on the others."""
    toned = draws.toned.to(view.device)[:, None, None, None]
    return _coarsened(torch.where(toned, _toned(view, draws), view), draws.side)


def _toned(view: Tensor, draws: LookDraws) -> Tensor:
    """Mix the channels, bend, invert some, stretch."""
    weights, gamma, inverted = (x.to(view.device) for x in (draws.weights, draws.gamma, draws.inverted))
    grey = torch.einsum("bc,bchw->bhw", weights, view).clamp(0, 1) ** gamma[:, None, None]
    grey = torch.where(inverted[:, None, None], 1 - grey, grey)
    low, high = (_quantile(grey, share)[:, None, None] for share in CLIPPED)
    grey = ((grey - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return grey[:, None].expand(-1, 3, -1, -1)


def _quantile(grey: Tensor, share: float) -> Tensor:
    flat = grey.flatten(1)
    return flat.kthvalue(1 + round(share * (flat.shape[1] - 1)), dim=1).values


def _coarsened(view: Tensor, sides: Tensor) -> Tensor:
    """Reduce views to ``sides`` (n,) pixels and enlarge them again; 0: not."""
    if not sides.any():
        return view
    view, size = view.clone(), view.shape[-1]
    for side in sorted(set(sides.tolist())):
        if side:
            at = torch.nonzero(sides == side).flatten().to(view.device)
            small = functional.interpolate(view[at], side, mode="area")
            view[at] = functional.interpolate(small, size, mode="bilinear", align_corners=False)
    return view
