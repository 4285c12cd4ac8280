"""Colour views made to look like thermal ones: what a student sees where its teacher sees the colours.

Two ingredients, drawn for each view: another tone (one channel mixed from the three by chance, its curve
bent, half of them inverted, stretched to full range as thermal images are prepared) and the low resolution
of thermal cameras. Only the student's views are changed: with such views for the teacher, too, from the
first step, little was learned at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BEND = 0.5  # gamma is exp(uniform in -BEND .. BEND)
LOW_SIDES = (10, 48)  # pixels a side that are left of a view in low resolution
CLIPPED = (0.01, 0.99)  # quantiles that become black and white, as `percentile` prepares thermal images


@dataclass(frozen=True)
class ThermalLook:
    """How often each ingredient is used, 0 to 1."""

    tone: float
    low_resolution: float


def thermal_like(view: Tensor, look: ThermalLook, generator: torch.Generator) -> Tensor:
    """Return views (B, 3, H, W) in [0, 1], some of them changed; all chance comes from ``generator``."""
    count = len(view)
    toned = torch.rand(count, generator=generator) < look.tone
    coarse = torch.rand(count, generator=generator) < look.low_resolution
    grey = _toned(view, generator)
    view = torch.where(toned.to(view.device)[:, None, None, None], grey, view)
    return _coarsened(view, coarse, generator)


def _toned(view: Tensor, generator: torch.Generator) -> Tensor:
    """Mix the channels by weights uniform on the simplex, bend, invert by chance, stretch."""
    count = len(view)
    weights = -torch.log(torch.rand(count, 3, generator=generator).clamp(min=1e-6))
    weights = (weights / weights.sum(1, keepdim=True)).to(view.device)
    gamma = torch.exp(BEND * (2 * torch.rand(count, generator=generator) - 1)).to(view.device)
    inverted = (torch.rand(count, generator=generator) < 0.5).to(view.device)
    grey = torch.einsum("bc,bchw->bhw", weights, view).clamp(0, 1) ** gamma[:, None, None]
    grey = torch.where(inverted[:, None, None], 1 - grey, grey)
    low, high = (_quantile(grey, share)[:, None, None] for share in CLIPPED)
    grey = ((grey - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return grey[:, None].expand(-1, 3, -1, -1)


def _quantile(grey: Tensor, share: float) -> Tensor:
    flat = grey.flatten(1)
    return flat.kthvalue(1 + round(share * (flat.shape[1] - 1)), dim=1).values


def _coarsened(view: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Reduce the chosen views (B,) bool to few pixels and enlarge them again; one size for a call."""
    side = int(torch.randint(LOW_SIDES[0], LOW_SIDES[1] + 1, (), generator=generator))
    size = view.shape[-1]
    at = torch.nonzero(chosen).flatten().to(view.device)
    if side >= size or len(at) == 0:
        return view
    small = functional.interpolate(view[at], side, mode="area")
    large = functional.interpolate(small, size, mode="bilinear", align_corners=False)
    return view.index_copy(0, at, large)
