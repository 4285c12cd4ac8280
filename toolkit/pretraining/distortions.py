"""What is done to the pixels of views: colours, blur, solarisation; chance first, for any number of views.

Jitter of brightness, contrast, saturation and hue is one affine map of the channels for each view; its
order is fixed and hue turns in YIQ space instead of HSV.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE = (0.299, 0.587, 0.114)  # BT.601
MAX_BLUR = 2.0  # largest standard deviation at 224 px; smaller views blur in proportion


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Return (count,) bool, each true with this probability."""
    return torch.rand(count, generator=generator) < probability


def draw_jitter(rows: int, jitter: float, grey: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw brightness, contrast, saturation and hue (0.4, 0.4, 0.2, 0.1), then grey: (n, 3, 3) and (n,)."""
    brightness, contrast, saturation = (
        1 + strength * (2 * torch.rand(rows, generator=generator) - 1) for strength in (0.4, 0.4, 0.2)
    )
    hue = 0.1 * (2 * torch.rand(rows, generator=generator) - 1)
    on = chance(rows, jitter, generator).float()
    brightness, contrast, saturation = (1 + on * (x - 1) for x in (brightness, contrast, saturation))
    matrix = _hue_matrix(hue * on)
    luminance = torch.tensor(LUMINANCE).expand(3, 3)  # every output channel is the luminance
    matrix = saturation[:, None, None] * matrix + (1 - saturation)[:, None, None] * (luminance @ matrix)
    matrix = torch.where(chance(rows, grey, generator)[:, None, None], luminance @ matrix, matrix)
    return (brightness * contrast)[:, None, None] * matrix, brightness * (1 - contrast)


def draw_blur(rows: int, probability: float, size: int, generator: torch.Generator) -> Tensor:
    """Draw standard deviations (n,) in pixels, uniform in [0.1, 2] at a size of 224; 0: none."""
    sigma = (0.1 + (MAX_BLUR - 0.1) * torch.rand(rows, generator=generator)) * size / 224
    return sigma * chance(rows, probability, generator)


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
