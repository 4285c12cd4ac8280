import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.errors import LabelError
from dinonat.evaluation.detection import compare, found, hot_blobs, random_boxes, recall, regular_grid
from dinonat.geometry import iou_xywh
from dinonat.records import ITEM_COLUMNS, LABEL_COLUMNS, as_table

sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(sizes, st.integers(1, 40))
def test_a_grid_tiles_the_image_without_overlap(size_hw, n):
    boxes = regular_grid(size_hw, n)
    assert boxes.shape == (n, 4)
    assert (boxes[:, 2] * boxes[:, 3]).sum() == pytest.approx(size_hw[0] * size_hw[1])
    assert (boxes[:, 0] + boxes[:, 2]).max() == pytest.approx(size_hw[1])
    assert (boxes[:, 1] + boxes[:, 3]).max() == pytest.approx(size_hw[0])
    assert np.allclose(iou_xywh(boxes, boxes), np.eye(n), atol=1e-6)


@given(sizes, st.integers(0, 99))
def test_random_boxes_lie_inside_and_depend_on_the_seed_alone(size_hw, seed):
    boxes = random_boxes(size_hw, 30, seed=seed)
    assert boxes.shape == (30, 4)
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [size_hw[1] + 1e-9, size_hw[0] + 1e-9]).all()
    assert (boxes == random_boxes(size_hw, 30, seed=seed)).all()
    assert (boxes != random_boxes(size_hw, 30, seed=seed + 1)).any()


def test_hot_blobs_find_hot_squares_hottest_first_and_nothing_in_a_flat_picture():
    picture = np.full((100, 120), 0.1, np.float32)
    picture[10:30, 20:40] = 0.6
    picture[60:80, 70:100] = 0.9
    boxes = hot_blobs(picture)
    assert iou_xywh([[70, 60, 30, 20], [20, 10, 20, 20]], boxes).diagonal() == pytest.approx(1, abs=0.2)
    assert hot_blobs(np.zeros((50, 50), np.float32)).shape == (0, 4)


def test_recall_counts_every_true_box_once_and_images_apart():
    truth = {"a": np.array([[0.0, 0, 4, 4], [8, 8, 4, 4]]), "b": np.array([[0.0, 0, 4, 4]])}
    proposed = {"a": np.array([[0.0, 0, 4, 2], [0, 0, 4, 4]]), "c": np.array([[0.0, 0, 4, 4]])}
    assert found(proposed, truth).tolist() == [True, False, False]
    assert recall(proposed, truth) == 1 / 3
    assert recall({"a": np.array([[0.0, 0, 4, 2]])}, truth) == 1 / 3  # IoU of exactly one half counts
    assert np.isnan(recall(proposed, {}))


def table(rows, columns):
    blank = {name: "" if kind in ("str", "object") else 0 for name, kind in columns.items()}
    return as_table([{**blank, **row} for row in rows], columns)


def made_set():
    items = [{"image": name, "kind": "image", "status": "ok", "width": 120, "height": 100} for name in "ab"]
    items += [{"image": "bad", "kind": "image", "status": "failed"}]
    box = {"kind": "region", "status": "ok", "image": "a", "source": "ncut", "w": 20, "h": 20}
    items += [{**box, "x": 0, "y": 0, "objectness": 0.2}, {**box, "x": 50, "y": 50, "objectness": 0.9}]
    labels = [
        {"image": "a", "x": 50, "y": 50, "w": 20, "h": 20},
        {"image": "b", "x": 0, "y": 0, "w": 50, "h": 50},
    ]
    labels += [{"image": "elsewhere", "x": 0, "y": 0, "w": 9, "h": 9}, {"image": "a", "x": np.nan}]
    return table(items, ITEM_COLUMNS), table(labels, LABEL_COLUMNS)


def test_the_comparison_has_the_set_and_three_baselines_and_keeps_to_the_number_of_boxes():
    items, labels = made_set()
    rows = compare(items, labels, lambda _: np.zeros((100, 120), np.float32), max_boxes=1).set_index("boxes")
    assert list(rows.index) == ["ncut", "regular grid", "random boxes", "hot blobs"]
    assert rows.loc["ncut", "recall"] == 0.5  # the better of its two boxes, and the other image has none
    assert rows.loc["ncut", ["small", "medium", "boxes_per_image", "n_truth"]].tolist() == [1, 0, 0.5, 2]
    assert np.isnan(rows.loc["ncut", "large"])
    assert rows.loc["hot blobs", "recall"] == 0


def test_the_same_seed_gives_the_same_table_whatever_the_order_of_the_items():
    items, labels = made_set()
    pictures = {name: np.random.default_rng(n).random((100, 120), np.float32) for n, name in enumerate("ab")}
    once = compare(items, labels, pictures.__getitem__)
    again = compare(items.iloc[::-1], labels.iloc[::-1], pictures.__getitem__)
    pd.testing.assert_frame_equal(once, again)


def test_labels_of_other_images_are_refused_in_words():
    items, labels = made_set()
    with pytest.raises(LabelError, match="relative to its folder"):
        compare(items, labels[labels["image"] == "elsewhere"], lambda _: np.zeros((100, 120), np.float32))


def test_true_boxes_as_regions_are_all_found_on_real_labels(data):
    coco = json.loads((data / "thermal_aerial/annotations_coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"][:6]}
    items, labels = [], []
    for image in coco["images"][:6]:
        size = {key: image[key] for key in ("width", "height")}
        items.append({"image": image["file_name"], "kind": "image", "status": "ok", **size})
    for annotation in coco["annotations"]:
        if annotation["image_id"] in names:
            row = {
                "image": names[annotation["image_id"]],
                **dict(zip("xywh", annotation["bbox"], strict=True)),
            }
            labels.append(row)
            items.append({**row, "kind": "region", "status": "ok", "source": "truth"})

    def picture(name):
        file = data / "thermal_aerial/infrared" / name
        return np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255

    rows = compare(table(items, ITEM_COLUMNS), table(labels, LABEL_COLUMNS), picture, max_boxes=50)
    assert rows.loc[0, "recall"] == 1
    assert (rows.loc[1:, "recall"] < 0.6).all()
