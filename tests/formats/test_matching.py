import unicodedata

import pytest

from dinonat.formats.matching import match_labels, match_names
from dinonat.records import LABEL_COLUMNS, as_table

KNOWN = ["a.png", "day/b.png", "night/b.png", "night/c d.png", "v.tif#0", "v.tif#1", "tür.png"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("/data/set/a.png", "a.png"),
        ("day/b.png", "day/b.png"),
        ("day\\b.png", "day/b.png"),
        ("C:\\set\\night\\b.png", "night/b.png"),
        ("c d.png", "night/c d.png"),
        ("v.tif#1", "v.tif#1"),
        (unicodedata.normalize("NFD", "tür.png"), "tür.png"),
    ],
)
def test_path_first_then_file_name(asked: str, meant: str) -> None:
    assert match_names([asked], KNOWN).found == {asked: meant}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("b.png", "could be any of 2"),
        ("dusk/b.png", "could be any"),
        ("A.png", "no such image"),
        ("", "no such"),
        ("v.tif", "no such"),
    ],
)
def test_what_is_missing_or_ambiguous_is_said(asked: str, words: str) -> None:
    matches = match_names([asked, "a.png"], KNOWN)
    assert matches.found == {"a.png": "a.png"}
    assert words in matches.problems[0]


def test_labels_take_the_names_of_the_set() -> None:
    rows = [
        {"image": name, "label": "car", "x": 1, "y": 1, "w": 1, "h": 1}
        for name in ("c d.png", "b.png", "a.png")
    ]
    warnings: list[str] = []
    labels = match_labels(as_table(rows, LABEL_COLUMNS), KNOWN, warn=warnings.append)
    assert labels["image"].tolist() == ["night/c d.png", "a.png"]
    assert len(warnings) == 1
    assert dict(labels.dtypes.astype(str)) == dict(as_table(rows, LABEL_COLUMNS).dtypes.astype(str))
