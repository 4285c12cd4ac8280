"""Pixels to the four parts of a vector: two from the network's tokens, two made by hand."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dinonat.embeddings.descriptors import hand_made
from dinonat.embeddings.framing import Shape, padded, valid_tokens
from dinonat.models.nat import NAT
from dinonat.models.network import Network, normalise
from dinonat.records import PARTS, Float32, UInt8
from dinonat.saliency.attention import cls_map, received_map

Vectors = dict[str, Float32]  # part -> (n, d)

GRID = 3  # cells a side of the grid part


def part_lengths(network: Network) -> dict[str, int]:
    """Return the length of each part of an item's vector."""
    fine, coarse = network.dims[-2:]
    by_hand = {name: values.shape[1] for name, values in hand_made([]).items()}
    return {"mean": fine + coarse, "grid": GRID * GRID * fine, **by_hand}


def zeros(network: Network, count: int) -> Vectors:
    """Return the vectors of ``count`` items that have none."""
    return {name: np.zeros((count, length), np.float32) for name, length in part_lengths(network).items()}


def as_input(network: Network, pictures: Sequence[UInt8]) -> Tensor:
    """Return pictures (h, w, 3) or (h, w) of one size as input (B, 3, h, w), on the network's device."""
    device = next(network.parameters()).device
    whole = [each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2) for each in pictures]
    return normalise(torch.from_numpy(np.stack(whole)).to(device))


def network_vectors(tokens: Sequence[Tensor], valid: Sequence[Shape]) -> Vectors:
    """Return the parts that come from the network, for pictures that fill the same part of their maps.

    ``tokens`` are the maps of a Network (B, h, w, c), ``valid`` the (h, w) of each that the pictures
    fill; the rest is padding and left out. The last two count, of c1 and c2 channels: stages 3 and 4 of a
    NAT, patches and CLS of a ViT. "mean" (B, c1 + c2): the mean of each, of length 1. "grid" (B, 9 c1):
    the finer one pooled to 3x3, row by row.
    """
    fine, coarse = (
        each[:, :height, :width] for each, (height, width) in zip(tokens[-2:], valid[-2:], strict=True)
    )
    means = [functional.normalize(each.mean(dim=(1, 2)), dim=1) for each in (fine, coarse)]
    cells = functional.adaptive_avg_pool2d(fine.permute(0, 3, 1, 2), GRID)  # (B, c1, 3, 3)
    grid = cells.permute(0, 2, 3, 1).flatten(1)  # (B, 9 c1)
    return {"mean": torch.cat(means, dim=1).cpu().numpy(), "grid": grid.cpu().numpy()}


def crop_vectors(network: Network, crops: Iterable[UInt8], *, batch: int) -> Vectors:
    """Return all parts of crops (side, side, 3) or (side, side), a row each, encoded ``batch`` at a time."""
    pending = iter(crops)
    chunks = [zeros(network, 0)]
    while taken := list(islice(pending, batch)):
        side = taken[0].shape[0]
        tokens = network.tokens(as_input(network, [padded(crop, stride=network.stride) for crop in taken]))
        valid = valid_tokens((side, side), network.strides)
        chunks.append(network_vectors(tokens, valid) | hand_made(taken))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in PARTS}


def attended(
    network: Network, attention: Sequence[Sequence[Tensor]], valid: Sequence[Shape], last: Tensor
) -> Float32:
    """Return where the network looks in one picture, (h, w): 1 is what even attention would give.

    ``attention`` is what ``tokens_and_attention`` gave for it, and ``last`` its last map (h, w, c), both
    without the batch axis. Local attention is traced back through all blocks, from what pools them; the
    CLS token of a ViT says itself which patches it is made from.
    """
    weights = [[block.cpu().numpy() for block in stage] for stage in attention]
    if isinstance(network, NAT):
        height, width = valid[-1]
        pooling = network.pooling_map(last[None, :height, :width])
        return received_map(
            weights,
            kernel_size=network.settings.kernel_size,
            valid_hw=valid,
            pooling=None if pooling is None else pooling[0].cpu().numpy(),
        )
    return cls_map(weights[-1][-1], valid_hw=valid[-2])
