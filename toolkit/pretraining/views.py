"""Multi-crop views of DINO, made for a whole batch at once on whatever device the pictures are on.

The random choices are those of the official recipe (facebookresearch/dino, main_dino.py,
DataAugmentationDINO). Pictures come squashed to a square with their aspect remembered, so crops are
drawn in the geometry of the original. Jitter of brightness, contrast, saturation and hue is one affine
map of the channels for each crop; its order is fixed and hue turns in YIQ space instead of HSV.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD

LUMINANCE = (0.299, 0.587, 0.114)  # BT.601
CROP_RATIO = (3 / 4, 4 / 3)  # width to height, log-uniform, as torchvision's RandomResizedCrop
MAX_BLUR = 2.0  # largest standard deviation at 224 px; smaller crops blur in proportion
PORTION = (
    150_000  # numbers worked on together: 0.6 MB, as most cores have 1 MB of cache or more to themselves
)


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
class Draws:
    """All chance of ``count`` views of each of B pictures, on the CPU.

    Its tensors have count * B rows, one view of all pictures after the other.
    """

    plan: ViewPlan
    count: int
    boxes: Tensor  # (n, 4) x, y, width, height of the crop in [0, 1]
    flips: Tensor  # (n,) bool
    matrix: Tensor  # (n, 3, 3) of the channels: brightness, contrast, saturation, hue, grey
    lift: Tensor  # (n,) what is added: this many times the view's mean luminance, so that contrast keeps it
    sigma: Tensor  # (n,) of the blur in pixels; 0: none
    solarised: Tensor  # (n,) bool

    def of(self, pictures: Tensor) -> "Draws":
        """Return the same draws for some of the pictures only, whose positions in the batch are given."""
        rows = rows_of(pictures, self.count, len(self.boxes))
        names = ("boxes", "flips", "matrix", "lift", "sigma", "solarised")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def rows_of(pictures: Tensor, count: int, rows: int) -> Tensor:
    """Return which of all ``rows`` views belong to these pictures, one view of them after the other."""
    first = torch.arange(count) * (rows // count)
    return (first[:, None] + pictures.cpu()).flatten()


def draw_views(aspects: Tensor, plan: ViewPlan, generator: torch.Generator, count: int = 1) -> Draws:
    """Draw what makes ``count`` views of each picture.

    Parameters
    ----------
    aspects : Tensor (B,)
        Width over height of the originals.
    plan : ViewPlan
    generator : torch.Generator
        On the CPU; all random choices come from it, so equal seeds give equal views on every device.
    """
    rows = count * len(aspects)
    boxes = crop_boxes(aspects.cpu().repeat(count), plan.scale, generator)
    flips = chance(rows, 0.5, generator)
    matrix, lift = draw_jitter(rows, plan, generator)
    sigma = (0.1 + (MAX_BLUR - 0.1) * torch.rand(rows, generator=generator)) * plan.size / 224
    sigma = sigma * chance(rows, plan.blur, generator)
    return Draws(plan, count, boxes, flips, matrix, lift, sigma, chance(rows, plan.solarise, generator))


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
    for part in _portions(out):
        view = out[part]
        recoloured(cut(pictures, draws, part), draws.matrix[part], draws.lift[part], out=view)
        blur_(view, draws.sigma[part])
        solarise_(view, draws.solarised[part])
    return out


def normalised(view: Tensor) -> Tensor:
    """Turn a view (B, 3, H, W) in [0, 1] into network input, ImageNet mean and standard deviation."""
    mean, std = (torch.tensor(x, device=view.device)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    out = torch.empty_like(view)
    for part in _portions(out):
        torch.sub(view[part], mean, out=out[part]).div_(std)
    return out


def _portions(out: Tensor) -> list[slice]:
    """Return rows that fit a core's cache together, or all where there is no such cache."""
    together = max(1, PORTION // out[:1].numel()) if out.device.type == "cpu" else max(1, len(out))
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
    view = torch.empty(last - first, 3, size, size)
    for at, ((x, y, width, height), flip) in enumerate(
        zip(places, draws.flips[first:last].tolist(), strict=True)
    ):
        crop = pictures[(first + at) % len(pictures), y : y + height, x : x + width].permute(2, 0, 1)[None]
        small = functional.interpolate(crop, (size, size), mode="bicubic", antialias=True)
        view[at] = small[0].flip(-1) if flip else small[0]
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


def draw_jitter(rows: int, plan: ViewPlan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw brightness, contrast, saturation and hue (0.4, 0.4, 0.2, 0.1), then grey: (n, 3, 3) and (n,)."""
    brightness, contrast, saturation = (
        1 + strength * (2 * torch.rand(rows, generator=generator) - 1) for strength in (0.4, 0.4, 0.2)
    )
    hue = 0.1 * (2 * torch.rand(rows, generator=generator) - 1)
    on = chance(rows, plan.jitter, generator).float()
    brightness, contrast, saturation = (1 + on * (x - 1) for x in (brightness, contrast, saturation))
    matrix = _hue_matrix(hue * on)
    grey = torch.tensor(LUMINANCE).expand(3, 3)  # every output channel is the luminance
    matrix = saturation[:, None, None] * matrix + (1 - saturation)[:, None, None] * (grey @ matrix)
    matrix = torch.where(chance(rows, plan.grey, generator)[:, None, None], grey @ matrix, matrix)
    return (brightness * contrast)[:, None, None] * matrix, brightness * (1 - contrast)


def recoloured(view: Tensor, matrix: Tensor, lift: Tensor, out: Tensor | None = None) -> Tensor:
    """Map the channels of views (n, 3, H, W) by matrices (n, 3, 3), and add ``lift`` (n,) mean luminances."""
    matrix, lift = matrix.to(view.device), lift.to(view.device)
    out = torch.empty_like(view) if out is None else out
    pixels = view.flatten(2)
    offset = lift * (pixels.mean(2) * torch.tensor(LUMINANCE, device=view.device)).sum(1)
    torch.baddbmm(offset[:, None, None], matrix, pixels, out=out.view(pixels.shape))
    return out.clamp_(0, 1)


def blur_(view: Tensor, sigma: Tensor) -> None:
    """Blur in place those of the views (n, 3, H, W) whose ``sigma`` (n,), in pixels, is not 0.

    Gaussian, cut off where that of the widest blur of this size of views falls below 2 standard deviations.
    """
    chosen = torch.nonzero(sigma).flatten()
    if len(chosen) == 0:
        return
    height, width = view.shape[2:]
    reach = max(1, math.ceil(2 * MAX_BLUR * width / 224))
    weights = _bell(sigma[chosen], reach).to(view.device)
    at = chosen.to(view.device)
    padded = functional.pad(view[at], (reach,) * 4, mode="replicate")
    # Padded, an image lies in memory as one line in which a neighbour is always equally far: no row ends.
    line = _along(padded.flatten(1), weights, 1)
    line = _along(line, weights, width + 2 * reach)
    strides = (line.stride(0), *padded.stride()[1:])
    view.index_copy_(0, at, line.as_strided((len(at), 3, height, width), strides))


def _bell(sigma: Tensor, reach: int) -> Tensor:
    """Return the weights (n, 2 reach + 1) of Gaussians."""
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None].clamp(min=1e-3)) ** 2)
    return weights / weights.sum(1, keepdim=True)


def _along(line: Tensor, weights: Tensor, step: int) -> Tensor:
    """Return sums (n, L - taps * step + step) over lines (n, L), weighted, of values ``step`` apart."""
    length = line.shape[1] - (weights.shape[1] - 1) * step
    total = line[:, :length] * weights[:, :1]
    for tap in range(1, weights.shape[1]):
        total.addcmul_(line[:, tap * step : tap * step + length], weights[:, tap : tap + 1])
    return total


def solarise_(view: Tensor, chosen: Tensor) -> None:
    """Invert in place what is brighter than half, in the chosen views (n,) bool."""
    at = torch.nonzero(chosen).flatten().to(view.device)
    if len(at):
        bright = view[at]
        view.index_copy_(0, at, torch.minimum(bright, 1 - bright))


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Return (count,) bool, each true with this probability."""
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
