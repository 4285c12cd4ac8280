"""What the toolkit asks of a network: its tokens as maps, and the attention that says where it looks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dinonat.settings import Settings

# Mean and standard deviation of ImageNet's RGB channels in [0, 1], as every DINO network expects.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module, ABC):
    """A backbone without a head.

    Its last two maps stand for a picture: regions and the grid come from the finer one, the mean from
    both. Those of a NAT are its stages 3 and 4. A ViT has the map of its patches and its CLS token, which
    is a map of one cell.

    Attributes
    ----------
    settings : Settings
        What it is built from; stored with every checkpoint.
    stride : int
        Sides of a padded picture are multiples of it.
    strides : sequence of float
        Pixels a side that a cell of each map covers; infinite for a map of one cell.
    dims : sequence of int
        Channels of each map.
    attends : bool
        Whether it has attention to tell of; where not, ``tokens_and_attention`` gives [] with the maps.
    """

    settings: Settings
    stride: int
    strides: Sequence[float]
    dims: Sequence[int]
    attends: bool = True

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the one vector that pretraining compares, (B, dims[-1])."""
        return self.pooled(self.tokens(x))

    def pooled(self, tokens: Sequence[Tensor]) -> Tensor:
        """Make one vector (B, c) of the maps of ``tokens``: the mean of the last, if not said otherwise."""
        return tokens[-1].mean(dim=(1, 2))

    @abstractmethod
    def tokens(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to all maps (B, h, w, c), fine to coarse."""

    @abstractmethod
    def tokens_and_attention(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """All maps, and attention weights with the pictures first, in lists that the network decides."""


def normalise(pixels: Tensor) -> Tensor:
    """Turn pixels (B, H, W, 3) uint8 into network input (B, 3, H, W) float32, ImageNet mean and std."""
    width = pixels.shape[2]
    # Whole rows of repeated channels: along an axis of three, each operation costs four times as much.
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).repeat(width)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).repeat(width)
    rows = pixels.flatten(2).float().div_(255).sub_(mean).div_(std)  # (B, H, 3 W)
    return rows.view(pixels.shape).permute(0, 3, 1, 2)


def dropped(branch: Tensor, rate: float) -> Tensor:
    """Drop whole samples of a residual branch (B, ...) with probability ``rate``; the mean stays."""
    keep = 1 - rate
    kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) < keep
    return branch * kept / keep
