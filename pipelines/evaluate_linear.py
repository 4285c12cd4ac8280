"""`dinotool evaluate linear`: what a linear classifier learns from vectors, stored or of augmented images.

Stored vectors need scikit-learn and no torch, augmented images the other way round: each form loads its own.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from dinonat.errors import UsageError, WorkspaceError
from dinonat.evaluation.classifiers import LinearTable
from dinonat.evaluation.pictures import ROOM, Pictures, frame, side_of
from dinonat.images.batches import read_prepared
from dinonat.neighbors.parts import NAMED, parse_features
from dinonat.pages.gather import reference
from dinonat.pipelines import workspace as places
from dinonat.pipelines.figures import (
    about_intervals,
    figures,
    heading,
    left_out,
    of_classes,
    remarks,
    shortened,
)
from dinonat.pipelines.progress import duration, say, track
from dinonat.pipelines.samples import ComparisonSettings, Gathered, gather

if TYPE_CHECKING:
    from dinonat.evaluation.linear import Lesson
    from dinonat.models.network import Network

MOST_EPOCHS = 100  # DINO's number


class EvaluateLinearSettings(ComparisonSettings):
    """What `dinotool evaluate linear` can be told."""

    balanced: bool = False  # weigh classes as if all had as many items
    augmented: bool = False  # the paper's form: images augmented anew in each epoch, through the network
    weights: str | None = None  # as `embed` takes them; None: those of the set
    epochs: int | None = Field(None, ge=1)  # of augmented images; None: 100, or as many as ``minutes`` allow
    minutes: float = Field(30.0, gt=0)
    batch: int = Field(64, ge=1)
    min_area: float = Field(0.35, gt=0, le=1)  # least share of a picture that a view shows; DINO's is 0.08
    rates: tuple[float, ...] = ()  # learning rates for a batch of 256 to choose from; none: 0.001 to 1
    workers: int = Field(1, ge=0)  # processes that read images
    threads: int | None = Field(None, ge=1)  # of the network; stored vectors are learned by one
    device: str = "auto"
    seed: int = 0

    @field_validator("rates", mode="before")
    @classmethod
    def _list_of_rates(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("rates")
    @classmethod
    def _above_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < rate < 1e6 for rate in value):
            raise ValueError("expected learning rates above 0")
        return value


@dataclass(frozen=True)
class LinearReport:
    """The table of `evaluate linear`, and the protocol behind its figures."""

    gallery: str
    query: str
    models: tuple[str, ...]  # fingerprints of the networks of gallery and query
    kind: str
    balanced: bool
    protocol: str
    epochs: int  # of augmented images; 0: stored vectors
    seconds: float
    table: LinearTable
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        table = self.table
        left = "" if table.left_out == "none" else f"; {left_out(table)} in {table.folds} parts"
        chosen = "; ".join(f"{row.name} {_range(row.chosen)}" for row in table.rows)
        what = "Learning rate" if self.epochs else "C"
        return [
            *shortened(self.warnings),
            heading(self.gallery, self.query, self.kind, self.models, table),
            f"{of_classes(table)}{left}; {self.protocol}",
            *figures({(row.name, ""): row for row in table.rows}, table),
            about_intervals(table),
            f"{what} by parts of the gallery that were left out: {chosen}",
            f"{self.seconds:.1f} s",
        ]


def run(settings: EvaluateLinearSettings, workspace: Path) -> LinearReport:
    """Learn to tell the labelled items of one set apart, and ask about those of another (or the same).

    Nothing is written. Raises UsageError for features that do not fit, WorkspaceError for a missing set and
    for weights that are not those of the sets, LabelError without labels or with one class, ImageError where
    augmented images are gone or have changed.
    """
    for name in settings.features:
        if name == "auto":
            raise UsageError(
                "features='auto': chosen for neighbours, by `dinotool evaluate knn`. A linear classifier "
                f"weighs parts itself; take {', '.join(NAMED)}, or weights as in grid=0.7,hog=1."
            )
        parse_features(name)
    gathered = gather(settings, workspace)
    start = time.perf_counter()
    if settings.augmented:
        table, epochs, protocol = _on_images(settings, gathered, workspace)
    else:
        table, epochs, protocol = _on_vectors(settings, gathered)
    warnings = [*gathered.warnings, *remarks(table)]
    warnings += gathered.shared()
    return LinearReport(
        gallery=gathered.names[0],
        query=gathered.names[1],
        models=gathered.models,
        kind=gathered.kind,
        balanced=settings.balanced,
        protocol=protocol,
        epochs=epochs,
        seconds=round(time.perf_counter() - start, 2),
        table=table,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _on_vectors(settings: EvaluateLinearSettings, gathered: Gathered) -> tuple[LinearTable, int, str]:
    from dinonat.evaluation.logistic import classify

    features = settings.features or tuple(NAMED)
    table = classify(
        *gathered.samples, features=features, leave_out=gathered.leave_out, balanced=settings.balanced
    )
    return table, 0, f"logistic regression on stored vectors{_weighed(settings)}"


def _on_images(
    settings: EvaluateLinearSettings, gathered: Gathered, workspace: Path
) -> tuple[LinearTable, int, str]:
    from dinonat.evaluation.classifiers import checked_task
    from dinonat.evaluation.linear import FEATURES, RATES, Lesson, train, view_side, weights_of

    known, gallery = gathered.sets[0], gathered.samples[0]
    features = settings.features or FEATURES
    for name in features:
        weights_of(name)
    checked_task(*gathered.samples, gathered.leave_out)  # what cannot be done is said before images are read
    network = _network(settings, gathered, workspace)
    side = view_side(side_of(gathered.kind, known.meta["settings"]), network.stride)
    with _pictures(gathered, round(ROOM * side), settings.workers, workspace) as pictures:
        lesson = Lesson(
            epochs=settings.epochs or 1,
            size=side,
            min_area=settings.min_area,
            batch=settings.batch,
            seed=settings.seed,
            balanced=settings.balanced,
            rates=settings.rates or RATES,
        )
        lesson = _timed(settings, lesson, network, pictures)
        table = train(
            gallery,
            gathered.samples[1],
            network=network,
            pictures=pictures,
            means={name: known.mean(name, gathered.kind) for name in gallery.ready},
            lesson=lesson,
            features=features,
            leave_out=gathered.leave_out,
            track=lambda steps: track(steps, "steps"),
        )
    protocol = (
        f"SGD on the classifier alone, {_epochs(lesson.epochs)} of crops (area {lesson.min_area:g} to 1, "
        f"{side} px) and flips, the last one counts{_weighed(settings)}"
    )
    return table, lesson.epochs, protocol


def _weighed(settings: EvaluateLinearSettings) -> str:
    return ", classes weighed alike" if settings.balanced else ""


def _network(settings: EvaluateLinearSettings, gathered: Gathered, workspace: Path) -> "Network":
    """Return the network of the sets; WorkspaceError where the weights are others."""
    import torch

    from dinonat.models.catalog import load_network
    from dinonat.pipelines.devices import device_named

    asked = settings.weights or str(gathered.sets[0].meta["weights"])
    network, fingerprint = load_network(places.weights_file(workspace, asked), remark=say)
    for name, model in zip(gathered.names, gathered.models, strict=True):
        if model != fingerprint:
            raise WorkspaceError(
                f"weights '{asked}' are {fingerprint}, but set '{name}' was made with {model}. Give the "
                "set's own with --weights, or embed the images again with these."
            )
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return network.to(device_named(settings.device))


@contextmanager
def _pictures(gathered: Gathered, side: int, workers: int, workspace: Path) -> Iterator[Pictures]:
    """Read the pictures of the gallery into a file without a name: it is gone when the process is."""
    known, items = gathered.sets[0], gathered.samples[0].items
    root, names = Path(known.meta["root"]), list(dict.fromkeys(items["image"]))
    shape = (len(items), side, side, 3)
    with tempfile.TemporaryFile(dir=workspace) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash at the last picture
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        file.truncate(math.prod(shape))
        pixels = np.memmap(file, np.uint8, "r+", shape=shape)
        refs = [reference(root, name) for name in names]
        loaded = track(read_prepared(refs, workers=workers, shown=known.shown), "images", total=len(refs))
        yield Pictures(pixels, frame(loaded, items, pixels, settings=known.meta["settings"]))


def _timed(
    settings: EvaluateLinearSettings, lesson: "Lesson", network: "Network", pictures: Pictures
) -> "Lesson":
    """Say how long it will take; without a number of epochs, take as many as the minutes allow."""
    from dataclasses import replace

    from dinonat.evaluation.linear import seconds_per_epoch

    seconds = seconds_per_epoch(network, pictures, lesson)
    if settings.epochs is None:
        fitting = int(settings.minutes * 60 / seconds)
        lesson = replace(lesson, epochs=min(MOST_EPOCHS, max(1, fitting)))
    say(
        f"{_epochs(lesson.epochs)} of {len(pictures.aspects)} pictures, about "
        f"{duration(lesson.epochs * seconds)}; nothing is written, so a run that is stopped begins anew"
    )
    return lesson


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _range(chosen: tuple[float, ...]) -> str:
    """Write what was chosen for the folds: one number, or from the least to the most.

    >>> _range((1.0, 1.0)), _range((1.0, 10.0))
    ('1', '1 to 10')
    """
    low, high = min(chosen), max(chosen)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
