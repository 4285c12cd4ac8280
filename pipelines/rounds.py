"""Labels spent, round by round, by a person who knows the truth: what each round's proposals are worth.

Everything goes through `dinotool select`, `import-labels` and `propose-labels` themselves, in a workspace of
its own that borrows the set: what is measured is what a person would get.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError
from dinonat.evaluation.clicks import Bill
from dinonat.pipelines import propose, selection
from dinonat.pipelines import workspace as places
from dinonat.pipelines.judged import How, Judgement, given_to, judge
from dinonat.pipelines.labelled import GIVEN, write_labels
from dinonat.pipelines.people import DATABASE
from dinonat.pipelines.progress import say
from dinonat.pipelines.truth import Truth
from dinonat.records import read_proposals

RANDOM, DOUBT = "random", "uncertain"
DEFAULT = "select"  # what `dinotool select` takes where nobody says
Way = tuple[str, Mapping[str, str]]  # what a column is called, settings of propose-labels


@dataclass(frozen=True)
class Round:
    """Proposals made from so many labels, and what they are worth; shares in [0, 1]."""

    strategy: str
    way: str
    spent: int  # images labelled (or images a class)
    draw: int
    images: int  # labelled
    labels: int  # given: of images, or boxes
    classes: int  # among them
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """What is tried."""

    kind: str  # "image" or "region": of what labels are given
    rounds: tuple[int, ...]  # images labelled in all, round by round
    per_class: bool  # `rounds` are images a class: drawn so by lot, as many in all by `select`
    strategies: tuple[str, ...]
    ways: tuple[Way, ...]
    draws: int
    seed: int


def play(plan: Plan, truth: Truth, known: EmbeddingSet, how: How) -> list[Round]:
    """Return every round of every strategy, draw and way of proposing.

    Raises LabelError where the truth holds fewer images than the last round asks for.
    """
    labels = truth.whole if plan.kind == "image" else truth.boxes
    oracle = {str(image): rows for image, rows in labels.groupby("image")}
    last = plan.rounds[-1]
    if not plan.per_class and last >= len(oracle):
        raise LabelError(
            f"{truth.file}: {len(oracle)} images of the set have a true label, so {last} cannot be labelled "
            "and others be left to judge by. Give smaller --rounds."
        )
    known_rounds: dict[tuple[str, ...], dict[str, float]] = {}
    found = []
    with borrowed(known) as scratch:
        for strategy in plan.strategies:
            for draw in range(plan.draws):
                spent: list[str] = []
                forget(scratch)
                for count in plan.rounds:
                    spent = _more(spent, count, strategy, draw, plan, oracle, known, scratch)
                    say(f"rounds: {strategy}, draw {draw + 1} of {plan.draws}: {len(spent)} images labelled")
                    given = pd.concat([oracle[image] for image in sorted(spent)], ignore_index=True)
                    write_labels(given, scratch)
                    for name, settings in plan.ways:
                        key = (name, *sorted(spent))
                        if key not in known_rounds:
                            judged = once(scratch / GIVEN, settings, truth, known, scratch, how)
                            known_rounds[key] = figures_of(judged, given, how)
                        at = count if plan.per_class else len(spent)
                        classes = given["label"].nunique()
                        found.append(
                            Round(
                                strategy, name, at, draw, len(spent), len(given), classes, known_rounds[key]
                            )
                        )
    return found


@contextmanager
def borrowed(known: EmbeddingSet) -> Iterator[Path]:
    """Yield a workspace that shows one set of another by a link, and is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="dinotool-rounds-") as made:
        scratch = places.create(Path(made))
        folder = places.set_folder(scratch, known.folder.name)
        folder.parent.mkdir(parents=True)
        folder.symlink_to(known.folder.resolve(), target_is_directory=True)
        places.remember(scratch, "set", known.folder.name)
        yield scratch


def forget(scratch: Path) -> None:
    """Begin with no label known: what people said belongs to a draw, the graph and the vectors to all."""
    for file in scratch.glob(f"{DATABASE}*"):
        file.unlink()


def once(
    file: Path,
    settings: Mapping[str, Any],
    truth: Truth,
    known: EmbeddingSet,
    scratch: Path,
    how: How,
) -> Judgement:
    """Propose from the labels in ``file`` and judge; what a round lacks shows in its counts."""
    told = propose.ProposeSettings.checked({"set": known.folder.name, "labels": file, **settings})
    report = propose.run(told, scratch)
    folder = places.proposals_folder(scratch, report.run)
    table = read_proposals(folder / propose.TABLE)
    return judge(table, truth, known, given_to(folder), how, run=report.run, warn=lambda _: None)


def _more(
    spent: Sequence[str],
    count: int,
    strategy: str,
    draw: int,
    plan: Plan,
    oracle: Mapping[str, pd.DataFrame],
    known: EmbeddingSet,
    scratch: Path,
) -> list[str]:
    """Return the images labelled before and the next ones, ``count`` in all (or of each class)."""
    seed = plan.seed + draw
    if strategy == RANDOM:
        return _by_lot(oracle, count, seed, per_class=plan.per_class and plan.kind == "image")
    classes = len({label for rows in oracle.values() for label in rows["label"]}) if plan.per_class else 1
    wanted = min(count * classes, len(oracle) - 1) - len(spent)
    if strategy == DOUBT and not spent:  # nothing is proposed yet that could be in doubt
        return _by_lot(oracle, wanted, seed, per_class=False)
    ask = wanted
    chosen: list[str] = []
    while wanted > len(chosen):  # what has no true label nobody can label: then more are asked for
        told = {"set": known.folder.name, "n": ask, "seed": seed}
        told |= {} if strategy == DEFAULT else {"strategy": strategy}
        report = selection.run(selection.SelectSettings.checked(told), scratch)
        chosen = [image for image in report.chosen if image in oracle and image not in spent][:wanted]
        if len(report.chosen) < ask:
            break
        ask *= 2
    return [*spent, *chosen]


def _by_lot(oracle: Mapping[str, pd.DataFrame], count: int, seed: int, *, per_class: bool) -> list[str]:
    """Return ``count`` images (of each class), drawn so that more hold all of fewer."""
    names = sorted(oracle)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    if not per_class:
        return order[:count]
    by_class: dict[str, list[str]] = {}
    for image in order:
        by_class.setdefault(str(oracle[image]["label"].iloc[0]), []).append(image)
    return [image for label in sorted(by_class) for image in by_class[label][:count]]


def figures_of(judged: Judgement, given: pd.DataFrame, how: How) -> dict[str, float]:
    """Return what a round is judged by, with the clicks of the given labels among those of the whole set."""
    found: dict[str, float] = {}
    labels = judged.images or judged.regions
    if labels:
        found |= {name: one.value for name, one in labels.figures.items() if name != "saved"}
    audits = judged.image_audits or judged.region_audits
    if audits:
        found |= {"error_audited": audits.error}
    if judged.boxes:
        found |= {name: one.value for name, one in judged.boxes.figures.items()}
    bill = judged.boxes.bill if judged.boxes else judged.images.bill if judged.images else None
    if bill:
        found |= _paid(bill, len(given) * (how.prices.draw if judged.boxes else how.prices.choose))
    return found


def _paid(bill: Bill, before: float) -> dict[str, float]:
    """Return the clicks of the whole set: labels given, then the rest corrected."""
    whole = replace(bill, clicks=bill.clicks + before, from_nothing=bill.from_nothing + before)
    return {"saved": bill.saved, "saved_in_all": whole.saved, "clicks": whole.clicks}
