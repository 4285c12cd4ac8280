from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dinonat.agreement import sights
from dinonat.agreement.maps import pearson
from dinonat.agreement.sights import cell_of, on_cells, sight_of, token_maps, tokens_of, vectors_of
from dinonat.embeddings.encode import as_input, attended, network_vectors
from dinonat.embeddings.framing import padded, valid_tokens
from dinonat.models.nat import NAT, NATSettings
from dinonat.models.network import Network
from dinonat.models.vit import ViT, ViTSettings
from dinonat.saliency.ncut import eigenvectors, otsu

Textures = Callable[..., np.ndarray]


def nat(**changes: object) -> NAT:
    torch.manual_seed(0)
    settings = NATSettings(dim=8, depths=(1, 1, 2, 1), heads=(1, 2, 2, 4)).model_copy(update=changes)
    return NAT(settings).eval()


def vit(**changes: object) -> ViT:
    torch.manual_seed(0)
    settings = ViTSettings(dim=24, depth=2, heads=3, positions=4).model_copy(update=changes)
    return ViT(settings).eval()


def without_attention() -> NAT:
    network = nat()
    network.attends = False  # as a ResNet says of itself
    return network


@pytest.fixture(scope="module")
def pictures(textures: Textures) -> np.ndarray:
    return np.stack([np.repeat(textures(seed, 96, 96)[..., None], 3, axis=-1) for seed in range(5)])


def alone(network: Network, picture: np.ndarray) -> tuple[list[torch.Tensor], list, list[tuple[int, int]]]:
    """What the network makes of one picture by itself."""
    framed = padded(picture, stride=network.stride)
    with torch.inference_mode():
        tokens, attention = network.tokens_and_attention(as_input(network, [framed]))
    return tokens, attention, valid_tokens(picture.shape[:2], network.strides)


@pytest.mark.parametrize(("size", "cells"), [(96, 6), (64, 4), (70, 5)])
@pytest.mark.parametrize("network", [nat(), vit()], ids=["nat", "vit"])
def test_all_lies_on_the_cells_of_the_finer_last_map(
    network: Network, size: int, cells: int, pictures: np.ndarray
) -> None:
    found = sight_of(network, pictures[:2, :size, :size])
    assert set(found.maps) == {"attention", "similarity", "component", "cut"}
    for each in found.maps.values():
        assert (each.shape, each.dtype) == ((2, cells, cells), np.float32)
        assert (np.ptp(each, axis=(1, 2)) > 0).all()
    assert found.tokens.shape == (2, cells, cells, network.dims[-2])
    assert cell_of(network) == 16
    fine, coarse = network.dims[-2:]
    assert {name: each.shape for name, each in found.vectors.items()} == {
        "mean": (2, fine + coarse),
        "grid": (2, 9 * fine),
    }


@pytest.mark.parametrize(
    "network", [nat(), nat(pooling="simpool"), vit(registers=2)], ids=["nat", "simpool", "vit"]
)
def test_attention_is_that_of_the_toolkit_cell_by_cell(network: Network, pictures: np.ndarray) -> None:
    maps = sight_of(network, pictures[:3, :80, :80]).maps["attention"]
    for i, picture in enumerate(pictures[:3, :80, :80]):
        tokens, attention, valid = alone(network, picture)
        own = [[block[0] for block in stage] for stage in attention]
        with torch.inference_mode():
            seen = attended(network, own, valid, tokens[-1][0])
        side = len(seen) // 5
        expected = [
            [seen[r : r + side, k : k + side].mean() for k in range(0, 5 * side, side)]
            for r in range(0, 5 * side, side)
        ]
        np.testing.assert_allclose(maps[i], expected, rtol=1e-4)


@pytest.mark.parametrize("network", [nat(), vit(), without_attention()], ids=["nat", "vit", "no attention"])
def test_how_many_are_shown_at_once_does_not_matter(
    network: Network, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pictures by two at once: what each alone gives, in their order."""
    monkeypatch.setattr(sights, "AT_ONCE", 2)
    some = pictures[:, :70, :70]
    found, vectors, tokens = sight_of(network, some), vectors_of(network, some), tokens_of(network, some)
    for i, picture in enumerate(some):
        maps, _, valid = alone(network, picture)
        fine = maps[-2][0, : valid[-2][0], : valid[-2][1]].numpy()
        np.testing.assert_allclose(found.tokens[i], fine, atol=1e-4)
        np.testing.assert_allclose(tokens[i], fine, atol=1e-4)
        for name, expected in network_vectors(maps, valid).items():
            np.testing.assert_allclose(found.vectors[name][i], expected[0], atol=1e-4)
            np.testing.assert_allclose(vectors[name][i], expected[0], atol=1e-4)
        whole = sight_of(network, some[i : i + 1])
        np.testing.assert_allclose(found.maps["similarity"][i], whole.maps["similarity"][0], atol=1e-4)
    assert np.linalg.norm(found.tokens[0] - found.tokens[4]) > 0.1


def test_a_network_without_attention_leaves_its_map_out(pictures: np.ndarray) -> None:
    found, whole = sight_of(without_attention(), pictures[:2]), sight_of(nat(), pictures[:2])
    assert set(found.maps) == {"similarity", "component", "cut"}
    for name, each in found.maps.items():
        np.testing.assert_allclose(each, whole.maps[name], atol=1e-5)


def made(seed: int, height: int = 5, width: int = 6, channels: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1, (height, width, channels)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.floats(0.1, 10))
def test_similarity_is_the_cosine_with_the_mean(seed: int, scale: float) -> None:
    """In float64; how long tokens are does not matter, which is why each counts alike in the mean."""
    tokens = made(seed)
    rows = tokens.reshape(-1, 8).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mean = rows.mean(axis=0)
    expected = (rows @ mean / np.linalg.norm(mean)).reshape(5, 6)
    lengths = scale * np.random.default_rng(seed).uniform(0.5, 2, (5, 6, 1))
    for each in (tokens, tokens * lengths.astype(np.float32)):
        found = token_maps(each)["similarity"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(found).max() <= 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999))
def test_component_is_the_first_of_the_singular_vectors_smaller_side_up(seed: int) -> None:
    tokens = made(seed)
    rows = tokens.reshape(-1, 8).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = (left[:, 0] * values[0]).reshape(5, 6)
    found = token_maps(tokens)["component"]
    if values[0] < 1.05 * values[1]:
        return  # two axes that say nearly as much: which is first is up to rounding
    sign = np.sign((found * expected).sum())
    np.testing.assert_allclose(sign * found, expected, atol=1e-4)
    assert (found > otsu(found)).mean() <= 0.5 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999))
def test_cut_is_the_second_eigenvector_smaller_side_up(seed: int) -> None:
    tokens = made(seed)
    found, (expected,) = token_maps(tokens)["cut"], eigenvectors(tokens, count=1)
    assert (found > otsu(found)).mean() <= 0.5
    np.testing.assert_array_equal(np.abs(found), np.abs(expected))
    assert abs((found * expected).sum()) == pytest.approx(1, abs=1e-4)  # of length 1, turned as a whole


@pytest.mark.parametrize("inside", [1.0, -1.0])
def test_the_object_is_up_whichever_sign_the_axes_have(inside: float) -> None:
    """A block of 6 of 30 tokens that differ: highest in component and cut, lowest in similarity."""
    tokens = 0.05 * made(0)
    tokens[..., 0] += np.float32(1)
    tokens[1:3, 1:4] *= 0.5
    tokens[1:3, 1:4, 1] += np.float32(2 * inside)
    block = np.zeros((5, 6), bool)
    block[1:3, 1:4] = True
    for each in (tokens, -tokens):
        maps = token_maps(each)
        for name in ("component", "cut"):
            assert maps[name][block].min() > maps[name][~block].max(), name
        assert maps["similarity"][block].max() < maps["similarity"][~block].min()


def test_tokens_that_are_all_alike_give_flat_maps() -> None:
    for tokens in (np.tile(made(0)[:1, :1], (5, 6, 1)), np.zeros((5, 6, 8), np.float32)):
        maps = token_maps(tokens)
        assert maps["similarity"] == pytest.approx(float(tokens.any()), abs=1e-6)
        assert np.abs(maps["component"]).max() < 1e-6
        np.testing.assert_array_equal(maps["cut"], np.zeros((5, 6)))
        for each in maps.values():
            assert pearson(each[None], made(1)[None, ..., 0])[0, 0] == 0


class Averages(Network):
    """The mean colour of each cell of 16 pixels, and of the whole."""

    stride, strides, dims, attends = 16, (16.0, float("inf")), (3, 3), False

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def tokens(self, x: torch.Tensor) -> list[torch.Tensor]:
        cells = functional.avg_pool2d(x, 16).permute(0, 2, 3, 1)
        return [cells, cells.mean(dim=(1, 2), keepdim=True)]

    def tokens_and_attention(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list]:
        return self.tokens(x), []


def test_a_uniform_picture_gives_flat_maps(pictures: np.ndarray) -> None:
    """Of a network that sees no border nor position; and others see it without an error, too."""
    flat = np.full((2, 96, 96, 3), 130, np.uint8)
    found, others = sight_of(Averages(), flat), sight_of(Averages(), pictures[:2])
    for name, maps in found.maps.items():
        assert np.ptp(maps, axis=(1, 2)).max() < 1e-6, name
        np.testing.assert_array_equal(pearson(maps, others.maps[name]), np.zeros((2, 2)))
    for network in (nat(), vit()):
        for each in sight_of(network, flat).maps.values():
            assert np.isfinite(each).all()


def test_cells_are_means_and_maps_that_do_not_divide_are_a_defect() -> None:
    fine = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_allclose(on_cells(fine, (2, 2)), [[4, 7], [16, 19]])
    np.testing.assert_allclose(on_cells(fine, (4, 2)), fine.reshape(4, 2, 3).mean(axis=2))
    for shape in ((3, 2), (2, 4)):
        with pytest.raises(ValueError, match="does not divide"):
            on_cells(fine, shape)
