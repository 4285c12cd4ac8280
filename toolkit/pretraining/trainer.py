"""The training loop of DINO: by step from start to end, resumable at any moment.

All chance in step i comes from generators seeded by (seed, i), and all schedules go by step, so a run
that was killed goes on exactly where its last saved state stands.
"""

import gc
import json
import math
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from dinonat.errors import DinonatError
from dinonat.files import write_whole
from dinonat.models.network import Network
from dinonat.pretraining import ranks
from dinonat.pretraining.health import Collapsed, Health
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings, head_alone, warmup_steps
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import Start, new_state, restore, save, share
from dinonat.pretraining.step import make_step

LOG_EVERY = 20  # steps between two lines of metrics.jsonl
SAVE_SECONDS = 120.0  # how much work a kill may cost


@dataclass(frozen=True)
class Speed:
    """Seconds that one step takes with the small and with the large crops."""

    small: float
    large: float

    def seconds(self, steps: int, switch_at: float) -> float:
        """Estimate how long ``steps`` take."""
        return steps * (switch_at * self.small + (1 - switch_at) * self.large)


def measure_speed(
    pictures: Pictures, settings: TrainSettings, device: torch.device, *, steps: int = 4
) -> Speed:
    """Time a few steps of both sizes on states that are thrown away."""
    chosen = pictures.items[np.arange(settings.batch) % len(pictures.items)]
    seconds = []
    for position in (0.0, 1.0):
        state, times = new_state(settings, device), []
        share(state, settings)
        for _ in range(steps):
            start = time.perf_counter()
            make_step(state, pictures, chosen, settings, course=Course(10_000), position=position)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        seconds.append(min(times[1:]))  # the first step pays for plans, buffers and recordings
        state.passes.clear()
        gc.collect()  # a recording refers to itself, and would keep its memory on the GPU
    return Speed(*seconds)


def train(
    pictures: Pictures,
    settings: TrainSettings,
    folder: Path,
    *,
    course: Course,
    device: torch.device,
    start: Start | None = None,
    judge: Callable[[Network, Mapping[str, float]], object] | None = None,
    judge_at: Container[int] = (),
    remark: Callable[[str], object] = lambda said: None,
) -> Iterator[dict[str, float]]:
    """Train up to ``course.steps`` optimizer steps, yielding the figures of each step.

    Goes on from ``folder/state.pt`` where there is one, else from the weights at ``start`` (see
    ``new_state``) or untrained. Writes the state every two minutes and at the end, and a line of
    ``folder/metrics.jsonl`` every LOG_EVERY steps. After each step of ``judge_at``, ``judge`` gets the
    teacher's network, in evaluation mode, and the figures; a run that is taken up again may ask it about the
    same step once more. ``remark`` gets a sentence of what is wrong with the run and need not end it. Of
    several processes the first alone writes, asks and speaks.

    Raises DinonatError when the loss is not finite, Collapsed when it has collapsed and stays so,
    CheckpointError when the state belongs to other settings.
    """
    state = new_state(settings, device, start)
    restore(state, settings, folder / "state.pt")
    share(state, settings)
    pictures = replace(pictures, pixels=held(pictures.pixels, device))
    speaks, watch = ranks.rank() == 0, _watch(settings, course, remark if ranks.rank() == 0 else _silent)
    if speaks:
        _cut_metrics(folder / "metrics.jsonl", state.step)
    saved = time.monotonic()
    while state.step < course.steps:
        logged = (state.step + 1) % LOG_EVERY == 0 or state.step + 1 == course.steps
        chosen = pictures.items[batch_indices(len(pictures.items), settings.batch, state.step, settings.seed)]
        figures = make_step(state, pictures, chosen, settings, course=course, detail=logged)
        _refuse_nonsense(figures, settings, folder)
        if logged and speaks:
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(figures) + "\n")
        state.recent.append(figures["total_loss"])
        if judge is not None and speaks and state.step in judge_at:
            judge(state.teacher, {**figures, "recent_loss": fmean(state.recent)})
        collapsed = watch(figures)
        due = time.monotonic() - saved > SAVE_SECONDS or state.step == course.steps
        if speaks and (due or collapsed):
            save(state, settings, folder / "state.pt")
            saved = time.monotonic()
        if collapsed:
            ranks.wait()  # torchrun ends all as soon as one has failed: not before the state is whole
            raise Collapsed(f"{folder}: {collapsed} The state of step {state.step} is kept there.")
        yield figures


def _watch(
    settings: TrainSettings, course: Course, remark: Callable[[str], object]
) -> Callable[[dict[str, float]], str]:
    """Return what says of each step's figures why the run should stop, "" if it need not."""
    started = max(warmup_steps(settings, course)[0], settings.freeze_prototypes, head_alone(settings, course))
    health = Health(
        settings.out_dim,
        warmup=started,
        patience=settings.patience,
        temperature=settings.student_temperature,
    )
    told: set[str] = set()

    def watch(figures: dict[str, float]) -> str:
        finding = health.observe(figures)
        if finding is None:
            return ""
        if finding.name not in told:
            told.add(finding.name)
            remark(f"Step {figures['step']:.0f}, {finding}")
        return str(finding) if finding.stop else ""

    return watch


def _silent(said: str) -> None:
    """Say nothing: another process does."""


def _refuse_nonsense(figures: dict[str, float], settings: TrainSettings, folder: Path) -> None:
    if not math.isfinite(figures["total_loss"]):
        raise DinonatError(
            f"{folder}: the loss is no longer finite at step {figures['step']:.0f}. Lower learning_rate "
            f"(now {settings.learning_rate}) or set koleo=0 and dense=0, and start again with --again."
        )


def held(pixels: Any, device: torch.device) -> Any:
    """Keep the pictures on a GPU that has room for them, so that none is copied at each step."""
    if device.type != "cuda" or pixels.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
        return pixels
    return torch.from_numpy(np.array(pixels)).to(device)


def batch_indices(count: int, batch: int, step: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Pictures of one step: every epoch is a permutation of all, drawn from (seed, epoch).

    A batch may span two epochs; with fewer pictures than ``batch`` it holds some more than once.
    """
    first = step * batch
    wanted = np.arange(first, first + batch)
    parts = [_order(count, epoch, seed) for epoch in range(first // count, (first + batch - 1) // count + 1)]
    return np.concatenate(parts)[wanted - first // count * count]


@lru_cache(maxsize=4)  # a permutation of a million takes longer than a step of a GPU
def _order(count: int, epoch: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _cut_metrics(path: Path, step: int) -> None:
    """Drop lines that a killed run wrote after its last saved state."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        write_whole(path, lambda stream: stream.write("".join(f"{line}\n" for line in kept).encode()))


def _step_of(line: str) -> float:
    """Return the step of a line of metrics; infinity for one that was cut off, by a kill or a full disk."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
