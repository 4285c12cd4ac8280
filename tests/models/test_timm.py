"""The backbones of timm itself, and our ViT beside timm's; skipped where timm is not installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dinonat.embeddings.store import open_set
from dinonat.errors import CheckpointError, UsageError
from dinonat.models.backbones import Backbone, check_crops
from dinonat.models.catalog import NETWORKS, build, load_network
from dinonat.models.checkpoint import save
from dinonat.models.timm_built import TimmSettings
from dinonat.models.vit import ViT
from dinonat.pipelines import embed, pretrain
from dinonat.pipelines import workspace as places

pytestmark = [
    pytest.mark.timm,
    pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed here: make peers"),
]

SWIN = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}
DEIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
STAGES = (4, 8, 16, 32)

# name: strides of its maps, channels of the last two, tokens before the patches
MAPS: dict[str, tuple[tuple[float, ...], tuple[int, int], int]] = {
    "swin_tiny_patch4_window7_224": (STAGES, (384, 768), 0),
    "convnext_tiny": (STAGES, (384, 768), 0),
    "convnext_tiny.dinov3_lvd1689m": (STAGES, (384, 768), 0),
    "resnet18": ((2, *STAGES), (256, 512), 0),
    "deit_tiny_patch16_224": ((16, np.inf), (192, 192), 1),
    "deit_tiny_distilled_patch16_224": ((16, np.inf), (192, 192), 2),
    "vit_small_patch16_dinov3.lvd1689m": ((16, np.inf), (384, 384), 5),
    "vit_small_patch14_reg4_dinov2.lvd142m": ((14, np.inf), (384, 384), 5),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_lie_over_the_picture(name: str) -> None:
    strides, dims, apart = MAPS[name]
    network = build(f"timm:{name}", seed=0).eval()
    assert isinstance(network, Backbone)
    assert tuple(network.strides) == strides
    assert tuple(network.dims[-2:]) == dims
    for cells in ((3, 5), (2, 2)):
        x = torch.randn(2, 3, cells[0] * network.stride, cells[1] * network.stride)
        with torch.inference_mode():
            maps, vector = network.tokens(x), network(x)
            again, attention = network.tokens_and_attention(x)
        for each, stride, dim in zip(maps, strides, network.dims, strict=True):
            h, w = (1, 1) if stride == np.inf else (x.shape[2] // stride, x.shape[3] // stride)
            assert each.shape == (2, h, w, dim)
        for a, b in zip(maps, again, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        assert vector.shape == (2, dims[-1])
        assert network.attends == bool(attention) == bool(apart)
        if apart:
            z = network.model.forward_features(x)
            torch.testing.assert_close(z[:, apart:].flatten(1), maps[0].flatten(1))
            torch.testing.assert_close(vector, z[:, 0])
            assert attention[0][0].shape[2:] == cells
            shares = attention[0][0].sum(dim=(2, 3))  # what CLS gives to itself and to registers is left out
            assert bool(((shares > 0) & (shares < 1)).all())


def test_a_hierarchical_backbone_pools_as_timm_does() -> None:
    for name in ("swin_tiny_patch4_window7_224", "convnext_tiny"):
        network, x = build(f"timm:{name}", seed=0).eval(), torch.randn(1, 3, 64, 96)
        with torch.inference_mode():
            pooled = network.tokens(x)[-1].mean(dim=(1, 2))
            if name == "convnext_tiny":  # it norms the mean; Swin takes the mean of what is normed
                pooled = nn.functional.layer_norm(pooled, (768,), eps=1e-6)
            torch.testing.assert_close(network(x), pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swin_tiny_patch4_window7_224", SWIN),
        ("convnext_atto", {}),
        ("davit_tiny", {}),  # norms the mean as ConvNeXt does
        ("tiny_vit_5m_224", {}),
        ("resnet18", {}),
        ("twins_svt_small", {}),  # its head takes rows of tokens
        ("deit_tiny_patch16_224", DEIT),
    ],
)
def test_the_vector_of_a_picture_comes_from_its_maps_and_is_timms_own(
    name: str, options: dict[str, Any]
) -> None:
    """What a step with a loss between regions pools from the maps is what one without it asks for."""
    network, x = build(f"timm:{name}", seed=0, options=options).eval(), torch.randn(2, 3, 224, 224)
    for parameter in network.parameters():
        if parameter.ndim == 1:  # gains and offsets, which start as ones and zeros and would not be seen
            nn.init.normal_(parameter, mean=1, std=0.3)
    with torch.inference_mode():
        pooled, own = network.pooled(network.tokens(x)), network.model(x)
        torch.testing.assert_close(network(x), pooled, rtol=0, atol=0)
    torch.testing.assert_close(pooled, own, rtol=1e-5, atol=1e-5 * float(own.abs().max()))


@pytest.mark.parametrize("name", ["efficientnet_b0", "nf_resnet26", "mobilenetv3_small_050"])
def test_a_head_that_widens_or_adds_a_layer_is_left_out_of_the_vector(name: str) -> None:
    network, x = build(f"timm:{name}", seed=0).eval(), torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        maps = network.tokens(x)
        torch.testing.assert_close(network(x), network.pooled(maps), rtol=0, atol=0)
        torch.testing.assert_close(network.pooled(maps), maps[-1].mean(dim=(1, 2)))


def test_weights_with_nan_are_refused_by_name(tmp_path: Path) -> None:
    state = build("timm:resnet18", seed=0).model.state_dict()
    state["layer1.0.bn1.running_var"][3] = torch.nan
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"'layer1\.0\.bn1\.running_var' holds NaN or infinity"):
        load_network(f"timm:resnet18={tmp_path / 'w.pth'}")


def test_attention_of_cls_is_the_softmax_of_its_products() -> None:
    network, x = build("timm:deit_tiny_patch16_224", seed=0, options=DEIT).eval(), torch.randn(2, 3, 48, 64)
    z = {}
    block = network.model.blocks[-1]
    block.norm1.register_forward_hook(lambda _, __, out: z.update(normed=out))
    with torch.inference_mode():
        _, attention = network.tokens_and_attention(x)
        q, k, _ = block.attn.qkv(z["normed"]).reshape(2, 13, 3, 2, 16).permute(2, 0, 3, 1, 4)
    scores = torch.einsum("bhd,bhnd->bhn", q[:, :, 0], k) / 4
    expected = (scores.exp() / scores.exp().sum(-1, keepdim=True))[:, :, 1:]
    torch.testing.assert_close(attention[0][0].flatten(2), expected)
    assert block.attn.fused_attn  # and it is fused again


@pytest.mark.parametrize(
    ("name", "options"), [("swin_tiny_patch4_window7_224", SWIN), ("deit_tiny_patch16_224", DEIT)]
)
def test_checkpoint_there_and_back(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    network = build(f"timm:{name}", seed=4, options=options).eval()
    same = build(f"timm:{name}", seed=4, options=options).eval()
    written = save(tmp_path / "n.safetensors", network)
    again, found = load_network(str(tmp_path / "n.safetensors"))
    assert found == written
    assert again.settings == network.settings
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    torch.testing.assert_close(same(x), network(x), rtol=0, atol=0)


def test_what_timm_says_of_names_options_and_sizes() -> None:
    with pytest.raises(UsageError, match=r"knows no network 'deit_tini_patch16_224'.*deit_tiny_patch16_224"):
        build("timm:deit_tini_patch16_224", seed=0)
    with pytest.raises(UsageError, match=r"no weights 'x' of it.*ms_in1k"):
        build("timm:swin_tiny_patch4_window7_224.x", seed=0)
    with pytest.raises(UsageError, match="unexpected keyword argument 'colour'"):
        build("timm:swin_tiny_patch4_window7_224", seed=0, options={"colour": 1})
    with pytest.raises(UsageError, match=r"Crops of 40 px: .* multiples of 16; got 40 x 40"):
        check_crops("timm:deit_tiny_patch16_224", DEIT, (32, 40))
    with pytest.raises(UsageError, match="mixer_s16_224 is built for pictures of 224 x 224 px"):
        check_crops("timm:mixer_s16_224", {}, (64, 96))


def embedded(images: Path, workspace: Path, **more: object) -> embed.EmbedReport:
    small = {"size": 64, "region_size": 32, "max_regions": 3, "workers": 0, "threads": 1}
    return embed.run(embed.EmbedSettings.checked({**small, "images": images, **more}), workspace)


TRAINED = {
    "batch": 2, "global_sizes": (64, 96), "local_sizes": (32, 48), "n_local": 2, "out_dim": 16, "hidden": 16,
    "bottleneck": 8, "picture_side": 96, "workers": 0, "threads": 1, "epochs": 2, "switch_at": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swin_tiny_patch4_window7_224", SWIN),
        ("deit_tiny_patch16_224", DEIT),
        ("resnet18", {"layers": [1, 1, 1, 1]}),
    ],
)
def test_a_backbone_pretrains_and_embeds(
    name: str, options: dict[str, Any], images: Path, tmp_path: Path
) -> None:
    settings = {**TRAINED, "folders": (images,), "network": f"timm:{name}", "timm": options}
    report = pretrain.run(pretrain.PretrainSettings.checked(settings), tmp_path)
    assert report.steps == 3  # with small and with large crops
    assert np.isfinite(report.loss)
    network, found = load_network(report.weights)
    assert found == report.fingerprint
    assert network.settings == TimmSettings(name=name, options=options)
    start = build(f"timm:{name}", seed=0, drop_path=0.0, options=options)
    assert any(not torch.equal(a, b) for a, b in zip(network.parameters(), start.parameters(), strict=True))
    done = embedded(images, tmp_path)
    assert (done.model, done.failed) == (report.fingerprint, 0)


@pytest.mark.parametrize(
    "name",
    [
        "swin_tiny_patch4_window7_224.ms_in1k",
        "convnext_tiny.dinov3_lvd1689m",
        "vit_small_patch16_dinov3.lvd1689m",
        "deit_tiny_patch16_224.fb_in1k",
    ],
)
def test_weights_of_timm_embed_a_folder(name: str, images: Path, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False).state_dict()  # with its classifier, if it has one
    save_file(state, tmp_path / "w.safetensors")
    weights = f"timm:{name}={tmp_path / 'w.safetensors'}"
    report = embedded(images, tmp_path, weights=weights)
    assert (report.images, report.failed) == (3, 0)
    assert report.regions > 0
    assert report.weights == weights
    assert any(f"w.safetensors: timm's {name}, " in line for line in report.remarks)
    assert any("classifier is left out (head" in line for line in report.remarks) == ("dinov3" not in name)
    network, found = load_network(weights)
    assert report.model == found
    stored = open_set(places.set_folder(tmp_path, "thermal"))
    assert stored.part("mean").shape == (3 + report.regions, sum(network.dims[-2:]))
    again = embedded(images, tmp_path, weights=weights)
    assert again.already_done
    alone = {"weights": weights, "saliency": "attention", "name": "attention"}
    if network.attends:
        assert embedded(images, tmp_path, **alone).failed == 0
    else:
        with pytest.raises(UsageError, match=r"--saliency attention: .*has no attention to tell of.*ncut"):
            embedded(images, tmp_path, **alone)
        assert not places.set_folder(tmp_path, "attention").exists()


# Ours, timm's, a side at which positions are taken as they are, and another picture.
PAIRS = [
    ("vit_small", "vit_small_patch16_224.dino", 224, (160, 272)),
    ("dinov2_vits14", "vit_small_patch14_dinov2.lvd142m", 518, (210, 308)),
]


def pair(ours: str, theirs: str, folder: Path) -> tuple[ViT, Backbone]:
    """The same random numbers in both, through a file; positions as large as the patches, to be seen."""
    network = build(ours, seed=0).eval()
    assert isinstance(network, ViT)
    torch.manual_seed(1)
    for key, value in network.named_parameters():
        if key == "pos_embed":
            nn.init.normal_(value, std=0.5)
        elif value.ndim == 1:  # gains and offsets, which start as ones and zeros
            nn.init.normal_(value, mean=float(key.endswith(("norm1.weight", "norm2.weight"))), std=0.2)
    # timm leaves out the mask token, which only DINOv2's own training uses.
    save_file({k: v for k, v in network.state_dict().items() if k != "mask_token"}, folder / "w.safetensors")
    other, _ = load_network(f"timm:{theirs}={folder / 'w.safetensors'}")
    assert isinstance(other, Backbone)
    return network, other


def furthest(a: list[Tensor], b: list[Tensor]) -> float:
    """The largest difference of all maps, over the largest value."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("ours", "theirs", "side", "shape"), PAIRS)
def test_our_vit_is_timms(ours: str, theirs: str, side: int, shape: tuple[int, int], tmp_path: Path) -> None:
    """At another size timm resizes positions as DINOv2 with registers does: exact scale, smoothed.

    DINO's own code and that of DINOv2 without registers do otherwise (scale (n + 0.1) / side, nothing
    smoothed), and so do we for their weights: there timm's tokens differ from the published ones, and ours
    are timm's where we are told to resize in timm's way.
    """
    network, other = pair(ours, theirs, tmp_path)
    with torch.inference_mode():
        x = torch.randn(1, 3, side, side)
        a, attention = network.tokens_and_attention(x)
        b, theirs_too = other.tokens_and_attention(x)
        assert furthest(a, b) < 1e-5
        torch.testing.assert_close(attention[0][0], theirs_too[0][0], atol=1e-5, rtol=1e-4)
        x = torch.randn(2, 3, *shape)
        in_timms_way = ViT(network.settings.model_copy(update={"resize": "antialias"})).eval()
        in_timms_way.load_state_dict(network.state_dict())
        b = other.tokens(x)
        assert furthest(in_timms_way.tokens(x), b) < 1e-5
        assert NETWORKS[ours].resize == "offset"
        assert furthest(network.tokens(x), b) > 1e-3
