"""One optimizer step of DINO, in the order of the official loop.

A step goes through its batch in parts: those of several processes, and in each process as many as
``accumulate`` says. What it learns is what the whole batch in one would teach: views are drawn for the
whole, targets are made over the whole, and teacher, centre and schedules move once.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dinonat.pretraining import dino, ranks
from dinonat.pretraining.answers import Answers, answers
from dinonat.pretraining.crops import Part, draw, parts
from dinonat.pretraining.health import feature_rank, feature_std
from dinonat.pretraining.losses import koleo_pulls, losses_of, region_targets_of, targets_of
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings, head_alone, warmup_steps
from dinonat.pretraining.schedule import Course, cosine, linear
from dinonat.pretraining.state import State
from dinonat.records import Int64


def make_step(
    state: State,
    pictures: Pictures,
    chosen: Int64,  # (B,) which pictures this step is about, in all processes
    settings: TrainSettings,
    *,
    course: Course,
    position: float | None = None,  # of the run; only measurements set it
    detail: bool = False,
) -> dict[str, float]:
    """Make one optimizer step, in the order of the official loop; return its figures.

    With ``detail`` also ``feature_std`` and ``feature_rank`` of the student's global views.
    """
    position = course.position(state.step) if position is None else position
    drawn = draw(pictures, chosen, settings, position=position, seed=settings.seed * 1_000_003 + state.step)
    batch = list(parts(pictures, chosen, drawn, settings.accumulate, state.centre.device))
    rates = _set_rates(state, settings, course)
    temperature = linear(state.step, warmup_steps(settings, course)[1], *settings.teacher_temperature)
    with torch.no_grad():
        taught = [answers(state, settings, "teacher", [torch.cat(part.plain)]) for part in batch]
    targets = targets_of(taught, state.centre, settings, temperature)
    regions = region_targets_of(taught, settings, temperature)
    figures = _learn(state, settings, batch, taught, targets, regions, detail=detail)
    logits, flat = torch.cat([each.logits[0] for each in taught]), torch.cat(targets)
    figures["teacher_entropy"] = dino.entropy(flat)
    figures["spread_entropy"] = dino.entropy(ranks.averaged(flat.mean(0, keepdim=True)))
    _descend(state, settings, course)
    state.centre = dino.next_centre(state.centre, logits, settings.centre_momentum)
    state.step += 1
    _follow(state, settings, rates["momentum"], len(chosen), len(pictures.items))
    # Only here, when all work is given out, is a GPU waited for.
    numbers = _numbers(figures)
    return {"step": state.step, **numbers, "kl": numbers["loss"] - numbers["teacher_entropy"], **rates}


def _learn(
    state: State,
    settings: TrainSettings,
    batch: Sequence[Part],
    taught: Sequence[Answers],
    targets: Sequence[Tensor],
    regions: Sequence[Tensor],
    *,
    detail: bool,
) -> dict[str, Tensor]:
    """Sum the gradients of all parts; return losses, means over the pictures of this process."""
    whole, figures = sum(len(part) for part in batch), dict[str, Tensor]()
    in_parts = settings.koleo > 0 and (len(batch) > 1 or ranks.world() > 1)
    pulls: list[Tensor] = []
    if in_parts:
        figures["koleo"], pulls = koleo_pulls(batch, lambda n: _globals(state, settings, batch[n], n))
    for n, part in enumerate(batch):
        with _shared_at(state, n == len(batch) - 1):
            groups = [torch.cat(part.seen[:2]), *part.seen[2:]]
            student = answers(state, settings, "student", groups, part=n, shared=True)
            losses = losses_of(
                student, taught[n], part, targets[n], regions[n] if regions else None, settings
            )
            if settings.koleo and not in_parts:
                losses["koleo"] = torch.stack([dino.koleo(f) for f in student.features[0].chunk(2)]).sum()
            total = _total(losses, settings) * (len(part) / whole)
            if in_parts:  # processes take the mean of their gradients; this one is a sum over them
                total = total + settings.koleo * ranks.world() * (student.features[0] * pulls[n]).sum()
            total.backward()  # type: ignore[no-untyped-call]
        for name, value in losses.items():
            figures[name] = figures.get(name, 0.0) + value.detach() * (len(part) / whole)
        if detail and n == 0:
            features = student.features[0].detach().float()
            figures["feature_std"] = features.new_tensor(feature_std(features))
            figures["feature_rank"] = features.new_tensor(feature_rank(features))
    return {**figures, "total_loss": _total(figures, settings)}


def _total(losses: dict[str, Tensor], settings: TrainSettings) -> Tensor:
    """Weigh the losses of a part or of a step."""
    weights = {"loss": 1.0, "koleo": settings.koleo, "region_loss": settings.dense}
    return torch.stack([weights[name] * value for name, value in losses.items() if name in weights]).sum()


def _globals(state: State, settings: TrainSettings, part: Part, number: int) -> Tensor:
    """Features (2 n, C) of a part's global views, as the student will give them when it learns."""
    return answers(state, settings, "student", [torch.cat(part.seen[:2])], part=number).features[0].clone()


def _shared_at(state: State, last: bool) -> AbstractContextManager[None]:
    """Let processes share gradients only after the last part."""
    return nullcontext() if last or state.together is None else state.together.no_sync()


def _numbers(figures: dict[str, Tensor]) -> dict[str, float]:
    """Return figures as numbers, the means over all processes."""
    values = torch.stack([value.detach().float() for value in figures.values()])
    return dict(zip(figures, ranks.averaged(values).tolist(), strict=True))


def _set_rates(state: State, settings: TrainSettings, course: Course) -> dict[str, float]:
    position = course.position(state.step)
    warmup, _ = warmup_steps(settings, course)
    rate = course.learning_rate(
        state.step, settings.learning_rate, settings.final_learning_rate, warmup=warmup
    )
    decay = cosine(position, *settings.weight_decay)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay if group["decays"] else 0.0
    return {"learning_rate": rate, "momentum": cosine(position, *settings.momentum)}


def _descend(state: State, settings: TrainSettings, course: Course) -> None:
    heads = [head for head in (state.student_head, state.student_regions) if head is not None]
    dino.clip_each([p for module in (state.student, *heads) for p in module.parameters()], settings.clip)
    if state.step < settings.freeze_prototypes:
        for head in heads:
            head.prototypes.weight.grad = None
    if state.step < head_alone(settings, course):
        state.student.zero_grad(set_to_none=True)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)


def _follow(state: State, settings: TrainSettings, momentum: float, batch: int, epoch: int) -> None:
    """Move the teacher after every step, or only where an epoch ends."""
    if settings.teacher_update == "epoch":
        ended = state.step * batch // epoch > (state.step - 1) * batch // epoch
        if not ended:
            return
    dino.move_teacher(state.teacher, state.student, momentum)
    dino.move_teacher(state.teacher_head, state.student_head, momentum)
    if state.teacher_regions is not None and state.student_regions is not None:
        dino.move_teacher(state.teacher_regions, state.student_regions, momentum)
