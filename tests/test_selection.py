import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinonat.errors import UsageError, WorkspaceError
from dinonat.formats.name_lists import read_names
from dinonat.images.listing import list_images
from dinonat.pipelines import export, import_labels, selection
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.selection import SelectReport, SelectSettings, run
from dinonat.records import read_proposals

NAMES = [f"day {i // 20}/{i:02}.png" for i in range(60)]
pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture
def root(tmp_path: Path, made: Any) -> Path:
    """Return a workspace of 60 images in three recordings, with two regions each and proposals for half."""
    made.images(tmp_path / "images", NAMES)
    rows = []
    for name in NAMES:
        drive = {"recording": name.split("/")[0]}
        rows.append(made.image_row(name, **drive))
        boxes = [{"item": f"{name} {i}", "x": i, "y": 1, "w": 3, "h": 3} for i in (1.0, 4.0)]
        rows += [made.image_row(name, kind="region", **box, **drive) for box in boxes]
    root: Path = places.create(tmp_path / "w")
    vectors = np.random.default_rng(0).normal(size=(len(rows), 8))
    made.set(places.set_folder(root, "set1"), tmp_path / "images", rows=rows, vectors=vectors)
    proposals = [
        {"image": name, "label": "car", "second": "tram", "item": f"{name} 1.0", "margin": i / 60}
        for i, name in enumerate(NAMES[:30])
    ]
    made.proposals(places.proposals_folder(root, "run1"), proposals)
    places.remember(root, "set", "set1")
    places.remember(root, "proposals", "run1")
    return root


def chosen(root: Path, **more: Any) -> SelectReport:
    return run(SelectSettings(**more), root)


def labelled(root: Path, names: list[str]) -> None:
    file = root.parent / "labels.csv"
    file.write_text("image,label\n" + "".join(f"{name},car\n" for name in names))
    import_labels.run(import_labels.ImportSettings(file=file), root)


@pytest.mark.parametrize("strategy", ["typical", "coverage", "random", "uncertain"])
@pytest.mark.parametrize("kind", ["image", "region"])
def test_a_list_of_images_that_nobody_has_labelled_with_a_reason_for_each(
    root: Path, strategy: Any, kind: Any
) -> None:
    labelled(root, NAMES[:5])
    report = chosen(root, n=9, strategy=strategy, kind=kind)
    names = read_names(Path(report.files[0]))
    assert names == list(report.chosen)
    assert len(set(names)) == 9
    assert not set(names) & set(NAMES[:5])
    assert max(Counter(name.split("/")[0] for name in names).values()) <= 5  # 14 of three recordings
    with Path(report.files[1]).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == names
    assert all(row["reason"] for row in rows)
    assert all((row["x"] != "") == (kind == "region") for row in rows)
    assert chosen(root, n=9, strategy=strategy, kind=kind) == report  # the same again
    other = chosen(root, n=9, strategy=strategy, kind=kind, seed=1)
    assert other.name != report.name
    assert strategy != "random" or other.chosen != report.chosen


def test_the_list_is_one_that_embed_and_export_take(root: Path) -> None:
    report = chosen(root, share=0.1)
    assert len(report.chosen) == 6
    listing = list_images(root.parent / "images", list_file=Path(report.files[0]))
    assert {ref.name for ref in listing.refs} == set(report.chosen)
    assert "--copies" in report.next
    exported = export.run(ExportSettings(only=Path(report.files[0]), copies=True), root)
    assert exported.images == 6
    pictures = {path.name: path.read_bytes() for path in Path(exported.folder).rglob("*.png")}
    assert pictures == {
        Path(name).name: (root.parent / "images" / name).read_bytes() for name in report.chosen
    }


def test_the_doubtful_ones_are_those_of_which_the_proposals_say_so(root: Path) -> None:
    report = chosen(root, n=6, strategy="uncertain")
    assert report.chosen[0] == NAMES[0]
    with Path(report.files[1]).open(newline="") as stream:
        assert next(csv.DictReader(stream))["reason"] == "undecided between car and tram: lead 0.000"


def test_labels_cover_and_what_stands_for_a_large_set_is_typical(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MANY", 6)
    labelled(root, NAMES[:4])
    assert chosen(root, n=30).strategy == "coverage"
    assert chosen(root, share=0.1).strategy == "coverage"
    assert chosen(root, share=0.2).strategy == "typical"


@pytest.mark.parametrize("odd", ["a\nb.png", " b.png", "b.png ", "b\x85.png", "b\u2028.png", 'image,"b.png'])
def test_names_that_lines_would_not_keep_are_parted_otherwise(
    tmp_path: Path, made: Any, root: Path, odd: str
) -> None:
    names = sorted([odd, "c.png"])
    made.set(
        places.set_folder(root, "odd"),
        tmp_path,
        rows=[made.image_row(name) for name in names],
        vectors=np.eye(2),
    )
    report = chosen(root, set="odd", n=2)
    assert sorted(read_names(Path(report.files[0]))) == names


def test_no_doubt_between_classes_where_nobody_named_any(root: Path) -> None:
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    read_proposals(file).assign(cluster=np.int32(1)).to_parquet(file)
    with pytest.raises(WorkspaceError, match="clusters that nobody has named"):
        chosen(root, n=3, strategy="uncertain")
    assert len(chosen(root, n=3, strategy="typical").chosen) == 3


@pytest.mark.parametrize("more", [{"strategy": "coverage"}, {"kind": "region"}, {"features": "hog"}])
def test_an_audit_is_drawn_by_lot_whatever_else_is_asked(root: Path, more: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(more))} .* can have no part"):
        chosen(root, audit=5, **more)


def test_wishes_that_cannot_be_met_are_said_or_refused(root: Path) -> None:
    assert "60 of 100 images" in chosen(root, n=100).warnings[0]
    with pytest.raises(UsageError, match="one of --n, --share and --audit"):
        chosen(root, n=3, share=0.5)
    with pytest.raises(UsageError, match="--proxies"):
        export.run(ExportSettings(copies=True, proxies=True), root)
    labelled(root, NAMES)
    with pytest.raises(WorkspaceError, match="no image is left"):
        chosen(root)
