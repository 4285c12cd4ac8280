import base64
import json
import os
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dinonat.errors import LabelError
from dinonat.formats import label_studio
from dinonat.formats.catalog import FORMATS, sniff
from dinonat.formats.coco_masks import FILLED
from dinonat.formats.handover import LABEL_ID, MASKS_BOX, Check, Incoming, Outgoing, outgoing
from dinonat.formats.label_studio_brush import brush_mask
from dinonat.formats.label_studio_tasks import plain_name
from dinonat.geometry import box_of_mask, counts_to_mask, mask_to_counts
from dinonat.polygons import mask_polygons

IMAGES = pd.DataFrame(
    {
        "image": ["a.png", "b.png", "night/ü #1 & 50%+.png"],
        "width": 10,
        "height": 8,
        "split": ["train", "val", ""],
    }
)
SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
CLASSES = ("car", "night", "per\"son <&'>", "unused")


def ring() -> np.ndarray:
    """A car: box xyxy 3,1,9,6 with a 2x1 hole, 28 pixels."""
    mask = np.zeros((8, 10), bool)
    mask[1:6, 3:9] = True
    mask[3, 5:7] = False
    return mask


def parts() -> np.ndarray:
    mask = np.zeros((8, 10), bool)
    mask[0:2, 0:3] = mask[4:8, 6:10] = True
    return mask


def example(proposals: Any, **more: Any) -> Outgoing:
    table = proposals(
        {"box": (1, 2, 4, 4), "label": CLASSES[2], "status": "accepted"},
        {"box": (3, 1, 6, 5), "mask": ring(), "score": 0.5},
        {
            "box": (0, 0, 10, 8),
            "mask": parts(),
            "cluster": 3,
            "image": "night/ü #1 & 50%+.png",
            "score": np.nan,
        },
        {"kind": "image", "box": (np.nan,) * 4, "label": "night", "score": 0.25},
    )
    return outgoing(table, IMAGES, CLASSES, name="export one", **more)


def tasks_in(folder: Path, name: str = "tasks.json") -> list[Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def read(path: Path, **more: Any) -> tuple[Incoming, list[str]]:
    said: list[str] = []
    return label_studio.read(path, warn=said.append, **more), said


def faults(path: Path, **more: Any) -> list[str]:
    return [what for _, what in label_studio.faults(path, Check(**more))]


# ---- what is written


def test_boxes_polygons_and_answers_are_written_as_label_studio_names_them(
    tmp_path: Path, proposals: Any
) -> None:
    written = label_studio.write(example(proposals), tmp_path)
    assert written.files == ("tasks.json", "label_config.xml", "serve.sh")
    assert (written.annotations, written.image_labels) == (3, 1)
    assert written.losses == {FILLED: 1}
    first, second, third = tasks_in(tmp_path)
    prediction = first["predictions"][0]
    assert prediction["model_version"] == "export one 0123456789abcdef"
    assert prediction["score"] == 0.25  # the least: the most doubtful task comes first
    box, polygon, answer = prediction["result"]
    assert box["value"] == {
        "x": 10.0, "y": 25.0, "width": 40.0, "height": 50.0, "rotation": 0, "rectanglelabels": [CLASSES[2]],
    }  # fmt: skip
    assert (box["id"], box["score"], box["original_width"], box["original_height"]) == ("p000", 0.875, 10, 8)
    assert (box["type"], box["from_name"], box["to_name"], box["image_rotation"]) == (
        "rectanglelabels", "box", "image", 0,
    )  # fmt: skip
    assert box["meta"]["status"] == "accepted"
    assert box["meta"]["reason"] == "3 of 4 neighbours agree"
    assert polygon["value"]["points"] == [[30.0, 12.5], [90.0, 12.5], [90.0, 75.0], [30.0, 75.0]]
    assert (answer["type"], answer["from_name"], answer["value"]) == (
        "choices",
        "cls",
        {"choices": ["night"]},
    )
    assert second["predictions"] == []  # nothing was found there, and nobody has looked
    joined = third["predictions"][0]
    assert "score" not in joined
    assert [region["id"] for region in joined["result"]] == ["p002", "p002:2"]
    assert [region["meta"].get("part") for region in joined["result"]] == [None, 2]
    assert joined["result"][0]["meta"]["cluster"] == 3


def test_the_address_of_a_picture_names_its_file_below_the_document_root(
    tmp_path: Path, proposals: Any
) -> None:
    label_studio.write(example(proposals), tmp_path)
    for task, split, name in zip(tasks_in(tmp_path), IMAGES["split"], IMAGES["image"], strict=True):
        asked = urlsplit(task["data"]["image"])  # what a browser sends, and Label Studio's server takes apart
        assert (asked.path, asked.fragment) == ("/data/local-files/", "")
        assert parse_qs(asked.query) == {"d": [label_studio.picture(split, name)]}
        assert task["data"]["file_name"] == name
    assert label_studio.picture("train", "night/a.png") == "images/train/night/a.png"
    assert label_studio.picture("", "a.png") == "images/a.png"


def test_the_interface_names_every_class_and_asks_about_whole_images_only_if_some_are_labelled(
    tmp_path: Path, proposals: Any
) -> None:
    label_studio.write(example(proposals), tmp_path)
    root = ElementTree.parse(tmp_path / "label_config.xml").getroot()
    controls = {tag.get("name"): [one.get("value") for one in tag] for tag in root if tag.get("toName")}
    assert controls == {name: list(CLASSES) for name in ("box", "poly", "cls")}
    label_studio.write(outgoing(proposals({}), IMAGES, CLASSES), tmp_path)
    assert "<Choices" not in (tmp_path / "label_config.xml").read_text()


def test_several_labels_of_one_image_are_one_answer_and_keep_their_ids(
    tmp_path: Path, proposals: Any
) -> None:
    blank = {"kind": "image", "box": (np.nan,) * 4}
    table = proposals(
        {**blank, "label": "night", "score": 0.25},
        {**blank, "label": "car", "score": np.nan},
        {**blank, "label": "car"},
    )
    label_studio.write(outgoing(table, IMAGES, CLASSES), tmp_path)
    (answer,) = tasks_in(tmp_path)[0]["predictions"][0]["result"]
    assert answer["value"]["choices"] == ["night", "car"]
    assert 'choice="multiple"' in (tmp_path / "label_config.xml").read_text()
    assert faults(tmp_path) == []
    back = read(tmp_path)[0].labels
    assert back[LABEL_ID].tolist() == ["p000", "p001", "p002"]
    assert back["label"].tolist() == ["night", "car", "car"]
    assert back["score"].fillna(-1).tolist() == [0.25, -1, 0.875]
    assert set(back["kind"]) == {"image"}


def test_more_than_ten_thousand_tasks_are_several_files(tmp_path: Path, proposals: Any) -> None:
    images = pd.DataFrame({"image": [f"{n:05}.png" for n in range(10_001)], "width": 10, "height": 8})
    asked = outgoing(proposals({"image": "10000.png"}), images, CLASSES)
    written = label_studio.write(asked, tmp_path)
    assert written.files[:2] == ("tasks-001.json", "tasks-002.json")
    assert [len(tasks_in(tmp_path, name)) for name in written.files[:2]] == [10_000, 1]
    back = read(tmp_path)[0]
    assert (len(back.images), back.labels["image"].tolist()) == (10_001, ["10000.png"])


def test_no_image_at_all_is_a_list_without_tasks(tmp_path: Path, proposals: Any) -> None:
    label_studio.write(outgoing(proposals(), IMAGES.iloc[:0], CLASSES), tmp_path)
    assert tasks_in(tmp_path) == []
    assert read(tmp_path)[0].images == ()


@pytest.mark.skipif(os.name == "nt", reason="a script for sh")
def test_the_script_serves_the_folder_in_which_it_lies(tmp_path: Path, proposals: Any) -> None:
    folder, tools = tmp_path / "an export ü", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    label_studio.write(example(proposals), folder)
    assert str(tmp_path) not in (folder / "serve.sh").read_text()
    assert os.stat(folder / "serve.sh").st_mode & stat.S_IXUSR
    stand_in = tools / "label-studio"
    stand_in.write_text(
        '#!/bin/sh\necho "$1 $2"\n'
        'echo "$LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"\necho "$LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"\n'
    )
    stand_in.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "an export ü/serve.sh", "--port=9"],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-3:] == ["start --port=9", "true", str(folder.resolve())]


def test_a_class_that_xml_cannot_hold_is_refused_in_words(tmp_path: Path, proposals: Any) -> None:
    asked = outgoing(proposals({"label": "c\x00ar"}), IMAGES, ["c\x00ar"])
    with pytest.raises(LabelError, match="control character"):
        label_studio.write(asked, tmp_path)


def test_equal_labels_give_equal_bytes_and_scores_out_of_range_are_counted(
    tmp_path: Path, proposals: Any
) -> None:
    table = proposals({"score": 1.5}, {"score": 0.5, "image": "b.png"})
    for name, rows in (("a", table), ("b", table.iloc[::-1])):
        (tmp_path / name).mkdir()
        written = label_studio.write(outgoing(rows, IMAGES, CLASSES), tmp_path / name)
        assert written.losses == {label_studio.NO_SCORE: 1}
    for file in written.files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


# ---- there and back

TRICKY = st.sampled_from(
    [
        "a.png",
        "b c.png",
        "night/a.png",
        "night/ü/d'e\".png",
        "x#1.png",
        "50%25.png",
        "a&b=c+d.png",
        "😀</script>.jpg",
        "<b>,;.tif",
    ]
)
NAMES = st.lists(TRICKY, min_size=1, max_size=4, unique=True)
LABELS = st.sampled_from(["car", "ü, person", "a \"b\" <c> & 'd'", "</script>😀", "a;b"])
HUNDREDTH = st.integers(0, 1100).map(lambda n: n / 100)
KINDS = st.sampled_from(["box", "box", "mask", "image"])
LABEL = st.fixed_dictionaries(
    {
        "kind": KINDS,
        "at": st.integers(0, 3),
        "label": LABELS,
        "box": st.tuples(HUNDREDTH, HUNDREDTH, HUNDREDTH, HUNDREDTH),
        "mask": arrays(bool, (8, 11)),
        "mask_box": st.booleans(),
        "score": st.one_of(st.just(np.nan), st.floats(0, 1, width=32)),
        "status": st.sampled_from(["proposed", "accepted", "rejected"]),
        "reason": st.sampled_from(["", '3 of 4 "agree" <&>']),
        "cluster": st.sampled_from([-1, 0, 7]),
        "t_mean": st.sampled_from([np.nan, 21.25]),
    }
)


def make(proposals: Any, names: list[str], rows: list[dict[str, Any]], masks: str) -> Outgoing:
    table = []
    for row in rows:
        mask = row["mask"] if row["kind"] == "mask" else None
        box = box_of_mask(mask) if mask is not None and row["mask_box"] else row["box"]
        box = (np.nan,) * 4 if row["kind"] == "image" else box
        given = {
            "image": names[row["at"] % len(names)],
            "kind": "image" if row["kind"] == "image" else "region",
        }
        table.append({**row, **given, "box": box, "mask": mask})
    images = pd.DataFrame(
        {"image": names, "width": 11, "height": 8, "split": ["train", "", "val", "a"][: len(names)]}
    )
    classes = ["unused", *dict.fromkeys(row["label"] for row in rows)]
    return outgoing(proposals(*table), images, classes, masks=masks)


def assert_same(asked: Outgoing, back: Incoming, losses: dict[str, int]) -> None:
    """What came back is what was given, but for what the losses name, and those as often as they say."""
    assert back.images == tuple(asked.images["file_name"])
    true = Counter(asked.losses)
    labels = asked.labels.sort_values("proposal")
    found = back.labels.sort_values(LABEL_ID)
    assert found[LABEL_ID].tolist() == labels["proposal"].tolist()
    for sent, got in zip(labels.itertuples(), found.itertuples(), strict=True):
        assert (got.image, got.kind, got.label, got.status) == (
            sent.image,
            sent.kind,
            sent.label,
            sent.status,
        )
        assert np.array_equal(np.float32(got.score), np.float32(sent.score), equal_nan=True)
        box = (sent.x, sent.y, sent.w, sent.h)
        if sent.kind == "image":
            assert np.isnan(got.x)
            continue
        assert bool(sent.mask_counts) == bool(got.mask_counts)
        if sent.mask_counts:
            mask = counts_to_mask(sent.mask_counts, (8, 11))
            # Rings that meet at corners only say what they enclose as it is.
            whole = mask if mask_polygons(mask) is not None else ndimage.binary_fill_holes(mask)
            assert np.array_equal(counts_to_mask(got.mask_counts, (8, 11)), whole)
            true[FILLED] += bool((whole != mask).any())
            true[MASKS_BOX] += box != box_of_mask(mask)
            box = box_of_mask(mask)
        assert (got.x, got.y, got.w, got.h) == box
    assert {sentence: count for sentence, count in true.items() if count} == losses


@settings(
    max_examples=SETS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=NAMES, rows=st.lists(LABEL, max_size=6), masks=st.sampled_from(["auto", "polygon", "rle"]))
def test_what_comes_back_is_what_was_written_but_for_what_the_losses_name(
    tmp_path_factory: Any, proposals: Any, names: list[str], rows: list[dict[str, Any]], masks: str
) -> None:
    folder = tmp_path_factory.mktemp("export")
    asked = make(proposals, names, rows, masks)
    written = label_studio.write(asked, folder)
    back, said = read(folder)
    assert said == []
    assert faults(folder) == []
    assert (written.annotations, written.image_labels) == tuple(
        int((asked.labels["kind"] == kind).sum()) for kind in ("region", "image")
    )
    assert back.export == ("export" if len(names) else "")
    assert_same(asked, back, dict(written.losses))


# ---- what people hand back


def region(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    size = {"original_width": 100, "original_height": 50}
    return {"id": "r1", "type": kind, "from_name": "x", "to_name": "image", **size, "value": value, **more}


def box(x: float, y: float, w: float, h: float, label: str = "car", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rectanglelabels": [label]}
    return region("rectanglelabels", {**value, "rotation": more.pop("rotation", 0)}, **more)


def annotated(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"image": "a.png"}, "annotations": [{"result": list(results)}], **more}


HUGE = {"original_width": 1 << 20, "original_height": 1}
OURS = {"image": "a.png", "export": "export 1"}


def guess(version: str, label: str = "car") -> dict[str, Any]:
    return {"model_version": version, "result": [box(1, 1, 1, 1, label)]}


def saved(tmp_path: Path, *tasks: Any) -> Path:
    path = tmp_path / "project-1-at-noon.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def test_what_a_person_submitted_is_accepted_with_the_ids_that_we_gave(
    tmp_path: Path, proposals: Any
) -> None:
    label_studio.write(example(proposals), tmp_path)
    tasks = tasks_in(tmp_path)
    for number, task in enumerate(tasks, start=1):
        result = task["predictions"][0]["result"] if task["predictions"] else []
        task.update(id=number, annotations=[{"id": number, "was_cancelled": False, "result": result}])
        task["predictions"] = [number]  # exports name predictions by number
    path = saved(tmp_path, *tasks)
    assert sniff(path) == "label-studio"
    back, said = read(path)
    assert said == []
    assert back.export == "export one"
    assert set(back.labels["status"]) == {"accepted"}
    assert sorted(back.labels[LABEL_ID]) == ["p000", "p001", "p002", "p003"]
    assert back.images == tuple(IMAGES["image"])


def test_a_part_that_a_person_relabelled_is_a_label_of_its_own_with_the_same_id(
    tmp_path: Path, proposals: Any
) -> None:
    label_studio.write(example(proposals), tmp_path)
    tasks = tasks_in(tmp_path)
    tasks[2]["predictions"][0]["result"][1]["value"]["polygonlabels"] = ["night"]
    back = read(saved(tmp_path / "..", *tasks))[0].labels
    own = back[back[LABEL_ID] == "p002"]
    assert own["label"].tolist() == ["car", "night"]
    assert own[list("xywh")].to_numpy().tolist() == [[0, 0, 3, 2], [6, 4, 4, 4]]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            {"annotations": [{"result": [box(1, 1, 1, 1, "first")]}, {"result": [box(1, 1, 1, 1, "last")]}]},
            ["last"],
        ),
        (
            {
                "annotations": [
                    {"created_at": "2026-02-01", "result": [box(1, 1, 1, 1, "later")]},
                    {"created_at": "2026-01-01", "result": [box(1, 1, 1, 1, "earlier")]},
                ]
            },
            ["later"],
        ),
        (
            {
                "annotations": [
                    {"result": [box(1, 1, 1, 1, "kept")]},
                    {"was_cancelled": True, "result": [box(1, 1, 1, 1)]},
                ]
            },
            ["kept"],
        ),
        ({"annotations": [{"result": []}], "predictions": [{"result": [box(1, 1, 1, 1)]}]}, []),
        ({"annotations": [], "predictions": [{"result": [box(1, 1, 1, 1, "guess")]}]}, ["guess"]),
        ({"data": OURS, "predictions": [guess("export 1 dino", "own"), guess("yolo")]}, ["own"]),
        ({"data": OURS, "predictions": [guess("export 1", "own"), 12]}, ["own"]),
        ({"data": OURS, "predictions": []}, []),  # as we write an image without labels
    ],
)
def test_which_of_several_answers_counts(tmp_path: Path, task: dict[str, Any], expected: list[str]) -> None:
    back = read(saved(tmp_path, {"data": {"image": "a.png"}, **task}))[0]
    assert back.labels["label"].tolist() == expected
    assert back.images == ("a.png",)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"annotations": [{"was_cancelled": True, "result": [box(1, 1, 1, 1)]}]}, "1 tasks were skipped"),
        ({"predictions": [12]}, "only the numbers of predictions"),
        ({"predictions": [guess("yolo"), guess("sam")]}, "predictions of other models"),
        ({"data": OURS, "predictions": [guess("yolo")]}, "predictions of other models"),
        ({"data": OURS, "predictions": [guess("export 10")]}, "predictions of other models"),
        ({"data": OURS, "annotations": [], "predictions": []}, "no result"),
        ({"annotations": []}, "no result"),
        ({}, "no result"),
    ],
)
def test_tasks_of_which_nothing_is_known_do_not_even_list_their_image(
    tmp_path: Path, task: dict[str, Any], sentence: str
) -> None:
    back, said = read(saved(tmp_path, {"data": {"image": "a.png"}, **task}))
    assert (back.images, len(back.labels)) == ((), 0)
    assert len(said) == 1
    assert sentence in said[0]


def test_a_turned_rectangle_gives_the_box_around_it(tmp_path: Path) -> None:
    # 20 x 10 pixels at (40, 20), turned by 90 degrees about its upper left corner: 10 to the left, 20 down.
    back, said = read(
        saved(tmp_path, annotated(box(40, 40, 20, 20, rotation=90), box(40, 40, 20, 20, rotation=360)))
    )
    assert back.labels[list("xywh")].to_numpy().tolist() == [[30, 20, 10, 20], [40, 20, 20, 10]]
    assert len(said) == 1
    assert "1 rectangles are turned" in said[0]


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            region("ellipselabels", {"x": 5, "y": 5, "radiusX": 2, "radiusY": 2, "ellipselabels": ["a"]}),
            "type ellipselabels",
        ),
        (
            region("keypointlabels", {"x": 5, "y": 5, "width": 1, "keypointlabels": ["a"]}),
            "type keypointlabels",
        ),
        (region("textarea", {"text": ["hello"]}), "type textarea"),
        (region("rectangle", {"x": 5, "y": 5, "width": 9, "height": 9}), "without a label"),
        (
            region("choices", {"x": 5, "y": 5, "width": 9, "height": 9, "choices": ["a"]}),
            "answers about single regions",
        ),
        (region("brushlabels", {"rle": [5, 4, 3, 2], "brushlabels": ["a"]}), "cannot be decoded"),
        (
            region("polygonlabels", {"points": [[0, 0], [1, 1]], "polygonlabels": ["a"]}),
            "fewer than three points",
        ),
        (region("polygonlabels", {"points": [[0, 0], [1, 0], [0, 0.1]], "polygonlabels": ["a"]}), "no pixel"),
        (box(300, 5, 9, 9), "outside"),
        (box(5, 5, 0, 9), "without a size"),
        (box(5, 5, 0.004, 9), "without a size"),
        (box(float("nan"), 5, 9, 9), "without a size"),
        (region("choices", {"choices": [5]}), "no texts"),
        ({"type": "rectanglelabels", "id": "r2"}, "without a value"),
        (
            region("polygonlabels", {"points": [[0, 0], [1, 1], [9e8, 1]], "polygonlabels": ["a"]}, **HUGE),
            "cannot be drawn",
        ),
        ({**box(5, 5, 9, 9), "original_width": None}, "without the size of their picture"),
        (
            {**box(5, 5, 9, 9), "original_width": 10**6, "original_height": 10**6},
            "without the size of their picture",
        ),
        (box(5, 5, 9, 9, image_rotation=90), "turned picture"),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, "relations"),
    ],
)
def test_what_is_no_label_costs_itself_and_gets_a_sentence(
    tmp_path: Path, result: Any, sentence: str
) -> None:
    back, said = read(saved(tmp_path, annotated(result, box(5, 5, 9, 9, "good", id="r3"))))
    assert back.labels["label"].tolist() == ["good"]
    assert len(said) == 1
    assert sentence in said[0]
    answers = ("type textarea", "answers about", "relations")  # no labels that are missed
    assert back.unread == (() if sentence.startswith(answers) else ("a.png",))


def test_unread_images_and_the_sizes_that_the_file_states_are_told(tmp_path: Path) -> None:
    other = {**annotated(box(5, 5, 9, 9)), "data": {"image": "b.png"}}
    back = read(saved(tmp_path, annotated(box(5, 5, 0, 9)), other, 7))[0]
    assert (back.unread, back.sizes) == (("a.png", ""), {"a.png": (50, 100), "b.png": (50, 100)})
    back, said = read(saved(tmp_path, annotated(box(5, 5, 9, 9)), other))
    assert (back.unread, said) == ((), [])


def test_a_region_whose_label_is_a_result_of_its_own_is_not_missed(tmp_path: Path) -> None:
    value = {"x": 5, "y": 5, "width": 9, "height": 9}
    shape, label = region("rectangle", value), region("labels", {**value, "labels": ["car"]})
    back, said = read(saved(tmp_path, annotated(shape, label)))
    assert said == []
    assert (back.labels["label"].tolist(), back.unread) == (["car"], ())


def test_a_file_without_any_task_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path)
    back, said = read(path)
    assert (len(back.labels), back.images, len(said)) == (0, (), 1)
    assert "no task" in said[0]
    (fault,) = faults(path)
    assert "no task" in fault


def test_sizes_that_the_file_does_not_say_are_asked_for(tmp_path: Path) -> None:
    bare = {key: cell for key, cell in box(10, 10, 50, 50).items() if not key.startswith("original")}
    back = read(saved(tmp_path, annotated(bare)), sizes={"a.png": (50, 100)})[0]
    assert back.labels[list("xywh")].to_numpy().tolist() == [[10, 5, 50, 25]]


def test_the_shorter_export_is_understood(tmp_path: Path) -> None:
    size = {"original_width": 100, "original_height": 50}
    shorter = {
        "image": "/data/upload/2/0a1b2c3d-b%20c.png",
        "id": 3,
        "annotator": 1,
        "lead_time": 2.5,
        "cls": "night",
        "note": "a text",
        "created_at": "2026-01-01T00:00:00Z",
        "box": [
            {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["car"], **size}
        ],
        "poly": [{"points": [[0, 0], [50, 0], [50, 50], [0, 50]], "polygonlabels": ["bus"], **size}],
    }
    several = {"image": "c.png", "cls": {"choices": ["a", "b"]}}
    path = saved(tmp_path, shorter, several)
    assert sniff(path) == "label-studio"
    back, said = read(path)
    assert said == []
    assert back.images == ("b c.png", "c.png")
    assert dict(zip(back.labels["label"], back.labels["kind"], strict=True)) == {
        "night": "image", "car": "region", "bus": "region", "a": "image", "b": "image",
    }  # fmt: skip
    assert back.labels.loc[back.labels["label"] == "bus", list("xywh")].to_numpy().tolist() == [
        [0, 0, 50, 25]
    ]


SIGNED = base64.urlsafe_b64encode(b"s3://bucket/night/a.png").decode()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=images/train/a%20b%23.png", "images/train/a b#.png"),
        ("http://localhost:8080/data/local-files/?d=/home/me/a%2Bb.png", "home/me/a+b.png"),
        ("/data/upload/17/0a1b2c3d-night_a.png", "night_a.png"),
        ("/data/upload/0a1b2c3d-%C3%BC.png", "ü.png"),
        ("https://host/data/upload/1/0a1b2c3d-a.png?token=1", "a.png"),
        ("s3://bucket/night/a b.png", "night/a b.png"),
        ("gs://bucket/night/a%20b.png", "night/a%20b.png"),  # a key of a bucket is no URL
        ("https://host/pictures/n%C3%A4cht/a.png?x=1#y", "pictures/nächt/a.png"),
        (f"/tasks/12/resolve/?fileuri={SIGNED}", "night/a.png"),
        ("/tasks/12/resolve/?fileuri=%%%", ""),
        ("night/a%20b.png", "night/a%20b.png"),
        ("night\\a.png", "night/a.png"),
        ("./a.png", "a.png"),
    ],
)
def test_the_name_of_a_picture_is_found_in_its_address(address: str, name: str) -> None:
    assert plain_name(address) == name


@pytest.mark.parametrize("content", ["", "{", "3", '{"images": []}', "[1, 2]", '"text"'])
def test_what_is_no_list_of_tasks_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(content)
    with pytest.raises(LabelError, match=r"tasks\.json"):
        label_studio.read(path)
    assert len(faults(path)) == 1


# ---- brush strokes


def packed(values: np.ndarray, cuts: Callable[[int], int]) -> list[int]:
    """Encode values of eight bits as rle-pack describes it; ``cuts`` says how long the next run may be."""
    sizes = (3, 4, 8, 16)
    text = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    while at < len(values):
        stop = min(len(values), at + cuts(at))
        kind = next(number for number, size in enumerate(sizes) if stop - at <= 1 << size)
        repeated = len(set(values[at:stop].tolist())) == 1
        text += f"{int(repeated)}{kind:02b}{stop - at - 1:0{sizes[kind]}b}"
        text += "".join(
            f"{value:08b}" for value in (values[at : at + 1] if repeated else values[at:stop]).tolist()
        )
        at = stop
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


@settings(max_examples=60, deadline=None)
@given(
    alpha=arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 255])
    ),
    seed=st.integers(0, 99),
)
def test_brush_strokes_are_the_pixels_whose_alpha_is_not_zero(alpha: np.ndarray, seed: int) -> None:
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (*alpha.shape, 4), dtype=np.uint8)
    colours[..., 3] = alpha
    rle = packed(colours.ravel(), lambda _: int(random.integers(1, 40)))
    assert np.array_equal(brush_mask(rle, alpha.shape), alpha > 0)
    with pytest.raises(LabelError):
        brush_mask(rle[:-2], alpha.shape)
    with pytest.raises(LabelError):
        brush_mask(rle, (alpha.shape[0] + 1, alpha.shape[1]))


# From label_studio_sdk.converter.brush.mask2rle: the ring, 28 pixels of 8 x 10.
STROKE = [
    0, 0, 1, 64, 57, 27, 254, 51, 0, 194, 255, 247, 192, 48, 191, 253, 240, 9, 255, 231, 0, 159, 254, 248, 6,
    23, 255, 190, 1, 133, 255, 242, 152, 0,
]  # fmt: skip


def test_a_brush_stroke_of_the_sdk_becomes_a_mask(tmp_path: Path) -> None:
    size = {"original_width": 10, "original_height": 8}
    result = region("brushlabels", {"format": "rle", "rle": STROKE, "brushlabels": ["car"]}, **size)
    back = read(saved(tmp_path, annotated(result)))[0].labels
    assert back["mask_counts"].iloc[0] == tuple(mask_to_counts(ring()))
    assert back[list("xywh")].to_numpy().tolist() == [[3, 1, 6, 5]]


@pytest.mark.parametrize("rle", [5, "abc", None, [300] * 20, [1.5] * 20, [], [0] * 4])
def test_what_is_no_brush_stroke_is_refused_in_words(rle: Any) -> None:
    with pytest.raises(LabelError, match="brush rle"):
        brush_mask(rle, (8, 10))


def test_a_stroke_that_claims_more_pixels_than_any_picture_has_is_not_unpacked() -> None:
    with pytest.raises(LabelError, match="does not describe"):
        brush_mask([255] * 40, (2**15, 2**15))


# ---- faults


def first(tasks: list[Any]) -> dict[str, Any]:
    return tasks[0]["predictions"][0]["result"][0]


def change(**more: Any) -> Callable[[list[Any]], None]:
    return lambda tasks: first(tasks).update(more)


def change_value(**more: Any) -> Callable[[list[Any]], None]:
    return lambda tasks: first(tasks)["value"].update(more)


def as_brush(rle: Any) -> Callable[[list[Any]], None]:
    """Make the first region a brush stroke, which the interface is told to know."""

    def apply(tasks: list[Any]) -> None:
        value = {"format": "rle", "rle": rle, "brushlabels": ["car"]}
        first(tasks).update(type="brushlabels", from_name="brush", value=value)

    return apply


FAULTS: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "wrong from_name": (change(from_name="boxes"), "from_name 'boxes'"),
    "wrong to_name": (change(to_name="picture"), "to_name 'picture'"),
    "unknown label": (change_value(rectanglelabels=["tree"]), "label 'tree'"),
    "no label": (change_value(rectanglelabels=[]), "no list 'rectanglelabels'"),
    "x of 300 %": (change_value(x=300.0), "0 to 100 percent"),
    "wider than the picture": (change_value(width=95.0), "0 to 100 percent"),
    "no width": (change_value(width=0), "no or negative size"),
    "x is a text": (change_value(x="1"), "without finite"),
    "task score 7": (lambda t: t[0]["predictions"][0].update(score=7), "'score' of the prediction"),
    "region score 7": (change(score=7), "'score' of a region"),
    "region score is a text": (change(score="high"), "'score' of a region"),
    "no model_version": (lambda t: t[0]["predictions"][0].pop("model_version"), "no 'model_version'"),
    "no original sizes": (
        lambda t: [first(t).pop(f"original_{n}") for n in ("width", "height")],
        "'original_width'",
    ),
    "no region id": (lambda t: first(t).pop("id"), "no text 'id'"),
    "the same id twice": (
        lambda t: t[0]["predictions"][0]["result"].append(dict(first(t))),
        "stands twice",
    ),
    "type with capitals": (change(type="RectangleLabels"), "capitals"),
    "type of another tag": (change(from_name="poly"), "<polygonlabels>"),
    "wrong data key": (lambda t: t[0].update(data={"img": "a.png"}), "no key 'image'"),
    "no data": (lambda t: t[0].pop("data"), "no object with 'data'"),
    "score NaN": (change(score=float("nan")), "'score' of a region"),
    "two answers to one question": (
        lambda t: t[0]["predictions"][0]["result"].append(
            {**t[0]["predictions"][0]["result"][2], "id": "c2"}
        ),
        "a second answer",
    ),
    "no picture": (lambda t: t[0].update(data={"image": ""}), "no picture"),
    "the same picture twice": (lambda t: t[1].update(data=t[0]["data"]), "a second time"),
    "raw # in the address": (
        lambda t: t[0]["data"].update(image="/data/local-files/?d=images/a#1.png"),
        "Percent-encode",
    ),
    "a way out": (
        lambda t: t[0]["data"].update(image="/data/local-files/?d=images/%2E%2E/a.png"),
        "below its document root",
    ),
    "no result": (lambda t: t[0]["predictions"][0].pop("result"), "no list 'result'"),
    "predictions are no list": (lambda t: t[1].update(predictions={}), "no list"),
    "two points": (
        lambda t: t[0]["predictions"][0]["result"][1]["value"].update(points=[[1, 1], [2, 2]]),
        "fewer than three points",
    ),
    "points in pixels": (
        lambda t: t[0]["predictions"][0]["result"][1]["value"].update(points=[[1, 1], [200, 2], [5, 5]]),
        "points outside",
    ),
    "tangled polygon": (
        lambda t: (
            t[0]["predictions"][0]["result"][1].update(original_height=1 << 18)
            or t[0]["predictions"][0]["result"][1]["value"].update(
                points=[[n % 9, 100 * (n % 2)] for n in range(99)]
            )
        ),
        "up and down",
    ),
    "flat points": (lambda t: t[0]["predictions"][0]["result"][1]["value"].update(points=[1, 2, 3]), "pairs"),
    "brush is no list": (as_brush("1 2 3"), "without a list 'rle'"),
    "COCO counts as brush": (
        as_brush([25, 5, 3, 5, 3, 2, 1, 2, 3, 2, 1, 2, 3, 5, 3, 5, 10]),
        "does not decode",
    ),
    "brush of another size": (as_brush([0, 0, 2, *STROKE[3:]]), "does not decode"),
    "region is a text": (
        lambda t: t[0]["predictions"][0]["result"].append("car"),
        "no object with a 'value'",
    ),
    "no value": (lambda t: first(t).pop("value"), "no 'value'"),
}


@pytest.fixture
def export(tmp_path: Path, proposals: Any) -> Path:
    """An export whose interface knows brush strokes too."""
    label_studio.write(example(proposals), tmp_path)
    config = (tmp_path / "label_config.xml").read_text()
    brush = '  <BrushLabels name="brush" toName="image"><Label value="car"/></BrushLabels>\n</View>'
    (tmp_path / "label_config.xml").write_text(config.replace("</View>", brush))
    return tmp_path


@pytest.mark.parametrize("name", FAULTS)
def test_every_single_fault_is_found_and_nothing_else(export: Path, name: str) -> None:
    assert faults(export) == []
    break_it, words = FAULTS[name]
    tasks = tasks_in(export)
    break_it(tasks)
    (export / "tasks.json").write_text(json.dumps(tasks))
    found = faults(export / "tasks.json")
    assert len(found) == 1, found
    assert words in found[0]


def test_a_right_brush_stroke_is_no_fault(export: Path) -> None:
    tasks = tasks_in(export)
    as_brush(STROKE)(tasks)
    (export / "tasks.json").write_text(json.dumps(tasks))
    assert faults(export) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</View>", "", "no XML"),
        ("<View>", '<!DOCTYPE v [<!ENTITY a "b">]>\n<View>', "entities"),
        ('value="$image"', "", "no tag that shows data"),
    ],
)
def test_faults_of_the_interface_are_found(export: Path, old: str, new: str, words: str) -> None:
    config = (export / "label_config.xml").read_text()
    (export / "label_config.xml").write_text(config.replace(old, new))
    assert words in faults(export)[0]


def test_more_tasks_than_one_import_takes_are_a_fault(tmp_path: Path) -> None:
    path = saved(tmp_path, *({"data": {"image": f"{n}.png"}} for n in range(10_001)))
    assert [what for what in faults(path) if "10,000" in what]


def test_missing_pictures_are_found_under_either_name(export: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for name in (IMAGES["image"].iloc[0], label_studio.picture("val", "b.png")):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).touch()
    (only,) = label_studio.faults(export, Check(images=pictures))
    assert only[0] == "tasks.json, task 3, 'night/ü #1 & 50%+.png'"
    assert only[1].startswith("its picture is not below")


def test_exports_without_an_interface_beside_them_have_no_faults(tmp_path: Path) -> None:
    assert faults(saved(tmp_path, annotated(box(5, 5, 9, 9), predictions=[3]))) == []


def test_a_single_task_may_stand_alone(tmp_path: Path) -> None:
    path = tmp_path / "12.json"
    path.write_text(json.dumps(annotated(box(5, 5, 9, 9))))
    assert sniff(path) == "label-studio"
    assert read(path)[0].labels["label"].tolist() == ["car"]


def test_the_catalogue_knows_the_format(export: Path) -> None:
    assert sniff(export) == sniff(export / "tasks.json") == "label-studio"
    assert FORMATS["label-studio"].picture("a", "b.png") == "images/a/b.png"
