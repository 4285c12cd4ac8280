import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dinonat.errors import UsageError
from dinonat.formats.handover import NOT_A_BOX, outgoing
from dinonat.pipelines import formats_peer
from dinonat.pipelines.bench_formats import BenchFormatsSettings, run_formats
from dinonat.pipelines.made_labels import CLASSES, SIZE_HW, made_labels
from dinonat.pipelines.peers import PeerError, hand_over, peer_in
from dinonat.records import PROPOSAL_COLUMNS

HERE = Path(sys.executable)
STAND_IN = """
import json, sys
library, file, pictures = sys.argv[1:]
if library == "supervision":
    print(json.dumps({"error": "ModuleNotFoundError: none here"}), flush=True)
    sys.exit()
print(json.dumps({"version": "9", "formats": ["coco", "voc", "yolo"]}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["format"] == "yolo":
        sys.exit(7)
    said = {"wall": 2.0 * asked["images"], "cpu": 1.0 * asked["images"], "memory": 5.0}
    print(json.dumps(said), flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that takes two seconds an image, or so it says."""
    script = tmp_path / "peer.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(formats_peer, "__file__", str(script))


@pytest.mark.usefixtures("stand_in")
def test_ratios_are_of_seconds_an_image_and_slow_ones_write_a_part(tmp_path: Path) -> None:
    settings = BenchFormatsSettings(images=40, boxes=2, rounds=2, formats=("coco", "voc"), against=HERE)
    report = run_formats(settings, tmp_path)
    assert [(row.format, row.by, row.images) for row in report.rows] == [
        ("coco", "dinonat", 40), ("coco", "datumaro 9", 40), ("voc", "dinonat", 40), ("voc", "datumaro 9", 4),
    ]  # fmt: skip
    for ours, other in (report.rows[:2], report.rows[2:]):
        assert (ours.ratio, ours.cpu_ratio) == (None, None)
        assert (other.wall, other.cpu, other.memory) == (2.0 * other.images, 1.0 * other.images, 5.0)
        assert other.ratio is not None
        assert other.ratio == pytest.approx(2.0 / (ours.wall / 40), rel=0.02)
    assert report.warnings == ("supervision is left out: ModuleNotFoundError: none here",)
    assert any("datumaro 9" in line and " 4 " in line for line in report.lines())


@pytest.mark.usefixtures("stand_in")
def test_a_library_that_dies_costs_its_row_and_is_said(tmp_path: Path) -> None:
    settings = BenchFormatsSettings(images=4, boxes=1, rounds=1, formats=("yolo", "coco"), against=HERE)
    report = run_formats(settings, tmp_path)
    assert ("yolo", "dinonat") in {(row.format, row.by) for row in report.rows}
    assert ("yolo", "datumaro 9") not in {(row.format, row.by) for row in report.rows}
    assert any("yolo by datumaro 9 is left out" in text and "exit code 7" in text for text in report.warnings)


def test_without_another_python_only_ours_is_timed(tmp_path: Path) -> None:
    report = run_formats(BenchFormatsSettings(images=3, boxes=1, rounds=1), tmp_path)
    assert {row.by for row in report.rows} == {"dinonat"}
    assert {"coco", "yolo", "voc", "cvat", "label-studio"} <= {row.format for row in report.rows}
    assert all(row.wall > 0 for row in report.rows)
    assert not report.warnings


def test_what_makes_no_sense_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cocoa"):
        run_formats(BenchFormatsSettings(formats=("cocoa",)), tmp_path)
    nowhere = BenchFormatsSettings(images=1, boxes=1, against=tmp_path / "python", formats=("coco",))
    with pytest.raises(UsageError, match="Name a Python"):
        run_formats(nowhere, tmp_path)


def test_a_python_without_the_libraries_is_said(tmp_path: Path) -> None:
    warnings: list[str] = []
    labels, images = made_labels(2, 1)
    hand_over(outgoing(labels, images, CLASSES), tmp_path)
    with peer_in(HERE, "no_such_library", tmp_path, warnings) as peer:
        assert peer is None
    assert warnings == ["no_such_library is left out: ModuleNotFoundError: No module named 'no_such_library'"]


def test_an_error_of_a_library_does_not_end_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "peer.py"
    script.write_text(
        "import json, sys\n"
        "print(json.dumps({'version': '1', 'formats': ['coco']}), flush=True)\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    print(json.dumps({'wall': 1} if number else {'error': 'no place'}), flush=True)\n"
    )
    monkeypatch.setattr(formats_peer, "__file__", str(script))
    with peer_in(HERE, "datumaro", tmp_path, []) as peer:
        assert peer is not None
        with pytest.raises(PeerError, match="no place"):
            peer.ask({})
        assert peer.ask({}) == {"wall": 1}


def test_many_labels_are_written_by_a_process_of_its_own(tmp_path: Path) -> None:
    report = run_formats(BenchFormatsSettings(formats=(), count=500), tmp_path)
    assert report.many is not None
    assert (report.many.labels, report.rows) == (500, ())
    assert 20 < report.many.peak < 1000  # Python and pandas alone
    assert "within 1 GiB" in report.lines()[-1]


def test_made_labels_look_like_an_export() -> None:
    labels, images = made_labels(6, 3, seed=4)
    pd.testing.assert_frame_equal(labels, made_labels(6, 3, seed=4)[0])
    assert not labels["x"].equals(made_labels(6, 3, seed=5)[0]["x"])
    assert set(labels) <= set(PROPOSAL_COLUMNS)
    assert labels["image"].value_counts().tolist() == [3] * 6
    assert labels["proposal"].is_unique
    asked = outgoing(labels, images, CLASSES)
    assert NOT_A_BOX not in asked.losses
    assert asked.losses == {}


def test_the_others_are_handed_the_same_labels(tmp_path: Path) -> None:
    labels, images = made_labels(4, 2)
    asked = outgoing(labels, images, CLASSES)
    hand_over(asked, tmp_path)
    given = json.loads((tmp_path / "set.json").read_text())
    assert given["classes"] == list(CLASSES)
    for (name, width, height), image in zip(given["images"], images["image"], strict=True):
        assert (name, height, width) == (image, *SIZE_HW)
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert picture.size == (width, height)
    for row, (at, x, y, w, h, number, facts) in zip(asked.labels.itertuples(), given["labels"], strict=True):
        assert (at, x, y, w, h, number) == (row.at, row.x, row.y, row.w, row.h, row.number)
        assert facts["label_id"] == row.proposal
        assert (facts["score"], facts["t_max"]) == (pytest.approx(row.score), pytest.approx(row.t_max))
        assert facts["reason"] == row.reason
