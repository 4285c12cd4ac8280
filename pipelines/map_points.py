"""The points of one map: which items, where they lie, and what they look like, each kept once it is made."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.embeddings.store import EmbeddingSet
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash, write_whole
from dinonat.images.batches import read_prepared
from dinonat.neighbors.parts import Weights, features_text, joined, unit
from dinonat.pages.gather import reference
from dinonat.pages.map_sheets import Sheets, chosen, sheets_of, small
from dinonat.pipelines.labelled import ready_parts
from dinonat.pipelines.layout import FORMAT, Layout, components, keep, kept, neighbourly, plane
from dinonat.pipelines.progress import track
from dinonat.proposals.clusters import cluster
from dinonat.records import Bool, Float32, Int64, UInt8

LAYOUT, SHEETS = "layout.npz", "sheets.npz"
CHUNK = 8192  # items whose vectors are in memory at once
FITTED = 8192  # items that the components are fitted on
SIDE = 64  # of a thumbnail in pixels


@dataclass(frozen=True)
class Drawing:
    """What decides the points of a map."""

    kind: str  # "image" or "region"
    weights: Weights  # of the parts of the search vector
    neighbours: int = 15
    min_dist: float = 0.1
    most: int = 100_000
    seed: int = 0
    pictures: int = 3000


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a map of a set, kept in ``folder``."""

    known: EmbeddingSet
    drawing: Drawing
    folder: Path

    @cached_property
    def asked(self) -> Bool:
        """Mark the items of the kind that have vectors; raises WorkspaceError where there are none."""
        items, kind = self.known.items, self.drawing.kind
        marks: Bool = ((items["kind"] == kind) & (items["status"] == "ok")).to_numpy()
        if not marks.any():
            mend = (
                "Embed again without --saliency none, or map its images with --kind image."
                if kind == "region"
                else "Embed a folder with images that can be read."
            )
            raise WorkspaceError(f"{self.known.folder}: no {kind}s with vectors in this set. {mend}")
        return marks

    @cached_property
    def rows(self) -> Int64:
        """Return which rows of the set are points: all that are asked for, or ``most`` evenly taken."""
        rows = np.flatnonzero(self.asked)
        return rows[np.linspace(0, len(rows) - 1, min(len(rows), self.drawing.most)).round().astype(np.int64)]

    @cached_property
    def identity(self) -> str:
        """Name all that decides the layout."""
        drawing, made = self.drawing, self.known.meta["identity"]
        numbers = (drawing.neighbours, drawing.min_dist, drawing.most, drawing.seed)
        return short_hash("layout", FORMAT, made, drawing.kind, features_text(drawing.weights), numbers)

    @cached_property
    def reduced(self) -> Float32:
        """Return the principal components (n, 64 at most) of the search vectors of the points."""
        rows = self.rows
        found = components(self._vectors(rows[:: max(1, -(-len(rows) // FITTED))]))
        starts = range(0, len(rows), CHUNK)
        chunks = track(starts, f"map {self.drawing.kind}s", total=len(starts))
        return np.concatenate([found.reduce(self._vectors(rows[start : start + CHUNK])) for start in chunks])

    def _vectors(self, rows: Int64) -> Float32:
        marks = np.zeros(len(self.known.items), bool)
        marks[rows] = True
        ready = ready_parts(self.known, marks, means=self.known, kind=self.drawing.kind)
        return joined(ready, self.drawing.weights)

    def layout(self, *, again: bool) -> Layout:
        """Return the layout that was kept, or one by principal components, which is kept."""
        path = self.folder / LAYOUT
        before = None if again else kept(path, self.identity, items=len(self.known.items))
        if before is not None:
            return before
        found = cluster(unit(self.reduced), seed=self.drawing.seed)
        layout = Layout(self.rows, found, plane(self.reduced))
        keep(layout, path, self.identity)
        return layout

    def with_umap(self, layout: Layout) -> tuple[Layout, tuple[str, ...]]:
        """Return the layout with UMAP's beside it, which is kept, or a sentence why there is none."""
        drawing = self.drawing
        try:
            xy = neighbourly(
                self.reduced,
                layout.pca,
                neighbours=drawing.neighbours,
                min_dist=drawing.min_dist,
                seed=drawing.seed,
            )
        except ImportError as error:
            return layout, (f"umap-learn does not run here ({error}): principal components only.",)
        if xy is None:
            return layout, ("Too few different vectors for UMAP: principal components only.",)
        layout = replace(layout, umap=xy)
        keep(layout, self.folder / LAYOUT, self.identity)
        return layout, ()

    def sheets(self, layout: Layout, *, again: bool) -> tuple[Sheets, int]:
        """Return the thumbnails, kept or made now, and how many of their images could not be read again."""
        path, identity = self.folder / SHEETS, short_hash(self.identity, self.drawing.pictures, SIDE)
        before = None if again else _kept(path, identity, len(layout.rows))
        if before is not None:
            return before, 0
        points = chosen(layout.clusters, self.drawing.pictures)
        items = self.known.items.iloc[layout.rows[points]].reset_index(drop=True)
        seen = sheets_of(_pictures(self.known, items, points), side=SIDE)
        lost = items["image"].nunique() - items["image"][np.isin(points, seen.points)].nunique()
        if not lost:  # else the next time they may be there
            _keep(seen, path, identity)
        return seen, lost


def _pictures(known: EmbeddingSet, items: pd.DataFrame, points: Int64) -> Iterator[tuple[int, UInt8]]:
    """Read each image once, prepared as the network saw it, and yield what the points show of it."""
    groups = items.groupby("image", sort=False).indices
    root = Path(known.meta["root"])
    refs = [reference(root, str(name)) for name in groups]
    for name, loaded in zip(
        groups, track(read_prepared(refs, shown=known.shown), "pictures", len(refs)), strict=True
    ):
        if loaded.prepared is None:
            continue
        for at in groups[name]:
            row = items.iloc[at]
            box = tuple(float(row[side]) for side in "xywh") if row["kind"] == "region" else None
            yield int(points[at]), small(loaded.prepared.pixels, box, side=SIDE)  # type: ignore[arg-type]


def _keep(sheets: Sheets, path: Path, identity: str) -> None:
    jpegs = {f"jpeg{i}": np.frombuffer(jpeg, np.uint8) for i, jpeg in enumerate(sheets.jpegs)}
    arrays = {"points": sheets.points, "sizes": sheets.sizes, **jpegs}
    write_whole(path, lambda stream: np.savez(stream, identity=np.array(identity), **arrays))  # type: ignore[arg-type]


def _kept(path: Path, identity: str, n: int) -> Sheets | None:
    """Read the thumbnails of ``n`` points; None where they are missing, damaged or of another making."""
    try:
        with np.load(path, allow_pickle=False) as file:
            count = sum(name.startswith("jpeg") for name in file.files)
            jpegs = tuple(file[f"jpeg{i}"].tobytes() for i in range(count))
            sheets = Sheets(jpegs, file["points"], file["sizes"], SIDE)
            sound = str(file["identity"]) == identity and int(sheets.points.max(initial=-1)) < n
            return sheets if sound else None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
