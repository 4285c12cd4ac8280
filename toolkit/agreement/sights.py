"""What a network makes of pictures: maps of where it looks, tokens, vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dinonat.embeddings.encode import as_input, attended, network_vectors
from dinonat.embeddings.framing import Shape, padded, valid_tokens
from dinonat.models.network import Network
from dinonat.records import Float32, UInt8
from dinonat.saliency.ncut import eigenvectors, otsu

AT_ONCE = 16  # pictures that go through the network together


@dataclass(frozen=True, eq=False)
class Sight:
    """Of n pictures: the finer last map, maps on its cells, and vectors."""

    tokens: Float32  # (n, h, w, c)
    maps: dict[str, Float32]  # (n, h, w), by name
    vectors: dict[str, Float32]  # (n, d), by name


def sight_of(network: Network, pictures: UInt8) -> Sight:
    """Return tokens, maps and vectors of square ``pictures`` (n, S, S, 3).

    The maps: "attention", how much attention each cell receives from the pooled output, 1 being what even
    attention gives (only of a network that tells); "similarity", the cosine of each token with the mean of
    all; "component", the first principal component of the tokens; "cut", the second eigenvector of the
    normalised cut. The sign of the last two is arbitrary, so the smaller side is taken for the object.
    The vectors are "mean" and "grid", as `dinotool embed` stores them.
    """
    maps: dict[str, list[Float32]] = {}
    vectors: dict[str, list[Float32]] = {"mean": [], "grid": []}
    fine: list[Float32] = []
    for tokens, attention, valid in _shown(network, pictures, attention=network.attends):
        for name, rows in network_vectors(tokens, valid).items():
            vectors[name].append(rows)
        fine.append(_fine(tokens, valid))
        for i, own_tokens in enumerate(fine[-1]):
            if network.attends:
                own = [[block[i] for block in stage] for stage in attention]
                with torch.inference_mode():  # learned pooling is asked once more
                    seen = attended(network, own, valid, tokens[-1][i])
                maps.setdefault("attention", []).append(on_cells(seen, valid[-2]))
            for name, each in token_maps(own_tokens).items():
                maps.setdefault(name, []).append(each)
    return Sight(
        np.concatenate(fine),
        {name: np.stack(each) for name, each in maps.items()},
        {name: np.concatenate(each) for name, each in vectors.items()},
    )


def vectors_of(network: Network, pictures: UInt8) -> dict[str, Float32]:
    """Return the vectors "mean" and "grid" (n, d) of square ``pictures`` (n, S, S, 3)."""
    found = [network_vectors(tokens, valid) for tokens, _, valid in _shown(network, pictures)]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def tokens_of(network: Network, pictures: UInt8) -> Float32:
    """Return the finer last map (n, h, w, c) of square ``pictures`` (n, S, S, 3)."""
    return np.concatenate([_fine(tokens, valid) for tokens, _, valid in _shown(network, pictures)])


def cell_of(network: Network) -> int:
    """Return how many pixels a cell of the finer last map is wide."""
    return round(network.strides[-2])


def token_maps(tokens: Float32) -> dict[str, Float32]:
    """Return the maps that the tokens (h, w, c) of one picture give: similarity, component, cut."""
    rows = tokens.reshape(-1, tokens.shape[2])
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)  # (N, c)
    mean = rows.mean(axis=0)
    free = rows - mean
    _, axes = np.linalg.eigh(free.T.astype(np.float64) @ free)
    component = (free @ axes[:, -1]).reshape(tokens.shape[:2])
    cuts = eigenvectors(tokens, count=1)
    cut = cuts[0] if len(cuts) else np.zeros(tokens.shape[:2], np.float32)
    return {
        "similarity": (rows @ mean / max(float(np.linalg.norm(mean)), 1e-12)).reshape(tokens.shape[:2]),
        "component": _object_up(component.astype(np.float32)),
        "cut": _object_up(cut),
    }


def on_cells(fine: Float32, shape_hw: Shape) -> Float32:
    """Reduce a map (H, W) to the means of ``shape_hw`` cells; H and W are multiples of theirs."""
    height, width = shape_hw
    if fine.shape[0] % height or fine.shape[1] % width:
        raise ValueError(f"a map {fine.shape} does not divide into {shape_hw} cells")
    means: Float32 = fine.reshape(height, fine.shape[0] // height, width, -1).mean(axis=(1, 3))
    return means


def _object_up(values: Float32) -> Float32:
    """Turn a map of arbitrary sign so that the smaller side of Otsu's split is the higher one."""
    if np.ptp(values) < 1e-9:
        return values
    return -values if (values > otsu(values)).mean() > 0.5 else values


def _fine(tokens: list[Tensor], valid: list[Shape]) -> Float32:
    height, width = valid[-2]
    out: Float32 = tokens[-2][:, :height, :width].float().cpu().numpy()
    return out


def _shown(
    network: Network, pictures: UInt8, *, attention: bool = False
) -> Iterator[tuple[list[Tensor], list[list[Tensor]], list[Shape]]]:
    """Show the pictures to the network, some at a time: their maps, attention, what of each map they fill."""
    for start in range(0, len(pictures), AT_ONCE):
        some = [padded(each, stride=network.stride) for each in pictures[start : start + AT_ONCE]]
        shape = (pictures.shape[1], pictures.shape[2])
        with torch.inference_mode():
            x = as_input(network, some)
            tokens, weights = network.tokens_and_attention(x) if attention else (network.tokens(x), [])
        yield tokens, weights, valid_tokens(shape, network.strides)
