from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dinonat.errors import UsageError
from dinonat.models.catalog import build
from dinonat.pipelines import bench_model
from dinonat.pipelines.bench_model import BenchModelSettings, multiply_adds, run_model

SMALL = {"network": "nat_nano", "size": 32, "batch": 2, "rounds": 1, "threads": 1}


def small(**changes: object) -> BenchModelSettings:
    return BenchModelSettings.checked(SMALL | changes)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> str:
    """A network that stands for one of timm's."""
    asked = SimpleNamespace(
        create_model=lambda name, *, pretrained, num_classes, img_size: nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(), nn.Linear(4 * (img_size // 4) ** 2, 5)
        )
    )
    monkeypatch.setattr(bench_model, "timm_of", lambda name: asked)
    monkeypatch.setattr(bench_model, "published_facts", lambda name: {})
    return "a_peer"


def test_every_network_path_and_precision_is_a_row_and_peers_are_compared(peer: str, tmp_path: Path) -> None:
    report = run_model(small(backends=("tiled", "reference"), peers=(peer,)), tmp_path)
    assert [(row.network, row.backend, row.precision) for row in report.rows] == [
        (*which, precision)
        for precision in ("float32", "bfloat16")
        for which in (("nat_nano", "tiled"), ("nat_nano", "reference"), (peer, ""))
    ]
    assert len(report.comparisons) == 4
    rows = {(row.network, row.backend, row.precision): row for row in report.rows}
    for each in report.comparisons:
        ours = rows["nat_nano", each.backend, each.precision]
        theirs = rows[peer, "", each.precision]
        assert each.forward == pytest.approx(theirs.forward / ours.forward, abs=0.006)
        assert each.both == pytest.approx(theirs.both / ours.both, abs=0.006)
    assert rows[peer, "", "float32"].parameters == 4 * 48 + 4 + 5 * 256 + 5
    assert rows[peer, "", "float32"].multiply_adds == 64 * 4 * 48 + 5 * 256
    assert any(peer in line and "float32: forward" in line for line in report.lines())


def test_multiply_adds_count_windows_and_not_what_a_backend_computes() -> None:
    network = build("nat_mini", seed=0)
    assert multiply_adds(network, torch.zeros(1, 3, 224, 224)) == pytest.approx(
        2.7e9, rel=0.01
    )  # as published


@pytest.mark.skipif(util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_there_is_a_warning_and_no_comparison(tmp_path: Path) -> None:
    report = run_model(small(backends=("tiled",), precisions=("float32",)), tmp_path)
    assert [row.network for row in report.rows] == ["nat_nano"]
    assert report.comparisons == ()
    assert ["timm" in warning for warning in report.warnings] == [True]


def test_what_cannot_be_timed_is_a_sentence(
    peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_model(small(backends=("magic", "tiled"), peers=(), precisions=("float32",)), tmp_path)
    assert [row.backend for row in report.rows] == ["tiled"]
    assert ["magic" in warning for warning in report.warnings] == [True]
    with pytest.raises(UsageError, match="magic"):
        run_model(small(backends=("magic",), peers=()), tmp_path)
    with pytest.raises(UsageError, match="Network 'nat_nona' is not known"):
        run_model(small(network="nat_nona"), tmp_path)

    def refuse(name: str, **options: object) -> nn.Module:
        raise AssertionError("sides of 224 wanted")

    monkeypatch.setattr(bench_model, "timm_of", lambda name: SimpleNamespace(create_model=refuse))
    with pytest.raises(UsageError, match=r"a_peer cannot be built for 32 px \(sides of 224 wanted\)"):
        run_model(small(peers=(peer,)), tmp_path)


@pytest.mark.timm
def test_the_peers_of_timm_are_rows_without_classifier_and_unknown_ones_an_error(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    names = ("vit_tiny_patch16_224",)
    report = run_model(
        small(size=224, batch=1, backends=("tiled",), peers=names, precisions=("float32",)), tmp_path
    )
    (row,) = (row for row in report.rows if row.network == names[0])
    assert row.parameters == 5_524_416  # 5,717,416 as published, less 1000 classes of 192 + 1
    with pytest.raises(UsageError, match="vit_tinny_patch16_224"):
        run_model(small(size=224, peers=("vit_tinny_patch16_224",)), tmp_path)
