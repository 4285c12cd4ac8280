"""All that a step of pretraining changes, how it is begun, saved and taken up again."""

import copy
import io
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dinonat.errors import CheckpointError
from dinonat.files import write_whole
from dinonat.models.catalog import build, load_network
from dinonat.models.network import Network
from dinonat.models.timm_built import PREFIX
from dinonat.pretraining import dino, ranks
from dinonat.pretraining.graphs import Pass
from dinonat.pretraining.recipe import TrainSettings

SAVED = (  # parts of a state that have a state of their own
    *("student", "student_head", "student_regions"),
    *("teacher", "teacher_head", "teacher_regions", "optimizer"),
)


RECENT = 20  # steps whose mean loss a teacher is judged by

Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


class Learner(nn.Module):
    """A network and its heads in one module, so that processes can share its gradients."""

    def __init__(self, network: Network, head: dino.Head, regions: dino.Head | None) -> None:
        super().__init__()
        self.network, self.head, self.regions = network, head, regions

    def forward(self, groups: Sequence[Tensor], passes: Sequence[Pass]) -> Lists:
        """Ask the network about groups (N, 3, H, W) by ``passes``, one for each, and the heads in float32.

        Gives features, logits, tokens and their logits, of each group; plain lists, since torch looks
        through them for what has gradients.
        """
        said = [ask(group) for ask, group in zip(passes, groups, strict=True)]
        features, tokens = [each[0] for each in said], [each[1] for each in said if len(each) > 1]
        logits = torch.split(self.head(torch.cat(features)), [len(each) for each in features])
        of_tokens = [self.regions(each) for each in tokens] if self.regions is not None else []
        return features, list(logits), tokens, of_tokens


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
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # losses of the last steps
    passes: dict[tuple[object, ...], Pass] = field(default_factory=dict)  # how step.py asks the networks
    together: DistributedDataParallel | None = None  # the student's Learner, where processes share it

    def learner(self, who: Literal["student", "teacher"]) -> Learner:
        """Return a network with its heads, as one module."""
        return Learner(*(getattr(self, f"{who}{part}") for part in ("", "_head", "_regions")))


@dataclass(frozen=True)
class Start:
    """What a run begins with: each a checkpoint of a network, or the state of a run (``.pt``)."""

    network: Path
    heads: Path | None = None  # a state; None: heads are new


def new_state(settings: TrainSettings, device: torch.device, start: Start | None = None) -> State:
    """Build a student and a teacher that is a copy of it: untrained, or from the teacher at ``start``.

    Optimizer, centre and step are new. Raises CheckpointError where what is there is of another network or
    has other heads.
    """
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
    if start is not None:
        _take_over(student, heads, start)
    learning = torch.nn.ModuleList([student, *heads]).to(device)
    following = copy.deepcopy(learning)
    for parameter in following.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW(dino.decay_groups(learning), lr=settings.learning_rate, betas=(0.9, 0.999))
    centre = torch.zeros(settings.out_dim, device=device)
    own: list[Any] = list(learning)
    its: list[Any] = list(following)
    return State(own[0], own[1], its[0].eval(), its[1], optimizer, centre, *own[2:], *its[2:])


def share(state: State, settings: TrainSettings) -> None:
    """Let the processes that train together share the student's gradients from now on."""
    device = state.centre.device
    if ranks.world() > 1:
        state.together = DistributedDataParallel(
            state.learner("student"),
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # BatchNorm counts in each process; the first one's is kept
            find_unused_parameters=settings.network.startswith(PREFIX),
        )


def _take_over(student: Network, heads: list[dino.Head], start: Start) -> None:
    """Load a network, and the heads of a run where they come along."""
    try:
        if start.network.suffix == ".pt":
            student.load_state_dict(_state_of(start.network)["teacher"])
        else:
            student.load_state_dict(load_network(str(start.network))[0].state_dict())
        if start.heads is not None:
            saved = _state_of(start.heads)
            for name, head in zip(("teacher_head", "teacher_regions"), heads, strict=False):
                head.load_state_dict(saved[name])
    except (RuntimeError, KeyError, ValueError, OSError, EOFError, UnpicklingError) as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{start.network}: not of this network and these heads ({said}). Give the settings it was made "
            "with, or begin with --from-scratch."
        ) from error


def _state_of(path: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved


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


def saved_step(path: Path) -> int:
    """Return how many steps a saved state has behind it, 0 where there is none or it cannot be read."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError):
        return 0


def _modules(state: State) -> dict[str, Any]:
    names = [name for name in SAVED if getattr(state, name) is not None]
    return {
        **{name: getattr(state, name).state_dict() for name in names},
        "centre": state.centre,
        "recent": list(state.recent),
    }


def restore(state: State, settings: TrainSettings, path: Path) -> None:
    """Take up a saved state, if there is one.

    Raises CheckpointError where it is damaged or belongs to other settings.
    """
    if not path.is_file():
        return
    try:
        saved = torch.load(path, map_location=state.centre.device, weights_only=True)
        if saved["settings"] != settings.model_dump_json():
            raise CheckpointError(
                f"{path}: this state belongs to other settings or another version. Start again with --again."
            )
        for name in SAVED:
            if getattr(state, name) is not None:
                getattr(state, name).load_state_dict(saved[name])
        state.centre, state.step = saved["centre"], saved["step"]
        state.recent.extend(saved["recent"])
    except (RuntimeError, KeyError, ValueError, OSError, EOFError, UnpicklingError) as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: damaged or of another version ({said}). Delete this one file to start again from the "
            "weights of the run, if it has some, or start all of it again with --again."
        ) from error
