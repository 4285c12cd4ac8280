"""Learn one batch by heart: what a recipe that works does within a minute, and a broken one does not."""

import gc
import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from dinonat.pretraining.health import NOTHING
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import new_state, share
from dinonat.pretraining.step import make_step

LAST = 5  # steps whose mean stands for the end
ENOUGH = 0.2  # share by which KL should fall


@dataclass(frozen=True)
class Overfit:
    """What a recipe made of one batch. All but ``steps`` in nats."""

    steps: int
    kl_first: float  # KL(p_t || p_s) at the first step: what the student has yet to learn of its teacher
    kl_last: float
    told: float  # what the teacher's answers tell about a picture, at the end
    known: float  # what the student's answers tell of the teacher's, at the end

    @property
    def fallen(self) -> float:
        """Share by which KL fell, negative where it rose."""
        return 1 - self.kl_last / self.kl_first

    @property
    def works(self) -> bool:
        """Whether the recipe can learn anything at all."""
        finite = math.isfinite(self.kl_last)
        return finite and self.told > NOTHING and self.known > NOTHING and self.fallen > ENOUGH

    def __str__(self) -> str:
        """Say in a sentence what was seen, and what it means."""
        seen = (
            f"In {self.steps} steps on one batch KL went from {self.kl_first:.3f} to {self.kl_last:.3f}; the "
            f"teacher's answers tell {self.told:.3f} nats about a picture, of which the student has "
            f"{max(0.0, self.known):.3f}"
        )
        if self.works:
            return f"{seen}: this recipe learns."
        if not math.isfinite(self.kl_last):
            return f"{seen}: the loss is not finite. Lower learning_rate, or set koleo=0 and dense=0."
        if self.told <= NOTHING:
            return (
                f"{seen}: every picture gets the same answer, as in a collapse. Lower teacher_temperature or "
                "learning_rate, or set targets=sinkhorn."
            )
        return (
            f"{seen}: the student does not learn even one batch. Raise learning_rate, or lower it where KL "
            "rose; and look whether the pictures differ at all."
        )


def overfit_one_batch(
    pictures: Pictures, settings: TrainSettings, device: torch.device, *, steps: int = 60
) -> Overfit:
    """Train on the same views of one batch again and again, on a state that is thrown away.

    Learning rate and momentum are those after the warm-up, and no layer is frozen; views are those of the
    beginning. A recipe whose answers all become one only after many batches passes: ``Health`` sees that.
    """
    eager = settings.model_copy(update={"warmup_share": 0.0, "freeze_prototypes": 0, "head_first": 0})
    chosen = pictures.items[np.arange(settings.batch) % len(pictures.items)]
    state, figures = new_state(eager, device), list[dict[str, float]]()
    share(state, eager)
    for _ in range(steps):
        state.step = 0  # of which all chance and all rates of a step come
        figures.append(make_step(state, pictures, chosen, eager, course=Course(10_000)))
        if not math.isfinite(figures[-1]["loss"]):
            break
    state.passes.clear()
    gc.collect()  # a recording refers to itself, and would keep its memory on a GPU
    return _summed_up(figures)


def _summed_up(figures: list[dict[str, float]]) -> Overfit:
    last = {
        name: fmean(each[name] for each in figures[-LAST:])
        for name in ("kl", "loss", "spread_entropy", "teacher_entropy")
    }
    spread = last["spread_entropy"]
    return Overfit(
        len(figures),
        figures[0]["kl"],
        last["kl"],
        told=spread - last["teacher_entropy"],
        known=spread - last["loss"],
    )
