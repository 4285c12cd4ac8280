from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dinonat.errors import UsageError
from dinonat.models.reference import sliding_window
from dinonat.pipelines import bench_attention
from dinonat.pipelines.bench_attention import BenchAttentionSettings, run_attention, window_cut_at_border


def test_every_backend_that_serves_is_a_row_beside_the_naive_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_attention, "MAPS", ((9, 1), (30, 2)))
    backends = ("reference", "sasa", "tiled", "dense")
    settings = BenchAttentionSettings(rounds=1, batch=1, threads=1, backends=backends)
    report = run_attention(settings, tmp_path)
    rows = [(row.side, row.bias, row.backend) for row in report.rows]
    assert rows == [
        *((9, False, name) for name in backends),
        *((9, True, name) for name in ("reference", "tiled", "dense")),  # SASA has no bias
        *((30, False, name) for name in ("reference", "sasa", "tiled")),  # too large for dense on a CPU
        *((30, True, name) for name in ("reference", "tiled")),
    ]
    assert any("30x30" in line and "tiled" in line for line in report.lines())


def test_ratios_are_those_of_the_medians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_attention, "MAPS", ((8, 1),))
    report = run_attention(BenchAttentionSettings(rounds=2, batch=2, threads=1), tmp_path)
    naive = {row.bias: row for row in report.rows if row.backend == "reference"}
    for row in report.rows:
        assert row.forward_ratio == pytest.approx(naive[row.bias].forward / row.forward, abs=0.006)
        assert row.both_ratio == pytest.approx(naive[row.bias].both / row.both, abs=0.006)
    assert report.threads == 1


def test_a_backend_that_cannot_serve_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_attention, "MAPS", ((8, 1),))
    settings = BenchAttentionSettings(rounds=1, batch=1, backends=("tiled", "magic"))
    report = run_attention(settings, tmp_path)
    assert {row.backend for row in report.rows} == {"tiled"}
    assert all(row.forward_ratio is None for row in report.rows)
    (warning,) = report.warnings  # once, though no map could be served
    assert "magic" in warning
    with pytest.raises(UsageError, match="magic"):
        run_attention(BenchAttentionSettings(backends=("magic",)), tmp_path)


@pytest.mark.parametrize("shape", [(2, 9, 5, 3, 4), (1, 8, 8, 1, 32)])
def test_the_window_of_sasa_is_cut_at_the_border(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    for kernel_size in (3, 7):
        assert_close(window_cut_at_border(q, k, v, kernel_size), sliding_window(q, k, v, kernel_size))
