"""The page of a pretraining run: what it is, whether it learned, and what its networks saw."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from dinonat.pages import panels
from dinonat.pages.curves import number
from dinonat.pages.runs import Run
from dinonat.pages.seen import Seen, block_of
from dinonat.pages.templating import figure, settings_line, template

LAST = 3  # figures at the end by whose median a run is said to have learned nothing
COLUMNS = {
    "knn": "k-NN, %",
    "pairs": "pairs found first, %",
    "rank": "rank",
    "loss": "total loss of that step",
}


def render(
    run: Run,
    *,
    seen: Sequence[Seen] = (),
    images: int | None = None,
    items: int | None = None,
    stopped: str = "",
) -> str:
    """Return the page: HTML that needs no other file, runs no script and asks no server for anything.

    Parameters
    ----------
    run
        What its folder holds.
    seen
        Views of some pictures, the earliest first.
    images, items
        How many pictures there are, and how many are shown in one pass, where the report does not say.
    stopped
        Why the run ended before its time; "" where it did not.
    """
    judgement = _object(run.report.get("judgement"))
    kept = number(judgement.get("kept"))
    return template("training.html").render(
        run=run,
        sentences=list(_sentences(run, judgement, stopped)),
        stopped=stopped,
        worse=run.report.get("better") if judgement.get("worse") else None,
        tiles=list(_tiles(run, judgement, images)),
        facts=list(_facts(run, images, items)),
        panels=list(panels.learning(run)),
        judged_panels=list(panels.judged(run)),
        small_panels=list(panels.beside(run)),
        columns=list(_columns(run).values()),
        table=_table(run, kept),
        kept=kept,
        blocks=[block_of(each) for each in seen],
    )


def _sentences(run: Run, judgement: dict[str, Any], stopped: str) -> Iterator[str]:
    """Say how the run ended, and whether what it made is better than what it began with."""
    if not run.report:
        what = "stopped" if stopped else "has not ended"
        yield f"This run {what}: step {run.step:,} of {run.course.steps:,}."
        return
    if judgement.get("why"):
        yield f"Kept {judgement['why']}."
    yield from _compared(judgement)
    losses = [loss for line in run.metrics[-LAST:] if (loss := number(line.get("loss"))) is not None]
    full = panels.blind_loss(run)
    if losses and full is not None and median(losses) >= full:
        yield (
            f"Its loss ends at {median(losses):.2f}, not below ln(out_dim) = {full:.2f}: the student does no "
            "better than if it said of every image that all prototypes are alike. Trust what it made only by "
            "the monitor; a longer run is the first thing to try."
        )


def _compared(judgement: dict[str, Any]) -> Iterator[str]:
    now, before = number(judgement.get("knn")), number(judgement.get("knn_before"))
    pairs, pairs_before = number(judgement.get("pairs")), number(judgement.get("pairs_before"))
    if now is not None and before is not None:
        word = "Better than" if now > before else "Worse than" if now < before else "As good as"
        doubt = "" if now == before else f" {panels.DOUBT}"
        yield (
            f"{word} what it began with, by k-NN on the monitor's folder: {now:.1f} %, before "
            f"{before:.1f} %.{doubt}"
        )
    elif pairs is None:
        yield (
            "Nothing here says whether it is better than what it began with: no images in class folders were "
            "given to judge it by (--monitor)."
        )
    if pairs is not None:
        was = "" if pairs_before is None else f", before {pairs_before:.1f} %"
        yield f"Of pairs that it did not see, {pairs:.1f} % find each other first{was}."


def _tiles(run: Run, judgement: dict[str, Any], images: int | None) -> Iterator[tuple[str, str]]:
    """Return the figures at the top."""
    shown = run.report.get("images", images)
    if shown is not None:
        yield figure(shown), "images"
    yield f"{run.step:,}", "steps" if run.step >= run.course.steps else f"of {run.course.steps:,} steps"
    for key, name in (("knn", "k-NN, kept teacher"), ("pairs", "pairs found first")):
        if (value := number(judgement.get(key))) is not None:
            yield f"{value:.1f} %", name
    if (rank := number(judgement.get("rank"))) is not None:
        yield f"{rank:.1f}", "rank, kept teacher"


def _facts(run: Run, images: int | None, items: int | None) -> Iterator[tuple[str, str]]:
    """Say what the run is; what is not known is left out."""
    recipe, report = run.recipe, run.report
    batch, passes = number(recipe.get("batch")), number(report.get("passes"))
    if passes is None and batch and items:
        passes = run.step * batch / items
    unread = f" ({figure(report['failed'])} unreadable)" if report.get("failed") else ""
    known = {
        "network": str(recipe.get("network", "")),
        "began with": _began(run),
        "images": figure(report.get("images", images)) + unread,
        "steps": f"{run.step:,} of {run.course.steps:,}"
        + (f", {figure(batch)} images each" if batch else ""),
        "passes over the images": "" if passes is None else f"{passes:.1f}",
        "speed": f"{figure(report['images_per_second'])} images/s" if "images_per_second" in report else "",
        "weights": str(report.get("fingerprint", "")),
        "asked for": settings_line(run.given),
        "made with": settings_line({key: each for key, each in recipe.items() if key not in run.given}),
    }
    return iter([(name, value) for name, value in known.items() if value])


def _began(run: Run) -> str:
    name = str(run.report.get("began") or run.given.get("init") or "")
    if not name:
        return "weights by chance" if run.given.get("from_scratch") else ""
    return f"weights by chance ({name})" if name.startswith("untrained:") else name


def _columns(run: Run) -> dict[str, str]:
    """Return which figures the judged points have, and what they are called."""
    return {
        key: name
        for key, name in COLUMNS.items()
        if any(number(line.get(key)) is not None for line in run.judged)
    }


def _table(run: Run, kept: float | None) -> list[tuple[bool, tuple[str, ...]]]:
    """Return the rows of the judged points, and of each whether it is the one that was kept."""
    rows = []
    for line in run.judged:
        if (step := number(line.get("step"))) is None:
            continue
        values = [(key, number(line.get(key))) for key in _columns(run)]
        cells = ["" if value is None else f"{value:.{3 if key == 'loss' else 1}f}" for key, value in values]
        rows.append((step == kept, (f"{step:,.0f}" if step else "0, where it began", *cells)))
    return rows


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
