"""Which of a run's teachers is the best: by labels, if there are some, else by rank and loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from dinonat.records import Float32, Int64

NEAR = 1.05  # of the lowest loss: teachers that are as good by it
FALLEN = 0.8  # of the highest rank: less is a loss of what the features can tell


@dataclass(frozen=True)
class Judged:
    """A teacher at one point of its run."""

    step: int  # 0: where the run began
    rank: float  # effective rank (RankMe) of its vectors of pictures without labels
    loss: float | None = None  # mean of the last steps
    knn: float | None = None  # percent that are right by their neighbours, in the monitor's folder
    phase: int = 0  # how often the views had become others: their losses are not comparable
    pairs: float | None = None  # percent of held-out pairs that find each other first


def best(judged: Sequence[Judged]) -> tuple[Judged, str]:
    """Return the teacher to keep, never the one at step 0, and why.

    With labels: the highest k-NN accuracy, of equal ones the later. Without: of those that learned from the
    last kind of views, the last whose loss is near the lowest, unless its rank has fallen far below the
    highest rank among them.
    """
    trained = [each for each in judged if each.step > 0]
    if all(each.knn is not None for each in trained):
        top = max(trained, key=lambda each: (each.knn, each.step))
        return (
            top,
            f"step {top.step}: best of {len(trained)} by k-NN on the monitor's folder, {top.knn:.1f} %",
        )
    late = [each for each in trained if each.phase == max(one.phase for one in trained)]
    known = [each for each in late if each.loss is not None]
    if not known:
        return late[-1], f"step {late[-1].step}: the last; no loss of these was written down"
    lowest = min(each.loss for each in known if each.loss is not None)
    near = [
        each for each in known if each.loss is not None and each.loss <= lowest + (NEAR - 1) * abs(lowest)
    ]
    last, widest = near[-1], max(near, key=lambda each: each.rank)
    if last.rank >= FALLEN * widest.rank:
        return (
            last,
            f"step {last.step}: the last whose loss is near the lowest ({last.loss:.3f})",
        )
    return widest, (
        f"step {widest.step}: rank {widest.rank:.1f}, which fell to {last.rank:.1f} later; the loss did not"
    )


def is_worse(judged: Sequence[Judged], kept: Judged) -> bool:
    """Whether the monitor found the teacher that is kept worse than where the run began."""
    begun = next((each for each in judged if each.step == 0), None)
    if begun is None or begun.knn is None or kept.knn is None:
        return False
    return kept.knn < begun.knn


def share_right(votes: Float32, classes: Int64) -> float:
    """Percent of pictures (n,) whose class has the largest vote (n, C)."""
    return 100 * float((votes.argmax(1) == classes).mean())
