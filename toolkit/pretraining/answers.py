"""What student and teacher say of a step's views, and how they are asked: in which precision, replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dinonat.models.network import Network
from dinonat.models.timm_built import PREFIX
from dinonat.pretraining import ranks
from dinonat.pretraining.graphs import Asked, Pass, recorded
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.state import State, region_map

Who = Literal["student", "teacher"]


@dataclass(frozen=True)
class Answers:
    """What a network and its heads say of groups of views of one size each."""

    features: list[Tensor]  # (N, C)
    logits: list[Tensor]  # (N, K)
    tokens: list[Tensor]  # (N, T, C'), none without a loss between regions
    token_logits: list[Tensor]  # (N, T, K)


def answers(
    state: State,
    settings: TrainSettings,
    who: Who,
    groups: Sequence[Tensor],
    *,
    part: int = 0,
    shared: bool = False,
) -> Answers:
    """Ask the student or the teacher about groups of views (N, 3, H, W), the heads in float32.

    ``part`` numbers parts of a step, which drop paths of their own; ``shared`` gives the gradients of the
    answers to the other processes.
    """
    # All recordings first: each draws random numbers, which may not happen between two passes.
    passes = [_pass_of(state, settings, who, *each) for each in enumerate(groups)]
    seed(state, settings, part)
    learner: nn.Module = state.learner(who)
    if shared and state.together is not None:
        learner = state.together
    features, logits, tokens, token_logits = learner(groups, passes)
    if who == "teacher":  # a replayed pass overwrites its answers when it is asked about the next part
        features, tokens = [each.clone() for each in features], [each.clone() for each in tokens]
    return Answers(features, logits, tokens, token_logits)


def seed(state: State, settings: TrainSettings, part: int = 0) -> None:
    """Let what drop path and a backbone's own dropouts draw depend on step, process and part alone."""
    torch.manual_seed((settings.seed * 1_000_003 + state.step) * 65_536 + ranks.rank() * 256 + part)


def _pass_of(state: State, settings: TrainSettings, who: Who, number: int, group: Tensor) -> Pass:
    """Return how the network is asked about a group: on one GPU recorded, at the first of its size."""
    key = (who, number, tuple(group.shape))
    if key not in state.passes:
        device = state.centre.device
        answer = _vector_and_regions if settings.dense else _vector
        asked = Asked(getattr(state, who), answer, bfloat16=half(settings, device))
        alone = ranks.world() == 1 and device.type == "cuda"
        replay = settings.graphs and alone and not settings.network.startswith(PREFIX)
        state.passes[key] = recorded(asked, group) if replay else asked
    return state.passes[key]


def _vector(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    return (network(x),)


def _vector_and_regions(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    maps = network.tokens(x)
    return network.pooled(maps), maps[region_map(network)].flatten(1, 2)


def half(settings: TrainSettings, device: torch.device) -> bool:
    """Whether to compute in bfloat16: 'auto' only where the hardware multiplies it natively."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
