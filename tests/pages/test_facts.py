import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dinonat.pages.facts import collect, comparison_of
from dinonat.pages.gather import write_drawn
from dinonat.pages.report import render


def tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = ["a.png", "ü </script>.png"]
    for i, name in enumerate(names):
        folder = (root / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(i, i + 80, dtype=np.uint8).reshape(8, 10)).save(root / name)
    items = pd.DataFrame(
        [
            {
                "image": name,
                "kind": "image",
                "status": "ok",
                "reason": "",
                "prepare": "percentile",
                "lo": 18.0 + i,
                "hi": 40.0,
                "unit": "celsius",
            }
            for i, name in enumerate(names)
        ]
        + [{"image": "bad.png", "kind": "image", "status": "failed", "reason": "a text", "prepare": ""}]
    )
    row = {"kind": "region", "x": 1.0, "y": 1.0, "w": 4.0, "h": 4.0, "score": 0.5, "proposal": "p"}
    row |= {"t_max": 36.64, "unit": "celsius"}
    proposals = pd.DataFrame(
        [
            {**row, "image": names[0], "label": "car", "advice": "review", "reason": "near"},
            {**row, "image": names[1], "label": "car", "advice": "unknown", "reason": "too far: 0.2"},
        ]
    )
    return items, proposals


def meta(root: Path) -> dict[str, Any]:
    return {
        "root": str(root),
        "weights": "run0",
        "model": "0123",
        "settings": {"prepare": "percentile", "size": 224},
    }


def test_a_run_is_told_whole(tmp_path: Path) -> None:
    items, proposals = tables(tmp_path)
    training = tmp_path / "weights"
    training.mkdir()
    lines = [json.dumps({"step": i, "loss": 3.0 - i, "teacher_entropy": 1.0}) for i in range(3)]
    (training / "metrics.jsonl").write_text("\n".join(lines))
    (training / "report.json").write_text(json.dumps({"images": 10450, "loss": 1.23456, "weights": "/x"}))
    compared = [
        {"name": "mean", "features": "mean=1", "score": 51.26, "safe": False, "taken": False},
        {"name": "hog+raw", "features": "hog=1,raw=0.7", "score": 61.234, "safe": True, "taken": True},
    ]
    made = {
        "set": "infrared",
        "settings": {"k": 20, "clusters": None},
        "compared": compared,
        "labelled": {"car": 9},
        "labelled_images": 2,
        "warnings": ["a label too many"],
    }
    facts = collect(proposals, items=items, set_meta=meta(tmp_path), made=made, training=training)
    assert facts.title == "Proposals for infrared"
    assert facts.sentences == ("1 box proposed for a person to check; 1 left unknown rather than guessed.",)
    assert [picture.name for picture in facts.pictures] == ["a.png", "ü </script>.png"]
    assert facts.n_images == 2
    assert facts.warnings == ("a label too many", "bad.png: a text")
    assert facts.comparison
    assert facts.comparison.header == ("features", "score")
    assert facts.comparison.rows == (("mean=1", "51.3"), ("hog=1,raw=0.7 (hand-made floor)", "61.2"))
    assert dict(facts.training) == {"images": "10,450", "loss": "1.23"}
    assert dict(facts.used)["embedded with"] == "prepare percentile, size 224"
    assert dict(facts.used)["proposed with"] == "k 20"
    assert dict(facts.used)["labels given"] == "9 car in 2 images"
    preparation = "percentile for 2 images (black 18 to 19, white 40 °C)"
    assert dict(facts.used)["preparation"] == preparation
    page = render(facts)
    assert preparation in page
    assert "car 0.50, up to 36.6 °C: near" in page
    assert page.count('class="chosen"') == 1
    assert "</script>" not in page


def test_without_labels_and_training_the_page_is_shorter(tmp_path: Path) -> None:
    items, proposals = tables(tmp_path)
    facts = collect(proposals.iloc[:0], items=items, set_meta=meta(tmp_path), made={})
    unasked = collect(proposals.iloc[:1], items=items, set_meta=meta(tmp_path), made={})
    assert [picture.name for picture in unasked.pictures] == ["a.png"]
    assert (facts.comparison, facts.curves, facts.training) == (None, (), ())
    assert "No labels" in facts.sentences[0]
    assert len(facts.pictures) == 2
    render(facts)


def test_what_is_no_comparison_is_left_out() -> None:
    for compared in (None, [], [{"a": 1}], "x"):
        assert comparison_of({"compared": compared}) is None


def test_pictures_with_boxes_are_files(tmp_path: Path) -> None:
    _, proposals = tables(tmp_path)
    names = ["gone.png", "a.png", "ü </script>.png"]
    files = write_drawn(names, proposals, tmp_path / "out", root=tmp_path)
    assert [file.name for file in files] == ["02.png", "03.png"]
    drawn = [np.asarray(Image.open(file)) for file in files]
    assert (drawn[0] != drawn[0][..., :1]).any()  # a coloured box
    assert (drawn[1] == drawn[1][..., :1]).all()  # an unknown one is not drawn
