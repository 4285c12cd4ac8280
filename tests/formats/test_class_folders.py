import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.errors import LabelError
from dinonat.formats import class_folders
from dinonat.formats.catalog import FORMATS, read_labels, sniff
from dinonat.formats.class_folders import NOT_THERE, TWICE, folder_names
from dinonat.formats.handover import NO_BOXES, NUMBERS, TEXTS, Check, Outgoing, outgoing

SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
HARD = (
    "a/b", "a\\b", "..", ".", "night.", "night", "Night", "CON", "con.txt", "🔥", "🔥🔥", "x" * 300,
    "ü" * 300, "u\u0308", "ü", "classes.csv", "train", " lead", "a\nb", "</script>", 'say "x"',
    "a:b|c?*", "com7", "é" * 120,
)  # fmt: skip
WAYS = {"folders": class_folders.places, "yolo-classify": class_folders.classify_places}


def asked_of(
    pairs: list[tuple[int, str]], count: int, *, splits: list[str] | None = None, regions: int = 0
) -> Outgoing:
    images = pd.DataFrame({"image": [f"deep/{n}.png" for n in range(count)], "width": 10, "height": 8})
    images["file_name"] = [f"deep_{n} ü.png" for n in range(count)]
    images["split"] = splits or ""
    default = {"cluster": -1, "mask_counts": (), **dict.fromkeys(TEXTS, ""), **dict.fromkeys(NUMBERS, np.nan)}
    rows = [
        {**default, "kind": "image", "proposal": f"p{n}", "image": f"deep/{at}.png", "label": label,
         "score": n / 8, **dict.fromkeys("xywh", np.nan)}
        for n, (at, label) in enumerate(pairs)
    ]  # fmt: skip
    rows += [
        {
            **default,
            "kind": "region",
            "proposal": f"r{n}",
            "image": "deep/0.png",
            "label": HARD[0],
            **dict.fromkeys("xywh", 1.0),
        }
        for n in range(regions)
    ]
    columns = [*default, "kind", "proposal", "image", "label", *"xywh"]
    return outgoing(pd.DataFrame(rows, columns=columns), images, HARD)


def exported(asked: Outgoing, folder: Path, name: str) -> Any:
    """What the export pipeline does: the files, and a picture at each place."""
    written = FORMATS[name].write(asked, folder)
    for at, path in WAYS[name](asked):
        assert path.endswith(asked.images["file_name"][at])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return written


def test_every_class_has_a_folder_that_every_file_system_takes() -> None:
    names = folder_names(HARD)
    assert len({name.casefold() for name in names.values()}) == len(HARD)
    for name in names.values():
        assert name == name.strip(" .")
        assert len(name.encode()) <= 110
        assert not set(name) & set('/\\:*?"<>|\n')
        assert name.split(".")[0].casefold() not in ("con", "com7")
        assert name not in ("classes.csv", "train")
    assert folder_names(("car", "a b")) == {"car": "car", "a b": "a b"}


@pytest.mark.parametrize("name", WAYS)
def test_class_names_come_back_whatever_their_folders_are_called(tmp_path: Path, name: str) -> None:
    asked = asked_of([(n, label) for n, label in enumerate(HARD)], len(HARD))
    exported(asked, tmp_path, name)
    back = FORMATS[name].read(tmp_path).labels
    assert dict(zip(back["image"], back["label"], strict=True)) == {
        f"deep_{n} ü.png": label for n, label in enumerate(HARD)
    }
    assert sniff(tmp_path) in WAYS
    assert set(read_labels(tmp_path)["label"]) == set(HARD)
    assert list(FORMATS[name].faults(tmp_path, Check())) == []


@settings(max_examples=SETS, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(WAYS)))
def test_what_is_not_named_as_lost_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: Any, name: str
) -> None:
    folder = tmp_path_factory.mktemp("classes")
    count = data.draw(st.integers(1, 5))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.sampled_from(HARD)), max_size=8))
    splits = data.draw(
        st.lists(st.sampled_from(["train", "val", "test"]), min_size=count, max_size=count) | st.none()
    )
    asked = asked_of(pairs, count, splits=splits, regions=data.draw(st.integers(0, 2)))
    written = exported(asked, folder, name)
    whole = asked.labels[asked.labels["kind"] == "image"]
    losses = Counter({
        NO_BOXES: len(asked.labels) - len(whole), NOT_THERE: count - len({at for at, _ in pairs}),
        TWICE: len(pairs) - len(set(pairs)),
    })  # fmt: skip
    assert written.losses == {text: n for text, n in losses.items() if n}
    back = FORMATS[name].read(folder)
    said = [(row.image, row.label, row.label_id, row.score) for row in back.labels.itertuples()]
    first = whole.drop_duplicates(["image", "label"])
    named = asked.images["file_name"].to_numpy(object)[first["at"].to_numpy(int)]
    assert sorted(said) == sorted(zip(named, first["label"], first["proposal"], first["score"], strict=True))


def test_a_picture_that_was_moved_keeps_its_id(tmp_path: Path) -> None:
    names = folder_names(HARD)
    exported(asked_of([(0, "night"), (1, "Night")], 2), tmp_path, "folders")
    moved = "deep_0 ü.png"
    (tmp_path / names["night"] / moved).rename(tmp_path / names["Night"] / moved)
    back = class_folders.read(tmp_path).labels
    assert back["label"].tolist() == ["Night", "Night"]
    assert back["label_id"].tolist() == ["p0", "p1"]
    assert back["score"].isna().tolist() == [True, False]


@pytest.mark.parametrize("splits", [None, ["train", "val"]])
def test_a_picture_in_no_class_folder_is_left_out_and_named(tmp_path: Path, splits: list[str] | None) -> None:
    asked = asked_of([(0, "night"), (1, "ü")], 2, splits=splits)
    exported(asked, tmp_path, "folders")
    (first, path), _ = WAYS["folders"](asked)
    name = asked.images["file_name"][first]
    for place in [name, *([f"train/{name}"] if splits else [])]:
        (tmp_path / place).write_bytes(b"")
    said: list[str] = []
    assert class_folders.read(tmp_path, warn=said.append).unread == (name,)
    assert len(said) == 1
    found = [where for where, what in class_folders.faults(tmp_path, Check()) if "no class folder" in what]
    assert sorted(found) == sorted([name, f"train/{name}"] if splits else [name])
    (tmp_path / path).unlink()
    back = class_folders.read(tmp_path, warn=said.append)
    assert (back.unread, back.labels["label"].tolist()) == ((name,), ["ü"])
    assert set(back.images) == set(asked.images["file_name"])


def test_every_split_has_every_class_that_is_used(tmp_path: Path) -> None:
    exported(asked_of([(0, "night"), (1, "ü")], 2, splits=["train", "val"]), tmp_path, "yolo-classify")
    night, ue = (folder_names(HARD)[label] for label in ("night", "ü"))
    there = {path.parent.relative_to(tmp_path).as_posix() + "/" + path.name for path in tmp_path.glob("*/*/")}
    assert there == {f"{split}/{name}" for split in ("train", "val") for name in (night, ue)}
    assert list(class_folders.faults(tmp_path, Check())) == []
    (tmp_path / "val" / night).rmdir()
    assert [where for where, _ in class_folders.faults(tmp_path, Check())] == [f"val/{night}"]


def test_folders_that_a_person_made(tmp_path: Path) -> None:
    for name in ("cat/b.png", "cat/deep/a.JPG", "dog/a.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    back = class_folders.read(tmp_path).labels
    assert back["image"].tolist() == ["cat/b.png", "cat/deep/a.JPG", "dog/a.tif"]
    assert back["label"].tolist() == ["cat", "cat", "dog"]
    assert [where for where, _ in class_folders.faults(tmp_path, Check())] == ["cat/deep/a.JPG"]
    (tmp_path / "loose.png").touch()
    assert "in no class folder" in dict(class_folders.faults(tmp_path, Check()))["loose.png"]


def test_nothing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no folder per class"):
        class_folders.read(tmp_path)
    assert len(list(class_folders.faults(tmp_path, Check()))) == 1
    (tmp_path / "classes.csv").write_text("a,b\n")
    with pytest.raises(LabelError, match="folder,class"):
        class_folders.read(tmp_path)
