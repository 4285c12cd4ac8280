"""What a person changed in a file is found: by ids, by place, and by trying every assignment."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dinonat.geometry import iou_xywh, mask_to_counts
from dinonat.proposals import corrections
from dinonat.proposals.corrections import CHANGES, KNOWN_COLUMNS, compare
from dinonat.records import EVENT_COLUMNS, INCOMING_COLUMNS, as_table

SIZE = (40, 60)
IMAGES = ("a.png", "b.png")
BOX = (10.0, 10.0, 8.0, 6.0)
Row = dict[str, object]


def row(label_id: str = "", box=BOX, label: str = "car", image: str = "a.png", **more: object) -> Row:
    sides = dict(zip("xywh", box, strict=True))
    rest = {"kind": "region", "mask_counts": (), "status": "", "score": np.nan, "where": "row"}
    return {"label_id": label_id, "image": image, "label": label, **rest, **sides, **more}


def of_image(label_id: str = "", label: str = "car", image: str = "a.png", **more: object) -> Row:
    return row(label_id, (np.nan,) * 4, label, image, kind="image", **more)


def before(*rows: Row, removable: bool = True) -> pd.DataFrame:
    return as_table([{"run": "r1", "removable": removable, **each} for each in rows], KNOWN_COLUMNS)


def changes(said: list[Row], known: pd.DataFrame, listed=IMAGES, step: float = 0.005) -> pd.DataFrame:
    rows = as_table(said, INCOMING_COLUMNS)
    sizes = dict.fromkeys(IMAGES, SIZE)
    found = compare(rows, known, listed=listed, sizes=sizes, set_name="s", step=step)
    ids = found["label_id"]
    assert ids.is_unique, "no label has two fates"
    assert set(found["change"]) <= set(CHANGES)
    actions = {
        "kept": "",
        "relabelled": "relabelled",
        "moved": "moved",
        "removed": "rejected",
        "new": "drawn",
    }
    assert found["action"].tolist() == [actions[change] for change in found["change"]]
    assert found.loc[found["change"] != "new", "run"].eq("r1").all()
    return found


def fates(found: pd.DataFrame) -> dict[str, str]:
    """Return id -> change; the ids of new labels are their classes."""
    new = found["change"] == "new"
    return dict(zip(found["label_id"].mask(new, found["label"]), found["change"], strict=True))


def mask(
    *blocks: tuple[int, int, int, int], holes: tuple[tuple[int, int, int, int], ...] = ()
) -> tuple[int, ...]:
    """Run lengths of blocks (x, y, w, h), less some."""
    pixels = np.zeros(SIZE, bool)
    for value, parts in ((True, blocks), (False, holes)):
        for x, y, w, h in parts:
            pixels[y : y + h, x : x + w] = value
    return tuple(mask_to_counts(pixels))


FAR = (40.0, 20.0, 8.0, 6.0)
NEAR = (11.0, 10.0, 8.0, 6.0)  # IoU 0.78 with BOX


@pytest.mark.parametrize("name", ["1", ""], ids=["by id", "by place"])
@pytest.mark.parametrize(
    ("said", "fate", "label", "box"),
    [
        ({}, "kept", "car", BOX),
        ({"label": "bus"}, "relabelled", "bus", BOX),
        ({"box": NEAR}, "moved", "car", NEAR),
        ({"box": NEAR, "label": "bus"}, "moved", "bus", NEAR),
        ({"box": (10.0, 10.0, 8.0, 6.01)}, "moved", "car", (10.0, 10.0, 8.0, 6.01)),
        ({"status": "accepted"}, "kept", "car", BOX),
        ({"status": "rejected"}, "removed", "car", BOX),
        ({"status": "rejected", "label": "bus", "box": NEAR}, "removed", "car", BOX),
    ],
)
def test_each_change_is_found(name, said, fate, label, box) -> None:
    found = changes([row(name, **said)], before(row("1")))
    assert fates(found) == {"1": fate}
    now = found.iloc[0]
    assert (now["label"], now["was"], now["says"]) == (label, "car", said.get("status", ""))
    assert tuple(now[list("xywh")]) == box


def test_far_away_only_the_id_says_that_it_is_the_same() -> None:
    assert fates(changes([row("1", FAR)], before(row("1")))) == {"1": "moved"}
    assert fates(changes([row("", FAR, "bus")], before(row("1")))) == {"1": "removed", "bus": "new"}
    half = (10.0, 10.0, 8.0, 3.0), (10.0, 10.0, 8.0, 2.99)  # IoU 0.5, and just less
    assert fates(changes([row("", half[0])], before(row("1")))) == {"1": "moved"}
    assert fates(changes([row("", half[1], "bus")], before(row("1")))) == {"1": "removed", "bus": "new"}


def test_only_what_the_file_held_in_images_that_it_lists_is_removed() -> None:
    assert fates(changes([], before(row("1")))) == {"1": "removed"}
    assert fates(changes([], before(row("1")), listed=["b.png"])) == {}
    assert fates(changes([], before(row("1"), removable=False))) == {}
    assert fates(changes([row("", image="b.png", label="bus")], before(row("1")), listed=["b.png"])) == {
        "bus": "new"
    }
    assert fates(changes([], before())) == {}


def test_labels_of_whole_images_belong_by_class_and_the_last_two_by_image() -> None:
    known = before(of_image("1", "car"), of_image("2", "bus"), of_image("3", "car", "b.png"))
    said = [of_image(label="bus"), of_image(label="tram"), of_image(label="car", image="b.png")]
    found = changes(said, known)
    assert fates(found) == {"1": "relabelled", "2": "kept", "3": "kept"}
    assert found.set_index("label_id").loc["1", ["label", "was"]].tolist() == ["tram", "car"]
    two = [of_image(label="tram"), of_image(label="train")]  # nobody can say which one was the car
    found = changes(two, before(of_image("1", "car")))
    assert fates(found) == {"1": "removed", "tram": "new", "train": "new"}
    # A label that this file never held is not taken for the one that it brings.
    assert fates(changes([of_image(label="bus")], before(of_image("1", "car"), removable=False))) == {
        "bus": "new"
    }
    assert fates(changes([of_image("1", "bus")], before(of_image("1", "car")))) == {"1": "relabelled"}
    # An image's label is not the label of a box.
    found = changes([of_image("1", "bus")], before(row("1")))
    assert fates(found) == {"1": "removed", "bus": "new"}


def test_of_copies_with_one_id_the_nearest_keeps_it() -> None:
    known = before(row("1"))
    copies = [row("1", FAR, "far"), row("1", NEAR, "near"), row("1", label="bus"), row("1", label="car")]
    for said in (copies, copies[::-1], copies[2:] + copies[:2]):
        assert fates(changes(said, known)) == {"1": "kept", "far": "new", "near": "new", "bus": "new"}
    assert fates(changes(copies[:3], known)) == {"1": "relabelled", "far": "new", "near": "new"}
    assert fates(changes(copies[:2], known)) == {"1": "moved", "far": "new"}


def test_of_copies_that_all_lie_far_the_least_far_keeps_the_id_in_any_order() -> None:
    copies = [
        row("1", (50.0, 30.0, 4.0, 4.0), "x"),
        row("1", (22.0, 10.0, 8.0, 6.0), "y"),
        row("1", FAR, "z"),
    ]
    for said in permutations(copies):
        assert fates(changes(list(said), before(row("1")))) == {"1": "moved", "x": "new", "z": "new"}
    twins = [row("1", (2.0, 10.0, 8.0, 6.0)), row("1", (18.0, 10.0, 8.0, 6.0))]  # as far on both sides
    one, other = (changes(said, before(row("1"))) for said in (twins, twins[::-1]))
    pd.testing.assert_frame_equal(
        one.sort_values("label_id", ignore_index=True), other.sort_values("label_id", ignore_index=True)
    )


def test_ids_that_changed_places_between_images_count_nothing() -> None:
    known = before(row("1", image="a.png"), row("2", image="b.png"))
    said = [row("2", image="a.png"), row("1", image="b.png")]
    assert fates(changes(said, known)) == {"1": "kept", "2": "kept"}
    said = [row("1", image="b.png", label="bus", box=NEAR)]
    assert fates(changes(said, known)) == {"1": "removed", "2": "moved"}


def test_an_id_that_nobody_knows_is_no_id() -> None:
    assert fates(changes([row("of another set")], before(row("1")))) == {"1": "kept"}


def test_whole_pixels_are_no_change_however_small_the_box() -> None:
    step = 0.51
    known = before(row("1", (10.4, 10.0, 10.2, 6.3)), row("2", (30.4, 20.4, 0.8, 0.9)))
    said = [
        row("", (10.0, 10.0, 11.0, 6.0)),
        row("", (30.0, 20.0, 1.0, 1.0)),
    ]  # 0.8 wider: both edges rounded
    found = changes(said, known, step=step)
    assert fates(found) == {"1": "kept", "2": "kept"}
    assert found.set_index("label_id").loc["1", list("xywh")].tolist() == [
        10.4,
        10.0,
        10.2,
        6.3,
    ]  # not the rounded
    assert fates(changes([row("", (10.0, 9.0, 11.0, 7.0))], known[:1], step=step)) == {"1": "moved"}


RING = mask((10, 10, 8, 6), holes=((12, 12, 2, 2),))
FULL = mask((10, 10, 8, 6))
BENT = mask((10, 10, 8, 2), (10, 12, 2, 4))
LESS = mask((10, 10, 8, 2), (10, 12, 3, 4))


@pytest.mark.parametrize(
    ("old", "said", "fate", "new"),
    [
        (BENT, {"mask_counts": BENT}, "kept", BENT),
        (RING, {"mask_counts": FULL}, "kept", RING),  # the format filled its hole
        (BENT, {"mask_counts": LESS}, "moved", LESS),
        (BENT, {"mask_counts": LESS, "label": "bus"}, "moved", LESS),
        (BENT, {}, "kept", BENT),  # the format has no masks
        (BENT, {"label": "bus"}, "relabelled", BENT),
        (BENT, {"box": NEAR}, "moved", ()),  # no mask outlives a move of its box
        (BENT, {"box": NEAR, "status": "rejected"}, "removed", BENT),
        (BENT, {"mask_counts": LESS, "status": "rejected"}, "removed", BENT),
        ((), {"mask_counts": BENT}, "moved", BENT),  # drawn in the box
        ((), {"mask_counts": FULL}, "kept", ()),  # a box that the format draws as a polygon
        ((), {"mask_counts": mask((11, 10, 8, 6)), "box": NEAR}, "moved", ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["1", ""], ids=["by id", "by place"])
def test_masks(name, old, said, fate, new) -> None:
    found = changes([row(name, **said)], before(row("1", mask_counts=old)))
    assert fates(found) == {"1": fate}
    assert found["mask_counts"][0] == new


def test_the_box_of_the_mask_for_that_of_the_label_is_no_change() -> None:
    wide = (9.5, 9.5, 9.0, 7.0)
    for old, said in ((BENT, BENT), (RING, FULL)):
        found = changes([row("1", BOX, mask_counts=said)], before(row("1", wide, mask_counts=old)))
        assert fates(found) == {"1": "kept"}
        assert tuple(found.loc[0, list("xywh")]) == wide
        assert found["mask_counts"][0] == old
    found = changes([row("1", NEAR, mask_counts=BENT)], before(row("1", wide, mask_counts=BENT)))
    assert fates(found) == {"1": "moved"}


def test_new_labels_get_the_same_ids_whenever_they_are_read() -> None:
    said = [row(), row(), row(box=FAR), of_image(), row(image="b.png"), row(label="bus")]
    first = changes(said, before())
    assert (first["change"] == "new").all()
    assert first["run"].eq("").all()
    again = changes(said[::-1], before())
    assert set(again["label_id"]) == set(first["label_id"])
    assert (
        again.groupby("label")["label_id"].apply(set).to_dict()
        == first.groupby("label")["label_id"].apply(set).to_dict()
    )
    known = as_table(first.assign(removable=False, run="r1"), KNOWN_COLUMNS)
    assert (changes(said, known)["change"] == "kept").all()


def test_a_rejected_label_that_nobody_knew_is_nothing() -> None:
    assert fates(changes([row(status="rejected")], before())) == {}


def test_what_is_drawn_where_another_had_been_gets_an_id_of_its_own() -> None:
    drawn = changes([row()], before())
    moved = changes([row(box=NEAR)], as_table(drawn.assign(removable=True, run="r1"), KNOWN_COLUMNS))
    assert moved["label_id"].tolist() == drawn["label_id"].tolist()
    known = as_table(moved.assign(removable=True), KNOWN_COLUMNS)
    both = changes([row(box=NEAR), row()], known)  # `changes` asserts that the ids differ
    assert sorted(both["change"]) == ["kept", "new"]
    known = as_table(both.assign(removable=True, run="r1"), KNOWN_COLUMNS)
    assert (changes([row(box=NEAR), row()], known)["change"] == "kept").all()


def test_the_nearest_pair_does_not_take_what_two_pairs_need() -> None:
    # Said 0 lies nearer to known 1 (IoU 0.98) than to 0 (0.68), but said 1 fits known 1 only.
    known = [row("0", (0.0, 0.0, 10.0, 10.0)), row("1", (2.0, 0.0, 10.0, 10.0))]
    said = [row("", (1.9, 0.0, 10.0, 10.0)), row("", (4.0, 0.0, 10.0, 10.0))]
    overlap = iou_xywh(*([[each[side] for side in "xywh"] for each in rows] for rows in (said, known)))
    assert overlap.argmax() == 1  # greedy takes said 0 for known 1 ...
    assert overlap[1, 0] < 0.5  # ... and nothing is left for said 1
    found = changes(said, before(*known))
    assert fates(found) == {"0": "moved", "1": "moved"}
    assert found.set_index("label_id").loc["0", "x"] == 1.9


def test_boxes_that_hardly_overlap_do_not_break_a_pair() -> None:
    # Twice 0.43 is more than 0.71 and nothing, but boxes so far apart are not one label.
    known = [row("0", (0.0, 0.0, 10.0, 10.0)), row("1", (5.7, 0.0, 10.0, 10.0))]
    said = [row("", (1.7, 0.0, 10.0, 10.0)), row("", (-4.0, 0.0, 10.0, 10.0), "bus")]
    assert fates(changes(said, before(*known))) == {"0": "moved", "1": "removed", "bus": "new"}


def best_worth(said: list[Row], known: list[Row]) -> float:
    """The largest sum of IoU, from 0.5 up, and a hundredth for a common class, of all assignments."""
    boxes = [[[each[side] for side in "xywh"] for each in rows] for rows in (said, known)]
    overlap = iou_xywh(*boxes)
    same = np.array([[one["label"] == other["label"] for other in known] for one in said])
    worth = np.where(overlap >= 0.5, overlap + 0.01 * same, 0.0)
    worth = worth if len(said) <= len(known) else worth.T
    return max(
        sum(worth[i, j] for i, j in enumerate(order))
        for order in permutations(range(worth.shape[1]), len(worth))
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5), m=st.integers(1, 5))
def test_no_assignment_is_better_than_the_one_found(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)

    def boxes(count: int, name: str) -> list[Row]:
        sides = rng.uniform([0, 0, 8, 8], [6, 6, 12, 12], (count, 4)).round(2).tolist()
        classes = rng.choice(["car", "bus"], count).tolist()
        rows = enumerate(zip(sides, classes, strict=True))
        return [row(name and f"{name}{i}", tuple(box), label) for i, (box, label) in rows]

    said, known = boxes(n, ""), boxes(m, "k")
    found = changes(said, before(*known))
    pairs = found[found["change"].isin(["kept", "moved", "relabelled"])].merge(before(*known), on="label_id")
    assert len(pairs) + (found["change"] == "new").sum() == n
    assert len(pairs) + (found["change"] == "removed").sum() == m
    total = 0.0
    for _, pair in pairs.iterrows():
        overlap = iou_xywh(pair[[f"{side}_x" for side in "xywh"]], pair[[f"{side}_y" for side in "xywh"]])
        assert overlap[0, 0] >= 0.5
        total += overlap[0, 0] + 0.01 * (pair["label_x"] == pair["label_y"])
    assert total == pytest.approx(best_worth(said, known))


def test_a_crowd_is_assigned_in_parts_as_it_would_be_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    known = [row(f"k{n}", tuple(box)) for n, box in enumerate(crowd(rng, 120))]
    said = [row("", tuple(box)) for box in crowd(rng, 110)]
    whole = changes(said, before(*known))
    monkeypatch.setattr(corrections, "AT_ONCE", 250)  # two rows of the file
    pd.testing.assert_frame_equal(changes(said, before(*known)), whole)
    overlap = iou_xywh(*([[each[side] for side in "xywh"] for each in rows] for rows in (said, known)))
    worth = np.where(overlap >= 0.5, overlap + 0.01, 0.0)
    assert ((worth > 0).sum(axis=1) > 1).sum() > 20  # rows that have a choice
    i, j = linear_sum_assignment(-worth)
    pairs = whole[whole["change"] == "moved"].merge(before(*known), on="label_id")
    assert len(pairs) == (worth[i, j] > 0).sum()
    boxes = (pairs[[f"{side}_{end}" for side in "xywh"]].to_numpy() for end in "xy")
    assert np.diag(iou_xywh(*boxes)).sum() + 0.01 * len(pairs) == pytest.approx(worth[i, j].sum())


def crowd(rng: np.random.Generator, count: int) -> list[list[float]]:
    boxes: list[list[float]] = rng.uniform([0, 0, 12, 12], [50, 50, 18, 18], (count, 4)).round(2).tolist()
    return boxes


EDITS = ("keep", "relabel", "move", "both", "remove")


@settings(max_examples=25, deadline=None)
@given(
    edits=st.lists(st.sampled_from(EDITS), max_size=16),
    added=st.integers(0, 4),
    ids=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_exactly_the_edits_of_a_person_are_found(edits: list[str], added: int, ids: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A place of 15 x 10 pixels each, in two images: boxes do not meet, wherever they are moved to.
    places = [(image, x, y) for image in IMAGES for x in range(0, 60, 15) for y in range(0, 40, 10)]
    places = [places[i] for i in rng.permutation(len(places))]
    known, said, expected = [], [], {}
    for number in range(len(edits) + added):
        image, x, y = places[number]
        box = (x + 2.0, y + 2.0, round(float(rng.uniform(8, 10)), 2), round(float(rng.uniform(5, 6)), 2))
        if number >= len(edits):
            said.append(row("", box, f"new {number}", image))
            expected[f"new {number}"] = ("new", f"new {number}", box)
            continue
        edit = edits[number]
        known.append(row(f"id{number}", box, "car", image))
        label = "bus" if edit in ("relabel", "both") else "car"
        shift = rng.choice([-1, -0.5, 0.01, 0.5, 1], 2) * (edit in ("move", "both"))
        place = (round(box[0] + shift[0], 2), round(box[1] + shift[1], 2), *box[2:])
        if edit != "remove":
            said.append(row(f"id{number}" if ids else "", place, label, image))
        fate = {
            "keep": "kept",
            "relabel": "relabelled",
            "move": "moved",
            "both": "moved",
            "remove": "removed",
        }[edit]
        expected[f"id{number}"] = (fate, label, box if edit == "remove" else place)
    shuffled = [said[i] for i in rng.permutation(len(said))]
    found = changes(shuffled, before(*known))
    new = found["change"] == "new"
    names = found["label_id"].mask(new, found["label"])
    boxes = [tuple(sides) for sides in found[list("xywh")].to_numpy().tolist()]
    assert dict(zip(names, zip(found["change"], found["label"], boxes, strict=True), strict=True)) == expected
    # What the labels are now, compared with the file again: nothing has changed.
    now = found[found["change"] != "removed"].assign(removable=True, run="r1")
    again = changes(said, as_table(now, KNOWN_COLUMNS))
    assert (again["change"] == "kept").all()
    in_order = changes(said, before(*known))
    one, other = (each.sort_values("label_id", ignore_index=True) for each in (found, in_order))
    pd.testing.assert_frame_equal(one, other)


def test_many_copies_and_many_images_are_told_apart() -> None:
    known = [row(f"{n}", label=f"c{n}", image=IMAGES[n % 2], box=(n / 4, 1.0, 9.0, 9.0)) for n in range(80)]
    copies = [{**each, "x": each["x"] + 20.0, "label": f"copy {each['label_id']}"} for each in known]
    found = changes([*copies, *known], before(*known))
    assert fates(found) == {**{f"{n}": "kept" for n in range(80)}, **{f"copy {n}": "new" for n in range(80)}}
    assert list(found.columns) == [*EVENT_COLUMNS, "change", "was", "says"]
