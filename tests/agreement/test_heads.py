import numpy as np
import pytest
import torch

from dinonat.agreement.heads import head_maps
from dinonat.embeddings.encode import as_input, attended
from dinonat.embeddings.framing import padded, valid_tokens
from dinonat.errors import UsageError
from dinonat.models.nat import NAT, NATSettings
from dinonat.models.network import Network
from dinonat.models.vit import ViT, ViTSettings


def nat(**changes: object) -> NAT:
    torch.manual_seed(0)
    settings = NATSettings(dim=8, depths=(1, 2, 1, 2), heads=(1, 2, 2, 4)).model_copy(update=changes)
    return NAT(settings).eval()


def vit(**changes: object) -> ViT:
    torch.manual_seed(0)
    settings = ViTSettings(dim=24, depth=2, heads=3, positions=4).model_copy(update=changes)
    return ViT(settings).eval()


def pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_a_nat_tells_of_the_heads_of_each_stage() -> None:
    looks = head_maps(nat(), pictures(6, 64, 96))
    assert len(looks) == 6
    names = ["stage 1", "stage 2", "stage 3", "stage 4"]
    shapes = [(1, 16, 24), (2, 8, 12), (2, 4, 6), (4, 2, 3)]
    for each in looks:
        assert [layer.name for layer in each.layers] == names
        assert [layer.maps.shape for layer in each.layers] == shapes
        assert [layer.cell for layer in each.layers] == [4, 8, 16, 32]
        assert (each.overall.maps.shape, each.overall.cell) == ((1, 16, 24), 4)


def test_pictures_are_told_apart_whatever_else_is_shown() -> None:
    network, shown = nat(), pictures(6, 64, 64)
    together, alone = head_maps(network, shown)[5], head_maps(network, shown[5:])[0]
    for one, other in zip([together.overall, *together.layers], [alone.overall, *alone.layers], strict=True):
        np.testing.assert_allclose(one.maps, other.maps, rtol=1e-4)
    first = head_maps(network, shown[:1])[0]
    assert not np.allclose(first.layers[0].maps, alone.layers[0].maps, rtol=1e-4)


@pytest.mark.parametrize("network", [nat(), nat(pooling="simpool"), vit()], ids=["nat", "simpool", "vit"])
def test_the_overall_map_is_the_toolkits_own(network: Network) -> None:
    picture = pictures(1, 70, 100)[0]
    framed = padded(picture, stride=network.stride)
    with torch.inference_mode():
        tokens, attention = network.tokens_and_attention(as_input(network, [framed]))
        weights = [[block[0] for block in stage] for stage in attention]
        expected = attended(network, weights, valid_tokens((70, 100), network.strides), tokens[-1][0])
    looks = head_maps(network, [picture])[0]
    np.testing.assert_allclose(looks.overall.maps[0], expected, rtol=1e-4)
    for layer in [looks.overall, *looks.layers]:  # what maps of padded pictures cover, and no cell more
        rows, columns = layer.maps.shape[1:]
        assert 70 <= rows * layer.cell < 70 + 2 * 16 + layer.cell
        assert 100 <= columns * layer.cell < 100 + 2 * 16 + layer.cell


def test_attention_that_tells_nothing_apart_is_one_in_every_head() -> None:
    network = nat()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if ".qkv." in name or "rpb" in name:
                value.zero_()
    looks = head_maps(network, pictures(1, 75, 64))[0]
    for layer in [looks.overall, *looks.layers]:
        np.testing.assert_allclose(layer.maps, 1, atol=1e-5)


def test_a_vit_tells_of_the_heads_of_its_last_block() -> None:
    network = vit(registers=2)
    looks = head_maps(network, pictures(2, 64, 48))[0]
    (layer,) = looks.layers
    assert (layer.name, layer.maps.shape, layer.cell) == ("last block", (3, 4, 3), 16)
    np.testing.assert_allclose(layer.maps.mean(axis=(1, 2)), 1, rtol=1e-5)
    assert looks.overall.maps.shape == (1, 4, 3)


def test_a_stage_without_blocks_is_left_out() -> None:
    looks = head_maps(nat(depths=(1, 0, 1, 1)), pictures(1, 64, 64))[0]
    assert [layer.name for layer in looks.layers] == ["stage 1", "stage 3", "stage 4"]
    assert [layer.cell for layer in looks.layers] == [4, 16, 32]


def test_grey_pictures_do_as_well_and_none_at_all() -> None:
    network, grey = nat(), pictures(1, 64, 64)[..., 0]
    one = head_maps(network, grey)[0]
    other = head_maps(network, np.repeat(grey[..., None], 3, axis=-1))[0]
    np.testing.assert_array_equal(one.overall.maps, other.overall.maps)
    assert head_maps(network, grey[:0]) == []


def test_a_network_without_attention_is_refused_in_a_sentence() -> None:
    network = nat()
    network.attends = False  # as a ResNet says of itself
    with pytest.raises(UsageError, match="no attention to draw"):
        head_maps(network, pictures(1, 64, 64))
