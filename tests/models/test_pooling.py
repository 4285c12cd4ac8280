import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dinonat.models.checkpoint import load, save
from dinonat.models.nat import NAT, NATSettings
from dinonat.models.pooling import SimPool

TINY = NATSettings(dim=16, depths=(1, 1, 2, 1), heads=(1, 1, 2, 2), position_bias=False, pooling="simpool")


def pool(dim: int = 6, seed: int = 0) -> SimPool:
    """A pooling in float64 with weights of everyday size."""
    torch.manual_seed(seed)
    made = SimPool(dim).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def defined(made: SimPool, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition, token by token: weights (N,) and vector (d,) of one picture's tokens (N, d)."""
    parts = {name: value.detach().numpy() for name, value in made.named_parameters()}
    count, dim = x.shape
    normed = np.empty_like(x)
    for i in range(count):
        spread = math.sqrt(((x[i] - x[i].mean()) ** 2).mean() + made.norm.eps)
        normed[i] = (x[i] - x[i].mean()) / spread * parts["norm.weight"] + parts["norm.bias"]
    query = parts["query.weight"] @ (sum(x[i] for i in range(count)) / count)
    scores = np.array([query @ (parts["key.weight"] @ normed[i]) / math.sqrt(dim) for i in range(count)])
    raised = np.exp(scores - scores.max())
    weights = raised / raised.sum()
    return weights, sum(weights[i] * normed[i] for i in range(count))


@pytest.mark.parametrize(("count", "dim"), [(1, 6), (5, 6), (49, 16), (7, 3)])
def test_it_is_the_definition(count: int, dim: int) -> None:
    made, x = pool(dim), torch.randn(3, count, dim, dtype=torch.float64) * 2 + 1
    with torch.no_grad():
        weights, vector = made.weights(x), made(x)
    for i in range(3):
        expected = defined(made, x[i].numpy())
        np.testing.assert_allclose(weights[i], expected[0], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(vector[i], expected[1], rtol=1e-10, atol=1e-12)


def test_equal_tokens_give_their_norm_and_no_query_gives_the_mean_of_norms() -> None:
    made = pool()
    token = torch.randn(2, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(made(token.expand(2, 9, 6)), made.norm(token)[:, 0])
    torch.testing.assert_close(made.weights(token.expand(2, 9, 6)), torch.full((2, 9), 1 / 9).double())
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    torch.nn.init.zeros_(made.query.weight)
    torch.testing.assert_close(made.weights(x), torch.full((2, 9), 1 / 9).double())
    torch.testing.assert_close(made(x), made.norm(x).mean(1))


def test_order_does_not_matter_and_weights_go_with_their_tokens() -> None:
    made, x = pool(), torch.randn(2, 9, 6, dtype=torch.float64)
    order = torch.randperm(9)
    torch.testing.assert_close(made(x[:, order]), made(x))
    torch.testing.assert_close(made.weights(x[:, order]), made.weights(x)[:, order])


def test_gradients() -> None:
    made, x = pool(4), torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x,))
    names, values = zip(*made.named_parameters(), strict=True)

    def by_parameters(*given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(made, dict(zip(names, given, strict=True)), (x.detach(),))

    assert torch.autograd.gradcheck(by_parameters, values)


def network(**changes: object) -> NAT:
    torch.manual_seed(0)
    return NAT(TINY.model_copy(update=changes)).eval()


def test_a_network_pools_its_last_tokens_with_it() -> None:
    model, x = network(), torch.randn(3, 3, 96, 64)
    with torch.no_grad():
        last = model.tokens(x)[-1]
        torch.testing.assert_close(model(x), model.pool(last.flatten(1, 2)))
        looked_at = model.pooling_map(last)
        assert looked_at.shape == (3, 3, 2)
        torch.testing.assert_close(looked_at.sum(dim=(1, 2)), torch.ones(3))
        normed = model.pool.norm(last)
        torch.testing.assert_close((looked_at[..., None] * normed).sum(dim=(1, 2)), model(x))


def test_a_vector_does_not_depend_on_batch_mates() -> None:
    """What the published power mean does not promise: its minimum is that of the whole batch."""
    model, x = network().double(), torch.randn(4, 3, 64, 64, dtype=torch.float64)
    for parameter in model.pool.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        together = model(x)
        x[1:] *= 100
        torch.testing.assert_close(model(x)[0], together[0])
        torch.testing.assert_close(model(x[:1])[0], together[0])
        assert not torch.allclose(model(x)[1], together[1])


def test_without_it_nothing_is_drawn_or_stored_that_was_not_before() -> None:
    plain, pooling = network(pooling="mean"), network()
    assert plain.pooling_map(torch.zeros(1, 2, 2, 128)) is None
    added = pooling.state_dict().keys() - plain.state_dict().keys()
    assert added == {"pool.norm.weight", "pool.norm.bias", "pool.query.weight", "pool.key.weight"}
    assert sum(p.numel() for p in pooling.pool.parameters()) == 2 * 128**2 + 2 * 128


def test_a_checkpoint_keeps_it_and_one_that_knows_nothing_of_it_has_none(tmp_path: Path) -> None:
    model, x = network(), torch.randn(1, 3, 64, 64)
    save(tmp_path / "w.safetensors", model)
    again = load(tmp_path / "w.safetensors").eval()
    assert again.settings == model.settings
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    plain = network(pooling="mean")
    save(tmp_path / "plain.safetensors", plain)
    with safe_open(tmp_path / "plain.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["dinonat"])
    del about["settings"]["pooling"]  # as it was written before there was a choice
    save_file(plain.state_dict(), tmp_path / "old.safetensors", {"dinonat": json.dumps(about)})
    old = load(tmp_path / "old.safetensors").eval()
    assert isinstance(old, NAT)
    assert old.settings.pooling == "mean"
    with torch.no_grad():
        torch.testing.assert_close(old(x), plain(x), rtol=0, atol=0)
