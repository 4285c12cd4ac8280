import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinonat.pages.gather import (
    abstentions_of,
    choose_images,
    counts_of,
    curves_of,
    marks_of,
    pictures_of,
    reference,
)


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    default = {
        "image": "a.png", "kind": "region", "x": 1.0, "y": 1.0, "w": 4.0, "h": 4.0, "label": "car",
        "score": 0.5, "advice": "review", "reason": "", "proposal": "p",
        "t_max": np.nan, "unit": "grey",
    }  # fmt: skip
    return pd.DataFrame([{**default, **row} for row in rows])


def test_every_class_is_seen_and_the_rest_lies_evenly() -> None:
    names = [f"{i:03}.png" for i in range(100)]
    rows = [
        {"image": name, "label": "car", "score": i / 100, "proposal": name} for i, name in enumerate(names)
    ]
    rows += [{"image": "042.png", "label": "dog"}, {"image": "007.png", "label": "", "advice": "unknown"}]
    chosen = choose_images(table(*rows), names, most=10)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 10
    assert {"042.png", "050.png"} <= set(chosen)  # the rare class, and the car of middle score
    numbers = [int(name[:3]) for name in chosen]
    assert max(np.diff([0, *numbers, 99])) < 25
    assert choose_images(table(*rows), names, most=200) == names
    assert choose_images(table(*rows[::-1]), names[::-1], most=10) == chosen
    assert choose_images(table(*rows), [], most=10) == []


def test_more_classes_than_places() -> None:
    rows = [{"image": f"{i}.png", "label": f"c{i}"} for i in range(9)]
    assert len(choose_images(table(*rows), [f"{i}.png" for i in range(9)], most=4)) == 4


def test_counts() -> None:
    rows = [{"label": "car"}] * 2 + [{"label": "dog"}] * 3 + [{"label": "car", "advice": "unknown"}]
    rows += [{"label": "", "advice": "unknown"}]
    counts = counts_of(table(*rows))
    assert [tuple(count) for count in counts] == [("dog", 0, 3, 0), ("car", 0, 2, 1), ("(no class)", 0, 0, 1)]


def test_reasons_that_differ_in_numbers_are_one() -> None:
    reasons = [
        "only 0.31 alike to 'car'; 95% of labelled items reach 0.4",
        "only 0.29 alike to 'person'; 95% of labelled items reach 0.5",
        "too close: 'car' 0.5",
    ]
    found = abstentions_of(table(*[{"advice": "unknown", "reason": reason} for reason in reasons], {}))
    assert [tuple(one) for one in found] == [(2, "only … alike to …", reasons[0]), (1, reasons[2], "")]
    letters = [{"advice": "unknown", "reason": "reason " + "x" * i} for i in range(30)]
    assert sum(one.number for one in abstentions_of(table(*letters))) == 30
    assert abstentions_of(table({})) == ()


def test_marks_keep_boxes_of_regions_only() -> None:
    region, whole = marks_of(table({}, {"kind": "image", "label": ""}))
    assert region.box_xywh == (1, 1, 4, 4)
    assert (whole.box_xywh, whole.label) == (None, "(no class)")
    (hot,) = marks_of(table({"t_max": 23.456, "unit": "celsius", "reason": ""}))
    assert hot.details == "car 0.50, up to 23.5 °C"


def test_curves_end_at_a_line_that_a_kill_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": i, "loss": 3.0 - i, "teacher_entropy": 1.0}) for i in range(3)]
    path.write_text("\n".join(lines) + '\n{"step": 3, "lo')
    loss, entropy = curves_of(path)
    assert loss.steps == (0, 1, 2)
    assert loss.values == (3, 2, 1)
    assert entropy.name == "Entropy of the teacher"
    assert curves_of(tmp_path / "none") == ()


def test_pictures_are_read_and_lost_ones_said(tmp_path: Path) -> None:
    names = ["ü </script>.png", "a\nb.png", "x#1.png"]
    for name in names[:2]:
        folder = (tmp_path / name).parent
        folder.mkdir(exist_ok=True, parents=True)
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / name)
    pictures, lost = pictures_of(names, table({"image": names[0]}), root=tmp_path)
    assert [picture.name for picture in pictures] == names[:2]
    assert (pictures[0].width, pictures[0].height, len(pictures[0].marks)) == (8, 6, 1)
    assert len(lost) == 1
    assert lost[0].startswith("x#1.png: not shown")


@pytest.mark.parametrize(("name", "frame"), [("v.tif#3", 3), ("v.tif", 0), ("odd#3", 0), ("v.tif#x", 0)])
def test_a_name_leads_to_its_frame(tmp_path: Path, name: str, frame: int) -> None:
    (tmp_path / "odd#3").touch()
    ref = reference(tmp_path, name)
    assert ref.frame == frame
    assert ref.name == name
