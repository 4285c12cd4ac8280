"""Whether a run learns, or has collapsed: its figures watched, and what is wrong said in a sentence.

DINO's loss is H(p_t) + KL(p_t || p_s): what the teacher leaves open, and what the student has yet to
learn of it. Three figures of a step tell every collapse of the heads:

- told = H(mean p_t) - H(p_t), what the teacher's answers tell about a picture, in nats (the mutual
  information of picture and prototype). It is 0 where every picture gets the same answer.
- KL is 0 where the student gives that answer as well: nothing is left to learn.
- H(p_t) says which answer it is: ln K where all prototypes are alike (uniform collapse), 0 where it is
  one of them (constant collapse). It stands still.

Sinkhorn-Knopp keeps H(mean p_t) at ln K by construction, so no figure is judged by it alone. The loss
itself is no judge: it starts near ln K and may fall and rise again in a healthy run.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor
from torch.nn import functional

from dinonat.errors import DinonatError

WINDOW = 20  # steps whose mean is judged
NOTHING = 0.01  # nats: answers that tell less do not tell pictures apart
NEAR = 0.05  # nats: a student this near to its teacher has nothing left to learn
FEW = math.log(2)  # nats: H(mean p_t) of a batch that shares less than two prototypes
STILL = 0.02  # nats by which H(p_t) may move from half a window to the next and still stand
SAME = 0.05  # feature_std below which all features are one; healthy ones come to 0.5 to 1
FALLEN = 0.25  # share of its best value at which a figure of the features has fallen
FIGURES = 5  # of features, taken every LOG_EVERY steps, that are judged together: single batches vary
SLOW = 1000  # judged steps after which a student should know something of its teacher's answers
SPREAD_OUT = (
    "Change one thing at a time: targets=sinkhorn (or, with targets=centre, centre_momentum=0.9: the centre "
    "must move), a lower learning_rate, a higher teacher_temperature."
)


class Collapsed(DinonatError):  # noqa: N818
    """A run that can learn nothing any more; its last state is kept."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a run: what it is called, what is seen and what to change."""

    name: str
    seen: str  # a sentence with the numbers
    change: str  # what to do, one thing at a time
    fatal: bool  # whether nothing can be learned any more
    held: int = 1  # steps for which it has been seen without a break
    stop: bool = False  # fatal, and held for the patience

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.name}: {self.seen} {self.change}"


class Health:
    """Watch the figures of each step of a run.

    Parameters
    ----------
    out_dim : int
        K, the number of prototypes.
    warmup : int
        Steps in which nothing is judged: while the learning rate rises or the prototypes are frozen.
        A fresh run has a loss near ln K and answers that nothing is known about.
    patience : int
        Steps for which a fatal finding must hold before the run should stop.
    temperature : float
        Of the student; only said.

    The memory is short (``WINDOW`` steps) and is not part of a saved state: a run that is taken up again
    is judged after ``WINDOW`` more steps.
    """

    def __init__(self, out_dim: int, *, warmup: int, patience: int = 300, temperature: float = 0.1) -> None:
        self.out_dim, self.warmup, self.patience, self.temperature = out_dim, warmup, patience, temperature
        self._recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self._features: deque[tuple[float, float]] = deque(maxlen=FIGURES)  # (std, rank)
        self._best_std = self._best_rank = 0.0
        self.known = -math.inf  # nats that the student at its best told of the teacher's answers
        self._judged = 0
        self._last: Finding | None = None

    def observe(self, figures: Mapping[str, float]) -> Finding | None:
        """Take the figures of one step, in order; return what is wrong now, the worst first."""
        if not all(math.isfinite(figures[name]) for name in ("loss", "total_loss") if name in figures):
            return _not_finite(figures)
        self._remember_features(figures)
        if figures["step"] <= self.warmup:
            return None
        self._remember(figures)
        if len(self._recent) < WINDOW:
            return None
        found = self._collapse() or self._few_prototypes() or self._features_collapse() or self._no_progress()
        self._last = self._counted(found) if found else None
        return self._last

    def _remember(self, figures: Mapping[str, float]) -> None:
        self._judged += 1
        told = figures["spread_entropy"] - figures["teacher_entropy"]
        kl = figures["loss"] - figures["teacher_entropy"]
        wanted = {"loss": figures["loss"], "entropy": figures["teacher_entropy"], "told": told, "kl": kl}
        self._recent.append(wanted)
        if len(self._recent) == WINDOW:
            self.known = max(self.known, self._mean("told") - self._mean("kl"))

    def _remember_features(self, figures: Mapping[str, float]) -> None:
        if "feature_std" not in figures or "feature_rank" not in figures:
            return
        self._features.append((figures["feature_std"], figures["feature_rank"]))
        std, rank = self._typical_features()
        self._best_std, self._best_rank = max(self._best_std, std), max(self._best_rank, rank)

    def _typical_features(self) -> tuple[float, float]:
        return median(std for std, _ in self._features), median(rank for _, rank in self._features)

    def _mean(self, name: str) -> float:
        return fmean(each[name] for each in self._recent)

    def _drift(self) -> float:
        values = [each["entropy"] for each in self._recent]
        return abs(fmean(values[WINDOW // 2 :]) - fmean(values[: WINDOW // 2]))

    def _collapse(self) -> Finding | None:
        """Name a collapse of the heads: one answer to every picture, given by the student as well.

        An untrained network may give one answer, too, but it moves, and is left within some ten steps.
        """
        if self._mean("told") > NOTHING or self._mean("kl") > NEAR or self._drift() > STILL:
            return None
        full, entropy = math.log(self.out_dim), self._mean("entropy")
        numbers = (
            f"loss {self._mean('loss'):.4f}, ln({self.out_dim}) = {full:.4f}, teacher entropy "
            f"{entropy:.4f}, KL {self._mean('kl'):.4f}"
        )
        if full - entropy < 0.05 * full:
            return Finding(
                "uniform collapse",
                f"the answer to every picture is that all prototypes are alike ({numbers}).",
                "Change one thing at a time: teacher_temperature=[0.02,0.02] (sharper answers; it must stay "
                f"below the student's {self.temperature:g}), targets=sinkhorn, a smaller out_dim, a lower "
                "start of momentum (0.99 on few pictures), more freeze_prototypes.",
                fatal=True,
            )
        return Finding(
            "constant collapse",
            f"every picture gets the same answer, spread over {math.exp(entropy):.1f} prototypes "
            f"({numbers}).",
            SPREAD_OUT,
            fatal=True,
        )

    def _few_prototypes(self) -> Finding | None:
        """Name what comes before a constant collapse, and may last for hundreds of steps."""
        spread = self._mean("told") + self._mean("entropy")
        if spread > FEW or self._drift() > STILL:
            return None
        return Finding(
            "few prototypes",
            f"all answers to a batch share {math.exp(spread):.1f} of {self.out_dim} prototypes, as before a "
            f"constant collapse (loss {self._mean('loss'):.4f}, H(p_t) {self._mean('entropy'):.4f}).",
            SPREAD_OUT,
            fatal=False,
        )

    def _features_collapse(self) -> Finding | None:
        """Judge the features below the heads, which KoLeo may keep apart whatever the heads do.

        By what they were before: some untrained networks give all pictures one feature, and learn from there.
        """
        if len(self._features) < FIGURES:
            return None
        std, rank = self._typical_features()
        if max(each for each, _ in self._features) < min(SAME, FALLEN * self._best_std):
            return Finding(
                "feature collapse",
                f"the features of all pictures have become the same (deviation {std:.4f}, it was "
                f"{self._best_std:.3f}; rank {rank:.1f}).",
                "Change one thing at a time: koleo=0.1 (keeps features apart), a lower learning_rate, "
                "teacher_temperature=[0.02,0.02]; and look whether the pictures differ at all.",
                fatal=True,
            )
        if rank < FALLEN * self._best_rank:
            return Finding(
                "dimensional collapse",
                f"the features use few of their dimensions (effective rank {rank:.1f}, it was "
                f"{self._best_rank:.1f}; deviation {std:.3f}).",
                "Change one thing at a time: a lower learning_rate, a lower teacher_temperature, koleo=0.1, "
                "more varied pictures.",
                fatal=False,
            )
        return None

    def _no_progress(self) -> Finding | None:
        """Say where the student still answers no better than without looking, as at the start."""
        if self._judged < SLOW or self.known > NOTHING:
            return None
        blind = self._mean("told") + self._mean("entropy")  # the loss of the best single answer
        return Finding(
            "not learning",
            f"after {self._judged} steps the student's answers do not yet tell pictures apart (loss "
            f"{self._mean('loss'):.4f}, no better than the {blind:.4f} of one answer for all; KL "
            f"{self._mean('kl'):.4f}).",
            "Change one thing at a time: a higher learning_rate, targets=sinkhorn with "
            "teacher_temperature=[0.02,0.02], a lower start of momentum, profile=plain at the start; and "
            "look at the pictures.",
            fatal=False,
        )

    def _counted(self, found: Finding) -> Finding:
        held = self._last.held + 1 if self._last and self._last.name == found.name else 1
        stop = found.fatal and held >= self.patience
        return Finding(found.name, found.seen, found.change, found.fatal, held, stop)


def _not_finite(figures: Mapping[str, float]) -> Finding:
    return Finding(
        "not finite",
        f"the loss is no longer finite at step {figures['step']:.0f}.",
        "Change one thing at a time: a lower learning_rate, koleo=0 (equal pictures push it to infinity), "
        "dense=0, precision=float32.",
        fatal=True,
        stop=True,
    )


def feature_rank(features: Tensor) -> float:
    """Effective rank (RankMe) of features (N, C): 1 where all point one way, at most min(N, C).

    exp of the entropy of the singular values, normalised to sum to 1; the features as they are, not
    centred (Garrido et al. 2023, arXiv 2210.02885, equation 1).
    """
    values = torch.linalg.svdvals(features.detach().float())
    shares = values / values.sum().clamp_min(1e-12)
    return math.exp(-torch.special.xlogy(shares, shares).sum().item())


def feature_std(features: Tensor) -> float:
    """Deviation of L2-normalised features (N, C) over pictures: mean over dimensions, times sqrt(C).

    About 1 where the features point everywhere, 0 where all are the same (Chen and He 2021, arXiv
    2011.10566, figure 2).
    """
    units = functional.normalize(features.detach().float(), dim=-1)
    return units.std(0, correction=0).mean().item() * math.sqrt(units.shape[1])
