import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dinonat.errors import UsageError
from dinonat.models.catalog import NETWORKS
from dinonat.models.checkpoint import constructed, fingerprint, load, save
from dinonat.models.vit import ViT, ViTSettings

SMALL = ViTSettings(dim=24, depth=3, heads=3, patch=4, positions=5)
FULL = SMALL.model_copy(
    update={"layer_scale": 0.5, "registers": 4, "mask_token": True, "resize": "antialias"}
)

# Parameters of the published backbones without a head, summed from their papers' code.
PARAMETERS = {
    "vit_tiny": 5_524_416,
    "vit_small": 21_665_664,
    "vit_small_8": 21_670_272,
    "vit_base": 85_798_656,
    "vit_base_8": 85_807_872,
    "dinov2_vits14": 22_056_576,
    "dinov2_vits14_reg": 22_058_112,
    "dinov2_vitb14": 86_580_480,
    "dinov2_vitb14_reg": 86_583_552,
    "dinov2_vitl14": 304_368_640,
}


def made(settings: ViTSettings) -> ViT:
    """A network in which every parameter is drawn, in float64."""
    torch.manual_seed(0)
    model = ViT(settings).eval().double()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return model


def defined(
    state: dict[str, Tensor], x: Tensor, *, heads: int, patch: int, table: Tensor
) -> tuple[Tensor, Tensor]:
    """The published network from its formulas: all normed tokens (N, C) and the last attention, one picture.

    ``table`` (1 + h w, C) is the position embedding, already resized. Written with loops over patches and
    heads and an explicit softmax, and from the state dict alone.
    """

    def normed(z: Tensor, name: str) -> Tensor:
        centred = z - z.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(z: Tensor, name: str) -> Tensor:
        return z @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    kernel = state["patch_embed.proj.weight"].flatten(1)  # (C, 3 * patch * patch)
    rows = [
        kernel @ x[:, top : top + patch, left : left + patch].flatten() + state["patch_embed.proj.bias"]
        for top in range(0, x.shape[1], patch)
        for left in range(0, x.shape[2], patch)
    ]
    z = torch.stack([state["cls_token"][0, 0], *rows]) + table
    z = torch.cat([z[:1], *([state["register_tokens"][0]] if "register_tokens" in state else []), z[1:]])
    width = z.shape[1] // heads
    for block in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
        name = f"blocks.{block}"
        q, k, v = linear(normed(z, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, dim=-1)
        seen, weights = [], []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = (q[:, part] @ k[:, part].T / math.sqrt(width)).exp()
            weights.append(scores / scores.sum(-1, keepdim=True))
            seen.append(weights[-1] @ v[:, part])
        z = z + linear(torch.cat(seen, dim=-1), f"{name}.attn.proj") * state.get(f"{name}.ls1.gamma", 1)
        h = linear(normed(z, f"{name}.norm2"), f"{name}.mlp.fc1")
        h = h * (1 + torch.erf(h / math.sqrt(2))) / 2
        z = z + linear(h, f"{name}.mlp.fc2") * state.get(f"{name}.ls2.gamma", 1)
    return normed(z, "norm"), torch.stack(weights)


def table_of(model: ViT) -> Tensor:
    return model.state_dict()["pos_embed"][0]


@pytest.mark.parametrize("settings", [SMALL, FULL], ids=["dino", "dinov2"])
def test_the_network_is_what_its_formulas_say(settings: ViTSettings) -> None:
    model, x = made(settings), torch.randn(2, 3, 20, 20, dtype=torch.float64)
    patches, cls = model.tokens(x)
    first = 1 + settings.registers
    for one in range(2):
        z, weights = defined(model.state_dict(), x[one], heads=3, patch=4, table=table_of(model))
        torch.testing.assert_close(cls[one, 0, 0], z[0])
        torch.testing.assert_close(patches[one].flatten(0, 1), z[first:])
        torch.testing.assert_close(model.attention(x)[one], weights)
        _, looked_at = model.tokens_and_attention(x)
        torch.testing.assert_close(looked_at[0][0][one].flatten(1), weights[:, 0, first:])
    torch.testing.assert_close(model(x), cls[:, 0, 0])


@pytest.mark.parametrize("settings", [SMALL, FULL], ids=["dino", "dinov2"])
def test_attention_comes_with_the_same_tokens(settings: ViTSettings) -> None:
    model, x = made(settings), torch.randn(2, 3, 12, 28, dtype=torch.float64)
    tokens, weights = model.tokens_and_attention(x)
    for a, b in zip(tokens, model.tokens(x), strict=True):
        torch.testing.assert_close(a, b)
    assert weights[0][0].shape == (2, 3, 3, 7)
    assert tokens[0].shape == (2, 3, 7, 24)
    assert tokens[1].shape == (2, 1, 1, 24)
    torch.testing.assert_close(model.attention(x).sum(-1), torch.ones(2, 3, 22 + settings.registers).double())


def keys(t: float) -> float:
    """The bicubic kernel of Keys with a = -0.75 (torch's without smoothing)."""
    a, t = -0.75, abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def offset_matrix(side: int, count: int) -> Tensor:
    """How ``count`` positions come out of ``side``: scale (count + 0.1) / side, borders repeated."""
    matrix = torch.zeros(count, side, dtype=torch.float64)
    for i in range(count):
        centre = (i + 0.5) * side / (count + 0.1) - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(tap, 0), side - 1)] += keys(centre - tap)
    return matrix


def smooth_matrix(side: int, count: int) -> Tensor:
    """The same with an exact scale and a kernel (a = -0.5) that widens where the map shrinks."""
    matrix = torch.zeros(count, side, dtype=torch.float64)
    scale = side / count
    wide = max(scale, 1.0)

    def kernel(t: float) -> float:
        a, t = -0.5, abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    for i in range(count):
        centre = (i + 0.5) * scale
        row = torch.tensor([kernel((tap + 0.5 - centre) / wide) for tap in range(side)], dtype=torch.float64)
        matrix[i] = row / row.sum()
    return matrix


@pytest.mark.parametrize(("settings", "matrix"), [(SMALL, offset_matrix), (FULL, smooth_matrix)])
@pytest.mark.parametrize("shape", [(5, 4), (3, 9), (12, 12), (2, 1)])
def test_positions_are_resized_as_published(settings, matrix, shape) -> None:
    model = made(settings)
    side, table = settings.positions, table_of(model)
    grid = table[1:].reshape(side, side, -1)
    expected = torch.einsum("ya,xb,abc->yxc", matrix(side, shape[0]), matrix(side, shape[1]), grid)
    found = model._positions(shape)[0]
    torch.testing.assert_close(found[0], table[0])
    torch.testing.assert_close(
        found[1:], expected.flatten(0, 1), atol=1e-5, rtol=1e-5
    )  # it resizes in float32


def test_positions_at_their_own_size_are_taken_as_they_are() -> None:
    model = made(SMALL)
    assert model._positions((5, 5)) is model.pos_embed


def test_a_picture_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 4; got 20 x 22"):
        made(SMALL).tokens(torch.zeros(1, 3, 20, 22, dtype=torch.float64))


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_sizes_are_the_published_ones(name: str, count: int) -> None:
    with torch.device("meta"):
        model = constructed(NETWORKS[name])
    assert sum(p.numel() for p in model.parameters()) == count


def test_heads_must_divide_channels() -> None:
    with pytest.raises(UsageError, match="not divisible by 5 heads"):
        ViTSettings.checked({"dim": 24, "heads": 5})


def test_drop_path_only_in_training() -> None:
    model, x = made(SMALL.model_copy(update={"drop_path": 0.5})), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_gradients_reach_every_parameter_that_a_picture_uses() -> None:
    model = made(FULL)
    model(torch.randn(2, 3, 12, 16, dtype=torch.float64)).square().sum().backward()
    idle = {name for name, value in model.named_parameters() if value.grad is None}
    assert idle == {"mask_token"}


def test_checkpoint_there_and_back(tmp_path) -> None:
    model = ViT(FULL)
    name = save(tmp_path / "v.safetensors", model)
    again = load(tmp_path / "v.safetensors")
    assert isinstance(again, ViT)
    assert again.settings == FULL
    assert fingerprint(again) == name


def test_half_precision_stays_close() -> None:
    torch.manual_seed(0)
    model, x = ViT(FULL).eval(), torch.randn(2, 3, 12, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x)
    cosine = functional.cosine_similarity(half.float(), model(x))
    np.testing.assert_allclose(cosine.detach().numpy(), 1, atol=1e-3)
