import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinonat.errors import LabelError
from dinonat.formats.audit_sheets import COLUMNS, is_sheet, label_ids, read, spelled, write

EVIL = ' a, "b" <😀>\n</script>'
PROPOSALS = pd.DataFrame(
    {
        "proposal": ["p1", "p2", "p3", "p4"],
        "image": ["day/a.png", "b.png", "day/a.png", EVIL],
        "kind": ["region", "image", "region", "image"],
        "x": [1.25, np.nan, 3.0, np.nan],
        "y": [2.0, np.nan, 4.0, np.nan],
        "w": [10.0, np.nan, 5.0, np.nan],
        "h": [20.0, np.nan, 6.0, np.nan],
        "label": ["car", "cell", EVIL, "car"],
        "score": [0.9, 0.123456789, np.nan, 1.0],
    }
)


def filled(file: Path, verdicts: list[str], delimiter: str = ",", **more: str) -> Path:
    """Answer the sheet as a program for spreadsheets would save it."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, [*COLUMNS, "notes"], delimiter=delimiter)
        writer.writeheader()
        for row, verdict in zip(rows, verdicts, strict=True):
            writer.writerow({**row, "verdict": verdict, "notes": "", **more})
    return file


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    file = tmp_path / "audit.csv"
    write(PROPOSALS, file, audit="audit-4")
    return file


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_verdicts_are_understood_and_empty_rows_say_nothing(sheet: Path, delimiter: str) -> None:
    said: list[str] = []
    back = read(filled(sheet, ["Yes", " n ", "tram", ""], delimiter), warn=said.append)
    rows = back.incoming.labels
    assert (back.audit, back.rows) == ("audit-4", 4)
    assert rows["label_id"].tolist() == ["p1", "p2", "p3"]
    assert rows["status"].tolist() == ["accepted", "rejected", "accepted"]
    assert rows["label"].tolist() == ["car", "cell", "tram"]
    assert rows["kind"].tolist() == ["region", "image", "region"]
    assert rows.loc[0, list("xywh")].tolist() == [1.25, 2.0, 10.0, 20.0]
    assert rows.loc[1, list("xywh")].isna().all()
    assert back.incoming.images == ("day/a.png", "b.png")
    assert back.incoming.unread == ("",)  # so that nothing beside the sample is taken for removed
    assert ["'tram'" in line for line in said] == [True, False]
    assert "1 of 4 rows are not answered" in said[1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_labels_that_a_sheet_asks_about_are_known_however_it_was_saved(
    sheet: Path, delimiter: str
) -> None:
    asked = label_ids(sheet)
    assert len(asked) > 1
    assert all(asked)
    assert label_ids(filled(sheet, ["yes", "", "", ""], delimiter)) == asked
    assert label_ids(sheet.with_name("none.csv")) == []
    sheet.write_text("image,label\na.png,car\n")
    assert label_ids(sheet) == []


def test_names_of_any_kind_come_back_as_they_were(sheet: Path) -> None:
    back = read(filled(sheet, ["yes"] * 4), warn=pytest.fail)
    assert back.incoming.labels["image"].tolist() == PROPOSALS["image"].tolist()
    assert back.incoming.labels["label"].tolist() == PROPOSALS["label"].tolist()


def test_a_class_called_no_is_told_from_the_answer(tmp_path: Path) -> None:
    sheets = tmp_path / "one.csv", tmp_path / "two.csv"
    for sheet in sheets:
        write(PROPOSALS.assign(label=["No", "cell", "car", "class:car"]), sheet, audit="a")
    said: list[str] = []
    back = read(filled(sheets[0], ["no", "class:No", "class:tram", "no"]), warn=said.append)
    assert back.incoming.labels["status"].tolist() == ["rejected", "accepted", "accepted", "rejected"]
    assert back.incoming.labels["label"].tolist() == ["No", "No", "class:tram", "class:car"]
    assert sum("class:No" in line for line in said) == 1
    quiet: list[str] = []
    read(filled(sheets[1], ["yes", "class:No", "yes", "yes"]), warn=quiet.append)
    assert quiet == []
    assert [spelled(name) for name in ("No", "y", "nothing", "")] == ["class:No", "class:y", "nothing", ""]


def test_a_sheet_is_told_from_labels_of_ones_own(sheet: Path, tmp_path: Path) -> None:
    other = tmp_path / "labels.csv"
    other.write_text("image,label\na.png,car\n")
    assert is_sheet(sheet)
    assert is_sheet(filled(sheet, ["yes"] * 4, ";"))
    assert not is_sheet(other)
    assert not is_sheet(tmp_path)


def test_what_is_no_answered_sheet_is_refused_in_words(sheet: Path) -> None:
    with pytest.raises(LabelError, match="none of its 4 rows is answered"):
        read(sheet, warn=pytest.fail)
    mixed = sheet.read_text().replace("audit-4", "audit-5", 1)
    filled(sheet, ["yes"] * 4)
    two = sheet.with_name("two.csv")
    two.write_text(sheet.read_text().replace("audit-4", "audit-5", 1))
    with pytest.raises(LabelError, match="audit-4, audit-5"):
        read(two, warn=pytest.fail)
    two.write_text(mixed.replace("image", "picture"))
    with pytest.raises(LabelError, match="no column 'image'"):
        read(two, warn=pytest.fail)
