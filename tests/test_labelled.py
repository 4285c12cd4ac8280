"""What becomes an example of what: labelled boxes, regions that show them, and what is nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import EmbeddingSet, SetWriter, open_set
from dinonat.embeddings.warmth import UNMEASURED
from dinonat.errors import LabelError
from dinonat.files import short_hash
from dinonat.pipelines import labelled
from dinonat.pipelines.labelled import region_bank, thinned_background
from dinonat.proposals.bank import Bank
from dinonat.records import ITEM_COLUMNS, LABEL_COLUMNS, PARTS, as_table

CAR, WIDE, HALF, FAR = (10, 10, 20, 20), (8, 8, 24, 24), (10, 10, 20, 50), (60, 10, 20, 20)
REGIONS = (WIDE, HALF, FAR, (60, 40, 20, 20), (60, 60, 9, 9))


def row(image: str, kind: str, box: tuple[float, ...], **more: object) -> dict[str, object]:
    x, y, w, h = box
    return {
        "item": short_hash(image, kind, list(map(float, box))), "image": image, "kind": kind,
        "x": x, "y": y, "w": w, "h": h, "width": 100, "height": 80, "objectness": 0.5,
        "mask_counts": [], "source": "ncut", "label": "", "recording": "", "status": "ok", "reason": "",
        "sha256": "", "unit": "grey", "prepare": "percentile", "lo": 0.0, "hi": 1.0, **UNMEASURED, **more,
    }  # fmt: skip


def write_set(root: Path, name: str, rows: list[dict[str, object]]) -> EmbeddingSet:
    writer = SetWriter(root / name, {"model": "abc", "settings": {}, "root": "", "n": len(rows)})
    vectors = np.random.default_rng(len(rows)).normal(size=(len(rows), 6)).astype(np.float32)
    writer.write(0, as_table(rows, ITEM_COLUMNS), dict.fromkeys(PARTS, vectors))
    writer.finish(shards=1)
    return open_set(root / name)


def boxes(*rows: tuple[str, str, tuple[float, ...]]) -> pd.DataFrame:
    return as_table(
        [{"image": i, "label": n, **dict(zip("xywh", b, strict=True))} for i, n, b in rows], LABEL_COLUMNS
    )


def no(*rows: tuple[str, str, tuple[float, ...]]) -> pd.DataFrame:
    return boxes(*rows).assign(kind="region")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingSet:
    """Four images with the same five regions; boxes are embedded here instead of in a child."""

    def embed_boxes(
        known: EmbeddingSet, labels: pd.DataFrame, *, workspace: Path, folder: Path
    ) -> EmbeddingSet:
        rows = [
            row(i, "region", tuple(b), label=n, status="ok" if b[0] < 100 else "failed")
            for i, n, *b in labels.itertuples(index=False)
        ]
        return write_set(tmp_path, f"boxes{short_hash(rows)}", rows)

    monkeypatch.setattr(labelled, "embed_boxes", embed_boxes)
    return write_set(
        tmp_path, "set", [row(i, *each) for i in "abcd" for each in (("image", (0, 0, 100, 80)),
        *(("region", box) for box in REGIONS))],
    )  # fmt: skip


def bank_of(known: EmbeddingSet, labels: pd.DataFrame, complete: str = "ab", **more: object) -> Bank:
    folder = known.folder
    return region_bank(known, labels, complete=list(complete), workspace=folder, folder=folder, **more)  # type: ignore[arg-type]


def examples(bank: Bank) -> list[tuple[str, str, tuple[float, ...]]]:
    sides = bank.items[list("xywh")].astype(int).itertuples(index=False, name=None)
    return [
        (image, bank.names[c], box)
        for image, c, box in zip(bank.items["image"], bank.classes, sides, strict=True)
    ]


CARS = boxes(("a", "car", CAR), ("b", "car", CAR))


def test_a_region_that_meets_a_box_is_an_example_and_one_that_half_does_is_none(
    known: EmbeddingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "FEW", 1)
    given = examples(bank_of(known, CARS))
    assert [each for each in given if each[1] == "car"] == [
        ("a", "car", CAR), ("b", "car", CAR), ("a", "car", WIDE), ("b", "car", WIDE)
    ]  # fmt: skip
    assert not [each for each in given if each[2] == HALF]  # IoU 0.4: neither a car nor nothing
    # Never more nothing than examples of the largest class, though six regions are far from all boxes.
    assert [each[1] for each in given].count("background") == 4
    assert {each[0] for each in given} == {"a", "b"}


def test_an_accepted_region_is_there_once(known: EmbeddingSet) -> None:
    given = examples(bank_of(known, boxes(("a", "car", WIDE), ("b", "car", CAR))))
    assert given.count(("a", "car", WIDE)) == 1
    assert ("b", "car", WIDE) in given


def test_of_a_single_image_no_region_is_its_own_witness(known: EmbeddingSet) -> None:
    assert ("a", "car", WIDE) not in examples(bank_of(known, CARS[:1], "a"))


def test_a_box_of_two_classes_goes_to_the_one_it_meets_best(known: EmbeddingSet) -> None:
    labels = boxes(("a", "car", CAR), ("a", "van", (*WIDE[:3], 28)), ("b", "car", CAR))
    given = examples(bank_of(known, labels))
    assert ("a", "van", WIDE) in given
    assert ("a", "car", WIDE) not in given


def test_what_people_rejected_is_nothing_and_is_never_thinned_away(known: EmbeddingSet) -> None:
    before = examples(bank_of(known, CARS, ""))
    assert not [each for each in before if each[1] == "background"]
    # A corrected box of the region FAR, one of a label that stands elsewhere, one where nothing is.
    rejected = no(("c", "car", (64, 14, 12, 12)), ("a", "van", WIDE), ("d", "car", (0, 70, 5, 5)))
    given = examples(bank_of(known, CARS, "", rejected=rejected))
    assert [each for each in given if each[1] == "background"] == [("c", "background", FAR)]
    # More than the largest class, and all of them there.
    many = no(*((i, "car", box) for i in "cd" for box in REGIONS))
    given = examples(bank_of(known, CARS, "ab", rejected=many))
    nothing = [each for each in given if each[1] == "background"]
    assert {each for each in nothing if each[0] in "cd"} == {
        (i, "background", b) for i in "cd" for b in REGIONS
    }


def test_rejected_labels_of_whole_images_and_none_change_nothing(known: EmbeddingSet) -> None:
    image = no(("c", "car", FAR)).assign(kind="image")
    plain = examples(bank_of(known, CARS))
    assert (
        plain
        == examples(bank_of(known, CARS, rejected=image))
        == examples(bank_of(known, CARS, rejected=no()))
    )


def test_an_image_without_boxes_gives_nothing_but_background(known: EmbeddingSet) -> None:
    given = examples(bank_of(known, CARS, "abd"))
    assert {each[1] for each in given if each[0] == "d"} == {"background"}


def test_boxes_outside_their_images_are_left_out_and_alone_are_an_error(known: EmbeddingSet) -> None:
    outside = ("a", "bus", (900, 900, 20, 20))
    assert {each[1] for each in examples(bank_of(known, boxes(outside, ("b", "car", CAR))))} == {
        "car", "background"
    }  # fmt: skip
    with pytest.raises(LabelError, match="every labelled box lies outside its image"):
        bank_of(known, boxes(outside))


def test_thinning_keeps_what_was_rejected_and_spreads_the_rest() -> None:
    no, far = np.zeros(40, bool), np.ones(40, bool)
    no[[3, 5]] = True
    marks = thinned_background(no, far, 12)
    assert marks.sum() == 12
    assert marks[[3, 5, 0, 39]].all()
    assert np.diff(np.flatnonzero(marks)).max() <= 6
    assert thinned_background(no, far, 1).sum() == 2
    assert thinned_background(no, no, 12).sum() == 2
    assert not thinned_background(no & False, no & False, 12).any()
    assert thinned_background(no, far, 99).all()
