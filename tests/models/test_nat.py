import copy
import functools

import numpy as np
import pytest
import torch

from dinonat.errors import CheckpointError, UsageError
from dinonat.models.catalog import NETWORKS, build, load_network
from dinonat.models.checkpoint import fingerprint, load, save
from dinonat.models.nat import NAT, Attention, Downsampler, NATSettings
from dinonat.models.neighborhood import BACKENDS, default_backend
from dinonat.models.network import normalise
from dinonat.models.reference import defined

# Published sizes without the classification head (Hassani et al. 2023, table 1; summed from the code).
PARAMETERS = {"nat_mini": 19_471_174, "nat_tiny": 27_388_582, "nat_small": 49_974_297, "nat_base": 88_744_652}
TINY = NATSettings(dim=16, depths=(1, 1, 2, 1), heads=(1, 1, 2, 2), kernel_size=7, position_bias=False)


def tiny(**changes) -> NAT:
    torch.manual_seed(0)
    return NAT(TINY.model_copy(update=changes)).eval()


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_sizes_are_the_published_ones(name, count):
    with torch.device("meta"):
        model = NAT(NETWORKS[name])
    assert sum(p.numel() for p in model.parameters()) == count
    keys = model.state_dict().keys()
    blocks = sum(NETWORKS[name].depths)
    per_block = 15 if NETWORKS[name].layer_scale else 13
    assert len(keys) == 19 - 2 + per_block * blocks  # 19 + per block, less the head's two
    assert {
        "patch_embed.proj.1.weight",
        "levels.0.blocks.0.attn.rpb",
        "levels.2.downsample.norm.bias",
    } <= set(keys)


def test_nano_is_small_and_seeded():
    first, again, other = build("nat_nano", seed=0), build("nat_nano", seed=0), build("nat_nano", seed=1)
    assert 2.7e6 < sum(p.numel() for p in first.parameters()) < 2.9e6
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)


@pytest.mark.parametrize("size", [(96, 96), (64, 160), (33, 50), (1, 1)])
def test_tokens_have_strides_4_to_32_whatever_the_size(size):
    tokens = tiny().tokens(torch.randn(2, 3, *size))
    for stage, stride in enumerate((4, 8, 16, 32)):
        expected = tuple(-(-n // stride) for n in size)
        assert tokens[stage].shape == (2, *expected, 16 * 2**stage)
        assert torch.isfinite(tokens[stage]).all()


def test_pooled_is_the_mean_of_the_last_tokens():
    model, x = tiny(), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(x), model.tokens(x)[-1].flatten(1, 2).mean(1))


def test_attention_comes_with_the_same_tokens():
    model, x = tiny(), torch.randn(2, 3, 64, 96)
    tokens, weights = model.tokens_and_attention(x)
    for a, b in zip(tokens, model.tokens(x), strict=True):
        torch.testing.assert_close(a, b)
    assert [len(blocks) for blocks in weights] == [1, 1, 2, 1]
    assert weights[0][0].shape == (2, 1, 16, 24, 49)
    assert weights[3][0].shape == (2, 2, 2, 3, 6)  # the window is clipped to the map
    torch.testing.assert_close(weights[1][0].sum(-1), torch.ones(2, 1, 8, 12))


def test_pad_rule_puts_zeros_in_before_qkv():
    # With a zero qkv bias this test could not fail: padded keys and values would be zero.
    torch.manual_seed(0)
    layer = Attention(32, 2, NATSettings(dim=32, heads=(2, 2, 2, 2), kernel_size=7, small_map="pad")).double()
    torch.nn.init.normal_(layer.qkv.bias)
    torch.nn.init.normal_(layer.rpb)
    for height, width in ((6, 6), (3, 3), (5, 12), (9, 8)):
        x = torch.randn(2, height, width, 32, dtype=torch.float64)
        padded = torch.zeros(2, max(7, height), max(7, width), 32, dtype=torch.float64)
        padded[:, :height, :width] = x
        q, k, v = layer.qkv(padded).unflatten(-1, (3, 2, 16)).unbind(3)
        expected = layer.proj(defined(q, k, v, 7, bias=layer.rpb)[:, :height, :width].flatten(3))
        torch.testing.assert_close(layer(x), expected)


def test_pad_and_clip_agree_from_the_window_up_and_differ_below():
    x = torch.randn(1, 3, 224, 224)
    clip, pad = tiny(), tiny(small_map="pad")
    for model in (clip, pad):
        for block in model.levels[3].blocks:
            torch.nn.init.constant_(block.attn.qkv.bias, 0.5)
    pad.load_state_dict(clip.state_dict())
    torch.testing.assert_close(clip(x), pad(x))
    assert not torch.allclose(clip(x[..., :96, :96]), pad(x[..., :96, :96]), atol=1e-4)


@pytest.mark.parametrize("size", [(96, 96), (64, 288), (288, 32)])
def test_attention_under_pad_is_that_among_the_tokens_there_are(size):
    """Both rules give one softmax over the real keys: under pad it only shares it with fake ones."""
    clip, pad = tiny(position_bias=True), tiny(position_bias=True, small_map="pad")
    for block in [block for stage in pad.levels for block in stage.blocks]:
        torch.nn.init.normal_(block.attn.rpb)
        torch.nn.init.normal_(block.attn.qkv.bias)
    clip.load_state_dict(pad.state_dict())
    x = torch.randn(2, 3, *size)
    tokens, weights = pad.tokens_and_attention(x)
    for stage, blocks in zip(tokens, weights, strict=True):
        for block in blocks:
            assert block.shape[2:4] == stage.shape[1:3]
            torch.testing.assert_close(block.sum(-1), torch.ones(block.shape[:-1]))
    first = clip.levels[3].blocks[0].attn
    map_ = torch.randn(2, *tokens[3].shape[1:])
    _, real = pad.levels[3].blocks[0].attn.with_weights(map_)
    torch.testing.assert_close(real, first.with_weights(map_)[1])


def test_layer_scale_and_drop_path_only_where_asked():
    assert "levels.0.blocks.0.gamma1" in tiny(layer_scale=1e-5).state_dict()
    model, x = tiny(drop_path=0.5), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(x), model(x))  # evaluation: no chance
    model.train()
    assert not torch.equal(model(x), model(x))


def test_heads_must_divide_channels():
    with pytest.raises(UsageError, match="not divisible by 3 heads"):
        NATSettings.checked({"dim": 16, "heads": (3, 4, 8, 16)})


def test_normalise_is_imagenet_mean_and_std():
    pixels = torch.tensor([[[[124, 116, 104]]]], dtype=torch.uint8)
    np.testing.assert_allclose(normalise(pixels).flatten().numpy(), [0, 0, 0], atol=0.01)


def test_checkpoint_there_and_back(tmp_path):
    model = tiny()
    name = save(tmp_path / "w.safetensors", model, facts={"run": "x"})
    again = load(tmp_path / "w.safetensors")
    assert fingerprint(again) == name == fingerprint(model)
    assert again.settings == model.settings
    loaded, known = load_network(str(tmp_path / "w.safetensors"))
    assert known == name
    assert not loaded.training


def test_a_missing_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match="dinotool pretrain"):
        load(path)
    save(path, tiny())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load(path)
    path.write_bytes(whole[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(CheckpointError, match="fingerprint"):
        load(path)
    path.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="safetensors"):
        load(path)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    save(tmp_path / "w.safetensors", tiny())
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del tensors["norm.bias"]
    tensors["norm.weight"] = torch.ones(3)
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"2 tensors differ; the first is 'norm.bias'"):
        load(tmp_path / "other.safetensors")
    save_file(tensors, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not weights of this toolkit"):
        load(tmp_path / "foreign.safetensors")


def test_untrained_weights_say_so():
    _, name = load_network("untrained:3")
    assert name.startswith("untrained-3-")
    with pytest.raises(UsageError, match="whole number"):
        load_network("untrained:x")
    with pytest.raises(UsageError, match="nat_nano"):
        load_network("untrained:0:nat_giant")


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_the_downsamplers_gradient_in_bfloat16_is_that_of_float32_on_the_smallest_maps(size):
    downsampler, x = Downsampler(32), torch.randn(8, *size, 32)
    weight = downsampler.reduction.weight
    exact = torch.autograd.grad(downsampler(x).sigmoid().sum(), weight)[0]
    for _ in range(3):  # what was wrong was what happened to be in memory
        with torch.autocast("cpu", torch.bfloat16):
            out = downsampler(x)
        found = torch.autograd.grad(out.float().sigmoid().sum(), weight)[0]
        assert ((found - exact).norm() / exact.norm()).item() < 0.05


def test_the_downsampler_is_its_convolution_on_a_map_of_one_column():
    downsampler, x = Downsampler(4), torch.randn(2, 5, 1, 4)
    plain = downsampler.norm(downsampler.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    torch.testing.assert_close(downsampler(x), plain)


@functools.cache
def mini() -> NAT:
    """NAT-mini whose attention is far from even: keys and biases count."""
    model = build("nat_mini", seed=0).eval()
    torch.manual_seed(0)
    for block in [block for stage in model.levels for block in stage.blocks]:
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.1)
        torch.nn.init.normal_(block.attn.qkv.bias, std=0.5)
        torch.nn.init.normal_(block.attn.rpb)
    return model


@functools.cache
def seen_by_mini(side: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A picture, and its maps in float64 with the plain gather at the core."""
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.inference_mode(), default_backend("reference"):
        return x, copy.deepcopy(mini()).double().tokens(x.double())


@pytest.mark.parametrize("side", [96, 224])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "natten"])
def test_the_whole_nat_mini_with_each_backend_is_that_with_the_definition(backend, side):
    x, exact = seen_by_mini(side)
    with torch.inference_mode(), default_backend(backend):
        try:
            found = mini().tokens(x)
        except UsageError as error:
            pytest.skip(str(error))
    for a, b in zip(exact, found, strict=True):
        assert b.dtype == torch.float32
        assert ((a - b).abs().max() / a.abs().max()).item() < 1e-5


def test_maps_come_with_attention_that_says_what_was_attended():
    """The weights that are handed out, applied to the values by hand, are what the layer gives."""
    model = tiny(position_bias=True, kernel_size=5)
    layer = model.levels[2].blocks[0].attn
    torch.nn.init.normal_(layer.rpb)
    x = torch.randn(2, 9, 6, 64)
    out, weights = layer.with_weights(x)
    torch.testing.assert_close(out, layer(x))
    values = layer.qkv(x).unflatten(-1, (3, 2, 32))[..., 2, :, :]  # (B, H, W, heads, D)
    by_hand = torch.zeros_like(values)
    for row in range(9):
        for column in range(6):
            top, left = min(max(row - 2, 0), 9 - 5), min(max(column - 2, 0), 6 - 5)
            window = values[:, top : top + 5, left : left + 5].flatten(1, 2)  # (B, 25, heads, D)
            by_hand[:, row, column] = torch.einsum("bhk,bkhd->bhd", weights[:, :, row, column], window)
    torch.testing.assert_close(layer.proj(by_hand.flatten(3)), out)


def test_weights_kept_in_half_the_bytes_are_those_that_their_fingerprint_names(tmp_path):
    model = tiny()
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save(whole, model)
    name = save(half, model, half=True)
    back = load(half)
    assert fingerprint(back) == name
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for kept, given in zip(back.parameters(), load(whole).parameters(), strict=True):
        assert kept.dtype == torch.float32
        torch.testing.assert_close(kept, given.half().float(), rtol=0, atol=0)


def test_weights_that_half_the_bytes_cannot_hold_are_refused(tmp_path):
    model = tiny()
    with torch.no_grad():
        model.norm.bias[0] = 1e6
    with pytest.raises(CheckpointError, match="too large for float16"):
        save(tmp_path / "half.safetensors", model, half=True)
    assert not (tmp_path / "half.safetensors").exists()
