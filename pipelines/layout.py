"""Where each item lies on a map: principal components at once, UMAP when there is time, kept on disk."""

import contextlib
import io
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.files import write_whole
from dinonat.neighbors.index import search
from dinonat.neighbors.parts import unit
from dinonat.pipelines.progress import EVERY_SECONDS, say
from dinonat.records import Float32, Int64

REDUCED = 64  # principal components that neighbours are found in
FITTED = 8192  # rows that the components are fitted on
FEWEST = 10  # points below which UMAP has nothing to say
FORMAT = 1  # rises when layouts change, so that old ones are made again


@dataclass(frozen=True, eq=False)
class Layout:
    """The points of a map; row i of each array is the same item."""

    rows: Int64  # (n,), which row of the set
    clusters: Int64  # (n,), the largest is 0
    pca: Float32  # (n, 2), in [-1, 1], the longer side filled
    umap: Float32 | None = None  # (n, 2), likewise

    def placed(self, first: str = "umap") -> dict[str, Float32]:
        """Return the layouts that there are, the one to look at ``first`` in front."""
        if self.umap is None:
            return {"PCA": self.pca}
        both = {"UMAP": self.umap, "PCA": self.pca}
        return both if first == "umap" else dict(reversed(both.items()))


@dataclass(frozen=True, eq=False)
class Components:
    """Directions (D, dims) in which rows differ most, and the mean that they are taken from."""

    mean: NDArray[np.float64]
    columns: NDArray[np.float64]

    def reduce(self, rows: Float32) -> Float32:
        """Return rows (n, D) as (n, dims), the component of the largest variance first."""
        reduced: Float32 = ((rows - self.mean) @ self.columns).astype(np.float32)
        return reduced


def components(rows: Float32, *, dims: int = REDUCED) -> Components:
    """Return the principal components of at most FITTED of ``rows`` (n, D), evenly taken.

    Each is turned so that its largest entry is positive; one thread: the same on every machine.
    """
    sample = rows[:: max(1, -(-len(rows) // FITTED))].astype(np.float64)
    mean = sample.mean(axis=0)
    centred = sample - mean
    last = rows.shape[1] - 1
    with threadpool_limits(1):
        _, columns = eigh(centred.T @ centred, subset_by_index=(max(0, last - dims + 1), last))
    columns = columns[:, ::-1]
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    return Components(mean, columns * np.where(largest < 0, -1.0, 1.0))


def framed(xy: Float32) -> Float32:
    """Return points (n, 2) moved and scaled alike in both directions, so that they fill [-1, 1].

    >>> framed(np.float32([[0, 0], [4, 2]])).tolist()
    [[-1.0, -0.5], [1.0, 0.5]]
    """
    if not len(xy):
        return xy.astype(np.float32)
    low, high = xy.min(axis=0).astype(np.float64), xy.max(axis=0).astype(np.float64)
    half = float((high - low).max()) / 2
    moved: Float32 = ((xy - (low + high) / 2) / (half or 1.0)).astype(np.float32)
    return moved


def plane(reduced: Float32) -> Float32:
    """Return the first two of the components (n, dims) as a layout (n, 2)."""
    wide = np.pad(reduced[:, :2], ((0, 0), (0, max(0, 2 - reduced.shape[1]))))
    return framed(wide.astype(np.float32))


def neighbourly(
    reduced: Float32, start: Float32, *, neighbours: int, min_dist: float, seed: int
) -> Float32 | None:
    """Return the UMAP layout (n, 2) of components (n, dims), by cosine, from the layout ``start``.

    McInnes, Healy and Melville (arXiv 1802.03426), by umap-learn, in one thread: the same seed gives the same
    points. Neighbours are exact. None where there are fewer than FEWEST points or nothing tells them
    apart. Raises ImportError where umap-learn does not run.
    """
    directions = unit(reduced)
    if len(reduced) < FEWEST or len(np.unique(directions[:, : REDUCED // 4], axis=0)) < FEWEST:
        return None
    umap = _umap()
    k = min(neighbours, len(reduced) - 1)
    similarity, found = search(directions, directions, k)
    distances = np.maximum(1 - similarity, 0).astype(np.float32)
    with _progress() as tqdm, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that new points cannot be added to the layout
        model = umap.UMAP(
            n_neighbors=k,
            min_dist=min_dist,
            metric="cosine",
            init=start.astype(np.float32),
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(found, distances, None),
            force_approximation_algorithm=True,  # else it finds the neighbours of few points itself
            verbose=True,
            tqdm_kwds=tqdm,
        )
        xy = np.asarray(model.fit_transform(directions), np.float32)
    return framed(xy) if np.isfinite(xy).all() else None


def _umap() -> Any:
    """Load umap-learn: late, because it brings a compiler and takes seconds."""
    # Its parametric kind would load TensorFlow or torch, and torch must not meet faiss.
    sys.modules.setdefault("umap.parametric_umap", None)  # type: ignore[arg-type]
    import numba
    import umap

    numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]  # no OpenMP beside that of faiss
    return umap


class _Told(io.StringIO):
    """Where umap-learn's bar is written to: a line of it now and then becomes a line on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.said = time.monotonic()

    def write(self, text: str) -> int:
        if text.strip() and time.monotonic() - self.said >= EVERY_SECONDS:
            self.said = time.monotonic()
            say(text.strip())
        return len(text)


@contextlib.contextmanager
def _progress() -> Iterator[dict[str, Any]]:
    """Show rounds on stderr; what umap-learn prints on stdout is kept from there."""
    bar = "umap: {n_fmt} of {total_fmt} rounds, about {remaining} left"
    with contextlib.redirect_stdout(io.StringIO()):
        yield {"file": _Told(), "mininterval": 1, "maxinterval": 1, "bar_format": bar}


def keep(layout: Layout, path: Path, identity: str) -> None:
    """Write a layout whole or not at all; equal layouts give equal bytes."""
    arrays: dict[str, Any] = {"rows": layout.rows, "clusters": layout.clusters, "pca": layout.pca}
    if layout.umap is not None:
        arrays["umap"] = layout.umap
    write_whole(path, lambda stream: np.savez(stream, identity=np.array(identity), **arrays))


def kept(path: Path, identity: str, *, items: int) -> Layout | None:
    """Read a layout of a set of ``items`` rows; None where it is missing, damaged or of another making."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["identity"]) != identity:
                return None
            layout = Layout(file["rows"], file["clusters"], file["pca"])
            layout = replace(layout, umap=file["umap"]) if "umap" in file else layout
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
    return layout if _sound(layout, items) else None


def _sound(layout: Layout, items: int) -> bool:
    n, rows = len(layout.rows), layout.rows
    planes = [layout.pca, *([] if layout.umap is None else [layout.umap])]
    return bool(
        layout.clusters.shape == (n,)
        and all(xy.shape == (n, 2) and np.isfinite(xy).all() for xy in planes)
        and (n == 0 or (rows.min() >= 0 and rows.max() < items))
    )
