"""`dinotool bench train`: steps of pretraining, with one attention path and another, in one process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from dinonat.errors import UsageError
from dinonat.images.batches import pack_pictures
from dinonat.images.listing import list_images, spread
from dinonat.models.catalog import NETWORKS
from dinonat.models.nat import NATSettings
from dinonat.models.neighborhood import default_backend
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.timing import in_turn, machine, peak_memory, ratio, refusal, threads
from dinonat.pretraining.crops import draw, parts
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.trainer import held, train
from dinonat.records import Float32, UInt8

MADE = "pictures of noise"
STEPS = 10_000  # of the run of which the first are timed: nothing ends or changes so early
HEADS = (("globals", 10), ("locals", 8), ("ms a step", 11), ("images/s", 10), ("ratio", 8), ("MB", 9))


class BenchTrainSettings(TrainSettings):
    """What `dinotool bench train` can be told, beside the recipe itself."""

    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    backends: tuple[str, ...] | None = None  # of attention; None: ("c", "torch"), on a GPU ("auto", "torch")
    folder: Path | None = None  # of images; None: noise, which takes as long
    images: int = Field(256, ge=1)  # of the folder, at most
    picture_side: int = Field(176, ge=32)  # as pretraining keeps them
    rounds: int = Field(5, ge=1)
    threads: int | None = Field(None, ge=1)
    device: str = "cpu"


@dataclass(frozen=True)
class TrainRow:
    """One attention path with one size of crops."""

    backend: str
    global_size: int
    local_size: int
    step: float  # median milliseconds
    images_per_second: float
    ratio: float | None  # step of the last backend / this one
    views: float  # milliseconds of the step in which views are made
    # MB held at the worst moment of a step, beyond network, optimizer and pictures; without recorded passes
    memory: float | None

    def line(self) -> str:
        """Text for people."""
        memory = "" if self.memory is None else f"{self.memory:9.0f}"
        times = "" if self.ratio is None else f"{self.ratio:.2f}x"
        return (
            f"  {self.backend:10}{self.global_size:10}{self.local_size:8}{self.step:11.1f}"
            f"{self.images_per_second:10.1f}{times:>8}{memory:>9}{100 * self.views / self.step:7.1f} %"
        )


@dataclass(frozen=True)
class BenchTrainReport:
    """The table of `bench train`."""

    machine: str
    network: str
    batch: int
    precision: str
    n_local: int
    pictures: str
    rounds: int
    rows: tuple[TrainRow, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = "".join(f"{head:>{width}}" for head, width in HEADS)
        return [
            *self.warnings,
            f"Steps of pretraining {self.network}, medians of {self.rounds} alternating rounds; batch "
            f"{self.batch}, 2 + {self.n_local} crops, {self.precision}, {self.pictures}; {self.machine}",
            f"  {'attention':10}{heads}    views",
            *(row.line() for row in self.rows),
        ]


def run_train(settings: BenchTrainSettings, workspace: Path) -> BenchTrainReport:
    """Time whole steps of pretraining on ``settings.folder`` or on noise, small crops and large.

    A step is that of `pretrain`: it picks the pictures, makes the views, learns and moves the teacher.
    An attention backend that cannot serve is a warning. Raises UsageError where none can.
    """
    device = device_named(settings.device)
    recipe = TrainSettings.checked(settings.model_dump(include=set(TrainSettings.model_fields)))
    backends = settings.backends or (("c" if device.type == "cpu" else "auto"), "torch")
    if not isinstance(NETWORKS.get(recipe.network), NATSettings):
        backends = ("auto",)  # without neighborhood attention there is nothing to choose
    sizes = zip(recipe.global_sizes, recipe.local_sizes, strict=True)
    stages = (False, True) if len(set(sizes)) == 2 else (False,)  # small crops, then large ones
    with threads(settings.threads), ExitStack() as stack:
        pixels, aspects, name = _pictures(settings, _folder(stack))
        steps, warnings = {}, dict[str, None]()

        def run(backend: str, late: bool, *, graphs: bool) -> Callable[[], object]:
            changed = _only(recipe, late).model_copy(update={"graphs": graphs})
            return _step(backend, changed, pixels, aspects, _folder(stack), device)

        for backend, late in product(backends, stages):
            work = run(backend, late, graphs=recipe.graphs)
            if reason := refusal(work, f"Attention backend '{backend}'"):
                warnings[reason] = None
            else:
                steps[backend, late] = work
        if not steps:
            raise UsageError(next(iter(warnings), "bench train: no backend was named."))
        views = {("", late): _views(_only(recipe, late), pixels, aspects, device) for late in stages}
        spent = in_turn(steps | views, rounds=settings.rounds, device=device, said="rounds")
        seconds = {key: each.wall for key, each in spent.items()}
        # Recorded passes keep what they hold in a pool that is not counted: a run without them tells memory.
        rows = [
            _row(
                *key,
                seconds=seconds,
                last=backends[-1],
                recipe=recipe,
                memory=_memory(run(*key, graphs=False), device),
            )
            for key in steps
        ]
        on = machine(device)
    return BenchTrainReport(
        on,
        recipe.network,
        recipe.batch,
        recipe.precision,
        recipe.n_local,
        name,
        settings.rounds,
        tuple(rows),
        tuple(warnings),
    )


def _pictures(settings: BenchTrainSettings, folder: Path) -> tuple[UInt8, Float32, str]:
    """Return pictures (N, S, S, 3), their aspects, and what they are."""
    side = settings.picture_side
    if settings.folder is None:
        shape = (settings.batch, side, side, 3)
        noise = np.random.default_rng(settings.seed).integers(0, 256, shape, dtype=np.uint8)
        return noise, np.full(len(noise), 4 / 3, np.float32), f"{MADE} (seed {settings.seed})"
    refs = spread(list_images(settings.folder).refs, settings.images)
    packed = pack_pictures(refs, folder / "pictures.npy", side=side, workers=1)
    return packed.pixels, packed.aspects, f"{len(packed.names)} pictures of {settings.folder.name}"


def _only(recipe: TrainSettings, late: bool) -> TrainSettings:
    """Return the recipe with only its large crops, or only its small ones.

    Views look thermal from the first step where ``profile`` is thermal: those of the last part of a run.
    """
    return recipe.model_copy(update={"switch_at": 0.0 if late else 1.0, "thermal_from": 0.0})


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(TemporaryDirectory()))


def _step(
    backend: str,
    recipe: TrainSettings,
    pixels: UInt8,
    aspects: Float32,
    folder: Path,
    device: torch.device,
) -> Callable[[], object]:
    """Return what makes the next step of a run of its own each time it is called."""
    run: list[Iterator[object]] = []

    def step() -> object:
        with default_backend(backend):
            if not run:
                pictures = alone(pixels, aspects)
                run.append(train(pictures, recipe, folder, course=Course(STEPS), device=device))
            return next(run[0])

    return step


def _views(
    recipe: TrainSettings, pixels: UInt8, aspects: Float32, device: torch.device
) -> Callable[[], object]:
    """Return what makes all views of one step, and nothing else of it."""
    pictures = alone(held(pixels[: recipe.batch], device), aspects[: recipe.batch])
    position = 0.0 if recipe.switch_at else 1.0

    def make() -> object:
        drawn = draw(pictures, pictures.items, recipe, position=position, seed=recipe.seed)
        return list(parts(pictures, pictures.items, drawn, recipe.accumulate, device))

    return make


def _memory(step: Callable[[], object], device: torch.device) -> float | None:
    """Return the MB that the second step of a run holds; None if unknown or if there is no room for the run.

    The first makes plans of libraries and what the optimizer keeps.
    """
    return None if refusal(step, "One more run") else peak_memory(step, device)


def _row(
    backend: str,
    late: bool,
    *,
    seconds: dict[tuple[str, bool], float],
    last: str,
    recipe: TrainSettings,
    memory: float | None,
) -> TrainRow:
    own = seconds[backend, late]
    return TrainRow(
        backend,
        recipe.global_sizes[late],
        recipe.local_sizes[late],
        round(1000 * own, 2),
        round(recipe.batch / own, 2),
        ratio(seconds.get((last, late)), own),
        round(1000 * seconds["", late], 2),
        None if memory is None else round(memory, 1),
    )
