from pathlib import Path

import pytest

from dinonat.errors import UsageError
from dinonat.pipelines import bench_attention
from dinonat.pipelines.bench_attention import BenchAttentionSettings, run_attention


def test_every_backend_that_serves_is_a_row_beside_the_naive_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_attention, "MAPS", ((9, 1), (30, 2)))
    settings = BenchAttentionSettings(rounds=1, batch=1, threads=1, backends=("reference", "tiled", "dense"))
    report = run_attention(settings, tmp_path)
    rows = [(row.side, row.bias, row.backend) for row in report.rows]
    small = [(9, bias, name) for bias in (False, True) for name in settings.backends]
    assert rows == small + [(30, bias, name) for bias in (False, True) for name in ("reference", "tiled")]
    for row in report.rows:
        assert row.both > 0 < row.forward
        assert (row.forward_ratio == 1.0) == (row.backend == "reference") or row.forward_ratio
    assert any("30x30" in line and "tiled" in line for line in report.lines())


def test_a_backend_that_cannot_serve_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_attention, "MAPS", ((8, 1),))
    settings = BenchAttentionSettings(rounds=1, batch=1, backends=("tiled", "magic"))
    report = run_attention(settings, tmp_path)
    assert {row.backend for row in report.rows} == {"tiled"}
    assert all(row.forward_ratio is None for row in report.rows)
    assert "magic" in report.warnings[0]
    with pytest.raises(UsageError, match="magic"):
        run_attention(BenchAttentionSettings(backends=("magic",)), tmp_path)
