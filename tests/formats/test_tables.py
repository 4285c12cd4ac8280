import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat.errors import LabelError
from dinonat.formats import coco
from dinonat.formats.catalog import read_labels
from dinonat.formats.handover import outgoing
from dinonat.formats.image_labels import read_image_labels, write_image_labels
from dinonat.formats.tables import read_csv, read_recordings

PLAIN = "image,label,x,y,w,h\na.png,car,1,2,3,4\nb.png,night,,,,\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("image,label", "File Name,Category").encode(),
        PLAIN.replace("image,label", "filename,class").encode(),
        PLAIN.replace("image,label", "PATH,class-name").encode(),
        PLAIN.replace("x,y,w,h", "left,top,width,height").encode(),
        b"filename,width,height,class,xmin,ymin,xmax,ymax\na.png,10,8,car,1,2,4,6\nb.png,10,8,night,,,,\n",
        b"image;label;x;y;w;h\na.png;car;1,0;2,0;3,0;4,0\nb.png;night;;;;\n",
        b'label,image,x,y,w,h,note\ncar, a.png,1,2,3,4,"x\ny"\nnight,b.png\n\n,c.png,,,,\n',
    ],
)
def test_every_spelling_of_one_table_reads_the_same(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text)
    labels = read_labels(path)
    assert labels["image"].tolist() == ["a.png", "b.png"]
    assert labels["label"].tolist() == ["car", "night"]
    assert labels.iloc[0][["x", "y", "w", "h"]].tolist() == [1, 2, 3, 4]
    assert labels.iloc[1][["x", "y", "w", "h"]].isna().all()


def test_latin_letters_of_an_old_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("image;label\nstraße.png;Fußgänger\n".encode("cp1252"))
    assert read_labels(path).iloc[0][["image", "label"]].tolist() == ["straße.png", "Fußgänger"]


def test_labels_are_texts_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('image,label\n"a\nb.png",NA\n007.png,01\n"</script>.png",null\n')
    labels = read_labels(path)
    assert labels["label"].tolist() == ["NA", "01", "null"]
    assert labels["image"].tolist() == ["a\nb.png", "007.png", "</script>.png"]


def test_a_bad_row_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "image,label,x,y,w,h\na.png,car,1,2,3,4\na.png,car,one,2,3,4\na.png,car,1,2,,\n,car,1,2,3,4\n"
        "a.png,car,1,2,-3,4\na.png,car,1,2,inf,4\na.png,car,nan,2,3,4\n"
    )
    warnings: list[str] = []
    assert len(read_csv(path, warn=warnings.append)) == 1
    assert len(warnings) == 6
    assert "line 3: x is 'one'" in warnings[0]
    assert all(sentence.endswith("this row is left out.") for sentence in warnings)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("a.png,car\n", "no column for the image"),
        ("image,x\na.png,3\n", "no column for the label"),
        ("image,label\na.png,\n", "no row holds a label"),
        ("image,label\n" + "x" * 200_000 + ",car\n", "not a CSV file"),
        ('{"images": []}', "no list"),
        ("[]", "no label in it"),
    ],
)
def test_what_holds_no_labels_is_a_sentence(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=word):
        read_labels(path)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(LabelError, match="no folder per class"):
        read_labels(tmp_path)


def test_folder_per_class(tmp_path: Path) -> None:
    for name in ("cat/b.png", "cat/deep/a.JPG", "dog/a.tif", "dog/notes.txt", "dog/.hidden.png", "loose.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "dog" / "loop")
    labels = read_labels(tmp_path)
    assert labels["image"].tolist() == ["cat/b.png", "cat/deep/a.JPG", "dog/a.tif"]
    assert labels["label"].tolist() == ["cat", "cat", "dog"]
    assert labels["x"].isna().all()


def test_recordings(tmp_path: Path) -> None:
    path = tmp_path / "recordings.csv"
    path.write_text("file;Flight\na.png;one\nb.png;two\na.png;one\n;\n")
    assert read_recordings(path) == {"a.png": "one", "b.png": "two"}
    path.write_text("image,recording\na.png,one\na.png,two\n")
    with pytest.raises(LabelError, match="line 3"):
        read_recordings(path)
    path.write_text("image,label\na.png,one\n")
    with pytest.raises(LabelError, match="image,recording"):
        read_recordings(path)


def test_image_labels_go_out_and_come_back(tmp_path: Path, proposals: Any) -> None:
    names = ["z.png", "a\nb.png", 'say "x", y.png', "</script>.png", "ü.png"]
    table = proposals(
        *[
            {"kind": "image", "image": name, "label": "=1+1", "score": np.nan, "t_max": 36.6049, "lo": 20.5}
            for name in names
        ],
        {},
    )
    path = tmp_path / "image_labels.csv"
    assert write_image_labels(table, path) == 5
    assert read_csv(path)["image"].tolist() == sorted(names)
    assert set(read_csv(path)["label"]) == {"=1+1"}
    with path.open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert (row["score"], row["cluster"], row["similarity"]) == ("", "", "0.75")
    assert (row["t_max"], row["t_min"], row["unit"], row["lo"]) == ("36.6049", "", "grey", "20.5")


def test_image_labels_come_back_with_their_ids(tmp_path: Path, proposals: Any) -> None:
    names = [" a.png", "b\rc.png", "d\r\ne.png", 'say "x"; y.png', "ü😀.png"]
    scores = np.float32([0.1, 1 / 3, 1e-7, np.nan, 1])
    rows = [
        {"kind": "image", "image": name, "label": f" {name}#", "score": score}
        for name, score in zip(names, scores, strict=True)
    ]
    path = tmp_path / "image_labels.csv"
    assert read_image_labels(path) == []
    for status in ("str", "category"):
        write_image_labels(proposals(*rows).astype({"status": status}), path)
        found = read_image_labels(path)
        assert [row["image"] for row in found] == names
        assert [row["label"] for row in found] == [f" {name}#" for name in names]
        assert [(row["label_id"], row["status"]) for row in found] == [
            (f"p{number:03}", "proposed") for number in range(5)
        ]
        np.testing.assert_array_equal(np.float32([row["score"] for row in found]), scores)
    assert found[0]["where"] == "image_labels.csv, line 2"


@pytest.mark.parametrize(
    "text",
    [
        "image;label;label_id;score\na.png;night;p1;0,25\n;night;;\na.png;;;\n",
        "\ufeffScore,Image,Label,Proposal,note\r\n0.25,a.png,night,p1,x\r\n,,night,,\r\n,a.png\r\n",
    ],
)
def test_image_labels_as_people_and_spreadsheets_save_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "image_labels.csv"
    path.write_bytes(text.encode())
    said: list[str] = []
    unread: list[str] = []
    row = read_image_labels(path, warn=said.append, unread=unread)
    assert sorted(unread) == ["", "a.png"]
    assert [(each["image"], each["label"], each["label_id"], each["score"]) for each in row] == [
        ("a.png", "night", "p1", 0.25)
    ]
    assert len(said) == 2
    assert "no class" in said[0]
    path.write_text("image,x\na.png,1\n")
    with pytest.raises(LabelError, match="no column 'label'"):
        read_image_labels(path)


def test_an_exported_folder_is_a_label_file(tmp_path: Path, proposals: Any) -> None:
    images = pd.DataFrame({"image": ["a.png"], "width": [10], "height": [8]})
    both = proposals({"box": (1, 1, 2, 2)}, {"kind": "image", "box": (np.nan,) * 4, "label": "night"})
    cases = ((both, ["car", "night"]), (both.iloc[:1], ["car"]), (both.iloc[1:], ["night"]))
    for number, (rows, found) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        coco.write(outgoing(rows, images, ["car", "night"]), folder)
        assert sorted(read_labels(folder)["label"]) == found


def test_real_label_files(data: Path) -> None:
    crops = read_labels(data / "paired_road/labels/crops.csv")
    assert set(crops["label"]) == {"person", "bicycle", "car", "dog"}
    assert crops["w"].min() >= 12
    assert len(read_recordings(data / "thermal_aerial/recordings.csv")) == 110
    classes = read_labels(data / "rgb_cifar10/test")
    assert len(classes) == 250
    assert classes["label"].nunique() == 10
