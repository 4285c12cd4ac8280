from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dinonat.pages.doubts import MOST, doubt_lists
from dinonat.pages.report import ReportFacts, render
from dinonat.proposals.doubts import DOUBT_COLUMNS
from dinonat.records import as_table

EVIL = "<script>alert(1)</script>"


def table(folder: Path) -> pd.DataFrame:
    """Two labels (one picture is missing), two groups of duplicates, and more outliers than are shown."""
    for number in range(20):
        shade = np.full((40, 60), 10 * number, np.uint8)
        shade[:3] = 255
        Image.fromarray(shade).save(folder / f"{number}.png")
    blank = {name: "" if kind == "str" else 0 for name, kind in DOUBT_COLUMNS.items()}
    rows = [
        {"doubt": "label", "image": "1.png", "label": "car", "other": EVIL, "kind": "region", "w": 9, "h": 8},
        {"doubt": "label", "image": "gone.png", "label": "car", "other": "dog", "kind": "image"},
        *({"doubt": "duplicate", "image": f"{i}.png", "other": "2.png", "group": 0} for i in (3, 4, 5)),
        {"doubt": "duplicate", "image": "7.png", "other": "6.png", "group": 1},
        *({"doubt": "outlier", "image": f"{i}.png", "value": 0.25, "group": -1} for i in range(8, 20)),
    ]
    return as_table(pd.DataFrame([{**blank, **row} for row in rows]), DOUBT_COLUMNS)


def test_each_list_shows_its_first_rows_and_of_duplicates_what_is_kept(tmp_path: Path) -> None:
    said = {"label": "2 labels are in doubt.", "outlier": "12 are far."}
    (labels, twins, far), lost = doubt_lists(table(tmp_path), said, root=tmp_path)
    assert (labels.title, labels.sentence) == ("Labels in doubt", "2 labels are in doubt.")
    [tile] = labels.tiles
    assert (tile.name, tile.width, tile.height, tile.box_xywh) == ("1.png", 60, 40, (0, 0, 9, 8))
    assert tile.caption == f"labelled car; what is alike says {EVIL}"
    assert [(tile.name, tile.caption) for tile in twins.tiles] == [
        ("2.png", "repeated 3 times"),
        ("6.png", "repeated once"),
    ]
    assert len(far.tiles) == MOST
    assert far.more == 12 - MOST
    assert far.tiles[0].caption.startswith("0.25 alike")
    assert len(lost) == 1
    assert lost[0].startswith("gone.png: not shown")


def test_the_page_shows_the_section_and_escapes_what_it_names(tmp_path: Path) -> None:
    lists, _ = doubt_lists(table(tmp_path), {}, root=tmp_path)
    page = render(ReportFacts("Proposals", doubts=lists))
    assert "Look at these first" in page
    assert page.count("data:image/jpeg") == sum(len(each.tiles) for each in lists)
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)" in page
    assert f"{12 - MOST} more in the file." in page
    assert "Look at these first" not in render(ReportFacts("Proposals"))


def test_no_doubts_are_no_lists(tmp_path: Path) -> None:
    nothing = as_table([], DOUBT_COLUMNS)
    assert doubt_lists(nothing, {}, root=tmp_path) == ((), ())
    [only], _ = doubt_lists(nothing, {"outlier": "0 of 9 are like nothing else."}, root=tmp_path)
    assert (only.tiles, only.more) == ((), 0)
