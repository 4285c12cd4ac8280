import csv
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinonat.errors import LabelError
from dinonat.formats import label_tables
from dinonat.formats.catalog import FORMATS, read_labels, sniff
from dinonat.formats.handover import NUMBERS, TEXTS, Check, Incoming, Outgoing, outgoing
from dinonat.geometry import mask_to_counts

SETS = int(os.environ.get("DINOTOOL_SETS", "25"))  # of labels, that are written and read back
KINDS = ("csv", "parquet")
TRICKY = ["a.png", " a.png", "night/ü.png", 'say "x"; y.png', "a,b#1.png", "c\nd.png", "c\re.png", "😀.png"]
CLASSES = ["=cmd|' /C calc'!A0", "car", "Fußgänger, alt", "</script>", "-1", "NA", " two  words "]
HEIGHT, WIDTH = 8, 10


def asked(rows: list[dict[str, Any]], names: list[str] = TRICKY, **more: Any) -> Outgoing:
    """Return what is to be written: rows of a few keys, on images of 8 x 10 pixels."""
    default = {**dict.fromkeys(TEXTS, ""), **dict.fromkeys([*NUMBERS, *"xywh"], np.nan), "kind": "region",
               "label": "car", "mask_counts": (), "cluster": -1}  # fmt: skip
    full = [{**default, "proposal": f"p{number:03}", **row} for number, row in enumerate(rows)]
    columns: dict[str, Any] = {name: [row[name] for row in full] for name in (*default, "proposal", "image")}
    columns |= {name: np.array(columns[name], np.float32) for name in NUMBERS}
    columns |= {
        name: pd.Series(columns[name], dtype=object) for name in ("mask_counts", "kind", "label", "image")
    }
    columns |= {name: np.array(columns[name], np.float64) for name in "xywh"}
    labels = pd.DataFrame({**columns, "cluster": np.array(columns["cluster"], np.int32)})
    images = pd.DataFrame({"image": names, "width": WIDTH, "height": HEIGHT})
    images["file_name"] = [f"{number}.png" for number in range(len(names))]
    images["split"] = ["train", "val"][: len(names)] * (len(names) // 2) + [""] * (len(names) % 2)
    return outgoing(labels, images, CLASSES, **more)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw labels; which facts they have comes from a seed, because a hundred draws a label take long."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
        row: dict[str, Any] = {"kind": draw(st.sampled_from(["region", "region", "image"]))}
        row |= {"image": draw(st.sampled_from(TRICKY)), "label": draw(st.sampled_from(CLASSES))}
        row |= {name: str(rng.choice(["", "x", 'a "b",\n;ü', " = "])) for name in TEXTS}
        row |= {
            name: rng.standard_cauchy() * 10.0 ** rng.integers(-30, 30)
            for name in NUMBERS
            if rng.random() < 0.5
        }
        row |= {
            "cluster": int(rng.integers(-1, 4)),
            "score": draw(st.sampled_from([np.nan, 0, 1, 1 / 3, 0.1])),
        }
        if row["kind"] == "region":
            x, y = (draw(st.integers(0, 700)) / 100 for _ in "xy")
            w, h = draw(st.integers(1, 300)) / 100, draw(st.integers(1, 100)) / 100
            row |= {"x": x, "y": y, "w": w, "h": h}
            if draw(st.booleans()):
                row["mask_counts"] = mask_to_counts(rng.random((HEIGHT, WIDTH)) < 0.4)
        found.append(row)
    return found


def assert_same(given: Outgoing, found: Incoming) -> None:
    """Assert that everything an Incoming can say of the labels came back as it was."""
    expected = given.labels
    assert found.images == tuple(given.images["image"])
    assert found.export == given.name
    assert found.unread == ()
    assert found.sizes == dict.fromkeys(found.images, (HEIGHT, WIDTH))
    for name in ("image", "kind", "label", "status"):
        assert found.labels[name].tolist() == expected[name].astype(str).tolist(), name
    assert found.labels["label_id"].tolist() == expected["proposal"].tolist()
    assert list(found.labels["mask_counts"]) == list(expected["mask_counts"])
    np.testing.assert_array_equal(found.labels[list("xywh")], expected[list("xywh")])
    np.testing.assert_array_equal(found.labels["score"].astype("float32"), expected["score"])


@settings(max_examples=SETS, deadline=None)
@given(given_rows=rows())
def test_there_and_back(given_rows: list[dict[str, Any]]) -> None:
    given = asked(given_rows, name="night 1")
    for kind in KINDS:
        with TemporaryDirectory() as place:
            folder = Path(place)
            written = FORMATS[kind].write(given, folder)
            assert written.losses == given.losses
            assert written.files == (f"labels.{kind}", f"images.{kind}")
            assert written.annotations + written.image_labels == len(given.labels)
            assert sniff(folder) == sniff(folder / written.files[0]) == kind
            warnings: list[str] = []
            assert_same(given, FORMATS[kind].read(folder, warn=warnings.append))
            assert warnings == []
            if kind == "csv":  # the rules are the same for both
                assert list(FORMATS[kind].faults(folder, Check())) == []


def independent(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the rows as Python's csv, or pandas' Parquet, reads them; empty cells as None."""
    if kind == "parquet":
        return pd.read_parquet(folder / "labels.parquet").astype(object).to_dict("records")
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        return [dict(row) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_is_in_the_file(tmp_path: Path, kind: str) -> None:
    numbers = {name: np.float32(0.1 + place) for place, name in enumerate(NUMBERS)}
    texts = {name: f"{name}, ü" for name in TEXTS}
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:4, 3:6] = True
    row = {"image": " a.png", "label": CLASSES[0], "x": 3, "y": 2, "w": 3.01, "h": 2, "cluster": 7}
    both = [{**row, **numbers, **texts, "mask_counts": mask_to_counts(mask)}, {**row, "kind": "image"}]
    FORMATS[kind].write(asked(both), tmp_path)
    full, bare = independent(tmp_path, kind)
    assert {name: np.float32(full[name]) for name in NUMBERS} == numbers
    assert {name: full[name] for name in TEXTS} == texts
    assert [float(full[name]) for name in "xywh"] == [3, 2, 3.01, 2]
    assert (full["label_id"], full["image"], full["label"], int(full["cluster"])) == (
        "p000", " a.png", CLASSES[0], 7,
    )  # fmt: skip
    runs = full["mask"].split() if kind == "csv" else full["mask"]
    assert [int(run) for run in runs] == [26, 2, 6, 2, 6, 2, 36]
    assert (full["file_name"], full["split"]) == ("1.png", "val")
    assert all(bare[name] in ("", None) or bare[name] != bare[name] for name in (*NUMBERS, *"xywh"))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_input_gives_equal_bytes(tmp_path: Path, kind: str) -> None:
    given = asked([{"image": "a.png", "x": 1, "y": 1, "w": 2, "h": 2}] * 3)
    texts = given.labels.astype(dict.fromkeys(("label", "status", "reason"), "category"))
    same = outgoing(texts, given.images, CLASSES)
    for folder, each in (("one", given), ("two", same)):
        FORMATS[kind].write(each, tmp_path / folder)
    for name in (f"labels.{kind}", f"images.{kind}"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def exported(folder: Path) -> Path:
    """Write three labels as CSV: a box with a mask, a box, and a label of a whole image."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:4, 3:6] = True
    runs = mask_to_counts(mask)
    given = asked(
        [
            {"image": "a.png", "x": 3, "y": 2, "w": 3, "h": 2, "score": 0.5, "mask_counts": runs},
            {"image": "a.png", "x": 1.25, "y": 1, "w": 2, "h": 2, "status": "accepted"},
            {"image": "b.png", "kind": "image", "label": "-1"},
        ],
        ["a.png", "b.png"],
    )
    label_tables.write_csv(given, folder)
    return folder / "labels.csv"


def edited(path: Path, change: Callable[[pd.DataFrame], Any], **form: Any) -> None:
    """Change a CSV in a table program and save it there."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = change(table)
    table = table if changed is None else changed
    table.to_csv(path, index=False, **form)


@pytest.mark.parametrize(
    "form",
    [
        {"sep": ";"},
        {"sep": "\t", "encoding": "utf-16"},
        {"encoding": "utf-8-sig", "lineterminator": "\r\n"},
        {"quoting": csv.QUOTE_ALL},
    ],
)
def test_what_spreadsheet_programs_save(tmp_path: Path, form: dict[str, Any]) -> None:
    path = exported(tmp_path)
    before, numbers = label_tables.read(path).labels, [*"xywh", "score"]

    def change(table: pd.DataFrame) -> None:
        if form.get("sep") == ";":
            table[numbers] = table[numbers].replace(r"\.", ",", regex=True)
        table["note of mine"] = "ü"

    edited(path, change, **form)
    found = label_tables.read(path).labels
    pd.testing.assert_frame_equal(found, before)
    assert list(label_tables.faults(path, Check())) == []
    assert read_labels(path)["label"].tolist() == ["car", "car", "-1"]


def test_a_copied_row_and_one_of_a_persons_own(tmp_path: Path) -> None:
    path = exported(tmp_path)
    with path.open("a") as stream:
        stream.write(path.read_text().splitlines()[1] + "\n")
        stream.write(",,1.png,,dog,1,1,2,2\n,b.png,,,night\n,,,,dog\n")
    warnings: list[str] = []
    found = label_tables.read(path, warn=warnings.append)
    assert found.unread == ("",)
    assert len(warnings) == 1
    assert "1 row(s) that name no image" in warnings[0]
    assert "labels.csv, line 8" in [where for where, _ in label_tables.faults(path, Check())]
    assert found.labels["label_id"].tolist() == ["p000", "p001", "p002", "p000", "", ""]
    assert found.labels["kind"].tolist() == ["region", "region", "image", "region", "region", "image"]
    assert found.labels["image"].tolist()[4:] == ["b.png", "b.png"]
    assert found.labels["where"].tolist()[3:5] == ["labels.csv, line 5", "labels.csv, line 6"]


# What is written into a cell -> the fault, how many rows are left when it is read, what is said then.
FAULTS = {
    ("label", 0, ""): ("names no class", 2, "without a class"),
    ("kind", 0, "polygon"): ("neither 'region' nor 'image'", 2, "neither region nor image"),
    ("w", 0, ""): ("a number is missing", 2, "half a box"),
    ("w", 0, "wide"): ("a number is missing", 2, "half a box"),
    ("w", 0, "inf"): ("a number is missing", 2, "half a box"),
    ("h", 0, "-2"): ("without width or height", 2, "no width or height"),
    ("h", 0, "0"): ("without width or height", 2, "no width or height"),
    ("x", 0, "7.5"): ("outside its image", 3, ""),
    ("y", 0, "-1"): ("outside its image", 3, ""),
    ("mask", 0, "26 2 6"): ("do not add up", 3, "does not fill"),
    ("mask", 0, "80"): ("do not add up", 3, "does not fill"),
    ("mask", 0, "26 2 -6 58"): ("do not add up", 3, "does not fill"),
    ("mask", 0, "1e3"): ("do not add up", 3, "does not fill"),
    ("score", 0, "good"): ("a score that is no number", 3, "no number"),
    ("score", 0, "50"): ("outside 0 to 1", 3, ""),
    ("label_id", 0, "p001"): ("that an earlier row has", 3, ""),
    ("image", 2, "c.png"): ("does not list", 3, ""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_one_fault_is_found_alone(tmp_path: Path, kind: str, fault: tuple[str, int, str]) -> None:
    path = exported(tmp_path)
    column, row, text = fault
    what, left, said = FAULTS[fault]

    def change(table: pd.DataFrame) -> None:
        table.loc[row, column] = text

    edited(path, change)
    if kind == "parquet":  # as a program saves it in which every column is text
        for name in ("labels", "images"):
            table = pd.read_csv(tmp_path / f"{name}.csv", dtype=str, keep_default_na=False)
            table.to_parquet(tmp_path / f"{name}.parquet")
        path = tmp_path / "labels.parquet"
    found = list(label_tables.faults(path, Check()))
    assert len(found) == 1, found
    place = 1 if column == "label_id" else row
    assert found[0][0] == (
        f"labels.csv, line {place + 2}" if kind == "csv" else f"labels.parquet, row {place + 1}"
    )
    assert what in found[0][1]
    warnings: list[str] = []
    found_rows = label_tables.read(path, warn=warnings.append)
    read = found_rows.labels
    assert found_rows.unread == (("a.png",) if left < 3 else ())
    assert found_rows.sizes == {"a.png": (HEIGHT, WIDTH), "b.png": (HEIGHT, WIDTH)}
    assert len(read) == left
    assert [said in sentence for sentence in warnings] == ([True] if said else [])
    if column == "mask":
        assert read["mask_counts"].tolist() == [(), (), ()]


IMAGE_FAULTS = {
    (0, "width", "ten"): "no whole positive numbers",
    (0, "height", "0"): "no whole positive numbers",
    (1, "image", ""): "names no image",
    (1, "image", "a.png"): "an earlier row lists",
    (0, "file_name", "../a.png"): "leaves the folder",
    (0, "file_name", "C:\\a.png"): "leaves the folder",
    (0, "file_name", "/a.png"): "leaves the folder",
    (0, "file_name", "gone.png"): "not below the folder",
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS, ids=str)
def test_faults_of_the_images(tmp_path: Path, fault: tuple[int, str, str]) -> None:
    path = exported(tmp_path)
    for name in ("0.png", "1.png"):
        (tmp_path / name).touch()
    assert list(label_tables.faults(tmp_path, Check(images=tmp_path))) == []
    row, column, text = fault

    def change(table: pd.DataFrame) -> None:
        table.loc[row, column] = text

    edited(path.with_name("images.csv"), change)
    edited(path, lambda table: table.drop(2))
    found = list(label_tables.faults(tmp_path, Check(images=tmp_path)))
    assert len(found) == 1, found
    assert found[0][0] == f"images.csv, line {row + 2}"
    assert IMAGE_FAULTS[fault] in found[0][1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"PAR1", "not a Parquet table"),
        (b"PAR1" + b"\xff" * 60 + b"PAR1", "not a Parquet table"),
        (b"image,x\na.png,1\n", "no column for the label"),
        (b"label\ncar\n", "no column for the image"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    with pytest.raises(LabelError, match=words):
        label_tables.read(path)
    ((_, what),) = label_tables.faults(path, Check())
    assert words in what


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read"):
        label_tables.read(tmp_path)
    path = exported(tmp_path)
    path.with_name("images.csv").unlink()
    assert label_tables.read(path).images == ("a.png", "b.png")
    assert list(label_tables.faults(path, Check())) == []
    edited(path, lambda table: table.__setitem__("mask", ["26 2 6 2 6 2 37", "", ""]))
    warnings: list[str] = []
    for size, kept in (((9, 9), True), ((8, 10), False)):
        found = label_tables.read(path, sizes={"a.png": size}, warn=warnings.append).labels
        assert bool(found["mask_counts"][0]) == kept
    assert len(warnings) == 1


def test_a_mask_longer_than_a_csv_cell_of_others(tmp_path: Path) -> None:
    mask = (np.add.outer(np.arange(400), np.arange(400)) % 2).astype(bool)
    given = asked([{"image": "a.png", "x": 0, "y": 0, "w": 1, "h": 1}], ["a.png"])
    given.images[["width", "height"]] = 400
    given.labels["mask_counts"] = [tuple(mask_to_counts(mask))]
    for kind in KINDS:
        FORMATS[kind].write(given, tmp_path / kind)
        assert label_tables.read(tmp_path / kind).labels["mask_counts"][0] == tuple(mask_to_counts(mask))
    assert csv.field_size_limit() == 131072


def test_a_small_file_that_claims_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinonat.formats import table_rows

    label_tables.write_parquet(asked([{"image": "a.png", "kind": "image"}] * 3), tmp_path)
    monkeypatch.setattr(table_rows, "MOST_ROWS", 2)
    with pytest.raises(LabelError, match="3 rows; at most 2"):
        label_tables.read(tmp_path)


def test_pictures_lie_by_split() -> None:
    assert label_tables.picture("train", "a/b.png") == "images/train/a/b.png"
    assert label_tables.picture("", "a/b.png") == "images/a/b.png"
