import numpy as np
import pytest
import torch

from dinonat.embeddings.encode import as_input, attended, crop_vectors, network_vectors, part_lengths, zeros
from dinonat.embeddings.framing import padded, valid_tokens
from dinonat.models.catalog import build
from dinonat.models.nat import NAT, NATSettings
from dinonat.records import PARTS


@pytest.fixture(scope="module")
def network() -> NAT:
    return build("nat_nano", seed=0).eval()


def tokens_of(batch: int, height: int, width: int) -> list[torch.Tensor]:
    """Random tokens of the four stages; ``height`` and ``width`` are those of stage 3."""
    generator = torch.Generator().manual_seed(1)
    shapes = [
        (4 * height, 4 * width, 2),
        (2 * height, 2 * width, 4),
        (height, width, 8),
        (height // 2, width // 2, 16),
    ]
    return [torch.randn(batch, *shape, generator=generator) for shape in shapes]


def test_input_is_imagenet_normalised_channel_by_channel(network: NAT) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    x = as_input(network, [colour, grey])
    assert x.shape == (2, 3, 5, 7)
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        np.testing.assert_allclose(x[0, channel], (colour[..., channel] / 255 - mean) / std, atol=1e-6)
        np.testing.assert_allclose(x[1, channel], (grey / 255 - mean) / std, atol=1e-6)


def test_grid_is_the_mean_of_each_cell() -> None:
    tokens = tokens_of(2, 6, 12)
    grid = network_vectors(tokens, [(24, 48), (12, 24), (6, 12), (3, 6)])["grid"]
    cells = tokens[2].numpy().reshape(2, 3, 2, 3, 4, 8).mean(axis=(2, 4))  # (B, 3, 3, c)
    np.testing.assert_allclose(grid, cells.reshape(2, -1), atol=1e-6)


def test_mean_is_two_unit_vectors() -> None:
    tokens = tokens_of(3, 4, 4)
    mean = network_vectors(tokens, [(16, 16), (8, 8), (4, 4), (2, 2)])["mean"]
    for part, stage in ((mean[:, :8], tokens[2]), (mean[:, 8:], tokens[3])):
        direction = stage.numpy().reshape(3, -1, stage.shape[-1]).mean(axis=1)
        np.testing.assert_allclose(
            part, direction / np.linalg.norm(direction, axis=1, keepdims=True), atol=1e-6
        )


def test_padded_tokens_count_for_nothing() -> None:
    valid = [(20, 28), (10, 14), (5, 7), (3, 4)]
    tokens = tokens_of(2, 6, 8)
    spoiled = [stage.clone() for stage in tokens]
    for stage, (height, width) in zip(spoiled, valid, strict=True):
        stage[:, height:] = 1e6
        stage[:, :, width:] = torch.nan
    for name, values in network_vectors(tokens, valid).items():
        np.testing.assert_array_equal(values, network_vectors(spoiled, valid)[name])


def test_a_map_smaller_than_the_grid_repeats_its_tokens() -> None:
    tokens = tokens_of(1, 2, 2)
    grid = network_vectors(tokens, [(4, 8), (2, 4), (1, 2), (1, 1)])["grid"].reshape(3, 3, 8)
    np.testing.assert_array_equal(grid[0], grid[2])
    np.testing.assert_allclose(grid[0, 0], tokens[2][0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(grid[0, 2], tokens[2][0, 0, 1], atol=1e-6)


def test_crops_come_out_in_order_whatever_the_batch(network: NAT) -> None:
    crops = list(np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8))
    with torch.inference_mode():
        one, two = (crop_vectors(network, crops, batch=batch) for batch in (5, 2))
        none = crop_vectors(network, [], batch=2)
    for name in PARTS:
        assert one[name].shape == (5, part_lengths(network)[name])
        np.testing.assert_allclose(one[name], two[name], atol=1e-4)
        assert none[name].shape == (0, part_lengths(network)[name])


def test_zeros_have_the_lengths_of_the_parts(network: NAT) -> None:
    assert {name: values.shape for name, values in zeros(network, 2).items()} == {
        "mean": (2, 128 + 256),
        "grid": (2, 9 * 128),
        "hog": (2, 1764),
        "raw": (2, 1024),
    }


SMALL = NATSettings(dim=16, depths=(1, 1, 2, 2), heads=(1, 1, 2, 2))


def looked_at(model: NAT, size_hw: tuple[int, int]) -> np.ndarray:
    """Where a network looks in a picture of noise."""
    picture = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    with torch.inference_mode():
        x = as_input(model, [padded(picture, stride=model.stride)])
        tokens, weights = model.tokens_and_attention(x)
        own = [[block[0] for block in stage] for stage in weights]
        return attended(model, own, valid_tokens(size_hw, model.strides), tokens[-1][0])


@pytest.mark.parametrize("small_map", ["clip", "pad"])
@pytest.mark.parametrize("size_hw", [(64, 96), (96, 300), (33, 40), (224, 224)])
def test_even_attention_is_one_everywhere_also_on_maps_below_the_window(
    small_map: str, size_hw: tuple[int, int]
) -> None:
    """Keys of padding take part in the softmax of a padded map, and count for nothing in what is shown."""
    torch.manual_seed(0)
    model = NAT(SMALL.model_copy(update={"small_map": small_map})).eval()
    for block in [block for stage in model.levels for block in stage.blocks]:
        torch.nn.init.zeros_(block.attn.qkv.weight)
        torch.nn.init.zeros_(block.attn.rpb)
    even = looked_at(model, size_hw)
    assert even.shape == valid_tokens(size_hw, model.strides)[0]
    np.testing.assert_allclose(even, 1, atol=1e-4)


def test_padded_and_clipped_maps_say_alike_where_one_block_looks() -> None:
    """With one block, at stage 4, both rules see the same tokens: fake keys only share its softmax."""
    maps = []
    for small_map in ("clip", "pad"):
        torch.manual_seed(0)
        model = NAT(SMALL.model_copy(update={"small_map": small_map, "depths": (0, 0, 0, 1)})).eval()
        attention = model.levels[3].blocks[0].attn
        torch.nn.init.normal_(attention.qkv.weight, std=0.3)
        torch.nn.init.normal_(attention.qkv.bias)
        torch.nn.init.normal_(attention.rpb)
        maps.append(looked_at(model, (96, 160)))
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4)
    assert np.ptp(maps[0]) > 0.1


def test_saliency_starts_where_the_pooling_looks() -> None:
    torch.manual_seed(0)
    model = NAT(SMALL.model_copy(update={"pooling": "simpool", "small_map": "pad"})).eval()
    plain = NAT(SMALL.model_copy(update={"small_map": "pad"})).eval()
    plain.load_state_dict({key: v for key, v in model.state_dict().items() if not key.startswith("pool.")})
    assert model.pool is not None
    torch.nn.init.zeros_(model.pool.query.weight)  # all tokens alike, as their mean
    even = looked_at(model, (96, 160))
    np.testing.assert_allclose(looked_at(plain, (96, 160)), even, rtol=1e-5)
    torch.nn.init.normal_(model.pool.query.weight)
    torch.nn.init.normal_(model.pool.key.weight)
    asked = looked_at(model, (96, 160))
    assert asked.shape == even.shape == (24, 40)
    with torch.inference_mode():
        picture = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
        pooling = model.pooling_map(model.tokens(as_input(model, [picture]))[-1])
    assert pooling is not None
    first = np.unravel_index(int(pooling[0].argmax()), (3, 5))
    gained = (asked / even).reshape(3, 8, 5, 8).mean(axis=(1, 3))  # over the cells of stage 4
    assert np.unravel_index(int(gained.argmax()), (3, 5)) == first
