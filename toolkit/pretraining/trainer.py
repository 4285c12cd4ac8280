"""The training loop of DINO on one device: by step from start to end, resumable at any moment.

All chance in step i comes from generators seeded by (seed, i), and all schedules go by step, so a run
that was killed goes on exactly where its last saved state stands.
"""

import copy
import io
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, JsonValue, model_validator
from torch import Tensor

from dinonat.errors import CheckpointError, DinonatError, UsageError
from dinonat.files import write_whole
from dinonat.models.backbones import check_crops
from dinonat.models.catalog import NETWORKS, build
from dinonat.models.nat import NATSettings
from dinonat.models.network import Network
from dinonat.models.timm_built import PREFIX
from dinonat.models.vit import ViTSettings
from dinonat.pretraining import dino
from dinonat.pretraining.graphs import Pass, Seen, recorded
from dinonat.pretraining.schedule import cosine, linear
from dinonat.pretraining.thermal_look import ThermalLook, thermal_like
from dinonat.pretraining.views import ViewPlan, make_views, normalised
from dinonat.records import Float32, UInt8
from dinonat.settings import Settings

LOG_EVERY = 20  # steps between two lines of metrics.jsonl
SAVE_SECONDS = 120.0  # how much work a kill may cost
PARTS = (  # of a state, as they are saved
    *("student", "student_head", "student_regions"),
    *("teacher", "teacher_head", "teacher_regions", "optimizer"),
)


class TrainSettings(Settings):
    """The recipe. Defaults are measured for up to 20,000 images and an hour on two CPU cores."""

    network: str = "nat_nano"  # one of NETWORKS, or timm:NAME
    timm: dict[str, JsonValue] = Field(default_factory=dict)  # keywords for timm, to build NAME otherwise
    batch: int = 48
    # Crops: small ones first, larger ones after `switch_at` of the steps: most of what is learned in
    # the first half hour is learned as well, and twice as fast, at 64 px.
    global_sizes: tuple[int, int] = (64, 96)
    local_sizes: tuple[int, int] = (32, 48)
    switch_at: float = 0.7
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    n_local: int = 4
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_share: float = 0.03
    weight_decay: tuple[float, float] = (0.04, 0.2)
    clip: float = 3.0
    momentum: tuple[float, float] = (0.985, 0.9995)
    teacher_update: Literal["step", "epoch"] = "step"
    targets: Literal["sinkhorn", "centre"] = "sinkhorn"
    teacher_temperature: tuple[float, float] = (0.02, 0.02)
    temperature_warmup_share: float = 0.3
    student_temperature: float = 0.1
    koleo: float = 0.1
    dense: float = Field(0.0, ge=0)  # weight of the loss between regions
    # The student's views may look thermal towards the end; the teacher's never do.
    profile: Literal["plain", "thermal"] = "plain"
    thermal_from: float = 0.6  # share of the steps after which they do
    thermal_tone: float = Field(0.7, ge=0, le=1)
    thermal_low_resolution: float = Field(0.3, ge=0, le=1)
    out_dim: int = 1024
    hidden: int = 1024
    bottleneck: int = 64
    freeze_prototypes: int = 100  # steps
    drop_path: float = 0.0
    pooling: Literal["mean", "simpool"] = "mean"  # how a NAT makes one vector of its last tokens
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    graphs: bool = True  # on CUDA, record the passes of our own networks once and replay them
    seed: int = 0

    @model_validator(mode="after")
    def _crops_fit(self) -> "TrainSettings":
        """Refuse crops that a ViT cannot cut into patches; a NAT takes any, and timm's are asked."""
        if self.network.startswith(PREFIX):
            check_crops(self.network, self.timm, (*self.global_sizes, *self.local_sizes))
        elif self.timm:
            raise UsageError(
                f"timm={self.timm}: {self.network} is not of timm; only a timm:NAME takes keywords."
            )
        network = NETWORKS.get(self.network)
        if self.pooling != "mean" and not isinstance(network, NATSettings):
            raise UsageError(
                f"pooling={self.pooling}: only a NAT takes it; {self.network} pools in its own way."
            )
        if isinstance(network, ViTSettings):
            for name in ("global_sizes", "local_sizes"):
                if any(size % network.patch for size in getattr(self, name)):
                    raise UsageError(
                        f"{self.network} takes crops whose sides are multiples of {network.patch}: "
                        f"{name}={getattr(self, name)} are not. Give others with --set {name}=[SMALL,LARGE]."
                    )
        return self


@dataclass(frozen=True)
class Speed:
    """Seconds that one step takes with the small and with the large crops."""

    small: float
    large: float

    def seconds(self, steps: int, switch_at: float) -> float:
        """Estimate how long ``steps`` take."""
        return steps * (switch_at * self.small + (1 - switch_at) * self.large)


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
    passes: dict[tuple[str, tuple[int, ...]], Pass] = field(default_factory=dict)  # by who and input size


def new_state(settings: TrainSettings, device: torch.device) -> State:
    """Build an untrained student and a teacher that is a copy of it."""
    student = build(
        settings.network,
        seed=settings.seed,
        drop_path=settings.drop_path,
        pooling=settings.pooling,
        options=settings.timm,
    )
    dims = [student.dims[-1], *([student.dims[_region_map(student)]] if settings.dense else [])]
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


def _region_map(network: Network) -> int:
    """Which of the network's maps has the regions: the last one that is more than one cell."""
    return max(number for number, stride in enumerate(network.strides) if math.isfinite(stride))


def measure_speed(pictures: UInt8, aspects: Float32, settings: TrainSettings, device: torch.device) -> Speed:
    """Time a few steps of both sizes on a state that is thrown away."""
    seconds = []
    for share in (0.0, 1.0):
        state, times = new_state(settings, device), []
        for _ in range(4):
            start = time.perf_counter()
            batch = np.arange(settings.batch) % len(pictures)
            _step(state, pictures[batch], aspects[batch], settings, steps=10_000, share=share)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        seconds.append(min(times[1:]))  # the first step pays for plans and buffers
    return Speed(*seconds)


def train(
    pictures: UInt8,  # (N, S, S, 3), may be a memory map
    aspects: Float32,  # (N,) width over height of the originals
    settings: TrainSettings,
    folder: Path,
    *,
    steps: int,
    device: torch.device,
) -> Iterator[dict[str, float]]:
    """Train up to ``steps`` optimizer steps, yielding the figures of each step.

    Goes on from ``folder/state.pt`` where there is one; writes it every two minutes and at the end, and
    a line of ``folder/metrics.jsonl`` every LOG_EVERY steps. Raises DinonatError when the loss is not
    finite, CheckpointError when the state belongs to other settings.
    """
    state = new_state(settings, device)
    _restore(state, settings, folder / "state.pt")
    pictures = _held(pictures, device)
    _cut_metrics(folder / "metrics.jsonl", state.step)
    saved = time.monotonic()
    while state.step < steps:
        batch = batch_indices(len(pictures), settings.batch, state.step, settings.seed)
        figures = _step(state, pictures[batch], aspects[batch], settings, steps=steps, epoch=len(pictures))
        if not math.isfinite(figures["loss"]):
            raise DinonatError(
                f"{folder}: the loss is no longer finite at step {state.step}. Lower learning_rate "
                f"(now {settings.learning_rate}) or set koleo=0, and start again with --again."
            )
        if state.step % LOG_EVERY == 0 or state.step == steps:
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(figures) + "\n")
        if time.monotonic() - saved > SAVE_SECONDS or state.step == steps:
            _save(state, settings, folder / "state.pt")
            saved = time.monotonic()
        yield figures


def load_teacher(folder: Path, settings: TrainSettings) -> Network:
    """Return the teacher's network from a saved state."""
    state = new_state(settings, torch.device("cpu"))
    _restore(state, settings, folder / "state.pt")
    return state.teacher


def _held(pictures: UInt8, device: torch.device) -> Any:
    """Keep the pictures on a GPU that has room for them, so that none is copied at each step."""
    if device.type != "cuda" or pictures.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
        return pictures
    return torch.from_numpy(np.array(pictures)).to(device)


def batch_indices(count: int, batch: int, step: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Pictures of one step: every epoch is a permutation of all, drawn from (seed, epoch).

    A batch may span two epochs; with fewer pictures than ``batch`` it holds some more than once.
    """
    first = step * batch
    wanted = np.arange(first, first + batch)
    orders = {e: np.random.default_rng((seed, int(e))).permutation(count) for e in np.unique(wanted // count)}
    return np.array([orders[position // count][position % count] for position in wanted])


def _step(
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
    temperature = linear(
        state.step,
        int(steps * settings.temperature_warmup_share),
        settings.teacher_temperature[0],
        settings.teacher_temperature[1],
    )
    logits = targets_of.logits[0]
    targets = _targets(logits, state.centre, settings, temperature)
    parts = [part for group in student.logits for part in torch.split(group, len(pictures))]
    loss = dino.dino_loss(parts, targets.chunk(2), settings.student_temperature)
    figures: dict[str, Any] = {"loss": loss.detach(), "teacher_entropy": dino.entropy(targets), **rates}
    figures["spread_entropy"] = dino.entropy(targets.mean(0, keepdim=True))
    if settings.koleo:
        loss = loss + settings.koleo * sum(dino.koleo(f) for f in student.features[0].chunk(2))
    if settings.dense:
        between = _between_regions(student, targets_of, settings, temperature, len(pictures))
        figures["region_loss"] = between.detach()
        loss = loss + settings.dense * between
    _descend(state, loss, settings)
    state.centre = dino.next_centre(state.centre, logits)
    state.step += 1
    _follow(state, settings, rates["momentum"], len(pictures), epoch)
    # Only here, when all work is given out, is a GPU waited for.
    return {"step": state.step, **{name: float(value) for name, value in figures.items()}}


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
    passes = [_pass_of(state, settings, who, group) for group in groups]  # recorded before any is made
    answers = [make(group) for make, group in zip(passes, groups, strict=True)]
    features, tokens = [each[0] for each in answers], [each[1] for each in answers if len(each) > 1]
    head, regions = getattr(state, f"{who}_head"), getattr(state, f"{who}_regions")
    logits = torch.split(head(torch.cat(features)), [len(each) for each in features])
    return _Answers(features, list(logits), tokens, [regions(each) for each in tokens])


def _pass_of(
    state: State, settings: TrainSettings, who: Literal["student", "teacher"], group: Tensor
) -> Pass:
    """Return how the network is asked about inputs of this size: on a GPU recorded, at the first of them."""
    key = (who, tuple(group.shape))
    if key not in state.passes:
        device = state.centre.device
        answer = _vector_and_regions if settings.dense else _vector
        seen = Seen(getattr(state, who), answer, bfloat16=_half(settings, device))
        replay = settings.graphs and device.type == "cuda" and not settings.network.startswith(PREFIX)
        state.passes[key] = recorded(seen, group) if replay else seen
        if replay:
            _seed(state, settings)  # recording has drawn from the generator
    return state.passes[key]


def _seed(state: State, settings: TrainSettings) -> None:
    """Let what drop path draws depend on the step alone."""
    if settings.drop_path:
        torch.manual_seed(settings.seed * 1_000_003 + state.step)


def _vector(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    return (network(x),)


def _vector_and_regions(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    maps = network.tokens(x)
    return network.pooled(maps), maps[_region_map(network)].flatten(1, 2)


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


def _views(
    state: State, pictures: UInt8 | Tensor, aspects: Float32, settings: TrainSettings, share: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Make the two global views as the teacher sees them, and as the student does, local ones after them."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + state.step)
    if not isinstance(pictures, Tensor):
        pictures = torch.from_numpy(np.ascontiguousarray(pictures))
    images, shape = pictures.to(state.centre.device), torch.from_numpy(aspects.copy())
    groups = [
        make_views(images, shape, plan, generator, count) for plan, count in view_plans(settings, share)
    ]
    seen = groups
    if settings.profile == "thermal" and share >= settings.thermal_from:
        look = ThermalLook(settings.thermal_tone, settings.thermal_low_resolution)
        seen = [thermal_like(group, look, generator) for group in groups]
    return [normalised(group) for group in groups[:2]], [normalised(group) for group in seen]


def view_plans(settings: TrainSettings, share: float) -> list[tuple[ViewPlan, int]]:
    """Return how views are made and how many so: two global ones, as officially, and the local ones.

    ``share`` of the steps is done: late ones have larger crops.
    """
    late = int(share >= settings.switch_at)
    size, local = settings.global_sizes[late], settings.local_sizes[late]
    plans = [
        (ViewPlan(size, settings.global_scale, blur=1.0, solarise=0.0), 1),
        (ViewPlan(size, settings.global_scale, blur=0.1, solarise=0.2), 1),
        (ViewPlan(local, settings.local_scale, blur=0.5, solarise=0.0), settings.n_local),
    ]
    return [(plan, count) for plan, count in plans if count]


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


def _save(state: State, settings: TrainSettings, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({**_modules(state), "step": state.step, "settings": settings.model_dump_json()}, buffer)
    write_whole(path, lambda stream: stream.write(buffer.getbuffer()))


def _modules(state: State) -> dict[str, Any]:
    names = [name for name in PARTS if getattr(state, name) is not None]
    return {**{name: getattr(state, name).state_dict() for name in names}, "centre": state.centre}


def _restore(state: State, settings: TrainSettings, path: Path) -> None:
    if not path.is_file():
        return
    try:
        saved = torch.load(path, map_location=state.centre.device, weights_only=True)
        if saved["settings"] != settings.model_dump_json():
            raise CheckpointError(f"{path}: this state belongs to other settings. Start again with --again.")
        for name in PARTS:
            if getattr(state, name) is not None:
                getattr(state, name).load_state_dict(saved[name])
        state.centre, state.step = saved["centre"], saved["step"]
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or of another version ({error}). Start again with --again."
        ) from error


def _cut_metrics(path: Path, step: int) -> None:
    """Drop lines that a killed run wrote after its last saved state."""
    if path.is_file():
        kept = [
            line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step
        ]
        write_whole(path, lambda stream: stream.write("".join(f"{line}\n" for line in kept).encode()))
