from pathlib import Path

import numpy as np
import pytest

from dinonat.errors import UsageError
from dinonat.neighbors.parts import REDUCED
from dinonat.pipelines.bench_neighbors import (
    BenchNeighborsSettings,
    NeighborsRow,
    made,
    made_reduced,
    run_neighbors,
)


def test_every_size_has_its_figures(tmp_path: Path) -> None:
    settings = BenchNeighborsSettings(sizes=(300, 600), dims=8, full=0, classes=3, queries=50, rounds=1)
    report = run_neighbors(settings, tmp_path)
    assert [(row.vectors, row.dims, row.reduced_from) for row in report.rows] == [(300, 8, 0), (600, 8, 0)]
    for row in report.rows:
        assert min(row.faiss, row.search, row.vote, row.balanced, row.graph, row.diffusion) > 0
    head, *lines = report.lines()[-3:]
    assert head.split()[0] == "vectors"
    assert [line.split()[:2] for line in lines] == [["300", "8"], ["600", "8"]]
    assert {len(line) for line in lines} == {len(head)}


def test_ratios_are_to_faiss_and_to_the_graph() -> None:
    row = NeighborsRow(20_000, 512, 3940, 9.0, 0.2, 0.21, 0.22, 0.3, 5.0, 0.1, 0.5)
    assert row.line().split() == [
        "20000", "512", "of", "3940", "9.0", "0.200", "1.05", "1.10", "1.50", "5.0", "0.1", "0.50", "0.100",
    ]  # fmt: skip


def test_made_vectors_are_unit_rows_whose_neighbours_are_of_their_class() -> None:
    rows, classes = made(600, 64, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    assert (classes[cosines.argmax(axis=1)] == classes).mean() > 0.5
    again, _ = made(600, 64, 3)
    assert np.array_equal(rows, again)
    other, _ = made(600, 64, 3, start=600)
    assert not np.array_equal(rows, other)


def test_long_vectors_are_reduced_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinonat.pipelines.bench_neighbors.CHUNK", 2100)
    rows, classes, taken = made_reduced(3000, REDUCED + 8, 4)
    assert (rows.shape, classes.shape) == ((3000, REDUCED), (3000,))
    assert taken > 0
    whole = np.concatenate([made(2100, REDUCED + 8, 4)[0], made(900, REDUCED + 8, 4, start=2100)[0]])
    np.testing.assert_allclose(rows[:50] @ rows[2500:].T, whole[:50] @ whole[2500:].T, atol=0.05)
    with pytest.raises(UsageError, match="4 rows for each"):
        made_reduced(1000, REDUCED + 8, 4)
