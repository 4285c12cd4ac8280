"""Pixels to the four parts of a vector: two from the network's tokens, two made by hand."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dinonat.embeddings.descriptors import hog, raw
from dinonat.embeddings.framing import Shape, padded, valid_tokens
from dinonat.models.nat import NAT, normalise
from dinonat.records import PARTS, Float32, UInt8

Vectors = dict[str, Float32]  # part -> (n, d)

GRID = 3  # cells a side of the grid part


def part_lengths(network: NAT) -> dict[str, int]:
    """Return the length of each part of an item's vector."""
    third, fourth = network.dims[2:]
    none = np.zeros((0, 1, 1), np.uint8)
    return {
        "mean": third + fourth,
        "grid": GRID * GRID * third,
        "hog": hog(none).shape[1],
        "raw": raw(none).shape[1],
    }


def zeros(network: NAT, count: int) -> Vectors:
    """Return the vectors of ``count`` items that have none."""
    return {name: np.zeros((count, length), np.float32) for name, length in part_lengths(network).items()}


def as_input(network: NAT, pictures: Sequence[UInt8]) -> Tensor:
    """Return pictures (h, w, 3) of one size as input (B, 3, h, w), on the network's device."""
    device = next(network.parameters()).device
    return normalise(torch.from_numpy(np.stack(pictures)).to(device))


def network_vectors(tokens: Sequence[Tensor], valid: Sequence[Shape]) -> Vectors:
    """Return the parts that come from the network, for pictures that fill the same part of their maps.

    ``tokens`` are the four stages (B, h, w, c), ``valid`` the (h, w) of each that the pictures fill;
    the rest is padding and left out. "mean" (B, c3 + c4): mean of stage 3 and mean of stage 4, each of
    length 1. "grid" (B, 9 c3): stage 3 pooled to 3x3, row by row.
    """
    third, fourth = (
        stage[:, :height, :width] for stage, (height, width) in zip(tokens[2:], valid[2:], strict=True)
    )
    means = [functional.normalize(stage.mean(dim=(1, 2)), dim=1) for stage in (third, fourth)]
    cells = functional.adaptive_avg_pool2d(third.permute(0, 3, 1, 2), GRID)  # (B, c3, 3, 3)
    grid = cells.permute(0, 2, 3, 1).flatten(1)  # (B, 9 c3)
    return {"mean": torch.cat(means, dim=1).cpu().numpy(), "grid": grid.cpu().numpy()}


def crop_vectors(network: NAT, crops: Iterable[UInt8], *, batch: int) -> Vectors:
    """Return all parts of crops (side, side, 3), one row each, encoded ``batch`` at a time."""
    pending = iter(crops)
    chunks = [zeros(network, 0)]
    while taken := list(islice(pending, batch)):
        side = taken[0].shape[0]
        tokens = network.tokens(as_input(network, [padded(crop, stride=network.stride) for crop in taken]))
        pixels = np.stack(taken)
        by_hand = {"hog": hog(pixels), "raw": raw(pixels)}
        chunks.append(network_vectors(tokens, valid_tokens((side, side))) | by_hand)
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in PARTS}
