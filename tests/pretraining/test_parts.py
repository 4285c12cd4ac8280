"""A step in parts, and by several processes, is the step of the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dinonat.errors import UsageError
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pretraining import dino, ranks
from dinonat.pretraining.losses import koleo_pulls
from dinonat.pretraining.pictures import Pictures, alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import State, new_state, share
from dinonat.pretraining.step import make_step

CPU = torch.device("cpu")
TINY = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
CASES = [
    {},
    {"targets": "centre", "koleo": 0.0},
    {"dense": 1.0, "profile": "thermal", "thermal_from": 0.0},
    {"network": "vit_tiny"},
]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(catalog.NETWORKS, "tiny", TINY)


def recipe(**changes) -> TrainSettings:
    values = {
        "network": "tiny", "batch": 8, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 2,
        "out_dim": 16, "hidden": 16, "bottleneck": 8, "freeze_prototypes": 1, "precision": "float32",
        "learning_rate": 0.3,
    }  # fmt: skip
    return TrainSettings.checked({**values, **changes})


def pictures(paired: bool = False) -> Pictures:
    rng = np.random.default_rng(0)
    known = alone(
        rng.integers(0, 256, (12, 40, 40, 3), dtype=np.uint8), np.linspace(0.7, 1.5, 12, dtype=np.float32)
    )
    if paired:  # the first three show the same places as the next three
        known.partners[:6] = [3, 4, 5, 0, 1, 2]
    return known


def three_steps(settings: TrainSettings, *, paired: bool = False) -> tuple[State, list[dict[str, float]]]:
    """Take three steps of plain gradient descent: Adam would make full steps of what is only rounding."""
    state, figures = new_state(settings, CPU), []
    state.optimizer = torch.optim.SGD(state.optimizer.param_groups, lr=0.1)
    share(state, settings)
    for step in range(3):
        chosen = np.random.default_rng(step).permutation(12)[: settings.batch]
        figures.append(make_step(state, pictures(paired), chosen, settings, course=Course(10)))
    return state, figures


def assert_equal(one: State, other: State, *, within: float = 2e-5) -> None:
    """Compare student, heads, teacher and centre."""
    torch.testing.assert_close(one.centre, other.centre, atol=within, rtol=1e-4)
    for who in ("student", "teacher"):
        ours, theirs = one.learner(who).state_dict(), other.learner(who).state_dict()
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, atol=within, rtol=1e-3, msg=f"{who}.{name}")


@pytest.mark.parametrize("changes", CASES)
@pytest.mark.parametrize("accumulate", [3, 8])
def test_steps_in_parts_are_those_of_the_whole_batch(changes, accumulate):
    whole, figures = three_steps(recipe(**changes))
    in_parts, same = three_steps(recipe(**changes, accumulate=accumulate))
    assert_equal(whole, in_parts)
    for ours, theirs in zip(figures, same, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_steps_in_parts_are_those_of_the_whole_batch_where_pictures_have_partners():
    whole, _ = three_steps(recipe(), paired=True)
    in_parts, _ = three_steps(recipe(accumulate=3), paired=True)
    assert_equal(whole, in_parts)


def test_teacher_and_centre_move_once_a_step_whatever_the_number_of_parts(monkeypatch):
    calls = {"move_teacher": 0, "next_centre": 0}

    def counted(name):
        true = getattr(dino, name)

        def call(*arguments):
            calls[name] += 1
            return true(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(dino, name, counted(name))
    three_steps(recipe(accumulate=4))
    assert calls == {"move_teacher": 2 * 3, "next_centre": 3}  # the network and its head


@pytest.mark.parametrize("counts", [(4, 4), (3, 3, 2)])
def test_pulls_of_koleo_are_its_gradient_over_all_parts(counts):
    rng = torch.Generator().manual_seed(0)
    features = [torch.randn(2 * count, 5, generator=rng) for count in counts]

    class Sized:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

    value, pulls = koleo_pulls([Sized(c) for c in counts], lambda n: features[n])
    for each in features:
        each.requires_grad_()
    views = [torch.cat(view) for view in zip(*(each.chunk(2) for each in features), strict=True)]
    expected = sum(dino.koleo(view) for view in views)
    torch.testing.assert_close(value, expected.detach())
    for pull, gradient in zip(pulls, torch.autograd.grad(expected, features), strict=True):
        torch.testing.assert_close(pull, gradient)


RANKS = """
import os, socket, sys; sys.path.insert(0, {tests!r})
import torch
from pathlib import Path
from dinonat.models import catalog
from dinonat.pretraining import ranks
import test_parts
torch.set_num_threads(1)
catalog.NETWORKS["tiny"] = test_parts.TINY
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
os.environ |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}}
children = []
for rank in "01":  # as torchrun starts them, but the libraries are loaded once
    children.append(os.fork())
    if not children[-1]:
        break
else:
    sys.exit(max([os.waitpid(child, 0)[1] for child in children]) > 0)
os.environ |= {{"RANK": rank, "LOCAL_RANK": rank}}
with ranks.together("cpu"):
    for number, changes in enumerate(test_parts.CASES):
        settings = test_parts.recipe(**changes, accumulate=2)
        state, figures = test_parts.three_steps(settings, paired=number == 0)
        learnt = {{who: state.learner(who).state_dict() for who in ("student", "teacher")}}
        path = Path({out!r}) / f"{{number}}-{{ranks.rank()}}.pt"
        torch.save({{"centre": state.centre, "figures": figures, **learnt}}, path)
"""


def test_two_processes_learn_what_one_does_with_their_batch_together(tmp_path):
    program = RANKS.format(tests=str(Path(__file__).parent), out=str(tmp_path))
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, changes in enumerate(CASES):
        alone_, figures = three_steps(recipe(**changes), paired=number == 0)
        for rank in (0, 1):
            saved = torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(saved["centre"], alone_.centre, atol=2e-5, rtol=1e-4)
            for who in ("student", "teacher"):
                for name, value in alone_.learner(who).state_dict().items():
                    torch.testing.assert_close(saved[who][name], value, atol=2e-5, rtol=1e-3)
            for ours, theirs in zip(figures, saved["figures"], strict=True):
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_a_batch_that_processes_cannot_share_evenly_is_refused(monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: 5)
    with pytest.raises(UsageError, match=r"48 cannot be shared evenly by 5 processes.*batch=50"):
        ranks.refuse_uneven(48)
    ranks.refuse_uneven(50)
