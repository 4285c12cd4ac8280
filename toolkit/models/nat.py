"""The Neighborhood Attention Transformer, whole: tokenizer, blocks, downsamplers, pooling.

After Hassani et al. 2023 (arXiv 2204.07143) and its published code; parameter names are those of the
published checkpoints. Maps are channels-last (B, H, W, C) throughout. Strides of the four stages are
4, 8, 16 and 32; any image size works, each stride-2 convolution giving ceil(n / 2) positions.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from dinonat.models.kernel import unpack
from dinonat.models.neighborhood import attention_weights, neighborhood_attention
from dinonat.models.network import Network, dropped
from dinonat.models.pooling import SimPool
from dinonat.settings import Settings


class NATSettings(Settings):
    """What a NAT is built from; stored with every checkpoint."""

    dim: int = 64  # channels of stage 1; each later stage doubles them
    depths: tuple[int, int, int, int] = (3, 4, 6, 5)
    heads: tuple[int, int, int, int] = (2, 4, 8, 16)
    kernel_size: int = 7
    mlp_ratio: float = 3.0
    position_bias: bool = True
    layer_scale: float | None = None  # initial value of the per-channel gains, None = no gains
    drop_path: float = 0.0  # rate of the last block; rises linearly from 0 over the blocks
    small_map: Literal["clip", "pad"] = "clip"  # what happens where a map is smaller than the window
    pooling: Literal["mean", "simpool"] = "mean"  # how the last tokens become one vector

    @model_validator(mode="after")
    def _heads_divide(self) -> "NATSettings":
        for stage, heads in enumerate(self.heads):
            if self.dim * 2**stage % heads:
                raise ValueError(
                    f"stage {stage + 1} has {self.dim * 2**stage} channels, not divisible by {heads} heads"
                )
        return self


class Tokenizer(nn.Module):
    """Two 3x3 convolutions of stride 2, no activation between, then LayerNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, dim // 2, 3, stride=2, padding=1), nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to tokens (B, H / 4, W / 4, dim)."""
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class Downsampler(nn.Module):
    """A 3x3 convolution of stride 2 to twice the channels, then LayerNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) to (B, H / 2, W / 2, 2 C)."""
        if x.shape[2] == 1:
            # oneDNN's gradient in bfloat16 of a map one column wide holds memory that nobody wrote (torch
            # 2.13 on CPUs with AVX-512 BF16). One more column of zeros is the convolution's own padding.
            x = functional.pad(x, (0, 0, 0, 1))
        out: Tensor = self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return out


class Attention(nn.Module):
    """Multi-head neighborhood attention with its projections."""

    def __init__(self, dim: int, heads: int, settings: NATSettings) -> None:
        super().__init__()
        self.heads, self.kernel_size, self.small_map = heads, settings.kernel_size, settings.small_map
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        side = 2 * settings.kernel_size - 1
        self.rpb = nn.Parameter(torch.zeros(heads, side, side)) if settings.position_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, H, W, C) to (B, H, W, C)."""
        return self._attended(*self._project(x), (x.shape[1], x.shape[2]))

    def with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attend, and return the weights too, (B, heads, H, W, Kh * Kw): those among tokens of the map.

        Under 'pad' queries and keys of padding are cut out of them.
        """
        shape = (x.shape[1], x.shape[2])
        q, k, v = self._project(x)
        weights = attention_weights(q, k, self.kernel_size, bias=self.rpb)
        return self._attended(q, k, v, shape), _without_padding(weights, shape, self.kernel_size)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, shape: tuple[int, int]) -> Tensor:
        out = neighborhood_attention(q, k, v, self.kernel_size, bias=self.rpb)
        out = out.flatten(3)[:, : shape[0], : shape[1]]  # (B, H, W, C), padding cropped
        projected: Tensor = self.proj(out)
        return projected

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.small_map == "pad":
            # As the published modules: zeros go in before qkv, so padded keys carry the qkv bias.
            short = [max(0, self.kernel_size - n) for n in x.shape[1:3]]
            x = functional.pad(x, (0, 0, 0, short[1], 0, short[0]))
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, H, W, 3, heads, head_dim)
        return unpack(qkv)


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each normed before, scaled and added to its input."""

    def __init__(self, dim: int, heads: int, settings: NATSettings, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, settings)
        self.mlp = Mlp(dim, settings.mlp_ratio)
        self.drop_path = drop_path
        gain = settings.layer_scale
        self.gamma1 = nn.Parameter(torch.full((dim,), gain)) if gain is not None else None
        self.gamma2 = nn.Parameter(torch.full((dim,), gain)) if gain is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        return self._after(x, self.attn(self.norm1(x)))

    def with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) to the same, and the attention weights, projected once for both."""
        attended, weights = self.attn.with_weights(self.norm1(x))
        return self._after(x, attended), weights

    def _after(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self._dropped(attended, self.gamma1)
        return x + self._dropped(self.mlp(self.norm2(x)), self.gamma2)

    def _dropped(self, branch: Tensor, gamma: Tensor | None) -> Tensor:
        if gamma is not None:
            branch = branch * gamma
        return dropped(branch, self.drop_path) if self.training and self.drop_path else branch


class Stage(nn.Module):
    """Blocks of one resolution, and the downsampler that follows them (none after the last)."""

    def __init__(
        self, dim: int, heads: int, settings: NATSettings, drops: list[float], *, last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, settings, drop) for drop in drops)
        self.downsample = None if last else Downsampler(dim)


class NAT(Network):
    """The network without a classification head; its maps are the tokens of the four stages."""

    settings: NATSettings
    stride = 32
    strides = (4, 8, 16, 32)

    def __init__(self, settings: NATSettings) -> None:
        super().__init__()
        self.settings = settings
        self.dims = tuple(settings.dim * 2**stage for stage in range(4))  # channels of each stage
        blocks = sum(settings.depths)
        drops = [settings.drop_path * i / max(1, blocks - 1) for i in range(blocks)]
        self.patch_embed = Tokenizer(settings.dim)
        self.levels = nn.ModuleList()
        for stage, depth in enumerate(settings.depths):
            first = sum(settings.depths[:stage])
            self.levels.append(
                Stage(
                    self.dims[stage],
                    settings.heads[stage],
                    settings,
                    drops[first : first + depth],
                    last=stage == 3,
                )
            )
        self.norm = nn.LayerNorm(self.dims[3])
        self.pool = SimPool(self.dims[3]) if settings.pooling == "simpool" else None
        self.apply(_initialise)

    def pooled(self, tokens: Sequence[Tensor]) -> Tensor:
        """Make one vector (B, 8 dim) of the maps of ``tokens``: the mean of the last, or SimPool's of it."""
        if self.pool is None:
            return super().pooled(tokens)
        pooled: Tensor = self.pool(tokens[-1].flatten(1, 2))
        return pooled

    def pooling_map(self, last: Tensor) -> Tensor | None:
        """Say how much each of the last tokens (B, h, w, c) counts, (B, h, w) of sum 1; None = all alike."""
        if self.pool is None:
            return None
        return self.pool.weights(last.flatten(1, 2)).reshape(last.shape[:3])

    def tokens(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the tokens of the four stages (B, h, w, c), the last ones normed."""
        return self._run(x, None)

    def tokens_and_attention(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Tokens, and every block's attention: weights[stage][block] (B, heads, h, w, kh * kw)."""
        weights: list[list[Tensor]] = [[] for _ in self.levels]
        return self._run(x, weights), weights

    def _run(self, x: Tensor, weights: list[list[Tensor]] | None) -> list[Tensor]:
        x, tokens = self.patch_embed(x), []
        for number, stage in enumerate(self.levels):
            assert isinstance(stage, Stage)
            for block in stage.blocks:
                if weights is None:
                    x = block(x)
                else:
                    assert isinstance(block, Block)
                    x, seen = block.with_weights(x)
                    weights[number].append(seen)
            tokens.append(x)
            if stage.downsample is not None:
                x = stage.downsample(x)
        tokens[-1] = self.norm(tokens[-1])
        return tokens


def _without_padding(weights: Tensor, shape_hw: tuple[int, int], kernel_size: int) -> Tensor:
    """Cut queries and keys of padding out of the weights (B, heads, Hp, Wp, kh * kw) of a padded map.

    What is left is divided by its sum, so that it reads like the weights of a window clipped to the map
    (H, W). A map that was not padded, at least as large as the window or clipped, stays as it is.
    """
    height, width = shape_hw
    if weights.shape[2:4] == shape_hw:
        return weights
    keys = weights[:, :, :height, :width].reshape(*weights.shape[:2], height, width, kernel_size, kernel_size)
    real: Tensor = keys[..., : min(kernel_size, height), : min(kernel_size, width)].flatten(-2)
    return real / real.sum(-1, keepdim=True)


def _initialise(module: nn.Module) -> None:
    """Draw linear weights and position biases as published; convolutions keep torch's start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, Attention) and module.rpb is not None:
        nn.init.trunc_normal_(module.rpb, std=0.02, a=-2.0, b=2.0)
