import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dinonat.errors import UsageError, WorkspaceError
from dinonat.neighbors.parts import unit
from dinonat.pipelines import layout as layouts
from dinonat.pipelines import workspace as places
from dinonat.pipelines.cli import app
from dinonat.pipelines.layout import Layout, components, framed, keep, kept, neighbourly, plane
from dinonat.pipelines.map_labels import BY_PEOPLE, LEFT, NO_BY_PEOPLE, NONE
from dinonat.pipelines.mapping import MapReport, MapSettings, _weights, run

NAMES = [f"{i:02}.png" for i in range(24)]
pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture
def root(tmp_path: Path, made: SimpleNamespace) -> Path:
    """Two groups of images, each with one region; half of the images have a proposal."""
    rng = np.random.default_rng(0)
    folder: Path = places.create(tmp_path / "w")
    made.images(tmp_path / "images", NAMES)
    box = {"kind": "region", "x": 2.0, "y": 1.0, "w": 5.0, "h": 4.0}
    images = [made.image_row(name, recording=f"flight {i % 2}") for i, name in enumerate(NAMES)]
    regions = [made.image_row(name, **{**box, "item": f"r-{name}"}) for name in NAMES]
    looks = rng.normal(size=(48, 6)) + 5 * np.eye(6)[np.arange(48) % 2]
    made.set(places.set_folder(folder, "set1"), tmp_path / "images", rows=images + regions, vectors=looks)
    whole = {"kind": "image", "x": np.nan, "y": np.nan, "w": np.nan, "h": np.nan}
    proposals = [
        {**whole, "image": name, "item": name, "label": "car" if i % 3 else "tram", "score": i / 12}
        for i, name in enumerate(NAMES[:12])
    ]
    proposals[0]["advice"], proposals[1]["status"] = "unknown", "rejected"
    proposals[2]["advice"], proposals[2]["status"] = "given", "accepted"
    made.proposals(places.proposals_folder(folder, "run1"), proposals)
    places.remember(folder, "set", "set1")
    return folder


def mapped(root: Path, **more: Any) -> MapReport:
    return run(MapSettings(**{"layout": "pca", **more}), root)


def test_the_parts_of_a_run_that_centred_nothing_are_taken_too() -> None:
    said = {"kind": ["image", "image"], "features": ["", "mean=1,hog=0.5 uncentred"]}
    assert _weights(MapSettings(), pd.DataFrame(said), "image") == {"mean": 1.0, "hog": 0.5}


def data_of(report: MapReport) -> dict[str, Any]:
    page = Path(report.page).read_text("utf-8")
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    value: dict[str, Any] = json.loads(found[1])
    return value


def names_of(report: MapReport, title: str) -> list[str]:
    import base64

    (colouring,) = (each for each in data_of(report)["colourings"] if each["title"] == title)
    codes = np.frombuffer(base64.b64decode(colouring["codes"]["data"]), np.uint8)
    return [colouring["names"][code] for code in codes]


def test_every_image_is_a_point_with_what_is_known_of_it(root: Path) -> None:
    report = mapped(root)
    assert (report.points, report.of, report.kind, report.proposals) == (24, 24, "image", "run1")
    assert (report.pictures, report.lost, report.layouts) == (24, 0, ("PCA",))
    assert report.colours == ("label", "advice", "score", "cluster", "recording")
    assert data_of(report)["names"] == NAMES
    labels = names_of(report, "label")
    assert labels[:4] == [LEFT, "rejected", "car", "tram"]
    assert labels[12:] == [NONE] * 12
    assert names_of(report, "advice")[:4] == [LEFT, NO_BY_PEOPLE, BY_PEOPLE, "review"]
    assert names_of(report, "recording") == [f"flight {i % 2}" for i in range(24)]
    assert "run1" in Path(report.page).read_text("utf-8")


def test_the_same_map_twice_is_the_same_bytes_and_the_layout_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mapped(root)
    folder = Path(first.page).parent
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert mapped(root, again=True) == first
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr("dinonat.pipelines.map_points.components", None)  # not asked again
    monkeypatch.setattr("dinonat.pipelines.map_points.read_prepared", None)
    assert mapped(root) == first


@pytest.mark.parametrize("file", ["layout.npz", "sheets.npz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "array"])
def test_what_is_damaged_is_made_again(root: Path, file: str, damage: str) -> None:
    first = mapped(root)
    path = Path(first.page).parent / file
    whole = path.read_bytes()
    if damage == "array":
        with path.open("wb") as stream:
            np.save(stream, np.arange(3))
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"noise" * 99, "empty": b""}[damage])
    assert mapped(root) == first
    assert path.read_bytes() == whole


def test_other_vectors_give_another_layout(root: Path) -> None:
    folder = Path(mapped(root, features="mean").page).parent
    before = (folder / "layout.npz").read_bytes()
    mapped(root, features="mean=1,hog=0.5")
    assert (folder / "layout.npz").read_bytes() != before


def test_regions_are_shown_where_only_regions_have_labels(root: Path, made: SimpleNamespace) -> None:
    boxes = [{"image": name, "item": f"r-{name}", "label": "car", "score": 0.5} for name in NAMES[:5]]
    made.proposals(places.proposals_folder(root, "run2"), boxes)
    places.remember(root, "proposals", "run2")
    report = mapped(root)
    assert (report.kind, report.name, report.points, report.pictures) == ("region", "set1-regions", 24, 24)
    assert names_of(report, "label") == ["car"] * 5 + [NONE] * 19
    assert mapped(root, kind="image").colours[0] == "cluster"  # no image has a label in this run
    assert mapped(root, kind="image", proposals="run1").colours[0] == "label"


def test_without_proposals_there_are_clusters_and_recordings(root: Path, made: SimpleNamespace) -> None:
    for file in places.proposals_folder(root, "run1").iterdir():
        file.unlink()
    report = mapped(root)
    assert (report.proposals, report.colours) == (None, ("cluster", "recording"))
    groups = names_of(report, "cluster")
    assert len(set(groups)) > 1


def test_images_that_are_gone_stay_points_and_are_counted(root: Path) -> None:
    for name in NAMES[:5]:
        (root.parent / "images" / name).unlink()
    report = mapped(root)
    assert (report.points, report.pictures, report.lost) == (24, 19, 5)
    assert any("5 images could not be read" in line for line in report.lines())
    assert "5 images could not be read" in Path(report.page).read_text("utf-8")


def test_of_many_points_some_are_shown_and_it_is_said(root: Path) -> None:
    report = mapped(root, most=7, pictures=3)
    assert (report.points, report.of, report.pictures) == (7, 24, 3)
    assert data_of(report)["names"] == [NAMES[i] for i in (0, 4, 8, 12, 15, 19, 23)]
    assert any("7 of 24 images are shown" in line for line in report.lines())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_set_of_few_or_of_equal_images(tmp_path: Path, made: SimpleNamespace, n: int) -> None:
    root = places.create(tmp_path / "w")
    made.images(tmp_path / "images", NAMES[:n])
    rows = [made.image_row(name) for name in NAMES[:n]]
    made.set(places.set_folder(root, "few"), tmp_path / "images", rows=rows)
    places.remember(root, "set", "few")
    report = run(MapSettings(), root)
    assert (report.points, report.layouts, report.colours) == (n, ("PCA",), ("cluster",))
    assert any("All vectors are equal" in line for line in report.lines()) == (n > 1)


def test_bad_input_is_a_sentence(root: Path, tmp_path: Path, made: SimpleNamespace) -> None:
    with pytest.raises(WorkspaceError, match="dinotool embed"):
        run(MapSettings(), places.create(tmp_path / "empty"))
    with pytest.raises(WorkspaceError, match="no set of embeddings called 'other'"):
        mapped(root, set="other")
    with pytest.raises(WorkspaceError, match="no run of proposals called"):
        mapped(root, proposals="none")
    with pytest.raises(UsageError, match="grid"):
        mapped(root, features="gird=1")
    made.set(
        places.set_folder(root, "flat"), tmp_path / "images", rows=[made.image_row(n) for n in NAMES[:3]]
    )
    with pytest.raises(WorkspaceError, match="no regions with vectors"):
        mapped(root, set="flat", kind="region")
    with pytest.raises(WorkspaceError, match="about set 'set1', not 'flat'"):
        mapped(root, set="flat", proposals="run1")
    result = CliRunner().invoke(app, ["map", "--kind", "thing", "-w", str(root)])
    assert result.exit_code == 2


def test_components_keep_what_an_svd_keeps() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20)) + 3).astype(np.float32)
    reduced = components(rows, dims=5).reduce(rows).astype(np.float64)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0, dtype=np.float64), full_matrices=False)
    exact = (u * s)[:, :5]
    signs = np.sign((exact * reduced).sum(axis=0))
    assert np.abs(exact * signs - reduced).max() < 1e-3 * s[0]
    assert np.allclose(plane(reduced.astype(np.float32)), framed(reduced[:, :2].astype(np.float32)))


class FakeUmap:
    """Stands for umap-learn: keeps what it was told, returns its start."""

    told: dict[str, Any]

    def __init__(self, **told: Any) -> None:
        FakeUmap.told = told

    def fit_transform(self, rows: np.ndarray) -> np.ndarray:
        print("on stdout")
        self.told["tqdm_kwds"]["file"].write("0 of 500")
        start: np.ndarray = self.told["init"]
        return start * [3, 1]


def test_umap_gets_exact_neighbours_by_cosine(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layouts, "_umap", lambda: SimpleNamespace(UMAP=FakeUmap))
    report = run(MapSettings(neighbours=5, seed=3), root)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "UMAP follows" in captured.err
    assert report.layouts == ("UMAP", "PCA")
    assert (FakeUmap.told["random_state"], FakeUmap.told["n_jobs"]) == (3, 1)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 6)).astype(np.float32)
    neighbourly(rows, plane(rows), neighbours=5, min_dist=0.1, seed=0)
    found, distances, _ = FakeUmap.told["precomputed_knn"]
    exact = 1 - (unit(rows).astype(np.float64) @ unit(rows).astype(np.float64).T)
    assert np.array_equal(found, np.argsort(exact, axis=1)[:, :5])
    assert np.allclose(distances, np.sort(exact, axis=1)[:, :5], atol=1e-6)
    monkeypatch.setattr(layouts, "_umap", None)  # the layout is kept: nothing is asked again
    assert run(MapSettings(neighbours=5, seed=3), root) == report


def test_without_umap_learn_there_are_principal_components_and_it_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError("no numba")

    monkeypatch.setattr(layouts, "_umap", missing)
    report = run(MapSettings(), root)
    assert report.layouts == ("PCA",)
    assert any("no numba" in line for line in report.lines())
    assert "UMAP follows" not in Path(report.page).read_text("utf-8")


def test_a_layout_of_another_making_or_set_is_none(tmp_path: Path) -> None:
    xy = np.float32([[0, 0], [1, 1]])
    keep(Layout(np.int64([0, 5]), np.int64([0, 0]), xy, xy), tmp_path / "l.npz", "me")
    assert kept(tmp_path / "l.npz", "me", items=6) is not None
    assert kept(tmp_path / "l.npz", "you", items=6) is None
    assert kept(tmp_path / "l.npz", "me", items=5) is None
    assert kept(tmp_path / "none.npz", "me", items=6) is None


def test_umap_itself_parts_groups_alike_twice_and_loads_no_torch() -> None:
    program = """
import sys
import numpy as np
from dinonat.pipelines.layout import neighbourly, plane
import dinonat.pipelines.mapping
rng = np.random.default_rng(0)
groups = np.arange(90) % 3
rows = (rng.normal(size=(90, 8)) + 9 * np.eye(8)[groups]).astype(np.float32)
one, two = (neighbourly(rows, plane(rows), neighbours=8, min_dist=0.1, seed=0) for _ in range(2))
middles = np.stack([one[groups == g].mean(axis=0) for g in range(3)])
nearest = ((one[:, None] - middles) ** 2).sum(axis=2).argmin(axis=1)
print((nearest == groups).mean(), one.tobytes() == two.tobytes(), "torch" in sys.modules)
"""
    quick = os.environ | {"NUMBA_OPT": "0"}  # most of the time goes into compiling
    child = subprocess.run(
        [sys.executable, "-c", program], env=quick, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == ["1.0", "True", "False"]
