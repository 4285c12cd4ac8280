import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from dinonat.embeddings.store import EmbeddingSet, SetWriter, open_set
from dinonat.embeddings.warmth import UNMEASURED
from dinonat.errors import DinonatError, LabelError, UsageError, WorkspaceError
from dinonat.evaluation.audits import AuditsTried, Promise
from dinonat.files import short_hash
from dinonat.pipelines import labelled, rounds_report, workspace
from dinonat.pipelines.evaluate_proposals import EvaluateProposalsSettings, run
from dinonat.pipelines.judged import How
from dinonat.pipelines.judged_lines import audit_lines
from dinonat.pipelines.propose import ProposeSettings
from dinonat.pipelines.propose import run as propose
from dinonat.pipelines.rounds import Plan, Round, borrowed, play
from dinonat.pipelines.rounds_report import RoundsReport
from dinonat.pipelines.truth import read_truth
from dinonat.records import ITEM_COLUMNS, PARTS, as_table, read_proposals

CLASSES = ("bicycle", "car", "person")
DIM, IMAGES = 12, 12


def vector(kind_of_thing: int, generator: np.random.Generator) -> np.ndarray:
    """A thing looks like its class; class 3 is the ground."""
    return 2 * np.eye(DIM)[kind_of_thing] + 0.6 * generator.normal(size=DIM)


def row(image: str, kind: str, box: tuple[float, ...], **more: object) -> dict[str, object]:
    x, y, w, h = box
    return {
        "item": short_hash(image, kind, list(box)), "image": image, "kind": kind,
        "x": x, "y": y, "w": w, "h": h, "width": 100, "height": 80, "objectness": 0.5,
        "mask_counts": [], "source": "ncut", "label": "", "status": "ok", "reason": "", "sha256": "",
        "recording": f"drive {int(image[:2]) // 2}", "unit": "grey", "prepare": "percentile",
        "lo": 0.0, "hi": 1.0, **UNMEASURED, **more,
    }  # fmt: skip


def write_set(
    root: Path, name: str, rows: list[dict[str, object]], vectors: list[np.ndarray]
) -> EmbeddingSet:
    folder = workspace.set_folder(workspace.create(root), name)
    writer = SetWriter(folder, {"model": "abc", "settings": {}, "root": "x", "n": len(rows)}, notes={})
    writer.write(0, as_table(rows, ITEM_COLUMNS), dict.fromkeys(PARTS, np.float32(vectors)))
    writer.finish(shards=1)
    if labelled.MARK not in name:
        workspace.remember(root, "set", name)
    return open_set(folder)


def class_of(image: str) -> str:
    return CLASSES[int(image[:2]) % 3]


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_sync: None) -> SimpleNamespace:
    """A set of 12 images, each of one class, with three things and a piece of ground; and its truth."""
    generator, root = np.random.default_rng(1), tmp_path / "w"
    rows, vectors, things = [], [], []
    for n in range(IMAGES):
        image = f"{n:02}.png"
        rows.append(row(image, "image", (0, 0, 100, 80)))
        vectors.append(vector(n % 3, generator))
        for place, c in enumerate([*generator.integers(0, 3, 3), 3]):
            box = (float(22 * place), float(10 + generator.integers(9)), 18.0, 20.0)
            rows.append(row(image, "region", box))
            vectors.append(vector(int(c), generator))
            things += [(image, CLASSES[c], *box)] if c < 3 else []
    known = write_set(root, "thermal", rows, vectors)
    made: list[str] = []

    def embed_boxes(
        known: EmbeddingSet, labels: pd.DataFrame, *, workspace: Path, folder: Path
    ) -> EmbeddingSet:
        name = f"thermal{labelled.MARK}{short_hash(labels.to_dict('records'))[:6]}"
        own = np.random.default_rng(2)
        given = [
            row(image, "region", tuple(box), label=label)
            for image, label, *box in labels[["image", "label", *"xywh"]].itertuples(index=False)
        ]
        made.append(name)
        looks = [vector(CLASSES.index(str(each["label"])), own) for each in given]
        return write_set(workspace, name, given, looks)

    monkeypatch.setattr(labelled, "embed_boxes", embed_boxes)
    whole = write(tmp_path / "whole.csv", [(f"{n:02}.png", CLASSES[n % 3]) for n in range(IMAGES)])
    boxes = write(tmp_path / "boxes.csv", things)
    return SimpleNamespace(root=root, known=known, things=things, whole=whole, boxes=boxes, folder=tmp_path)


def write(path: Path, rows: list[tuple[object, ...]]) -> Path:
    header = "image,label,x,y,w,h" if len(rows[0]) > 2 else "image,label"
    path.write_text("\n".join([header, *(",".join(map(str, each)) for each in rows)]) + "\n")
    return path


def some(street: SimpleNamespace, images: int, *, boxes: bool) -> Path:
    """Labels of the first images."""
    file = street.boxes if boxes else street.whole
    head, *rows = file.read_text().splitlines()
    kept = [line for line in rows if int(line[:2]) < images]
    path: Path = street.folder / f"some-{images}-{boxes}.csv"
    path.write_text("\n".join([head, *kept]) + "\n")
    return path


def asked(street: SimpleNamespace, **more: object) -> EvaluateProposalsSettings:
    return EvaluateProposalsSettings.checked({"labels": street.whole, "resamples": 50, **more})


def test_labels_of_images_are_judged_without_what_was_given(street: SimpleNamespace) -> None:
    made = propose(ProposeSettings(labels=some(street, 6, boxes=False)), street.root)
    report = run(asked(street), street.root)
    assert not isinstance(report, RoundsReport)
    judged = report.judgement.images
    assert judged is not None
    table = read_proposals(made.file)
    assert (judged.items, report.judgement.left_out) == (6, 6)
    assert not set(table["image"]) & {f"{n:02}.png" for n in range(6)}
    right = accuracy_score(table["image"].map(class_of), table["label"])
    assert judged.figures["accuracy"].value == pytest.approx(right)
    assert (judged.word, judged.groups) == ("recording", 3)
    assert report.judgement.boxes is None
    assert json.dumps(dataclasses.asdict(report), default=str)
    text = "\n".join(report.lines())
    assert f"Labels of 6 images in percent, 3 classes ({95} % intervals over 3 recordings, rough)" in text
    assert re.search(rf"accuracy +{100 * right:.1f} \(", text)
    assert "clicks: " in text


@pytest.mark.parametrize("asked_for", [0.0, 1.0, 1.5])
def test_a_precision_that_no_audit_can_show_is_a_sentence(asked_for: float) -> None:
    with pytest.raises(UsageError, match=re.escape(f"precision.1={asked_for}")):
        EvaluateProposalsSettings.resolve(named={"precision": [0.9, asked_for]})


def test_where_no_audit_accepts_anything_no_share_of_it_is_said() -> None:
    none = Promise(0.9, held=1.0, precision=float("nan"), coverage=0.0, oracle=0.039, none=1.0)
    some = Promise(0.5, held=1.0, precision=0.6, coverage=0.2, oracle=0.5, none=0.5)
    lines = audit_lines(AuditsTried(100, 200, 0.05, 0.06, (none, some)))
    assert (
        lines[1].strip()
        == "precision 0.9 asked: nothing accepted in any audit; with all known 3.9 % could be"
    )
    assert "60.0 of the 20.0 % accepted; held in 100.0 % of the audits, nothing accepted in 50.0" in lines[2]


def test_labels_given_between_are_left_out_where_the_table_still_holds_them(street: SimpleNamespace) -> None:
    """A table that proposes for what was given (of another version) is judged on the rest all the same."""
    made = propose(ProposeSettings(labels=some(street, 6, boxes=False)), street.root)
    given = Path(made.folder) / labelled.GIVEN
    given.write_text(given.read_text() + "06.png,car,,,,\n07.png,car,,,,\n")
    report = run(asked(street), street.root)
    assert not isinstance(report, RoundsReport)
    assert report.judgement.images is not None
    assert report.judgement.images.items == 4


def test_boxes_are_judged_in_the_images_that_nobody_labelled(street: SimpleNamespace) -> None:
    made = propose(ProposeSettings(labels=some(street, 5, boxes=True)), street.root)
    report = run(asked(street, labels=street.boxes), street.root)
    assert not isinstance(report, RoundsReport)
    boxes, regions = report.judgement.boxes, report.judgement.regions
    assert boxes is not None
    assert regions is not None
    assert (boxes.images, boxes.true, boxes.candidates, report.judgement.left_out) == (7, 21, 4.0, 5)
    assert boxes.figures["found_5"].value == 1.0  # every thing is a region
    table = read_proposals(made.file)
    true = {(image, *box): label for image, label, *box in street.things}
    truth = [
        true.get((each.image, each.x, each.y, each.w, each.h), "background") for each in table.itertuples()
    ]
    proposed = table["label"].replace("", "background")
    assert regions.figures["accuracy"].value == pytest.approx(accuracy_score(truth, proposed))
    bill = boxes.bill
    assert bill.shown == int((table["advice"] != "unknown").sum())
    assert bill.unchanged + bill.label + bill.box + bill.both + bill.missed == 21
    text = "\n".join(report.lines())
    assert "Boxes at IoU 0.5 in percent: 21 true ones in 7 images" in text
    assert "AP50, mean of the classes" in text


def test_classes_that_are_ignored_cost_nothing_and_win_nothing(street: SimpleNamespace) -> None:
    propose(ProposeSettings(labels=some(street, 5, boxes=True)), street.root)
    report = run(asked(street, labels=street.boxes, ignore="car"), street.root)
    assert not isinstance(report, RoundsReport)
    assert report.judgement.boxes is not None
    assert set(report.judgement.boxes.by_class) == {"bicycle", "person"}
    assert report.judgement.boxes.candidates < 4  # what meets an ignored box is not there


def test_a_run_without_labels_is_judged_by_where_its_boxes_are(street: SimpleNamespace) -> None:
    propose(ProposeSettings(), street.root)
    report = run(asked(street, labels=street.boxes), street.root)
    assert not isinstance(report, RoundsReport)
    assert report.judgement.regions is None
    boxes = report.judgement.boxes
    assert boxes is not None
    assert (boxes.images, set(boxes.by_class)) == (IMAGES, {"object"})
    assert any("without labels" in said for said in report.warnings)


@pytest.mark.parametrize(
    ("labels", "truth", "said"),
    [
        ("boxes", "whole", "holds labels of whole images, but .* proposes boxes"),
        ("whole", "boxes", "holds boxes, but .* proposes labels of whole images"),
        ("whole", "given", "no images left to judge .* by"),
        ("boxes", "given", "no true boxes left to judge .* by"),
        ("whole", "other", "none of its 2 images is a readable image of the set 'thermal'"),
        ("whole", "none", "evaluate proposals: no true labels"),
        ("whole", "missing", "missing.csv"),
    ],
)
def test_a_truth_that_cannot_judge_is_a_sentence(
    street: SimpleNamespace, labels: str, truth: str, said: str
) -> None:
    given = some(street, 5, boxes=labels == "boxes")
    propose(ProposeSettings(labels=given), street.root)
    file = {
        "given": given,
        "other": write(street.folder / "other.csv", [("x.png", "car"), ("y.png", "car")]),
        "none": None,
        "missing": street.folder / "missing.csv",
    }.get(truth, getattr(street, truth, None))
    with pytest.raises(DinonatError, match=said) as caught:
        run(asked(street).model_copy(update={"labels": file}), street.root)
    assert "\n" not in str(caught.value)


def test_runs_that_cannot_be_judged_are_sentences(street: SimpleNamespace) -> None:
    with pytest.raises(WorkspaceError, match="propose-labels"):
        run(asked(street), street.root)
    made = propose(ProposeSettings(labels=some(street, 5, boxes=False)), street.root)
    with pytest.raises(WorkspaceError, match="no run of proposals called 'x'"):
        run(asked(street, run="x"), street.root)
    # One class only is judged, and said to be that.
    rows = [(f"{n:02}.png", "car") for n in range(12)]
    report = run(asked(street, labels=write(street.folder / "one.csv", rows)), street.root)
    assert "in percent, 1 class (" in "\n".join(report.lines())
    assert any("all that is judged is 'car'" in said for said in report.warnings)
    meta = Path(made.folder) / "meta.json"
    meta.write_text(meta.read_text().replace('"set": "thermal"', '"set": "gone"'))
    with pytest.raises(WorkspaceError, match="no set of embeddings called 'gone'"):
        run(asked(street), street.root)


def test_a_set_that_was_embedded_anew_is_said(street: SimpleNamespace) -> None:
    propose(ProposeSettings(labels=some(street, 5, boxes=False)), street.root)
    rows = [row(f"{n:02}.png", "image", (0, 0, 90, 80)) for n in range(IMAGES)]
    workspace.set_folder(street.root, "thermal").rename(street.folder / "old")
    write_set(street.root, "thermal", rows, [np.ones(DIM)] * IMAGES)
    with pytest.raises(WorkspaceError, match="embedded anew"):
        run(asked(street), street.root)


def test_a_set_without_regions_and_a_run_of_nothing_are_sentences(street: SimpleNamespace) -> None:
    propose(ProposeSettings(labels=street.whole), street.root)  # everything is labelled
    with pytest.raises(LabelError, match="proposes nothing"):
        run(asked(street), street.root)


def rounds(street: SimpleNamespace, **more: object) -> EvaluateProposalsSettings:
    return asked(street, **{"rounds": [3, 6], "draws": 2, "audit": 0, **more})


@pytest.mark.parametrize("boxes", [False, True])
def test_a_round_is_what_propose_labels_and_evaluate_proposals_give(
    street: SimpleNamespace, boxes: bool
) -> None:
    """Two ways to one answer: the commands by hand in the workspace itself, with the same labels."""
    labels = street.boxes if boxes else street.whole
    report = run(rounds(street, labels=labels, rounds=[6], draws=1, strategies="select"), street.root)
    assert isinstance(report, RoundsReport)
    (played,) = report.rounds
    truth = read_truth(labels, street.known, warn=print)
    with borrowed(street.known) as scratch:  # what select chooses of a set without labels
        from dinonat.pipelines.selection import SelectSettings
        from dinonat.pipelines.selection import run as select

        chosen = select(SelectSettings(n=6), scratch).chosen
    rows = truth.boxes if boxes else truth.whole
    rows = rows[rows["image"].isin(chosen)]
    given = [tuple(each) for each in (rows if boxes else rows[["image", "label"]]).itertuples(index=False)]
    propose(ProposeSettings(labels=write(street.folder / "chosen.csv", given)), street.root)
    by_hand = run(asked(street, labels=labels, audit=0), street.root)
    assert not isinstance(by_hand, RoundsReport)
    judged = by_hand.judgement
    own = judged.boxes.figures if judged.boxes else judged.images.figures if judged.images else {}
    assert {name: one.value for name, one in own.items()} == pytest.approx(
        {name: played.figures[name] for name in own}, nan_ok=True
    )
    assert (played.images, played.labels) == (6, len(given))


def test_rounds_leave_the_workspace_as_it_was_and_a_page(street: SimpleNamespace) -> None:
    before = sorted(path.relative_to(street.root).as_posix() for path in street.root.rglob("*"))
    asked_for = rounds(street, ways=["", ":hog+raw"], strategies="random", draws=1)
    report = run(asked_for, street.root)
    assert isinstance(report, RoundsReport)
    after = sorted(path.relative_to(street.root).as_posix() for path in street.root.rglob("*"))
    assert [path for path in after if not path.startswith("rounds")] == before
    assert len(report.rounds) == 2 * 2
    assert {each.images for each in report.rounds} == {3, 6}
    page = Path(report.page).read_text()
    assert page.count("<svg") == 3
    assert "random :hog+raw" in page
    assert "<script" not in page
    assert len(json.loads(Path(report.file).read_text())["rounds"]) == 4
    again = run(asked_for, street.root)
    assert again.lines() == report.lines()
    assert Path(report.page).read_text() == page
    lines = report.lines()
    assert sum(line.startswith("random") for line in lines) == 4


def test_figures_that_cannot_be_had_are_no_points_of_the_curves(tmp_path: Path) -> None:
    none = float("nan")
    figures = [{"balanced_things": none, "ap": none, "saved_in_all": -0.1}, {"ap": 0.25, "saved_in_all": 0.1}]
    played = tuple(Round("random", "", 5 * (i + 1), 0, 5, 9, 2, each) for i, each in enumerate(figures))
    rounds_report.write(RoundsReport("s", "m", "t", "region", False, 1, played, "p", "f", ()), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "nan" not in page
    assert page.count("<svg") == 2  # nothing to draw of balanced_things
    assert page.count("<circle") == 3


def test_draws_by_lot_grow_and_hold_as_many_of_each_class(street: SimpleNamespace) -> None:
    report = run(rounds(street, rounds=[2], per_class=True, strategies="random"), street.root)
    assert isinstance(report, RoundsReport)
    assert [(each.spent, each.labels, each.classes) for each in report.rounds] == [(2, 6, 3)] * 2
    first, second = (each.figures for each in report.rounds)
    assert first != second  # another draw


def test_what_is_in_doubt_needs_proposals_and_begins_by_lot(street: SimpleNamespace) -> None:
    report = run(rounds(street, strategies="uncertain", draws=1), street.root)
    assert isinstance(report, RoundsReport)
    assert [each.images for each in report.rounds] == [3, 6]


def test_images_without_a_true_label_are_never_labelled(street: SimpleNamespace) -> None:
    truth = read_truth(some(street, 8, boxes=False), street.known, warn=print)
    plan = Plan("image", (4, 7), False, ("select", "random"), (("", {}),), 1, 0)
    played = play(plan, truth, street.known, How(resamples=0))
    assert [each.images for each in played] == [4, 7] * 2
    assert all(each.figures["accuracy"] >= 0 for each in played)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"rounds": [40]}, LabelError, "12 images of the set have a true label, so 40 cannot"),
        ({"rounds": [6, 3]}, UsageError, "rounds"),
        ({"strategies": "typcal"}, UsageError, "Did you mean 'typical'"),
        ({"run": "x"}, UsageError, "takes no run"),
        ({"ways": ["votes"]}, UsageError, "method"),
        ({"ways": [":hug"]}, UsageError, "hug"),
    ],
)
def test_rounds_that_make_no_sense_are_sentences(
    street: SimpleNamespace, more: dict[str, object], error: type[DinonatError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(rounds(street, **more), street.root)
