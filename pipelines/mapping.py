"""`dinotool map`: a page on which every image or region of a set is a point, alike ones side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError
from dinonat.files import write_bytes
from dinonat.neighbors.parts import Weights, default_weights, parse_features
from dinonat.pages.map import MapFacts, render, shown_title
from dinonat.pages.map_sheets import Sheets
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import chosen_set
from dinonat.pipelines.layout import FEWEST, Layout
from dinonat.pipelines.map_labels import beside, colourings_of, labels_of, run_of
from dinonat.pipelines.map_points import Drawing, Points
from dinonat.pipelines.progress import say
from dinonat.proposals.choose import BARE
from dinonat.settings import Settings

PAGE = "map.html"
MOST_PICTURES = 3000
FOLLOWS = "By principal components for now: UMAP follows. Reload this page when dinotool map has ended."


class MapSettings(Settings):
    """What `dinotool map` can be told."""

    set: str | None = None  # set of embeddings; the newest where none is named
    kind: Literal["image", "region"] | None = None  # None: regions where only regions have labels
    layout: Literal["pca", "umap"] = "umap"  # the last one to wait for; PCA is always there
    proposals: str | None = None  # run whose labels are shown; the newest of the set where none is named
    features: str = "auto"  # those of the run, else the default; or parts with weights: grid=0.7,hog=1
    pictures: int = Field(MOST_PICTURES, ge=0, le=MOST_PICTURES)  # thumbnails in the page
    neighbours: int = Field(15, ge=2, le=200)  # of UMAP: more show the large, fewer the small
    min_dist: float = Field(0.1, ge=0, lt=1)  # of UMAP: how close points may lie
    most: int = Field(100_000, ge=1)  # points; of a larger set they are taken evenly
    seed: int = 0
    again: bool = False


@dataclass(frozen=True)
class MapReport:
    """What was drawn, and where it is."""

    set: str
    kind: str
    name: str
    page: str
    points: int
    of: int  # items of this kind that have vectors
    layouts: tuple[str, ...]
    colours: tuple[str, ...]
    proposals: str | None
    pictures: int
    lost: int  # images that could not be read again
    megabytes: float
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        noun = self.kind if self.of == 1 else f"{self.kind}s"
        of = "" if self.points == self.of else f" of {self.of:,}"
        labels = f"labels of run {self.proposals}" if self.proposals else "no run of proposals"
        return [
            *self.notes,
            f"Set {self.set}, {labels}",
            f"{self.points:,}{of} {noun}, {self.pictures:,} with a picture; "
            f"layouts {', '.join(self.layouts)}; colours {', '.join(self.colours)}",
            f"Map ({self.megabytes:.1f} MB) -> {self.page}",
        ]


def run(settings: MapSettings, workspace: Path) -> MapReport:
    """Draw the map of a set: with principal components first, then with UMAP beside them.

    Raises WorkspaceError where the set is missing or holds nothing of the kind, or where the run is of
    another set; UsageError for unknown features.
    """
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    run_name = run_of(workspace, known.folder.name, settings.proposals)
    labels = labels_of(workspace, known, run_name)
    kind = settings.kind or _kind(known, labels)
    weights = _weights(settings, labels, kind)
    name = known.folder.name if kind == "image" else f"{known.folder.name}-{kind}s"
    chosen = settings.model_dump(include={"neighbours", "min_dist", "most", "seed", "pictures"})
    points = Points(known, Drawing(kind, weights, **chosen), places.folder(workspace, "map", name))
    layout = points.layout(again=settings.again)
    sheets, lost = points.sheets(layout, again=settings.again)
    view = _View(points, beside(_items(points, layout), labels, kind), sheets, run_name, settings.layout)
    notes = tuple(_notes(points, layout, lost))
    if settings.layout == "umap" and layout.umap is None and len(layout.rows) >= FEWEST:
        _write(view, layout, (*notes, FOLLOWS))
        say(f"{points.folder / PAGE}: there, by principal components. UMAP follows, then reload it.")
        layout, why = points.with_umap(layout)
        notes = (*notes, *why)
    size = _write(view, layout, notes)
    places.remember(workspace, "map", name)
    return _report(view, layout, notes, lost, size)


@dataclass(frozen=True, eq=False)
class _View:
    """What a page shows of its points, wherever they lie."""

    points: Points
    rows: pd.DataFrame  # their labels, as `beside` gives them
    sheets: Sheets
    run: str | None
    first: str  # which layout is seen first


def _kind(known: EmbeddingSet, labels: pd.DataFrame) -> str:
    """Return what to show where nobody said: regions where labels are of regions only, else images."""
    kinds = set(labels["kind"].astype("str"))
    there = bool((known.items["kind"] == "region").any())
    return "region" if kinds == {"region"} and there else "image"


def _weights(settings: MapSettings, labels: pd.DataFrame, kind: str) -> Weights:
    """Return the parts of the search vector: as asked, else those that the run decided by."""
    if settings.features != "auto":
        return parse_features(settings.features)
    for text in labels.loc[labels["kind"] == kind, "features"].astype("str").unique():
        try:
            return parse_features(text.removesuffix(BARE))
        except UsageError:
            continue  # what people drew has none
    return default_weights(kind)


def _items(points: Points, layout: Layout) -> pd.DataFrame:
    return points.known.items.iloc[layout.rows].reset_index(drop=True)


def _notes(points: Points, layout: Layout, lost: int) -> list[str]:
    """Say what a reader of the page should know."""
    notes = []
    total, shown = int(points.asked.sum()), len(layout.rows)
    if shown < total:
        notes.append(f"{shown:,} of {total:,} {points.drawing.kind}s are shown, evenly taken.")
    if lost:
        noun = "image" if lost == 1 else "images"
        notes.append(f"{lost:,} {noun} could not be read again: points without a picture.")
    if shown > 1 and not np.ptp(layout.pca, axis=0).any():
        notes.append("All vectors are equal: every point lies in one place.")
    return notes


def _write(view: _View, layout: Layout, notes: tuple[str, ...]) -> float:
    """Write the page; return its size in megabytes."""
    points, items = view.points, _items(view.points, layout)
    kind, meta = points.drawing.kind, points.known.meta
    made = (
        f"Alike {kind}s lie side by side, as network {meta.get('weights', '')} ({meta['model']}) sees them."
    )
    said = f" Labels of run {view.run}." if view.run else ""
    facts = MapFacts(
        title=shown_title(points.known.folder.name, kind, len(items)),
        kind=kind,
        images=tuple(items["image"]),
        layouts=layout.placed(view.first),
        colourings=colourings_of(items, view.rows, layout.clusters),
        boxes=items[list("xywh")].to_numpy(np.float32) if kind == "region" else None,
        scores=view.rows["score"].to_numpy(np.float32),
        reasons=tuple(view.rows["reason"].fillna("")),
        sheets=view.sheets if len(view.sheets.points) else None,
        sentences=(made + said,),
        notes=notes,
    )
    page = render(facts).encode()
    write_bytes(points.folder / PAGE, page)
    return len(page) / 1e6


def _report(view: _View, layout: Layout, notes: tuple[str, ...], lost: int, size: float) -> MapReport:
    points = view.points
    colours = colourings_of(_items(points, layout), view.rows, layout.clusters)
    return MapReport(
        set=points.known.folder.name,
        kind=points.drawing.kind,
        name=points.folder.name,
        page=str(points.folder / PAGE),
        points=len(layout.rows),
        of=int(points.asked.sum()),
        layouts=tuple(layout.placed(view.first)),
        colours=tuple(each.title for each in colours),
        proposals=view.run,
        pictures=len(view.sheets.points),
        lost=lost,
        megabytes=round(size, 1),
        notes=notes,
    )
