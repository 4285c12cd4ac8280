"""Ten steps of the loop beside DINO's formulas, written here again in float64 from the papers.

Nothing of the recipe is imported: head, targets, loss, KoLeo, clipping, AdamW, schedules and teacher are
our own here. Only the views are taken from the loop, by listening to what its networks are asked.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dinonat.models.network import Network
from dinonat.pretraining import state as states
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.step import make_step

STEPS, BATCH, LOCAL = 10, 6, 2
FLOAT32 = {"rtol": 1e-4, "atol": 3e-6}  # how far ten steps in float32 may be from the same in float64
SETTINGS = {
    "batch": BATCH, "global_sizes": (16, 16), "local_sizes": (8, 8), "n_local": LOCAL,
    "out_dim": 24, "hidden": 16, "bottleneck": 8, "freeze_prototypes": 3,
    "learning_rate": 0.01, "final_learning_rate": 1e-4,
    "warmup_share": 0.25, "weight_decay": (0.04, 0.4), "momentum": (0.9, 1.0), "clip": 0.15,
    "teacher_temperature": (0.04, 0.07), "temperature_warmup_share": 0.5, "student_temperature": 0.1,
    "precision": "float32",
}  # fmt: skip


class Two(Network):
    """Two linear layers on 16 means of a picture: tanh(x A + a) B + b."""

    stride, strides, dims = 1, (16.0,), (10,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(48, 20), nn.Linear(20, 10)

    def tokens(self, x: Tensor) -> list[Tensor]:
        means = nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return [self.second(torch.tanh(self.first(means)))[:, None, None]]

    def tokens_and_attention(self, x: Tensor):
        return self.tokens(x), []


Values = dict[str, Tensor]  # every parameter, float64


def vector(p: Values, x: Tensor) -> Tensor:
    """Views (N, 3, S, S) to vectors (N, 10)."""
    side = x.shape[-1] // 4
    means = x.reshape(len(x), 3, 4, side, 4, side).mean((3, 5)).reshape(len(x), 48)
    return (
        torch.tanh(means @ p["net.first.weight"].T + p["net.first.bias"]) @ p["net.second.weight"].T
        + (p["net.second.bias"])
    )


def logits(p: Values, features: Tensor) -> Tensor:
    """Three layers with GELU, a unit vector, then its cosines with the prototypes."""
    z = features
    for layer in (0, 2, 4):
        z = z @ p[f"head.mlp.{layer}.weight"].T + p[f"head.mlp.{layer}.bias"]
        if layer < 4:
            z = z * (1 + torch.erf(z / math.sqrt(2))) / 2
    rows = p["head.prototypes.weight"]
    return (z / z.norm(dim=1, keepdim=True)) @ (rows / rows.norm(dim=1, keepdim=True)).T


def softmax(x: Tensor) -> Tensor:
    powers = torch.exp(x - x.max(1, keepdim=True).values)
    return powers / powers.sum(1, keepdim=True)


def sinkhorn(t: Tensor, temperature: float) -> Tensor:
    """Caron et al. 2020, appendix A: three times columns to N / K, then rows to 1."""
    q = torch.exp(t / temperature)
    for _ in range(3):
        q = q / q.sum(0) * len(q) / q.shape[1]
        q = q / q.sum(1)[:, None]
    return q


def cross_entropies(views: list[Tensor], targets: list[Tensor]) -> Tensor:
    """Mean of -sum p_t log p_s over the 2 V - 2 pairs of a teacher view and another view of the student."""
    total, pairs = 0.0, 0
    for i, p_t in enumerate(targets):
        for v, s in enumerate(views):
            if v != i:
                total = total - (p_t * torch.log(softmax(s / 0.1))).sum(1).mean()
                pairs += 1
    assert pairs == 2 * len(views) - 2
    return total / pairs


def koleo(features: Tensor) -> Tensor:
    """Sablayrolles et al. 2019, equation 2: -mean log of the distance to the nearest other, on the sphere."""
    units = features / features.norm(dim=1, keepdim=True)
    nearest = [
        torch.stack([(a - b).norm() for j, b in enumerate(units) if i != j]).min()
        for i, a in enumerate(units)
    ]
    return -torch.log(torch.stack(nearest)).mean()


def half_cosine(i: int, n: int, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * i / n)) / 2


@dataclass
class Float64:
    """All that a step changes, in float64."""

    student: Values
    teacher: Values
    centre: Tensor
    targets: str
    koleo: float
    moments: dict[str, tuple[Tensor, Tensor, int]] = field(default_factory=dict)

    def step(self, i: int, globals_: Tensor, locals_: Tensor) -> tuple[float, Values]:
        """Make step ``i`` on views (2 B, ...), (n B, ...); return the loss and the clipped gradients."""
        student = {name: value.clone().requires_grad_() for name, value in self.student.items()}
        temperature = 0.04 + (0.07 - 0.04) * min(1.0, i / 5)
        t = logits(self.teacher, vector(self.teacher, globals_))
        sharpened = softmax((t - self.centre) / temperature)
        p_t = sinkhorn(t, temperature) if self.targets == "sinkhorn" else sharpened
        features = vector(student, globals_)
        s = torch.cat([logits(student, features), logits(student, vector(student, locals_))])
        loss = cross_entropies(list(s.split(BATCH)), list(p_t.split(BATCH)))
        total = loss + self.koleo * (koleo(features[:BATCH]) + koleo(features[BATCH:]))
        gradients = self._clipped(student, total)
        if i < 3:  # the last layer is frozen
            del gradients["head.prototypes.weight"]
        rate = 0.01 * i / 2 if i < 2 else half_cosine(i - 2, STEPS - 2, 0.01, 1e-4)
        self._descend(gradients, rate, half_cosine(i, STEPS, 0.04, 0.4))
        self.centre = 0.9 * self.centre + 0.1 * t.mean(0)
        m = half_cosine(i, STEPS, 0.9, 1.0)
        self.teacher = {name: m * old + (1 - m) * self.student[name] for name, old in self.teacher.items()}
        return float(loss.detach()), gradients

    @staticmethod
    def _clipped(student: Values, total: Tensor) -> Values:
        found = dict(zip(student, torch.autograd.grad(total, list(student.values())), strict=True))
        return {name: g * min(1.0, 0.15 / (float(g.norm()) + 1e-6)) for name, g in found.items()}

    def _descend(self, gradients: Values, rate: float, decay: float) -> None:
        """AdamW, algorithm 2 of Loshchilov and Hutter 2019; only matrices decay."""
        for name, g in gradients.items():
            first, second, n = self.moments.get(name, (torch.zeros_like(g), torch.zeros_like(g), 0))
            first, second, n = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g, n + 1
            self.moments[name] = first, second, n
            value = self.student[name] * (1 - rate * (decay if g.ndim > 1 else 0.0))
            ratio = (first / (1 - 0.9**n)) / (torch.sqrt(second / (1 - 0.999**n)) + 1e-8)
            self.student[name] = value - rate * ratio


def values(network: nn.Module, head: nn.Module) -> Values:
    both = nn.ModuleDict({"net": network, "head": head})
    return {name: p.detach().double().clone() for name, p in both.named_parameters()}


def pictures():
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (12, 3, 3, 3), dtype=np.uint8)
    return alone(coarse.repeat(8, 1).repeat(8, 2), rng.uniform(0.7, 1.4, 12).astype(np.float32))


@pytest.mark.parametrize("weight", [0.0, 0.1])
@pytest.mark.parametrize("targets", ["centre", "sinkhorn"])
def test_ten_steps_are_those_of_the_formulas(monkeypatch, targets, weight):
    torch.manual_seed(0)
    monkeypatch.setattr(states, "build", lambda *_, **__: Two())
    settings = TrainSettings.checked({**SETTINGS, "targets": targets, "koleo": weight})
    state = states.new_state(settings, torch.device("cpu"))
    learned = nn.ModuleDict({"net": state.student, "head": state.student_head})
    asked, gradients = {"student": [], "teacher": []}, {}
    for who in asked:
        getattr(state, who).register_forward_pre_hook(lambda _, x, who=who: asked[who].append(x[0].double()))

    def listen(*_: object) -> None:
        gradients.update({n: p.grad.double() for n, p in learned.named_parameters() if p.grad is not None})

    state.optimizer.register_step_pre_hook(listen)
    own = Float64(
        values(state.student, state.student_head),
        values(state.teacher, state.teacher_head),
        torch.zeros(24).double(),
        targets,
        weight,
    )
    assert all(torch.equal(own.teacher[name], value) for name, value in own.student.items())
    taken, clipped = pictures(), set()
    for i in range(STEPS):
        for each in (*asked.values(), gradients):
            each.clear()
        chosen = np.arange(i * BATCH, (i + 1) * BATCH) % 12
        figures = make_step(state, taken, chosen, settings, course=Course(STEPS))
        (large, small), (taught,) = asked["student"], asked["teacher"]
        assert torch.equal(large, taught)
        assert (len(large), len(small)) == (2 * BATCH, LOCAL * BATCH)
        loss, wanted = own.step(i, large, small)
        assert figures["loss"] == pytest.approx(loss, rel=2e-5)
        assert gradients.keys() == wanted.keys()
        for name, g in wanted.items():
            torch.testing.assert_close(gradients[name], g, **FLOAT32)
            clipped.add(abs(float(g.norm()) - 0.15) < 1e-5)
        torch.testing.assert_close(state.centre.double(), own.centre, **FLOAT32)
        for found, known in (
            (values(state.teacher, state.teacher_head), own.teacher),
            (values(state.student, state.student_head), own.student),
        ):
            for name, value in known.items():
                torch.testing.assert_close(found[name], value, **FLOAT32, msg=f"{name} at {i}")
    assert clipped == {True, False}  # some gradients were too long, some were not
