"""Multi-crop views of DINO, made for a whole batch at once on whatever device the pictures are on.

The random choices are those of the official recipe (facebookresearch/dino, main_dino.py,
DataAugmentationDINO). Pictures come squashed to a square with their aspect remembered, so crops are
drawn in the geometry of the original. All chance is drawn first, for a whole batch; what is made of it
later, of how many pictures at once and by whom, changes nothing.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.pretraining.distortions import blur_, chance, draw_blur, draw_jitter, recoloured, solarise_

CROP_RATIO = (3 / 4, 4 / 3)  # width to height, log-uniform, as torchvision's RandomResizedCrop
PORTION = 600_000  # numbers worked on together, 2.4 MB: in a cache, and calls cost little beside them


@dataclass(frozen=True)
class ViewPlan:
    """One kind of view: how it is cropped and how often each distortion is applied."""

    size: int  # pixels a side
    scale: tuple[float, float]  # share of the image's area
    blur: float  # probability
    solarise: float  # probability
    jitter: float = 0.8
    grey: float = 0.2


@dataclass(frozen=True)
class DrawnRows:
    """Chance that was drawn for ``count`` views of each of B pictures, on the CPU.

    Its tensors have count * B rows, one view of all pictures after the other.
    """

    count: int

    def at(self, rows: Tensor | slice) -> Self:
        """Return some of the rows."""
        taken: dict[str, Any] = {name: x[rows] for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **taken)

    def of(self, pictures: Tensor) -> Self:
        """Return the rows of all views of some pictures, whose positions 0 .. B - 1 are given."""
        total = next(len(x) for x in vars(self).values() if isinstance(x, Tensor))
        first = torch.arange(self.count) * (total // self.count)
        return self.at((first[:, None] + pictures.cpu()).flatten())


@dataclass(frozen=True)
class Draws(DrawnRows):
    """All chance of views: n = count * B rows."""

    plan: ViewPlan
    boxes: Tensor  # (n, 4) x, y, width, height of the crop in [0, 1]
    flips: Tensor  # (n,) bool
    matrix: Tensor  # (n, 3, 3) of the channels: brightness, contrast, saturation, hue, grey
    lift: Tensor  # (n,) what is added: this many times the view's mean luminance, so that contrast keeps it
    sigma: Tensor  # (n,) of the blur in pixels; 0: none
    solarised: Tensor  # (n,) bool


def draw_views(aspects: Tensor, plan: ViewPlan, generator: torch.Generator, count: int = 1) -> Draws:
    """Draw what makes ``count`` views of each picture.

    Parameters
    ----------
    aspects : Tensor (B,)
        Width over height of the originals.
    plan : ViewPlan
    generator : torch.Generator
        On the CPU; all random choices come from it, so equal seeds draw equal views for every device.
    """
    rows = count * len(aspects)
    boxes = crop_boxes(aspects.cpu().repeat(count), plan.scale, generator)
    flips = chance(rows, 0.5, generator)
    matrix, lift = draw_jitter(rows, plan.jitter, plan.grey, generator)
    sigma = draw_blur(rows, plan.blur, plan.size, generator)
    return Draws(count, plan, boxes, flips, matrix, lift, sigma, chance(rows, plan.solarise, generator))


def make_views(pictures: Tensor, draws: Draws) -> Tensor:
    """Return the views of these pictures that were drawn; ``normalised`` makes network input of them.

    Nothing depends on which pictures are made together: ``make_views(pictures[some], draws.of(some))``
    are those rows of ``make_views(pictures, draws)``, bit for bit.

    Parameters
    ----------
    pictures : Tensor (B, S, S, 3) uint8
        Squashed to a square, on any device.
    draws : Draws

    Returns
    -------
    Tensor (count * B, 3, size, size) float32 in [0, 1], one view of all pictures after the other

    Raises
    ------
    ValueError
        Where the draws are those of another number of pictures.
    """
    rows, size = len(draws.boxes), draws.plan.size
    if rows != draws.count * len(pictures):
        raise ValueError(
            f"{draws.count} views of {len(pictures)} pictures are {rows} drawn rows: take Draws.of"
        )
    out = torch.empty(rows, 3, size, size, device=pictures.device)
    for part in portions(out):
        view = out[part]
        recoloured(cut(pictures, draws, part), draws.matrix[part], draws.lift[part], out=view)
        blur_(view, draws.sigma[part])
        solarise_(view, draws.solarised[part])
    return out


def normalised(view: Tensor) -> Tensor:
    """Turn a view (B, 3, H, W) in [0, 1] into network input, ImageNet mean and standard deviation."""
    mean, std = (torch.tensor(x, device=view.device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    out = torch.empty_like(view)
    for part in portions(out):
        torch.sub(view[part], mean, out=out[part]).div_(std)
    return out


def portions(out: Tensor) -> list[slice]:
    """Return rows that fit a core's cache together, or all where there is no such cache."""
    together = max(1, PORTION // out.shape[1:].numel()) if out.device.type == "cpu" else max(1, len(out))
    return [slice(at, min(at + together, len(out))) for at in range(0, len(out), together)]


def crop_boxes(aspects: Tensor, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw a crop (x, y, w, h) in [0, 1] for each picture: (B, 4); area uniform in ``scale``.

    The shape is drawn in the original's geometry and clipped to it, so that a crop of a wide picture
    is not a squashed one.
    """
    drawn = torch.rand(4, len(aspects), generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * drawn[0]
    low, high = (math.log(r) for r in CROP_RATIO)
    ratio = torch.exp(low + (high - low) * drawn[1])
    width = (area * ratio / aspects).sqrt().clamp(max=1)  # w = sqrt(area aspect ratio) / aspect
    height = (area * aspects / ratio).sqrt().clamp(max=1)
    return torch.stack([(1 - width) * drawn[2], (1 - height) * drawn[3], width, height], dim=1)


def cut(pictures: Tensor, draws: Draws, rows: slice | None = None) -> Tensor:
    """Resample crops of pictures (B, S, S, 3) uint8 to (n, 3, size, size) in [0, 1]; those of some ``rows``.

    On the CPU each as Pillow does it, bicubic with as many source pixels as a reduction covers and on
    whole pixels, as the official recipe; elsewhere all at once.
    """
    if pictures.device.type != "cpu":
        return _cut_at_once(pictures, draws)
    first, last, _ = (rows or slice(None)).indices(len(draws.boxes))
    size = draws.plan.size
    places = _whole(draws.boxes[first:last], pictures.shape[1]).tolist()
    flips = draws.flips[first:last].tolist()
    view = torch.empty(last - first, 3, size, size)
    planes = pictures.permute(0, 3, 1, 2)
    for at, (x, y, width, height) in enumerate(places):
        picture = (first + at) % len(pictures)
        crop = planes[picture : picture + 1, :, y : y + height, x : x + width]
        small = functional.interpolate(crop, (size, size), mode="bicubic", antialias=True)
        view[at] = small[0].flip(-1) if flips[at] else small[0]
    return view.div_(255)


def _whole(boxes: Tensor, side: int) -> Tensor:
    """Round boxes (n, 4) in [0, 1] to whole pixels, at least one, inside a picture of ``side``."""
    extent = (boxes[:, 2:] * side).round().long().clamp(1, side)
    start = torch.minimum((boxes[:, :2] * side).round().long(), side - extent)
    return torch.cat([start, extent], dim=1)


def _cut_at_once(pictures: Tensor, draws: Draws) -> Tensor:
    """Resample all crops in one call, bilinear.

    Where a crop as large as the plan expects would be reduced more than twofold, 2x2 means of the picture
    are sampled instead, so that fine texture does not alias. The draws stay on the CPU until here, so that
    nothing waits for the device of the pictures.
    """
    levels = pictures.permute(0, 3, 1, 2).float() / 255
    size, boxes, flips = draws.plan.size, draws.boxes, draws.flips
    low, high = (math.sqrt(share) for share in draws.plan.scale)
    typical = (low + high) / 2 * pictures.shape[1] / size
    while typical > 2 and levels.shape[-1] >= 2 * size:
        levels, typical = functional.avg_pool2d(levels, 2), typical / 2
    x, y, width, height = boxes.unbind(1)
    theta = boxes.new_zeros(len(boxes), 2, 3)
    theta[:, 0, 0] = torch.where(flips, -width, width)
    theta[:, 0, 2] = 2 * x + width - 1
    theta[:, 1, 1] = height
    theta[:, 1, 2] = 2 * y + height - 1
    grid = functional.affine_grid(theta.to(levels.device), [len(boxes), 3, size, size], align_corners=False)
    # All crops of a picture are sampled as one tall one, so that no picture is converted or copied twice.
    count, batch = draws.count, len(levels)
    grid = grid.view(count, batch, size, size, 2).transpose(0, 1).reshape(batch, count * size, size, 2)
    tall = functional.grid_sample(levels, grid, padding_mode="border", align_corners=False)
    return tall.view(batch, 3, count, size, size).permute(2, 0, 1, 3, 4).reshape(-1, 3, size, size)
