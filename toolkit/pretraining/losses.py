"""The losses of a step, part by part, with gradients as if its whole batch had been asked at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dinonat.pretraining import dino, ranks
from dinonat.pretraining.answers import Answers
from dinonat.pretraining.crops import Part
from dinonat.pretraining.recipe import TrainSettings


def targets_of(
    taught: Sequence[Answers], centre: Tensor, settings: TrainSettings, temperature: float
) -> list[Tensor]:
    """Teacher probabilities (2 n, K) of each part; what looks at a batch looks at all parts together."""
    logits = torch.cat([each.logits[0] for each in taught])
    if settings.targets == "sinkhorn":
        targets = dino.sinkhorn_targets(logits, temperature)
    else:
        targets = dino.centred_targets(logits, centre, temperature)
    return list(torch.split(targets, [len(each.logits[0]) for each in taught]))


def region_targets_of(taught: Sequence[Answers], settings: TrainSettings, temperature: float) -> list[Tensor]:
    """Teacher probabilities (2 n, T, K) of the regions of each part, by Sinkhorn-Knopp over all of them."""
    if not settings.dense:
        return []
    logits = torch.cat([each.token_logits[0] for each in taught])
    targets = dino.sinkhorn_targets(logits.flatten(0, 1), temperature).view_as(logits)
    return list(torch.split(targets, [len(each.token_logits[0]) for each in taught]))


def losses_of(
    student: Answers,
    teacher: Answers,
    part: Part,
    targets: Tensor,
    regions: Tensor | None,
    settings: TrainSettings,
) -> dict[str, Tensor]:
    """Return the means over a part's pictures: DINO's loss, and that between regions where it is wanted."""
    count = len(part)
    views = _by_view(student.logits, count)
    losses = {
        "loss": dino.dino_loss(views, targets.chunk(2), settings.student_temperature, same_place=part.paired)
    }
    if regions is not None:
        losses["region_loss"] = dino.region_loss(
            _by_view(student.token_logits, count),
            regions.chunk(2),
            _by_view(student.tokens, count),
            teacher.tokens[0].chunk(2),
            settings.student_temperature,
        )
    return losses


def _by_view(groups: Sequence[Tensor], count: int) -> list[Tensor]:
    return [view for group in groups for view in torch.split(group, count)]


def koleo_pulls(batch: Sequence[Part], features_of: Callable[[int], Tensor]) -> tuple[Tensor, list[Tensor]]:
    """KoLeo over both global views of a batch in parts, and its gradient in the features of each part.

    A picture's nearest neighbour may be in another part or process, so all are asked once without gradients
    (``features_of``, part number to (2 n, C)); what a part then owes the loss is the product of its features
    with their gradient (as Gao et al. 2021, arXiv 2101.06983, do for contrastive losses). In one process and
    one part this is one pass more than needed, and nobody calls it.
    """
    with torch.no_grad():
        own = [features_of(number).float() for number in range(len(batch))]
    views = [torch.cat(view) for view in zip(*(each.chunk(2) for each in own), strict=True)]
    everybody = [ranks.gathered(view).requires_grad_() for view in views]
    value = torch.stack([dino.koleo(view) for view in everybody]).sum()
    gradients = torch.autograd.grad(value, everybody)
    first = ranks.rank() * len(views[0])
    mine = [torch.split(g[first : first + len(views[0])], [len(part) for part in batch]) for g in gradients]
    return value.detach(), [torch.cat(both) for both in zip(*mine, strict=True)]
