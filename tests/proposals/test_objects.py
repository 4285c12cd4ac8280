import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.geometry import iou_xywh
from dinonat.proposals.abstain import Verdict
from dinonat.proposals.objects import overlap_with, ranked, refused, shown_by, without_repeats
from dinonat.proposals.table import Origin, clustered_rows, voted_rows
from dinonat.proposals.votes import Near
from dinonat.records import ITEM_COLUMNS, PROPOSAL_COLUMNS, as_table

ORIGIN = Origin("run1", "set1", "abc", "grid=0.7,hog=1")


def items(
    boxes: list[tuple[float, ...]], images: list[str] | None = None, kind: str = "region"
) -> pd.DataFrame:
    rows = [
        {
            "item": f"i{n:03}", "image": (images or ["a"] * len(boxes))[n], "kind": kind,
            "x": x, "y": y, "w": w, "h": h, "width": 100, "height": 80, "objectness": 0.5,
            "mask_counts": [1, 2], "source": "ncut", "label": "", "recording": "", "status": "ok",
            "reason": "", "sha256": "", "unit": "grey", "prepare": "percentile", "lo": 0, "hi": 1,
            "t_min": 2, "t_median": 3, "t_mean": 4, "t_p95": 5, "t_max": 6,
        }
        for n, (x, y, w, h) in enumerate(boxes)
    ]  # fmt: skip
    return as_table(rows, ITEM_COLUMNS)


def proposals(boxes, scores, labels, images=None) -> pd.DataFrame:
    rows = clustered_rows(items(boxes, images), np.zeros(len(boxes), np.int64), origin=ORIGIN)
    return rows.assign(score=np.float32(scores), label=labels)


def test_overlap_is_with_boxes_of_the_same_image_only() -> None:
    regions = items([(0, 0, 10, 10), (0, 0, 10, 10), (50, 50, 10, 10)], ["a", "b", "a"])
    labelled = pd.DataFrame({"image": ["a", "a"], "x": [0, 5], "y": [0, 0], "w": [10, 10], "h": [5, 10]})
    assert overlap_with(regions, labelled).tolist() == [0.5, 0, 0]
    assert overlap_with(regions, labelled[:0]).tolist() == [0, 0, 0]
    assert overlap_with(regions[:0], labelled).tolist() == []


def test_one_object_keeps_one_region_a_label() -> None:
    boxes = [(0, 0, 10, 10), (1, 0, 10, 10), (1, 0, 10, 10), (60, 0, 10, 10), (0, 0, 10, 6)]
    table = proposals(boxes, [0.5, 0.9, 0.7, 0.2, 0.95], ["car", "car", "person", "car", "dog"])
    after = without_repeats(table)
    # 0 repeats 1; 2 lies exactly on 1, so it is the same thing whatever its label; 4 is another label.
    assert after["advice"].tolist() == ["unknown", "review", "unknown", "review", "review"]
    assert table["proposal"][1] in after["reason"][0]
    assert "'car', overlap 0.82" in after["reason"][0]
    assert (without_repeats(table, overlap=1)["advice"] == "review").all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 14), overlap=st.floats(0.1, 0.9), seed=st.integers(0, 999))
def test_what_is_kept_does_not_overlap_and_what_is_not_overlaps_something_kept(n, overlap, seed) -> None:
    generator = np.random.default_rng(seed)
    boxes = [tuple(generator.uniform([0, 0, 5, 5], [20, 20, 25, 25])) for _ in range(n)]
    images = [str(name) for name in generator.integers(0, 2, n)]
    scores = generator.integers(0, 4, n) / 4
    table = proposals(boxes, scores, ["car"] * n, images)
    after = without_repeats(table, overlap=overlap)
    kept = (after["advice"] == "review").to_numpy()
    overlaps = iou_xywh(table[["x", "y", "w", "h"]], table[["x", "y", "w", "h"]])
    same = table["image"].to_numpy()[:, None] == table["image"].to_numpy()[None]
    limit = min(overlap, 0.8)
    for i in range(n):
        twins = [j for j in np.flatnonzero(kept) if j != i and same[i, j] and overlaps[i, j] >= limit]
        assert kept[i] == (not twins)
        if twins:
            assert max(table["score"][twins]) >= table["score"][i]
    assert len(after) == n


def test_a_voted_row_names_all_that_made_it() -> None:
    similarity = np.float32([[[0.9, 0.2], [0.5, -np.inf]]])
    near = Near(similarity, np.int64([[[2, 0], [1, -1]]]))
    said = Verdict(
        *(np.array([v]) for v in (0, 1)),
        *(np.float32([v]) for v in (0.75, 0.5, 0.55)),
        near,
        np.int64([2, 1]),
    )
    rows = voted_rows(
        items([(1, 2, 3, 4)]), said, ["review"], ["because"], names=["car", ""],
        labelled=["l0", "l1", "l2"], k=2, origin=ORIGIN,
    )  # fmt: skip
    row = rows.iloc[0]
    assert list(rows.columns) == list(PROPOSAL_COLUMNS)
    assert row["neighbours"] == ["l2", "l1"]
    assert (row["label"], row["second"], row["advice"], row["reason"]) == ("car", "", "review", "because")
    assert (row["set"], row["model"], row["features"]) == ("set1", "abc", "grid=0.7,hog=1")
    np.testing.assert_allclose(
        row[["score", "margin", "similarity"]].astype(float), [0.75, 0.5, 0.9], atol=1e-6
    )


def test_without_labels_regions_are_objects_and_images_are_named_by_cluster() -> None:
    regions = clustered_rows(items([(0, 0, 5, 5)] * 3), np.int64([0, 0, 1]), origin=ORIGIN)
    assert regions["label"].tolist() == ["object"] * 3
    assert regions["cluster"].tolist() == [0, 0, 1]
    assert regions["score"].tolist() == [0.5] * 3
    assert regions["reason"][0] == "no labels: cluster 0 of 2, 2 alike items"
    images = clustered_rows(items([(0, 0, 9, 9)] * 2, kind="image"), np.int64([0, 1]), origin=ORIGIN)
    assert images["label"].tolist() == ["cluster-00", "cluster-01"]
    assert images["score"].isna().all()
    assert (images["advice"] == "review").all()
    assert regions["proposal"].is_unique
    assert list(clustered_rows(items([]), np.int64([]), origin=ORIGIN).columns) == list(PROPOSAL_COLUMNS)


def no(*rows: tuple[str, str, str, tuple[float, ...]]) -> pd.DataFrame:
    """Rejected labels: image, kind, label, box; with a mask and an id, as events have them."""
    made = [
        {"label_id": "x", "image": image, "kind": kind, "label": label, **dict(zip("xywh", box, strict=True))}
        for image, kind, label, box in rows
    ]
    return pd.DataFrame(made, columns=["label_id", "image", "kind", "label", *"xywh"])


def test_what_a_person_has_said_no_to_is_not_asked_again() -> None:
    box, half, less = (10, 10, 8, 6), (10, 10, 8, 3), (10, 10, 8, 2.9)
    boxes = [box, half, less, box, box, (50, 50, 5, 5)]
    table = proposals(boxes, [0.9] * 6, ["car"] * 3 + ["bus"] + ["car"] * 2, ["a"] * 4 + ["b", "a"])
    after = refused(table, no(("a", "region", "car", box), ("c", "region", "bus", box)))
    # The half has IoU 0.5; the bus was never refused in that image, nor the car in the other.
    assert after["advice"].tolist() == ["unknown", "unknown", "review", "review", "review", "review"]
    assert after["reason"][0] == "a person has rejected this label here"
    assert after["reason"][2:].tolist() == table["reason"][2:].tolist()
    rest = [name for name in PROPOSAL_COLUMNS if name not in ("advice", "reason")]
    pd.testing.assert_frame_equal(after[rest], table[rest])
    assert (table["advice"] == "review").all()  # what was given is not touched
    strict = refused(table, no(("a", "region", "car", box)), overlap=1)
    assert strict["advice"].tolist() == ["unknown"] + ["review"] * 5


def test_no_to_a_label_of_an_image_is_no_to_that_label_of_that_image_only() -> None:
    whole = (np.nan,) * 4
    images = clustered_rows(
        items([(0, 0, 9, 9)] * 3, ["a", "a", "b"], kind="image"), np.int64([0, 1, 0]), origin=ORIGIN
    )
    table = pd.concat([images, proposals([(0, 0, 9, 9)], [0.5], ["cluster-00"])], ignore_index=True)
    after = refused(table, no(("a", "image", "cluster-00", whole)))
    assert after["advice"].tolist() == ["unknown", "review", "review", "review"]
    after = refused(table, no(("a", "region", "cluster-00", (0, 0, 9, 9))))
    assert after["advice"].tolist() == ["review", "review", "review", "unknown"]


def test_who_refused_nothing_is_asked_everything() -> None:
    table = proposals([(0, 0, 5, 5)], [0.9], ["car"])
    pd.testing.assert_frame_equal(refused(table, no()), table)
    pd.testing.assert_frame_equal(refused(table[:0], no(("a", "region", "car", (0, 0, 5, 5)))), table[:0])


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 8), m=st.integers(0, 5), overlap=st.floats(0.05, 1), seed=st.integers(0, 999))
def test_refused_is_what_overlaps_a_refusal_of_its_label_and_nothing_else(n, m, overlap, seed) -> None:
    generator = np.random.default_rng(seed)
    boxes = [tuple(generator.integers([0, 0, 5, 5], [9, 9, 15, 15]).tolist()) for _ in range(n + m)]
    images, labels = ([str(name) for name in generator.integers(0, 2, n + m)] for _ in range(2))
    table = proposals(boxes[:n], [0.5] * n, labels[:n], images[:n])
    refusals = no(*zip(images[n:], ["region"] * m, labels[n:], boxes[n:], strict=True))
    after = refused(table, refusals, overlap=overlap)
    for i in range(n):
        against = [
            np.float32(iou_xywh(boxes[i], boxes[j])[0, 0])
            for j in range(n, n + m)
            if images[i] == images[j] and labels[i] == labels[j]
        ]
        asked_again = any(each >= np.float32(overlap) for each in against)
        assert (after["advice"][i] == "unknown") == asked_again


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 9), m=st.integers(0, 6), least=st.floats(0.05, 0.9), seed=st.integers(0, 999))
def test_a_box_is_shown_by_the_region_that_overlaps_it_most(n, m, least, seed) -> None:
    generator = np.random.default_rng(seed)
    sides = lambda count: [tuple(generator.uniform([0, 0, 5, 5], [20, 20, 25, 25])) for _ in range(count)]  # noqa: E731
    images = [str(name) for name in generator.integers(0, 2, n)]
    regions = items(sides(n), images)
    boxes = pd.DataFrame(sides(m), columns=list("xywh")).assign(image=[str(k % 3) for k in range(m)])
    rows = shown_by(regions, boxes, least=least)
    overlaps = iou_xywh(boxes[list("xywh")], regions[list("xywh")])
    for i in range(m):
        own = [j for j in range(n) if images[j] == boxes["image"][i] and overlaps[i, j] >= least]
        assert rows[i] == max(own, key=lambda j, i=i: (overlaps[i, j], -j), default=-1)


def test_a_box_without_area_or_number_is_shown_by_no_region() -> None:
    regions = items([(0, 0, 10, 10), (0, 0, 10, 10)])
    boxes = pd.DataFrame(
        [("a", 2, 2, 0, 5), ("a", np.nan, 0, 10, 10), ("a", 0, 0, 10, 10)], columns=["image", *"xywh"]
    )
    assert shown_by(regions, boxes).tolist() == [-1, -1, 0]
    assert shown_by(regions[:0], boxes).tolist() == [-1, -1, -1]


def test_a_region_ranks_by_its_vote_and_by_being_something() -> None:
    boxes = [
        (0, 0, 10, 10),
        (20, 0, 10, 10),
        (40, 0, 10, 10),
        (60, 0, 10, 10),
        (60, 20, 10, 10),
        (0, 40, 9, 9),
    ]
    table = proposals(boxes, [0.8, 0.6, 0.6, 0.6, np.nan, 0.7], ["car", "car", "car", "", "car", "car"])
    table = table.assign(objectness=np.float32([0.1, 0.9, np.nan, 0.9, 0.9, 0.2]), margin=np.float32(0.3))
    table.loc[5, "kind"] = "image"
    after = ranked(table)
    expected = [(0.8**0.5 * 0.1**0.25) ** (4 / 3), (0.6**0.5 * 0.9**0.25) ** (4 / 3), 0.6, 0.6, np.nan, 0.7]
    np.testing.assert_allclose(after["score"], expected, rtol=1e-6)
    assert after["score"].dtype == np.float32
    pd.testing.assert_frame_equal(after.drop(columns="score"), table.drop(columns="score"))
    assert table["score"][0] == np.float32(0.8)  # not changed in place
    assert ranked(table[:0]).empty


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_ranks_stay_between_none_and_certain_and_follow_both(pairs) -> None:
    table = proposals([(0, 0, 10, 10)] * len(pairs), [p for p, _ in pairs], ["car"] * len(pairs))
    score = ranked(table.assign(objectness=np.float32([o for _, o in pairs])))["score"].to_numpy()
    for (p, o), own in zip(pairs, score, strict=True):
        assert min(p, o) * (1 - 1e-5) <= own + 1e-7
        assert own <= max(p, o) * (1 + 1e-5) + 1e-7
        assert all(
            own >= other - 1e-6 for (q, u), other in zip(pairs, score, strict=True) if q <= p and u <= o
        )
