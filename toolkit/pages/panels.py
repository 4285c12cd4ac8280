"""The charts of a pretraining run; each says what a healthy curve looks like."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard

from dinonat.pages.curves import SMALL, Chart, Curve, chart_of, curve_of, number
from dinonat.pages.runs import Run

# Two teachers that disagree about a tenth of n images differ by sqrt(0.1 / n), one standard error.
DOUBT = "With 1,000 images a difference below about 2 points may be chance, with fewer a larger one, too."


class Panel(NamedTuple):
    """One chart and what a reader should know of it."""

    title: str
    healthy: str
    chart: Chart


def blind_loss(run: Run) -> float | None:
    """Return ln(out_dim), the loss of a student that says of every picture that all prototypes are alike."""
    out_dim = number(run.recipe.get("out_dim"))
    return math.log(out_dim) if out_dim is not None and out_dim > 1 else None


def learning(run: Run) -> Iterator[Panel]:
    """Draw what tells whether a run learns."""
    full = blind_loss(run)
    blind = [] if full is None else [(full, f"ln {run.recipe['out_dim']:g} = {full:.2f}")]
    loss = curve_of(run.metrics, "loss", "loss")
    if _drawable(loss):
        yield Panel(
            "Loss: begins near the dashed line and falls below it",
            "With new heads it begins at ln(out_dim), where the answers say nothing. It may rise again, most "
            "of all where the views change. On the line to the end: a collapse, or nothing is learned.",
            _wide(run, [loss], blind, least=0.5),
        )
    halves = [
        curve_of(run.metrics, "teacher_entropy", "teacher entropy: what its answer leaves open"),
        curve_of(_with_kl(run), "kl", "KL: what the student has yet to learn of it"),
        curve_of(run.metrics, "spread_entropy", "entropy of all answers to a batch together"),
    ]
    if _drawable(halves[0]):
        yield Panel(
            "Teacher entropy and KL: both stay above 0, the entropy well below the dashed line",
            "Loss = entropy + KL. The answers to a batch together stay near the dashed line: all prototypes "
            "are used. Entropy on the line and KL 0: uniform collapse. Both near 0: constant collapse.",
            _wide(run, [curve for curve in halves if curve], blind, reach=0.0),
        )
    rank = curve_of(run.metrics, "feature_rank", "rank of the student's features of one batch")
    if _drawable(rank):
        yield Panel(
            "Rank of the features: rises, or stays about where it is",
            "In how many directions the features of a batch differ (RankMe). It varies from batch to batch, "
            "and larger batches reach higher. A fall to a quarter of its best is a dimensional collapse.",
            _wide(run, [rank], reach=0.0),
        )


def judged(run: Run) -> Iterator[Panel]:
    """Draw what the teachers that were judged on the way are worth."""
    kinds = {
        "knn": (
            "Monitor: rises above the dashed line, where the run began",
            "Percent of the monitor's images that their 20 nearest neighbours name right. The best is kept, "
            f"so it looks a little too good. {DOUBT}",
            "k-NN, %",
        ),
        "pairs": (
            "Pairs it did not see: rises above the dashed line, where the run began",
            "Percent of held-out pictures whose nearest in the other light is their own partner.",
            "found first, %",
        ),
        "rank": (
            "Rank of the teacher's vectors: does not fall far once it is high",
            "Of up to 512 pictures (RankMe). By itself a high rank does not say that vectors are good; a "
            "fall while the loss stands says that they tell less.",
            "rank",
        ),
    }
    for key, (title, healthy, name) in kinds.items():
        curve = curve_of(run.judged, key, name)
        if _drawable(curve):
            begun = curve.values[0] if curve.steps[0] == 0 else None
            level = [] if begun is None else [(begun, f"where it began: {begun:.1f}")]
            low = 0.0 if key == "rank" else max(0.0, min(curve.values) - 10)  # ten points, at least
            yield Panel(title, healthy, _wide(run, [curve], level, dotted=True, reach=low))


def beside(run: Run) -> Iterator[Panel]:
    """Draw what was planned, and the losses beside the loss."""
    kinds = {
        "learning_rate": (
            "Learning rate: as planned",
            "Rises, then half a cosine down; on a plateau it stays.",
        ),
        "momentum": ("Teacher's momentum: as planned", "Nearer to 1, the teacher moves more slowly."),
        "feature_std": ("Spread of features: 0.5 to 1", "Near 0 all pictures have the same features."),
        "koleo": ("KoLeo: falls, or stays", "Lower: features of a batch lie farther apart."),
        "region_loss": ("Loss between regions: falls", "As the loss, for parts of the pictures."),
    }
    for key, (title, healthy) in kinds.items():
        curve = curve_of(run.metrics, key, key.replace("_", " "))
        if _drawable(curve):
            reach = 0.0 if key in ("learning_rate", "feature_std") else None
            yield Panel(title, healthy, chart_of([curve], size=SMALL, span=(0, run.step), reach=reach))


def _wide(
    run: Run,
    curves: Sequence[Curve],
    levels: Sequence[tuple[float, str]] = (),
    *,
    reach: float | None = None,
    least: float = 0.0,
    dotted: bool = False,
) -> Chart:
    """Lay out curves from the first step to the last that is known, all charts alike."""
    return chart_of(
        curves,
        levels=levels,
        moments=_moments(run),
        span=(0, run.step),
        reach=reach,
        least=least,
        dotted=dotted,
    )


def _drawable(curve: Curve | None) -> TypeGuard[Curve]:
    return curve is not None and len(curve.steps) > 1


def _with_kl(run: Run) -> Iterator[dict[str, Any]]:
    """Add the KL of runs that did not write it down: loss minus teacher entropy."""
    for line in run.metrics:
        loss, entropy = number(line.get("loss")), number(line.get("teacher_entropy"))
        yield line if "kl" in line or loss is None or entropy is None else {**line, "kl": loss - entropy}


def _moments(run: Run) -> list[tuple[float, str]]:
    """Return the steps at which the views, or the way, become others."""
    found = [(run.first_step(number(run.recipe.get("switch_at")) or 0.0), _larger(run))]
    if run.recipe.get("profile") == "thermal":
        found.append(
            (run.first_step(number(run.recipe.get("thermal_from")) or 0.0), "student sees thermal-like")
        )
    found.append((run.course.cool_from, "cools down"))
    return sorted((float(step), text) for step, text in found if step and text)


def _larger(run: Run) -> str:
    sizes = run.recipe.get("global_sizes")
    if not isinstance(sizes, list) or len(sizes) != 2 or "switch_at" not in run.recipe:
        return ""
    return f"views of {sizes[1]} px" if sizes[0] != sizes[1] else ""
