"""`dinotool evaluate`: what vectors and boxes are worth, measured on labels, beside what costs nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import LabelError, UsageError
from dinonat.evaluation.classify import AUTO, FEATURES, FLOOR_NAME, Comparison, compare
from dinonat.evaluation.detection import compare as compare_boxes
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import match_labels
from dinonat.images.batches import read_prepared
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import parse_features
from dinonat.pages.gather import reference
from dinonat.pipelines.figures import (
    about_intervals,
    figures,
    heading,
    left_out,
    of_classes,
    remarks,
    shortened,
    signed,
)
from dinonat.pipelines.progress import track
from dinonat.pipelines.samples import ComparisonSettings, gather, opened
from dinonat.records import Float32
from dinonat.settings import Settings

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in ThermalFrame


class EvaluateKnnSettings(ComparisonSettings):
    """What `dinotool evaluate knn` can be told."""

    k: tuple[int, ...] = (5, 20)
    temperature: float = Field(0.07, gt=0)
    features: tuple[str, ...] = FEATURES

    @field_validator("k", mode="before")
    @classmethod
    def _list_of_k(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("k")
    @classmethod
    def _at_least_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("expected one or more numbers of neighbours, each at least 1")
        return tuple(dict.fromkeys(value))


@dataclass(frozen=True)
class KnnReport:
    """The table of `evaluate knn`, and the protocol behind its figures."""

    gallery: str
    query: str
    models: tuple[str, ...]  # fingerprints of the networks of gallery and query
    kind: str
    temperature: float
    table: Comparison
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        table = self.table
        cells = {(row.name, f"k={row.k}"): row for row in table.rows}
        gains = [f"k={row.k} {signed(each)}" for row in table.rows for each in row.over]
        left = "nothing left out but the item itself" if table.left_out == "none" else left_out(table)
        return [
            *shortened(self.warnings),
            heading(self.gallery, self.query, self.kind, self.models, table),
            f"{of_classes(table)}; {left}; T={self.temperature:g}",
            *figures(cells, table),
            *([f"auto less {FLOOR_NAME}, balanced: {'; '.join(gains)}"] if gains else []),
            about_intervals(table),
            *([f"auto takes {table.auto_reason}"] if table.auto_reason else []),
        ]


class EvaluateBoxesSettings(Settings):
    """What `dinotool evaluate boxes` can be told."""

    set: str | None = None  # set whose regions are measured; the newest where none is named
    labels: Path | None = None  # true boxes
    max_boxes: int = Field(30, ge=1)  # of each kind, an image
    workers: int = Field(1, ge=0)  # processes that read images, for the hot blobs
    seed: int = 0  # of the random boxes


@dataclass(frozen=True)
class BoxRecall:
    """Which share of the true boxes some box of one kind meets with IoU 0.5; NaN where there are none."""

    boxes: str
    recall: float
    small: float  # true boxes below 32 x 32 pixels
    medium: float
    large: float  # from 96 x 96 pixels
    boxes_per_image: float
    n_truth: int


@dataclass(frozen=True)
class BoxesReport:
    """The table of `evaluate boxes`."""

    set: str
    model: str
    size: int
    table: tuple[BoxRecall, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = ("recall", "small", "medium", "large", "boxes/image", "true boxes")
        rows = [
            f"  {row.boxes:18}"
            + "".join(f"{_percent(value):>8}" for value in (row.recall, row.small, row.medium, row.large))
            + f"{row.boxes_per_image:13.1f}{row.n_truth:12}"
            for row in self.table
        ]
        ours, *others = self.table
        lost = [row.boxes for row in others if row.recall > ours.recall]
        verdict = f"{ours.boxes} finds less than {', '.join(lost)}" if lost else f"{ours.boxes} finds most"
        return [
            *shortened(self.warnings),
            f"Set {self.set}, network {self.model}, size {self.size}; recall at IoU 0.5 in percent",
            f"  {'boxes':18}" + "".join(f"{name:>8}" for name in heads[:4]) + f"{heads[4]:>13}{heads[5]:>12}",
            *rows,
            verdict,
        ]


def run_knn(settings: EvaluateKnnSettings, workspace: Path) -> KnnReport:
    """Classify the labelled items of one set by those of another (or the same), and count.

    Raises UsageError for unknown features, WorkspaceError for a missing set, LabelError without labels.
    """
    for feature in settings.features:
        if feature != AUTO:
            parse_features(feature)
    gathered = gather(settings, workspace)
    gallery, query = gathered.samples
    table = compare(
        gallery,
        query,
        search=search,
        features=settings.features,
        ks=settings.k,
        temperature=settings.temperature,
        leave_out=gathered.leave_out,
        kind=gathered.kind,
    )
    warnings = [*gathered.warnings, *remarks(table)]
    if table.gallery < max(settings.k):
        warnings.append(
            f"k={max(settings.k)} is more than the {table.gallery} items of the gallery: all of them vote."
        )
    warnings += gathered.shared()
    return KnnReport(
        gallery=gathered.names[0],
        query=gathered.names[1],
        models=gathered.models,
        kind=gathered.kind,
        temperature=settings.temperature,
        table=table,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def run_boxes(settings: EvaluateBoxesSettings, workspace: Path) -> BoxesReport:
    """Measure how many true boxes the regions of a set meet, beside three baselines.

    Raises UsageError without true boxes, WorkspaceError for a missing set, LabelError where none fits.
    """
    if settings.labels is None:
        raise UsageError("evaluate boxes: no true boxes were given. Write --labels FILE (COCO or CSV).")
    known = opened(workspace, settings.set)
    warnings: list[str] = []
    items = known.items
    names = items.loc[items["kind"] == "image", "image"].to_list()
    truth = match_labels(read_labels(settings.labels, warn=warnings.append), names, warn=warnings.append)
    table = compare_boxes(
        items,
        truth,
        _pictures(known, settings.workers),
        max_boxes=settings.max_boxes,
        seed=settings.seed,
    )
    rows = tuple(
        BoxRecall(**{str(key): value for key, value in row.items()}) for row in table.to_dict("records")
    )
    return BoxesReport(
        set=known.folder.name,
        model=known.meta["model"],
        size=known.meta["settings"]["size"],
        table=rows,
        warnings=tuple(warnings),
    )


def _pictures(known: EmbeddingSet, workers: int) -> Callable[[str], Float32]:
    """Return how to get the luminance (H, W) of a prepared image of the set, read in sorted order."""
    root, shown = Path(known.meta["root"]), known.shown
    items = known.items
    images = items.loc[(items["kind"] == "image") & (items["status"] == "ok"), "image"]
    refs = [reference(root, name) for name in sorted(images)]
    loaded = iter(track(read_prepared(refs, workers=workers, shown=shown), "hot blobs", total=len(refs)))
    waiting: dict[str, Float32] = {}

    def picture(name: str) -> Float32:
        while name not in waiting:
            one = next(loaded)
            if one.prepared is None:
                raise LabelError(
                    f"{one.ref.file}: was read when it was embedded, and is not now ({one.reason})."
                )
            grey: Float32 = (one.prepared.pixels @ LUMINANCE / 255).astype(np.float32)
            waiting[one.ref.name] = grey
        return waiting.pop(name)

    return picture


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f}"
