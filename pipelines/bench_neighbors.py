"""`dinotool bench neighbors`: what search, vote, graph and diffusion cost, beside FAISS's own search."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.errors import UsageError
from dinonat.neighbors.graph import K, build, extend, symmetric
from dinonat.neighbors.index import plain, search
from dinonat.neighbors.parts import REDUCED, fit_axes, unit
from dinonat.pipelines.progress import say
from dinonat.pipelines.turns import Spent, medians_in_turn, spent_here
from dinonat.proposals.diffusion import diffuse
from dinonat.proposals.votes import balanced_vote, knn, nearest_per_class
from dinonat.records import Float32, Int64
from dinonat.settings import Settings

VOTERS = 20
CHUNK = 8192  # full vectors that are made and reduced at once
SKETCH = 20_000  # rows above which the graph for the diffusion is made by approximate search
FACTORS = 60  # of the made vectors: neighbours mean something, as they do of real ones


class BenchNeighborsSettings(Settings):
    """What `dinotool bench neighbors` can be told."""

    sizes: tuple[int, ...] = (20_000, 200_000)  # vectors
    dims: int = Field(384, ge=2)
    full: int = Field(3940, ge=0)  # dimensions of a region's joined vector, reduced by PCA; 0 leaves them out
    classes: int = Field(12, ge=2)
    labelled: int = Field(10, ge=1)  # of each class, for the diffusion
    queries: int = Field(4096, ge=1)  # searched for in each round; the time of all is in proportion
    rounds: int = Field(3, ge=1)
    threads: int = Field(1, ge=1)


@dataclass(frozen=True)
class NeighborsRow:
    """One set of vectors. CPU milliseconds for a query, seconds for all."""

    vectors: int
    dims: int
    reduced_from: int  # 0: made with these dims
    reducing: float  # s: fitting the axes and reducing all
    faiss: float  # ms a query: IndexFlatIP alone, k = 20
    search: float  # ms a query: ours, k = 20
    vote: float  # ms a query: search and DINO's vote, every vector labelled
    balanced: float  # ms a query: search in each class and the balanced vote
    graph: float  # s: k = 15 of all, exact, from the queries measured
    growing: float  # s: adding a hundredth more vectors to that graph
    diffusion: float  # s: all classes on the symmetric graph

    def line(self) -> str:
        """Text for people."""
        ratios = (self.search, self.vote, self.balanced)
        cells = "".join(f"{value / self.faiss:>10.2f}" for value in ratios)
        name = f"{self.dims}" + (f" of {self.reduced_from}" if self.reduced_from else "")
        return (
            f"{self.vectors:>9}{name:>12}{self.reducing:>8.1f}{self.faiss:>8.3f}{cells}{self.graph:>9.1f}"
            f"{self.growing:>9.1f}{self.diffusion:>11.2f}{self.diffusion / self.graph:>9.3f}"
        )


@dataclass(frozen=True)
class BenchNeighborsReport:
    """The table of `bench neighbors`."""

    rows: tuple[NeighborsRow, ...]
    threads: int
    rounds: int

    def lines(self) -> list[str]:
        """Text for people."""
        wide = {"vectors": 9, "dims": 12, "PCA s": 8, "FAISS": 8, "search": 10, "vote": 10, "balanced": 10}
        wide |= {"graph s": 9, "growing": 9, "diffusion": 11, "/ graph": 9}
        return [
            f"CPU time, threads: {self.threads}, medians of {self.rounds} rounds in turn. Milliseconds a",
            f"query of FAISS's exact search (k = {VOTERS}), and how many times as long our search, the vote",
            f"and the balanced vote take; seconds for the exact graph of {K} neighbours, for 1 % more in it,",
            "and for the diffusion on it.",
            "".join(f"{head:>{width}}" for head, width in wide.items()),
            *(row.line() for row in self.rows),
        ]


def run_neighbors(settings: BenchNeighborsSettings, workspace: Path) -> BenchNeighborsReport:
    """Measure each size, with vectors of ``dims`` and with long ones that are reduced."""
    rows = []
    with threadpool_limits(settings.threads):
        for size in settings.sizes:
            say(f"{size} vectors of {settings.dims}")
            vectors, classes = made(size, settings.dims, settings.classes)
            rows.append(measured(vectors, classes, settings))
            if settings.full > REDUCED and size >= 4 * REDUCED:
                say(f"{size} vectors of {settings.full}, reduced to {REDUCED}")
                del vectors
                vectors, classes, took = made_reduced(size, settings.full, settings.classes)
                rows.append(measured(vectors, classes, settings, reduced_from=settings.full, reducing=took))
            del vectors
    return BenchNeighborsReport(tuple(rows), settings.threads, settings.rounds)


def measured(
    vectors: Float32,
    classes: Int64,
    settings: BenchNeighborsSettings,
    *,
    reduced_from: int = 0,
    reducing: float = 0.0,
) -> NeighborsRow:
    """Return the figures of one set."""
    queries = np.ascontiguousarray(vectors[:: max(1, len(vectors) // settings.queries)][: settings.queries])
    spent = medians_in_turn(
        _works(vectors, classes, queries, settings.classes), rounds=settings.rounds, said="rounds"
    )
    each = {name: 1000 * one.cpu / len(queries) for name, one in spent.items()}
    graph, growing, diffusion = _on_the_graph(vectors, classes, settings)
    return NeighborsRow(
        vectors=len(vectors),
        dims=vectors.shape[1],
        reduced_from=reduced_from,
        reducing=round(reducing, 2),
        graph=round(each["graph"] * len(vectors) / 1000 + graph, 4),
        growing=round(growing, 2),
        diffusion=round(diffusion, 4),
        **{name: round(each[name], 4) for name in ("faiss", "search", "vote", "balanced")},
    )


def _works(
    vectors: Float32, classes: Int64, queries: Float32, n_classes: int
) -> dict[str, Callable[[], object]]:
    """Return what is measured in turn: everything that searches."""
    alone = plain(vectors)

    def balanced() -> object:
        near = nearest_per_class(vectors, classes, queries, n_classes=n_classes, k=VOTERS, search=search)
        return balanced_vote(near.similarity)

    return {
        "faiss": lambda: alone(queries, VOTERS),
        "search": lambda: search(vectors, queries, VOTERS),
        "vote": lambda: knn(vectors, classes, queries, n_classes=n_classes, k=VOTERS, search=search)(VOTERS),
        "balanced": balanced,
        "graph": lambda: search(vectors, queries, K + 1),
    }


def _on_the_graph(
    vectors: Float32, classes: Int64, settings: BenchNeighborsSettings
) -> tuple[float, float, float]:
    """Return CPU seconds for making the graph symmetric, for adding a hundredth, and for the diffusion.

    The graph is made by approximate search above 20,000 vectors: as many edges, and minutes less.
    """
    inner = partial(search, exact_up_to=SKETCH)
    old = len(vectors) - len(vectors) // 100
    graph = build(vectors[:old], K, search=inner)
    growing = spent_here(lambda: extend(graph, vectors, search=search))
    weights = symmetric(graph)
    seen = np.full(old, -1, np.int64)
    for c in range(settings.classes):
        own = np.flatnonzero(classes[:old] == c)[: settings.labelled]
        seen[own] = c
    spent: dict[str, Spent] = medians_in_turn(
        {
            "symmetric": lambda: symmetric(graph),
            "diffusion": lambda: diffuse(weights, seen, settings.classes),
        },
        rounds=settings.rounds,
        said="diffusion",
    )
    return spent["symmetric"].cpu, growing.cpu, spent["diffusion"].cpu


def made(n: int, dims: int, n_classes: int, *, seed: int = 0, start: int = 0) -> tuple[Float32, Int64]:
    """Return unit rows (n, dims) and classes (n,): clusters that overlap, in fewer directions than dims."""
    shape = np.random.default_rng(seed)
    centres = shape.normal(size=(n_classes, dims)).astype(np.float32)
    ways = shape.normal(size=(FACTORS, dims)).astype(np.float32)
    draw = np.random.default_rng((seed, start))
    classes = draw.integers(0, n_classes, n)
    rows = draw.standard_normal((n, FACTORS), np.float32) @ ways / np.float32(4)
    rows += centres[classes]
    rows += np.float32(0.3) * draw.standard_normal((n, dims), np.float32)
    return unit(rows), classes


def made_reduced(n: int, dims: int, n_classes: int) -> tuple[Float32, Int64, float]:
    """Return long vectors on their principal axes (n, 512), their classes, and the CPU seconds of reducing.

    They are made some thousand at a time: all of them would be gigabytes. Raises UsageError for too few.
    """
    first, _ = made(min(CHUNK, n), dims, n_classes)
    begun = time.process_time()
    axes = fit_axes(first)
    taken = time.process_time() - begun
    if axes is None:
        raise UsageError(
            f"full={dims}, sizes {n}: axes need more dimensions than {REDUCED}, and 4 rows for each."
        )
    parts, classes = [], []
    for start in range(0, n, CHUNK):
        rows, own = made(min(CHUNK, n - start), dims, n_classes, start=start)
        begun = time.process_time()
        parts.append(axes.reduce(rows))
        taken += time.process_time() - begun
        classes.append(own)
    return np.concatenate(parts), np.concatenate(classes), taken
