import pytest
import torch

from dinonat.models.catalog import build
from dinonat.pretraining.graphs import Asked


@pytest.mark.parametrize("bfloat16", [False, True])
def test_an_asked_network_answers_as_it_does_plainly(bfloat16):
    network = build("nat_nano", seed=0)
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    asked = Asked(network, lambda model, images: (model(images), model.tokens(images)[2]), bfloat16=bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        expected = network(x), network.tokens(x)[2]
    for found, plain in zip(asked(x), expected, strict=True):
        assert torch.equal(found, plain)
    assert set(asked.parameters()) == set(network.parameters())
