"""The training loop of DINO on one device: by step from start to end, resumable at any moment.

All chance in step i comes from generators seeded by (seed, i), and all schedules go by step, so a run
that was killed goes on exactly where its last saved state stands.
"""

import gc
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinonat.errors import DinonatError
from dinonat.files import write_whole
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.state import new_state, restore, save
from dinonat.pretraining.step import make_step
from dinonat.records import Float32, UInt8

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


def measure_speed(pictures: UInt8, aspects: Float32, settings: TrainSettings, device: torch.device) -> Speed:
    """Time a few steps of both sizes on states that are thrown away."""
    batch = np.arange(settings.batch) % len(pictures)
    some, shapes = _held(pictures[batch], device), aspects[batch]
    seconds = []
    for share in (0.0, 1.0):
        state, times = new_state(settings, device), []
        for _ in range(4):
            start = time.perf_counter()
            make_step(state, some, shapes, settings, steps=10_000, share=share)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        seconds.append(min(times[1:]))  # the first step pays for plans, buffers and recordings
        state.passes.clear()
        gc.collect()  # a recording refers to itself, and would keep its memory on the GPU
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
    restore(state, settings, folder / "state.pt")
    pictures = _held(pictures, device)
    _cut_metrics(folder / "metrics.jsonl", state.step)
    saved = time.monotonic()
    while state.step < steps:
        batch = batch_indices(len(pictures), settings.batch, state.step, settings.seed)
        figures = make_step(
            state, pictures[batch], aspects[batch], settings, steps=steps, epoch=len(pictures)
        )
        if not math.isfinite(figures["total_loss"]):
            raise DinonatError(
                f"{folder}: the loss is no longer finite at step {state.step}. Lower learning_rate "
                f"(now {settings.learning_rate}) or set koleo=0 and dense=0, and start again with --again."
            )
        if state.step % LOG_EVERY == 0 or state.step == steps:
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(figures) + "\n")
        if time.monotonic() - saved > SAVE_SECONDS or state.step == steps:
            save(state, settings, folder / "state.pt")
            saved = time.monotonic()
        yield figures


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


def _cut_metrics(path: Path, step: int) -> None:
    """Drop lines that a killed run wrote after its last saved state."""
    if path.is_file():
        kept = [
            line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step
        ]
        write_whole(path, lambda stream: stream.write("".join(f"{line}\n" for line in kept).encode()))
