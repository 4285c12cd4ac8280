"""Colour views made to look like thermal ones: what a student sees where its teacher sees the colours.

Each ingredient is drawn for each view with a probability of its own. Only the student's views are changed:
with such views for the teacher, too, from the first step, little was learned at all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.pretraining.distortions import LUMINANCE, blur_, chance, draw_blur
from dinonat.pretraining.views import DrawnRows, portions

BEND = 0.5  # gamma of the tone is exp(uniform in -BEND .. BEND)
GAMMA = math.log(2)  # that of the ingredient of its own: 0.5 to 2
LOW_SIDES = (10, 48)  # pixels a side that are left of a view in low resolution
CLIPPED = (0.01, 0.99)  # quantiles that become black and white, as `percentile` prepares thermal images
COLUMN_NOISE = (0.01, 0.05)  # standard deviation between columns, as a share of the full range


@dataclass(frozen=True)
class ThermalLook:
    """How often each ingredient is used, 0 to 1.

    Tone and low resolution were measured in pretraining, and are the default of a recipe; the others were
    proposed and not measured. They are applied in the order in which light meets a camera: tone, curve,
    gamma, inversion, then blur, low resolution, column noise.
    """

    tone: float = 0.7  # channels mixed by chance, bent, half of them inverted, stretched: grey, full range
    low_resolution: float = 0.3  # reduced to few pixels and enlarged again
    curve: float = 0.0  # XoFTR's cosine of the luminance: not monotone, grey levels merge
    gamma: float = 0.0  # bent
    invert: float = 0.0  # white becomes black
    blur: float = 0.0  # on top of that of the views
    column_noise: float = 0.0  # the fixed pattern of a microbolometer's readout


@dataclass(frozen=True)
class LookDraws(DrawnRows):
    """All chance of the look: n = count * B rows, in the order of the views' own ``Draws``."""

    toned: Tensor  # (n,) bool
    weights: Tensor  # (n, 3) of the channels in the tone
    bend: Tensor  # (n,) gamma of the tone
    turned: Tensor  # (n,) bool, whether the tone is inverted
    curved: Tensor  # (n,) bool
    waves: Tensor  # (n, 2) frequency and phase of the curve
    gamma: Tensor  # (n,) 1: none
    inverted: Tensor  # (n,) bool
    sigma: Tensor  # (n,) pixels; 0: no blur
    side: Tensor  # (n,) pixels that are left in low resolution; 0: all
    columns: Tensor  # (n, size) added; 0: none


def draw_look(
    pictures: int, look: ThermalLook, size: int, generator: torch.Generator, count: int = 1
) -> LookDraws:
    """Draw the look of ``count`` views, ``size`` pixels a side, of each of so many pictures."""
    rows = count * pictures
    weights = -torch.log(torch.rand(rows, 3, generator=generator).clamp(min=1e-6))  # uniform on the simplex
    side = torch.randint(LOW_SIDES[0], LOW_SIDES[1] + 1, (rows,), generator=generator)
    return LookDraws(
        count,
        toned=chance(rows, look.tone, generator),
        weights=weights / weights.sum(1, keepdim=True),
        bend=torch.exp(BEND * _uniform(rows, generator)),
        turned=chance(rows, 0.5, generator),
        curved=chance(rows, look.curve, generator),
        waves=_waves(rows, generator),
        gamma=torch.exp(GAMMA * _uniform(rows, generator) * chance(rows, look.gamma, generator)),
        inverted=chance(rows, look.invert, generator),
        sigma=draw_blur(rows, look.blur, size, generator),
        side=side * (chance(rows, look.low_resolution, generator) & (side < size)),
        columns=_columns(rows, size, generator) * chance(rows, look.column_noise, generator)[:, None],
    )


def _uniform(rows: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(rows, generator=generator) - 1


def _waves(rows: int, generator: torch.Generator) -> Tensor:
    """Draw w = 2 pi / 3 + |N| pi / 2 and phi = pi / 2 + N pi / 2 (XoFTR, arXiv 2404.09692): (n, 2)."""
    drawn = torch.randn(2, rows, generator=generator)
    return torch.stack([2 * math.pi / 3 + drawn[0].abs() * math.pi / 2, (1 + drawn[1]) * math.pi / 2], dim=1)


def _columns(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw noise (n, size) whose mean over the columns is 0."""
    low, high = COLUMN_NOISE
    strength = low + (high - low) * torch.rand(rows, 1, generator=generator)
    noise = strength * torch.randn(rows, size, generator=generator)
    return noise - noise.mean(1, keepdim=True)


def thermal_like(view: Tensor, draws: LookDraws) -> Tensor:
    """Return views (count * B, 3, H, W) in [0, 1], changed as drawn; no view depends on the others.

    Raises ValueError where the draws are those of another number of views.
    """
    if len(view) != len(draws.toned):
        raise ValueError(
            f"{len(view)} views are given and the look of {len(draws.toned)} was drawn: count them."
        )
    out = view.clone()
    for part in portions(out):
        _change(out[part], draws.at(part))
    return out


def _change(view: Tensor, draws: LookDraws) -> None:
    """Apply all ingredients to views (n, 3, H, W) in place."""
    _apply(_toned, view, draws, draws.toned)
    _apply(_curved, view, draws, draws.curved)
    _apply(_bent, view, draws, draws.gamma != 1)
    _apply(_inverted, view, draws, draws.inverted)
    blur_(view, draws.sigma)
    for side in sorted(set(draws.side.tolist()) - {0}):
        _apply(_coarse, view, draws, draws.side == side)
    _apply(_striped, view, draws, (draws.columns != 0).any(1))


def _apply(
    ingredient: Callable[[Tensor, LookDraws], Tensor], view: Tensor, draws: LookDraws, chosen: Tensor
) -> None:
    """Put what an ingredient makes of the chosen views (n,) bool in their place."""
    at = torch.nonzero(chosen).flatten()
    if len(at):
        there = at.to(view.device)
        view.index_copy_(0, there, ingredient(view[there], draws.at(at)).expand(-1, 3, -1, -1))


def _toned(view: Tensor, draws: LookDraws) -> Tensor:
    """Mix the channels, bend, invert some, stretch: (n, 1, H, W)."""
    bend, turned = (_beside(x, view) for x in (draws.bend, draws.turned))
    grey = _mixed(view, draws.weights).clamp_(0, 1) ** bend
    grey = torch.where(turned, 1 - grey, grey)
    low, high = (_beside(_quantile(grey, share), view) for share in CLIPPED)
    return ((grey - low) / (high - low).clamp(min=1e-3)).clamp_(0, 1)


def _curved(view: Tensor, draws: LookDraws) -> Tensor:
    """cos(w x + phi) of the luminance x in [-0.5, 0.5], stretched to full range: (n, 1, H, W)."""
    luminance = torch.tensor(LUMINANCE).expand(len(view), 3)
    frequency, phase = (_beside(x, view) for x in draws.waves.unbind(1))
    wave = torch.cos(frequency * (_mixed(view, luminance) - 0.5) + phase)
    low, high = wave.amin((2, 3), keepdim=True), wave.amax((2, 3), keepdim=True)
    return (wave - low) / (high - low).clamp(min=1e-3)


def _bent(view: Tensor, draws: LookDraws) -> Tensor:
    return view ** _beside(draws.gamma, view)


def _inverted(view: Tensor, draws: LookDraws) -> Tensor:
    return 1 - view


def _coarse(view: Tensor, draws: LookDraws) -> Tensor:
    """Reduce views that are all drawn with one side, and enlarge them again."""
    small = functional.interpolate(view, int(draws.side[0]), mode="area")
    return functional.interpolate(small, view.shape[-1], mode="bilinear", align_corners=False)


def _striped(view: Tensor, draws: LookDraws) -> Tensor:
    return (view + draws.columns[:, None, None].to(view.device)).clamp_(0, 1)


def _mixed(view: Tensor, weights: Tensor) -> Tensor:
    """Return sums of the channels of views (n, 3, H, W), weighted by (n, 3): (n, 1, H, W)."""
    red, green, blue = (_beside(x, view) for x in weights.unbind(1))
    return view[:, :1] * red + view[:, 1:2] * green + view[:, 2:] * blue


def _beside(values: Tensor, view: Tensor) -> Tensor:
    """Return a value for each view, (n,), in the shape that meets (n, 3, H, W)."""
    return values.to(view.device)[:, None, None, None]


def _quantile(grey: Tensor, share: float) -> Tensor:
    flat = grey.flatten(1)
    return flat.kthvalue(1 + round(share * (flat.shape[1] - 1)), dim=1).values
