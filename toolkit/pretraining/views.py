"""Multi-crop views of DINO, made for a whole batch at once on whatever device the pictures are on.

The random choices are those of the official recipe (facebookresearch/dino, main_dino.py,
DataAugmentationDINO). Pictures come squashed to a square with their aspect remembered, so crops are
drawn in the geometry of the original. Jitter of brightness, contrast, saturation and hue is one affine
map of the channels for each crop; its order is fixed and hue turns in YIQ space instead of HSV.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD

LUMINANCE = (0.299, 0.587, 0.114)  # BT.601
CROP_RATIO = (3 / 4, 4 / 3)  # width to height, log-uniform, as torchvision's RandomResizedCrop
MAX_BLUR = 2.0  # largest standard deviation at 224 px; smaller crops blur in proportion


@dataclass(frozen=True)
class ViewPlan:
    """One kind of view: how it is cropped and how often each distortion is applied."""

    size: int  # pixels a side
    scale: tuple[float, float]  # share of the image's area
    blur: float  # probability
    solarise: float  # probability
    jitter: float = 0.8
    grey: float = 0.2


def make_views(
    pictures: Tensor, aspects: Tensor, plan: ViewPlan, generator: torch.Generator, count: int = 1
) -> Tensor:
    """Return ``count`` views of every picture; ``normalised`` makes network input of them.

    Parameters
    ----------
    pictures : Tensor (B, S, S, 3) uint8
        Squashed to a square.
    aspects : Tensor (B,)
        Width over height of the originals.
    plan : ViewPlan
    generator : torch.Generator
        On the CPU; all random choices come from it, so equal seeds give equal views on every device.

    Returns
    -------
    Tensor (count * B, 3, size, size) float32 in [0, 1], one view of all pictures after the other
    """
    boxes = crop_boxes(aspects.cpu().repeat(count), plan.scale, generator)
    flips = torch.rand(len(boxes), generator=generator) < 0.5
    view = cut(pictures, boxes, flips, plan.size)
    view = jitter(view, plan, generator)
    view = blur(view, plan, generator)
    solarised = _chance(len(view), plan.solarise, generator).to(view.device)
    return torch.where(solarised[:, None, None, None] & (view >= 0.5), 1 - view, view)


def normalised(view: Tensor) -> Tensor:
    """Turn a view (B, 3, H, W) in [0, 1] into network input, ImageNet mean and standard deviation."""
    mean, std = (torch.tensor(x, device=view.device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (view - mean) / std


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


def cut(pictures: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Resample crops (n B, 4) of pictures (B, S, S, 3) uint8 to (n B, 3, size, size) in [0, 1], bilinear.

    Boxes and flips are on the CPU, so that nothing waits for the device of the pictures. Where a crop of
    typical size would be reduced more than twofold, 2x2 means of the picture are sampled instead, so that
    fine texture does not alias.
    """
    levels = pictures.permute(0, 3, 1, 2).float() / 255
    typical = boxes[:, 2:].mean().item() * pictures.shape[1] / size
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
    count, batch = len(boxes) // len(levels), len(levels)
    grid = grid.view(count, batch, size, size, 2).transpose(0, 1).reshape(batch, count * size, size, 2)
    tall = functional.grid_sample(levels, grid, padding_mode="border", align_corners=False)
    return tall.view(batch, 3, count, size, size).permute(2, 0, 1, 3, 4).reshape(-1, 3, size, size)


def jitter(view: Tensor, plan: ViewPlan, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue (0.4, 0.4, 0.2, 0.1), then grey, by chance."""
    count = len(view)
    brightness, contrast, saturation = (
        1 + strength * (2 * torch.rand(count, generator=generator) - 1) for strength in (0.4, 0.4, 0.2)
    )
    hue = 0.1 * (2 * torch.rand(count, generator=generator) - 1)
    on = _chance(count, plan.jitter, generator).float()
    brightness, contrast, saturation = (1 + on * (x - 1) for x in (brightness, contrast, saturation))
    matrix = _hue_matrix(hue * on)
    grey = torch.tensor(LUMINANCE).expand(3, 3)  # every output channel is the luminance
    matrix = saturation[:, None, None] * matrix + (1 - saturation)[:, None, None] * (grey @ matrix)
    matrix = torch.where(_chance(count, plan.grey, generator)[:, None, None], grey @ matrix, matrix)
    gain = (brightness * contrast)[:, None, None]
    matrix, luminance = (gain * matrix).to(view.device), torch.tensor(LUMINANCE, device=view.device)
    mean = torch.einsum("bchw,c->b", view, luminance) / view[0, 0].numel()
    offset = (brightness * (1 - contrast)).to(view.device) * mean  # contrast keeps the mean luminance
    out = torch.einsum("bdc,bchw->bdhw", matrix, view) + offset[:, None, None, None]
    return out.clamp_(0, 1)


def blur(view: Tensor, plan: ViewPlan, generator: torch.Generator) -> Tensor:
    """Blur some views (Gaussian, standard deviation uniform in [0.1, 2] at 224 px)."""
    share = plan.size / 224
    sigma = (0.1 + (MAX_BLUR - 0.1) * torch.rand(len(view), generator=generator)) * share
    chosen = torch.nonzero(_chance(len(view), plan.blur, generator)).flatten()
    if len(chosen) == 0:
        return view
    reach = max(1, math.ceil(2 * MAX_BLUR * share))
    taps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (taps / sigma[chosen, None].clamp(min=1e-3)) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(view.device)  # (n, taps)
    chosen = chosen.to(view.device)
    out = functional.pad(view[chosen], (reach,) * 4, mode="replicate")
    for axis in (2, 3):
        length = out.shape[axis] - 2 * reach
        out = sum(  # type: ignore[assignment]
            weights[:, i, None, None, None] * out.narrow(axis, i, length) for i in range(2 * reach + 1)
        )
    return view.index_copy(0, chosen, out)


def _chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < probability


def _hue_matrix(turn: Tensor) -> Tensor:
    """Rotate chroma by ``turn`` (1 = full circle) around the grey axis in YIQ: (B, 3, 3)."""
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    angle = turn * 2 * math.pi
    rotation = torch.zeros(len(turn), 3, 3)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    turned: Tensor = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return turned
