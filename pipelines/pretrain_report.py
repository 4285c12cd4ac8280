"""What `dinotool pretrain` made, as people and programs read it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Judgement:
    """Which of a run's teachers was kept, and how that was found."""

    kept: int  # step
    why: str
    knn: float | None  # percent in the monitor's folder: of what was kept
    knn_before: float | None  # and of where the run began
    pairs: float | None  # percent of held-out pairs that find each other first
    pairs_before: float | None
    rank: float
    rank_before: float | None
    worse: bool  # than where it began, by the monitor


@dataclass(frozen=True)
class PretrainReport:
    """What a run made."""

    run: str
    weights: str
    fingerprint: str
    images: int
    failed: int
    steps: int
    passes: float
    loss: float | None  # of the last step; None where its figures were lost
    teacher_entropy: float | None
    images_per_second: float
    began: str  # weights that it began with, as `embed --weights` takes them
    judgement: Judgement
    better: str | None  # weights that the monitor found better, which `embed` takes instead
    resumable: str  # "plateau" where the run may go on for as long as one likes, else "end"
    already_done: bool = False

    def lines(self) -> list[str]:
        """Text for people."""
        if self.already_done:
            return [
                f"Run {self.run} is already done: {self.weights}",
                f"Go on for longer with `--resume {self.run}`, or redo it with `--again`.",
            ]
        judged = self.judgement
        lines = [
            f"Run {self.run}: {self.steps} steps, {self.passes:.1f} passes over {self.images} images"
            + (f" ({self.failed} unreadable)" if self.failed else ""),
            f"Loss {_figure(self.loss)}, teacher entropy {_figure(self.teacher_entropy)}, rank of vectors "
            f"{judged.rank:.1f}{_before(judged.rank_before)}, {self.images_per_second:.1f} images/s",
        ]
        if judged.knn is not None:
            lines.append(f"Monitor: k-NN {judged.knn:.1f} %{_before(judged.knn_before)}")
        if judged.pairs is not None:
            lines.append(
                f"Pairs of recordings that it did not see: {judged.pairs:.1f} % find each other first"
                f"{_before(judged.pairs_before)}"
            )
        lines.append(f"Kept {judged.why}")
        if judged.worse:
            instead = f"`embed` takes {self.better} instead" if self.better else "take those it began with"
            lines.append(f"Worse than where it began, as far as the monitor's images can tell: {instead}.")
        if self.resumable == "plateau":
            lines.append(
                f"On its plateau: `--resume {self.run}` goes on, and with `--cool-down` comes to a good end"
            )
        page = Path(self.weights).with_name("report.html")
        return [*lines, f"Page {page}", f"Weights {self.weights} (fingerprint {self.fingerprint})"]


def _figure(value: float | None) -> str:
    return "lost" if value is None else f"{value:.3f}"


def _before(value: float | None) -> str:
    return "" if value is None else f" ({value:.1f} where it began)"


@dataclass(frozen=True)
class CheckReport:
    """What `pretrain --check` found, without making a run."""

    run: str  # which it would be
    images: int
    learns: bool
    said: str  # how one batch was learned by heart
    small: float  # seconds a step
    large: float
    steps: int
    seconds: float  # of the whole run
    memory: float | None  # MB at the worst moment of a step

    def lines(self) -> list[str]:
        """Text for people."""
        minutes = self.seconds / 60
        held = "" if self.memory is None else f", {self.memory:.0f} MB beside network and pictures"
        return [
            self.said,
            f"{self.steps} steps over {self.images} images: about {minutes:.1f} min ({self.small:.2f} s a "
            f"step, then {self.large:.2f} s){held}",
            "One batch is learned: the recipe works."
            if self.learns
            else "One batch is NOT learned: see above.",
        ]
