import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.geometry import iou_xywh
from dinonat.proposals.box_scale import FEW, Scale, Scales, corrected, measured
from dinonat.proposals.table import Origin, clustered_rows
from dinonat.records import ITEM_COLUMNS, LABEL_COLUMNS, PROPOSAL_COLUMNS, as_table

SIDES = list("xywh")
SIZE = 400, 300  # width, height


def regions(boxes, images, recordings=None) -> pd.DataFrame:
    rows = [
        {
            "item": f"i{n:03}", "image": images[n], "kind": "region", "x": x, "y": y, "w": w, "h": h,
            "width": SIZE[0], "height": SIZE[1], "objectness": 0.5, "mask_counts": [1, 2], "source": "ncut",
            "label": "", "recording": (recordings or [""] * len(boxes))[n], "status": "ok", "reason": "",
            "sha256": "", "unit": "grey", "prepare": "percentile", "lo": 0, "hi": 1,
            "t_min": 2, "t_median": 3, "t_mean": 4, "t_p95": 5, "t_max": 6,
        }
        for n, (x, y, w, h) in enumerate(boxes)
    ]  # fmt: skip
    return as_table(rows, ITEM_COLUMNS)


def labelled(boxes, images, labels) -> pd.DataFrame:
    rows = [
        {"image": image, "label": label, **dict(zip(SIDES, box, strict=True))}
        for box, image, label in zip(boxes, images, labels, strict=True)
    ]
    return as_table(rows, LABEL_COLUMNS)


def proposals(boxes, labels) -> pd.DataFrame:
    rows = clustered_rows(
        regions(boxes, ["new"] * len(boxes)),
        np.zeros(len(boxes), np.int64),
        origin=Origin("r", "s", "m", "f"),
    )
    return rows.assign(label=labels)


def larger(box, sw, sh, dx=0.0, dy=0.0):
    """The box that a person draws round a region, by definition."""
    x, y, w, h = box
    return x + w / 2 + dx * w - sw * w / 2, y + h / 2 + dy * h - sh * h / 2, sw * w, sh * h


def scene(n: int, *, seed: int = 0):
    """One region an image, cars and people in turn."""
    generator = np.random.default_rng(seed)
    boxes = [tuple(generator.uniform([80, 60, 30, 30], [250, 180, 60, 60])) for _ in range(n)]
    return boxes, [f"{i:03}" for i in range(n)], ["car" if i % 2 else "person" for i in range(n)]


def test_a_scale_is_the_median_shrunk_towards_all_classes_and_these_towards_none() -> None:
    boxes, images, names = scene(40)
    drawn = [larger(b, 1.5, 1.2, 0.1, 0) if n == "car" else larger(b, 0.8, 1.4, 0, -0.1)
             for b, n in zip(boxes, names, strict=True)]  # fmt: skip
    scales = measured(regions(boxes, images), labelled(drawn, images, names)).by_label
    both = 0.5 * np.log([[1.5, 1.2], [0.8, 1.4]]).sum(axis=0) * 40 / (40 + FEW)
    expected = np.exp((20 * np.log([1.5, 1.2]) + FEW * both) / (20 + FEW))
    assert (scales["car"].sw, scales["car"].sh) == pytest.approx(tuple(expected), rel=1e-4)
    assert scales["car"].dx == pytest.approx((20 * 0.1 + FEW * 0.05 * 40 / 45) / 25, abs=1e-4)
    assert scales["car"].helps
    assert scales["car"].boxes == 20
    assert scales["car"].before == pytest.approx(
        np.median(
            [iou_xywh([b], [d])[0, 0] for b, d, n in zip(boxes, drawn, names, strict=True) if n == "car"]
        )
    )


def test_corrected_regions_meet_the_boxes_of_people() -> None:
    boxes, images, names = scene(60)
    drawn = [larger(b, 0.6, 0.7) for b in boxes]
    scales = measured(regions(boxes, images), labelled(drawn, images, names))
    new, _, called = scene(10, seed=5)
    after = corrected(proposals(new, called), scales)
    meant = [larger(b, 0.6, 0.7) for b in new]
    overlaps = [iou_xywh([a], [m])[0, 0] for a, m in zip(after[SIDES].to_numpy(), meant, strict=True)]
    assert min(overlaps) > 0.85
    assert max(iou_xywh([b], [m])[0, 0] for b, m in zip(new, meant, strict=True)) < 0.45
    assert list(after.columns) == list(PROPOSAL_COLUMNS)
    # A mask and temperatures of the region are not those of the new box.
    assert all(len(counts) == 0 for counts in after["mask_counts"])
    assert after["t_max"].isna().all()
    assert len(scales.lines()) == 2


def test_what_does_not_repeat_in_other_recordings_is_not_corrected() -> None:
    boxes, images, names = scene(40)
    recordings = [f"drive {i // 10}" for i in range(40)]
    factor = {"drive 0": 1.6, "drive 1": 1 / 1.6, "drive 2": 1.6, "drive 3": 1 / 1.6}
    drawn = [larger(b, factor[r], factor[r]) for b, r in zip(boxes, recordings, strict=True)]
    scales = measured(regions(boxes, images, recordings), labelled(drawn, images, names))
    assert not any(one.helps for one in scales.by_label.values())
    before = proposals(boxes, names)
    pd.testing.assert_frame_equal(corrected(before, scales), before)


def test_boxes_that_fit_stay_with_their_masks() -> None:
    boxes, images, names = scene(30)
    scales = measured(regions(boxes, images), labelled(boxes, images, names))
    before = proposals(boxes, names)
    pd.testing.assert_frame_equal(corrected(before, scales), before)
    # Half a pixel is no correction either.
    little = Scales(
        {"car": Scale(0, 0, 1.01, 1.01, 9, 0.5, 0.6, 9), "person": Scale(0, 0, 0.99, 1, 9, 0.5, 0.6, 9)}
    )
    pd.testing.assert_frame_equal(corrected(before, little), before)


def test_one_recording_says_nothing_of_others() -> None:
    boxes, _, names = scene(10)
    drawn = [larger(b, 0.6, 0.7) for b in boxes]
    one = measured(regions(boxes, ["a"] * 10), labelled(drawn, ["a"] * 10, names))
    # A single image: boxes are left out one by one, which is what `recordings_of` falls back to.
    assert all(scale.boxes == 5 for scale in one.by_label.values())
    single = measured(regions(boxes[:1], ["a"]), labelled(drawn[:1], ["a"], names[:1]))
    assert np.isnan(single.by_label["person"].after)
    assert not single.by_label["person"].helps


def test_a_class_with_one_box_follows_the_others() -> None:
    boxes, images, _ = scene(20)
    drawn = [larger(b, 0.6, 0.7) for b in boxes]
    names = ["dog", *["car"] * 19]
    scales = measured(regions(boxes, images), labelled(drawn, images, names)).by_label
    assert scales["dog"].boxes == 1
    assert scales["dog"].sw == pytest.approx(scales["car"].sw, abs=0.05)
    # One box proves nothing of its class: it is not corrected.
    assert scales["car"].helps
    assert not scales["dog"].helps


def test_boxes_that_no_region_shows_are_left_out() -> None:
    boxes, images, names = scene(4)
    odd = [(900.0, 900.0, 50.0, 50.0), (0.0, 0.0, 0.5, 0.5), (10.0, 10.0, 0.0, 9.0), (-90.0, 0.0, 20.0, 20.0)]
    table = labelled([*boxes, *odd], [*images, *images], [*names, *["ghost"] * 4])
    assert set(measured(regions(boxes, images), table).by_label) == {"car", "person"}
    nowhere = labelled(boxes, ["elsewhere"] * 4, names)
    assert measured(regions(boxes, images), nowhere) == Scales({})
    assert measured(regions([], []), table) == Scales({})
    assert measured(regions(boxes, images), table[:0]) == Scales({})
    before = proposals(boxes, names)
    pd.testing.assert_frame_equal(corrected(before, Scales({})), before)
    assert corrected(before[:0], measured(regions(boxes, images), table)).empty


def test_only_regions_of_the_class_change() -> None:
    scales = Scales({"car": Scale(0.0, 0.0, 2.0, 2.0, 9, 0.3, 0.6, 9)})
    before = proposals([(100, 100, 20, 20), (100, 100, 20, 20), (0, 0, 400, 300)], ["car", "person", "car"])
    before.loc[2, "kind"] = "image"
    after = corrected(before, scales)
    assert after.loc[0, SIDES].tolist() == [90, 90, 40, 40]
    pd.testing.assert_frame_equal(after[1:], before[1:])


@settings(max_examples=40, deadline=None)
@given(
    box=st.tuples(*[st.floats(0, 399), st.floats(0, 299), st.floats(1, 400), st.floats(1, 300)]),
    change=st.tuples(*[st.floats(-0.5, 0.5)] * 2, *[st.floats(0.1, 8)] * 2),
)
def test_corrected_boxes_lie_in_the_image_and_are_a_pixel_at_least(box, change) -> None:
    before = proposals([box], ["car"])
    after = corrected(before, Scales({"car": Scale(*change, 9, 0.3, 0.6, 9)}))
    if len(after["mask_counts"][0]):
        pd.testing.assert_frame_equal(after, before)
        return
    x, y, w, h = after.loc[0, SIDES]
    assert min(x, y) >= 0
    assert min(w, h) >= 1
    assert x + w <= SIZE[0] + 1e-3
    assert y + h <= SIZE[1] + 1e-3
