"""One optimizer step of DINO, in the order of the official loop."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dinonat.models.network import Network
from dinonat.models.timm_built import PREFIX
from dinonat.pretraining import dino
from dinonat.pretraining.graphs import Asked, Pass, recorded
from dinonat.pretraining.recipe import TrainSettings, view_plans
from dinonat.pretraining.schedule import cosine, linear
from dinonat.pretraining.state import State, region_map
from dinonat.pretraining.thermal_look import ThermalLook, draw_look, thermal_like
from dinonat.pretraining.views import draw_views, make_views, normalised
from dinonat.records import Float32, UInt8


def make_step(
    state: State,
    pictures: UInt8 | Tensor,
    aspects: Float32,
    settings: TrainSettings,
    *,
    steps: int,
    share: float | None = None,  # of the run that is done; only measure_speed sets it
    epoch: int | None = None,  # pictures in an epoch
) -> dict[str, float]:
    """Make one optimizer step, in the order of the official loop; return its figures."""
    share = state.step / steps if share is None else share
    _seed(state, settings)
    views, seen = _views(state, pictures, aspects, settings, share)
    rates = _set_rates(state, settings, steps)
    with torch.no_grad():
        targets_of = _answers(state, settings, "teacher", [torch.cat(views)])
    groups = [torch.cat(seen[:2]), *seen[2:]]
    student = _answers(state, settings, "student", groups)
    warm = int(steps * settings.temperature_warmup_share)
    temperature = linear(state.step, warm, *settings.teacher_temperature)
    logits = targets_of.logits[0]
    targets = _targets(logits, state.centre, settings, temperature)
    figures: dict[str, Any] = {
        **_losses(student, targets_of, targets, settings, temperature),
        "teacher_entropy": dino.entropy(targets),
        "spread_entropy": dino.entropy(targets.mean(0, keepdim=True)),
        **rates,
    }
    _descend(state, figures["total_loss"], settings)
    state.centre = dino.next_centre(state.centre, logits)
    state.step += 1
    _follow(state, settings, rates["momentum"], len(pictures), epoch)
    # Only here, when all work is given out, is a GPU waited for.
    return {"step": state.step, **{name: _number(value) for name, value in figures.items()}}


def _seed(state: State, settings: TrainSettings) -> None:
    """Let what drop path and a backbone's own dropouts draw depend on the step alone."""
    torch.manual_seed(settings.seed * 1_000_003 + state.step)


def _views(
    state: State, pictures: UInt8 | Tensor, aspects: Float32, settings: TrainSettings, share: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Make the two global views as the teacher sees them, and as the student does, local ones after them."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + state.step)
    if not isinstance(pictures, Tensor):
        pictures = torch.from_numpy(np.ascontiguousarray(pictures))
    images, shape = pictures.to(state.centre.device), torch.from_numpy(aspects.copy())
    draws = [draw_views(shape, plan, generator, count) for plan, count in view_plans(settings, share)]
    groups = [make_views(images, each) for each in draws]
    plain = [normalised(group) for group in groups]
    if settings.profile == "plain" or share < settings.thermal_from:
        return plain[:2], plain
    look = ThermalLook(settings.thermal_tone, settings.thermal_low_resolution)
    looks = [draw_look(len(shape), look, each.plan.size, generator, each.count) for each in draws]
    seen = [thermal_like(group, each) for group, each in zip(groups, looks, strict=True)]
    return plain[:2], [normalised(group) for group in seen]


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class _Answers:
    """What a network and its heads say of groups of views of one size each."""

    features: list[Tensor]  # (N, C)
    logits: list[Tensor]  # (N, K)
    tokens: list[Tensor]  # (N, T, C'), none without a loss between regions
    token_logits: list[Tensor]  # (N, T, K)


def _answers(
    state: State, settings: TrainSettings, who: Literal["student", "teacher"], groups: list[Tensor]
) -> _Answers:
    """Ask the student or the teacher, heads in float32."""
    # All recordings first: each seeds anew, which may not happen between two passes.
    passes = [_pass_of(state, settings, who, *each) for each in enumerate(groups)]
    answers = [make(group) for make, group in zip(passes, groups, strict=True)]
    features, tokens = [each[0] for each in answers], [each[1] for each in answers if len(each) > 1]
    head, regions = getattr(state, f"{who}_head"), getattr(state, f"{who}_regions")
    logits = torch.split(head(torch.cat(features)), [len(each) for each in features])
    return _Answers(features, list(logits), tokens, [regions(each) for each in tokens])


def _pass_of(
    state: State, settings: TrainSettings, who: Literal["student", "teacher"], number: int, group: Tensor
) -> Pass:
    """Return how the network is asked about a group: on a GPU recorded, at the first of its size."""
    key = (who, number, tuple(group.shape))
    if key not in state.passes:
        device = state.centre.device
        answer = _vector_and_regions if settings.dense else _vector
        asked = Asked(getattr(state, who), answer, bfloat16=_half(settings, device))
        replay = settings.graphs and device.type == "cuda" and not settings.network.startswith(PREFIX)
        state.passes[key] = recorded(asked, group) if replay else asked
        if replay:
            _seed(state, settings)  # recording has drawn from the generator
    return state.passes[key]


def _vector(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    return (network(x),)


def _vector_and_regions(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    maps = network.tokens(x)
    return network.pooled(maps), maps[region_map(network)].flatten(1, 2)


def _losses(
    student: _Answers, teacher: _Answers, targets: Tensor, settings: TrainSettings, temperature: float
) -> dict[str, Tensor]:
    """Return DINO's loss, that between regions where it is wanted, and the total that is descended."""
    count = len(targets) // 2
    parts = [part for group in student.logits for part in torch.split(group, count)]
    losses = {"loss": dino.dino_loss(parts, targets.chunk(2), settings.student_temperature)}
    total = losses["loss"]
    if settings.koleo:
        total = total + settings.koleo * sum(dino.koleo(f) for f in student.features[0].chunk(2))
    if settings.dense:
        losses["region_loss"] = _between_regions(student, teacher, settings, temperature, count)
        total = total + settings.dense * losses["region_loss"]
    return {**losses, "total_loss": total}


def _between_regions(
    student: _Answers, teacher: _Answers, settings: TrainSettings, temperature: float, count: int
) -> Tensor:
    """Loss between the regions of ``count`` pictures; targets by Sinkhorn-Knopp over all their tokens."""
    logits = teacher.token_logits[0]
    targets = dino.sinkhorn_targets(logits.flatten(0, 1), temperature).view_as(logits)
    return dino.region_loss(
        [part for group in student.token_logits for part in torch.split(group, count)],
        targets.chunk(2),
        [part for group in student.tokens for part in torch.split(group, count)],
        teacher.tokens[0].chunk(2),
        settings.student_temperature,
    )


def _targets(logits: Tensor, centre: Tensor, settings: TrainSettings, temperature: float) -> Tensor:
    if settings.targets == "sinkhorn":
        return dino.sinkhorn_targets(logits, temperature)
    return dino.centred_targets(logits, centre, temperature)


def _set_rates(state: State, settings: TrainSettings, steps: int) -> dict[str, float]:
    warmup = int(steps * settings.warmup_share)
    rate = cosine(state.step, steps, settings.learning_rate, settings.final_learning_rate, warmup=warmup)
    decay = cosine(state.step, steps, *settings.weight_decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay if group["decays"] else 0.0
    return {"learning_rate": rate, "momentum": cosine(state.step, steps, *settings.momentum)}


def _descend(state: State, loss: Tensor, settings: TrainSettings) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    heads = [head for head in (state.student_head, state.student_regions) if head is not None]
    dino.clip_each([p for module in (state.student, *heads) for p in module.parameters()], settings.clip)
    if state.step < settings.freeze_prototypes:
        for head in heads:
            head.prototypes.weight.grad = None
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)


def _follow(state: State, settings: TrainSettings, momentum: float, batch: int, epoch: int | None) -> None:
    """Move the teacher after every step, or only where an epoch ends."""
    if settings.teacher_update == "epoch" and epoch:
        ended = state.step * batch // epoch > (state.step - 1) * batch // epoch
        if not ended:
            return
    dino.move_teacher(state.teacher, state.student, momentum)
    dino.move_teacher(state.teacher_head, state.student_head, momentum)
    if state.teacher_regions is not None and state.student_regions is not None:
        dino.move_teacher(state.teacher_regions, state.student_regions, momentum)


def _half(settings: TrainSettings, device: torch.device) -> bool:
    """Whether to compute in bfloat16: 'auto' only where the hardware multiplies it natively."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
