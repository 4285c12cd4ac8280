"""`dinotool pretrain --check`: whether a recipe learns, how long it will take and in how much memory."""

import numpy as np
import torch

from dinonat.pipelines.lengths import Length, small_share, steps_in
from dinonat.pipelines.pretrain_report import CheckReport
from dinonat.pipelines.timing import peak_memory
from dinonat.pretraining.overfit import overfit_one_batch
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import new_state, share
from dinonat.pretraining.step import make_step
from dinonat.pretraining.trainer import measure_speed


def check(
    pictures: Pictures, recipe: TrainSettings, length: Length, device: torch.device, *, run: str
) -> CheckReport:
    """Learn one batch by heart on a state that is thrown away, time steps and measure their memory."""
    learned = overfit_one_batch(pictures, recipe, device)
    speed = measure_speed(pictures, recipe, device)
    steps = steps_in(length, len(pictures.items), recipe, speed)
    return CheckReport(
        run=run,
        images=len(pictures.pixels),
        learns=learned.works,
        said=str(learned),
        small=speed.small,
        large=speed.large,
        steps=steps,
        seconds=speed.seconds(steps, small_share(length, recipe)),
        memory=_memory(pictures, recipe, device),
    )


def _memory(pictures: Pictures, recipe: TrainSettings, device: torch.device) -> float | None:
    """Return the MB of a step with large crops beyond network and pictures; the first makes what stays."""
    plain = recipe.model_copy(update={"graphs": False})  # recorded passes keep theirs where nobody counts it
    state = new_state(plain, device)
    share(state, plain)

    def step() -> None:
        chosen = pictures.items[np.arange(recipe.batch) % len(pictures.items)]
        make_step(state, pictures, chosen, plain, course=Course(10_000), position=1.0)

    step()
    return peak_memory(step, device)
