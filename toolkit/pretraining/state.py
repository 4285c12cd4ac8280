"""All that a step of pretraining changes, how it is begun, saved and taken up again."""

import copy
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinonat.errors import CheckpointError
from dinonat.files import write_whole
from dinonat.models.catalog import build
from dinonat.models.network import Network
from dinonat.pretraining import dino
from dinonat.pretraining.graphs import Pass
from dinonat.pretraining.recipe import TrainSettings

SAVED = (  # parts of a state that have a state of their own
    *("student", "student_head", "student_regions"),
    *("teacher", "teacher_head", "teacher_regions", "optimizer"),
)


@dataclass
class State:
    """All that a step changes."""

    student: Network
    student_head: dino.Head
    teacher: Network
    teacher_head: dino.Head
    optimizer: torch.optim.AdamW
    centre: Tensor  # (out_dim,)
    student_regions: dino.Head | None = None  # heads of the loss between regions
    teacher_regions: dino.Head | None = None
    step: int = 0  # optimizer steps done
    passes: dict[tuple[object, ...], Pass] = field(default_factory=dict)  # how step.py asks the networks


def new_state(settings: TrainSettings, device: torch.device) -> State:
    """Build an untrained student and a teacher that is a copy of it."""
    student = build(
        settings.network,
        seed=settings.seed,
        drop_path=settings.drop_path,
        pooling=settings.pooling,
        options=settings.timm,
    )
    dims = [student.dims[-1], *([student.dims[region_map(student)]] if settings.dense else [])]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        heads = [
            dino.Head(dim, hidden=settings.hidden, bottleneck=settings.bottleneck, out_dim=settings.out_dim)
            for dim in dims
        ]
    learning = torch.nn.ModuleList([student, *heads]).to(device)
    following = copy.deepcopy(learning)
    for parameter in following.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW(dino.decay_groups(learning), lr=settings.learning_rate, betas=(0.9, 0.999))
    centre = torch.zeros(settings.out_dim, device=device)
    own: list[Any] = list(learning)
    its: list[Any] = list(following)
    return State(own[0], own[1], its[0].eval(), its[1], optimizer, centre, *own[2:], *its[2:])


def region_map(network: Network) -> int:
    """Which of the network's maps has the regions: the last one, not counting a CLS token's."""
    return max(number for number, stride in enumerate(network.strides) if math.isfinite(stride))


def load_teacher(folder: Path, settings: TrainSettings) -> Network:
    """Return the teacher's network from a saved state."""
    state = new_state(settings, torch.device("cpu"))
    restore(state, settings, folder / "state.pt")
    return state.teacher


def save(state: State, settings: TrainSettings, path: Path) -> None:
    """Write all that ``restore`` needs, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({**_modules(state), "step": state.step, "settings": settings.model_dump_json()}, buffer)
    write_whole(path, lambda stream: stream.write(buffer.getbuffer()))


def _modules(state: State) -> dict[str, Any]:
    names = [name for name in SAVED if getattr(state, name) is not None]
    return {**{name: getattr(state, name).state_dict() for name in names}, "centre": state.centre}


def restore(state: State, settings: TrainSettings, path: Path) -> None:
    """Take up a saved state, if there is one.

    Raises CheckpointError where it is damaged or belongs to other settings.
    """
    if not path.is_file():
        return
    try:
        saved = torch.load(path, map_location=state.centre.device, weights_only=True)
        if saved["settings"] != settings.model_dump_json():
            raise CheckpointError(f"{path}: this state belongs to other settings. Start again with --again.")
        for name in SAVED:
            if getattr(state, name) is not None:
                getattr(state, name).load_state_dict(saved[name])
        state.centre, state.step = saved["centre"], saved["step"]
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or of another version ({error}). Start again with --again."
        ) from error
