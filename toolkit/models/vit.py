"""The Vision Transformer as DINO and DINOv2 publish it, key by key.

After Dosovitskiy et al. 2021 (arXiv 2010.11929) with the sizes and names of DINO (Caron et al. 2021) and
DINOv2 (Oquab et al. 2023; registers: Darcet et al. 2023). DINOv2 adds gains on both branches of a block
(LayerScale), a mask token that only its own training uses, and in one variant registers: tokens without
a place, which stand between CLS and the patches.
"""

import math
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from dinonat.errors import UsageError
from dinonat.models.nat import Mlp
from dinonat.models.network import Network, dropped
from dinonat.settings import Settings

NORM_EPS = 1e-6  # of every LayerNorm, in both publications


class ViTSettings(Settings):
    """What a ViT is built from; stored with every checkpoint."""

    dim: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 16  # pixels a side
    mlp_ratio: float = 4.0
    positions: int = 14  # cells a side of the stored position embedding: 224 px at patch 16
    layer_scale: float | None = None  # initial value of the per-channel gains, None = no gains
    registers: int = 0
    mask_token: bool = False
    # How the position embedding is resized (bicubic). "offset", of DINO and of DINOv2 without registers:
    # the scale is (n + 0.1) / positions, nothing is smoothed. "antialias", of DINOv2 with registers: the
    # scale is exact and the kernel widens where the map shrinks.
    resize: Literal["offset", "antialias"] = "offset"
    drop_path: float = 0.0  # rate of the last block; rises linearly from 0

    @model_validator(mode="after")
    def _makes_sense(self) -> "ViTSettings":
        if min(self.dim, self.depth, self.heads, self.patch, self.positions) < 1:
            raise ValueError("dim, depth, heads, patch and positions are at least 1")
        if self.dim % self.heads:
            raise ValueError(f"{self.dim} channels are not divisible by {self.heads} heads")
        return self


class Patches(nn.Module):
    """One linear map of every patch, written as a convolution whose stride is its size."""

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, settings.dim, settings.patch, stride=settings.patch)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to patches (B, h, w, dim)."""
        out: Tensor = self.proj(x).permute(0, 2, 3, 1)
        return out


class SelfAttention(nn.Module):
    """Multi-head attention of all tokens to all tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, C) to (B, N, C)."""
        q, k, v = self._project(x)
        out = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, N, D)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected

    def weights(self, x: Tensor, *, queries: int | None = None) -> Tensor:
        """Attention weights (B, heads, queries, N) of the first ``queries`` tokens; None = of all."""
        q, k, _ = self._project(x)
        q = q[:, :, :queries] * q.shape[-1] ** -0.5
        weights: Tensor = (q @ k.transpose(-2, -1)).softmax(-1)
        return weights

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, N, 3, heads, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v


class Gains(nn.Module):
    """One gain for each channel: LayerScale."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each normed before, scaled and added to its input."""

    def __init__(self, settings: ViTSettings, drop_path: float) -> None:
        super().__init__()
        dim, gain = settings.dim, settings.layer_scale
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=NORM_EPS) for _ in range(2))
        self.attn = SelfAttention(dim, settings.heads)
        self.mlp = Mlp(dim, settings.mlp_ratio)
        self.ls1, self.ls2 = (nn.Identity() if gain is None else Gains(dim, gain) for _ in range(2))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = x + self._dropped(self.ls1(self.attn(self.norm1(x))))
        return x + self._dropped(self.ls2(self.mlp(self.norm2(x))))

    def _dropped(self, branch: Tensor) -> Tensor:
        return dropped(branch, self.drop_path) if self.training and self.drop_path else branch


class ViT(Network):
    """The network without a head; its maps are the patches (B, h, w, C) and CLS (B, 1, 1, C)."""

    settings: ViTSettings

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        self.settings = settings
        self.stride = settings.patch
        self.strides = (float(settings.patch), math.inf)
        self.dims = (settings.dim, settings.dim)
        self.apart = 1 + settings.registers  # tokens before the patches
        dim, depth = settings.dim, settings.depth
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + settings.positions**2, dim))
        if settings.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, settings.registers, dim))
        if settings.mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = Patches(settings)
        drops = [settings.drop_path * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(settings, drop) for drop in drops)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.apply(_initialise)
        for name, tokens in self.named_parameters(recurse=False):
            if name != "mask_token":
                nn.init.trunc_normal_(tokens, std=0.02)

    def tokens(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to the normed patches (B, h, w, C) and CLS (B, 1, 1, C)."""
        z, shape = self._embedded(x)
        for block in self.blocks:
            z = block(z)
        return self._maps(z, shape)

    def tokens_and_attention(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Tokens, and how CLS attends to each patch in the last block: [[(B, heads, h, w)]]."""
        z, shape = self._embedded(x)
        z, before = self._before_last(z)
        weights = before.attn.weights(before.norm1(z), queries=1)[:, :, 0, self.apart :]
        return self._maps(before(z), shape), [[weights.reshape(*weights.shape[:2], *shape)]]

    def attention(self, x: Tensor) -> Tensor:
        """Weights of the last block (B, heads, N, N): CLS, registers, then patches row by row."""
        z, last = self._before_last(self._embedded(x)[0])
        return last.attn.weights(last.norm1(z))

    def _before_last(self, z: Tensor) -> tuple[Tensor, Block]:
        """Return the tokens that the last block gets, and that block."""
        *blocks, last = self.blocks
        for block in blocks:
            z = block(z)
        assert isinstance(last, Block)
        return z, last

    def _embedded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens (B, N, C) that the first block gets, and the shape of the map of patches."""
        height, width = x.shape[2:]
        if height % self.stride or width % self.stride:
            raise UsageError(
                f"A ViT with patches of {self.stride} px takes pictures whose sides are multiples of "
                f"{self.stride}; got {height} x {width}."
            )
        patches = self.patch_embed(x)
        shape = (patches.shape[1], patches.shape[2])
        z = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(1, 2)], dim=1)
        z = z + self._positions(shape)
        if self.settings.registers:
            registers = self.register_tokens.expand(len(x), -1, -1).to(z.dtype)
            z = torch.cat([z[:, :1], registers, z[:, 1:]], dim=1)
        return z, shape

    def _positions(self, shape: tuple[int, int]) -> Tensor:
        """Return the position embedding (1, 1 + h w, C) for a map of patches (h, w)."""
        side = self.settings.positions
        if shape == (side, side):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        if self.settings.resize == "antialias":
            resized = functional.interpolate(grid, size=shape, mode="bicubic", antialias=True)
        else:
            # The trained networks saw this tenth of a cell: leaving it out moves every value a little.
            scale = tuple((n + 0.1) / side for n in shape)
            resized = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

    def _maps(self, z: Tensor, shape: tuple[int, int]) -> list[Tensor]:
        z = self.norm(z)
        return [z[:, self.apart :].reshape(len(z), *shape, -1), z[:, :1, None]]


def _initialise(module: nn.Module) -> None:
    """Draw linear weights as published; the convolution keeps torch's start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
