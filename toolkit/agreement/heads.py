"""Attention of single heads, stage by stage, for the figure: what the mean over heads and blocks hides."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dinonat.embeddings.encode import as_input, attended
from dinonat.embeddings.framing import Shape, padded, valid_tokens
from dinonat.errors import UsageError
from dinonat.models.nat import NAT
from dinonat.models.network import Network
from dinonat.records import Float32, UInt8
from dinonat.saliency.attention import Layer, Looks, cls_by_heads, received_by_heads

AT_ONCE = 4  # pictures: stage 1 of one at 224 px has 0.6 MB of weights for each head and block


def head_maps(network: Network, pixels: Sequence[UInt8]) -> list[Looks]:
    """Return where the network looks in each picture, as a whole and by the heads of its stages.

    ``pixels`` (n, H, W, 3) or (n, H, W) are pictures of one size, of any height and width: they are padded
    to the stride, and padding is cut off the maps. A NAT tells, for the last block of each stage, how much
    each token receives (``received_by_heads``); a network with a CLS token, what that looks at in the last
    block (``cls_by_heads``). ``overall`` is the map that embedding ranks regions by (``attended``).
    Raises UsageError for a network without attention.
    """
    if not network.attends:
        raise UsageError(
            "There is no attention to draw: this network has none that lies over the picture. "
            "Give weights of a NAT, or of a ViT with a CLS token."
        )
    out: list[Looks] = []
    for start in range(0, len(pixels), AT_ONCE):
        out += _looks_of(network, pixels[start : start + AT_ONCE])
    return out


def _looks_of(network: Network, pictures: Sequence[UInt8]) -> list[Looks]:
    """Return the looks at a few pictures, shown to the network together."""
    framed = [padded(picture, stride=network.stride) for picture in pictures]
    with torch.inference_mode():
        tokens, attention = network.tokens_and_attention(as_input(network, framed))
        valid = valid_tokens((pictures[0].shape[0], pictures[0].shape[1]), network.strides)
        return [
            _looks(network, [[block[i] for block in stage] for stage in attention], valid, tokens[-1][i])
            for i in range(len(pictures))
        ]


def _looks(
    network: Network, attention: Sequence[Sequence[Tensor]], valid: Sequence[Shape], last: Tensor
) -> Looks:
    """Return the looks at one picture; arguments as those of ``attended``."""
    fine, coarse = network.strides[0], network.strides[-2]
    overall = attended(network, attention, valid, last)[None]
    if not isinstance(network, NAT):
        heads = cls_by_heads(_array(attention[-1][-1]), valid_hw=valid[-2])
        return Looks(Layer("overall", overall, coarse), [Layer("last block", heads, coarse)])
    size = network.settings.kernel_size
    layers = [
        Layer(f"stage {i + 1}", received_by_heads(_array(blocks[-1]), kernel_size=size, valid_hw=part), cell)
        for i, (blocks, part, cell) in enumerate(zip(attention, valid, network.strides, strict=True))
        if blocks
    ]
    return Looks(Layer("overall", overall, fine), layers)


def _array(weights: Tensor) -> Float32:
    return np.asarray(weights.float().cpu().numpy())
