"""Verdicts of an audit that are given on the review page are those of its sheet."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import open_set
from dinonat.errors import UsageError
from dinonat.files import short_hash
from dinonat.pipelines import audits, import_labels, review, selection
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import ORIGIN, said
from dinonat.records import read_proposals

pytestmark = pytest.mark.usefixtures("no_sync")
SIZE = (60, 80)
IMAGES = 60


@pytest.fixture
def audited(tmp_path: Path, made: SimpleNamespace) -> Callable[[str], Path]:
    """Return a function that makes a workspace of 60 proposals with an audit of 40 of them."""

    def make(name: str) -> Path:
        names = [f"{i:02}.png" for i in range(IMAGES)]
        rows = [made.image_row(each, SIZE, recording=f"drive {i // 6}") for i, each in enumerate(names)]
        root = places.create(tmp_path / name)
        made.set(
            places.set_folder(root, "set1"), tmp_path, rows=rows,
            vectors=np.random.default_rng(0).normal(size=(IMAGES, 8)),
        )  # fmt: skip
        given = [
            {"image": each, "label": "cell", "score": (i * 37 % IMAGES + 0.5) / IMAGES, "item": each,
             "proposal": short_hash("run1", each), "x": 3.25 + i / 7}
            for i, each in enumerate(names)
        ]  # fmt: skip
        made.proposals(places.proposals_folder(root, "run1"), given, size_hw=SIZE)
        places.remember(root, "set", "set1")
        places.remember(root, "proposals", "run1")
        selection.run(selection.SelectSettings(audit=40, name="mine"), root)
        return root

    return make


def verdict(row: dict[str, str]) -> str:
    return "yes" if float(row["score"]) > 0.4 else "no" if float(row["score"]) < 0.2 else "diode"


def sheet_of(root: Path) -> list[dict[str, str]]:
    with (places.selections_folder(root, "mine") / "audit.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def calibration(root: Path) -> tuple[pd.DataFrame, list[str], bytes]:
    folder = places.proposals_folder(root, "run1")
    known = open_set(places.set_folder(root, "set1"))
    table, sentences = audits.applied(
        read_proposals(folder / "proposals.parquet"), root, known, precision=0.8
    )
    return table, sentences, (folder / audits.CALIBRATION).read_bytes()


def test_verdicts_given_on_the_page_judge_as_those_of_the_sheet(
    audited: Callable[[str], Path], reviewing: Callable[..., Any]
) -> None:
    by_file, by_page = audited("file"), audited("page")
    rows = sheet_of(by_file)
    back = by_file / "back.csv"
    with back.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "verdict": verdict(row)} for row in rows)
    import_labels.run(import_labels.ImportSettings(file=back, who="Ada"), by_file)
    with reviewing(by_page, audit="mine") as server:
        listed = server.get("/api/list")
        assert listed["audit"] == "mine"
        asked = [listed["rows"]["id"][row] for row in listed["audits"][0]["rows"]]
        assert asked == [row["label_id"] for row in sheet_of(by_page)]
        do = {
            "yes": {"do": "accepted"},
            "no": {"do": "rejected"},
            "diode": {"do": "relabelled", "label": "diode"},
        }
        changes = [{"id": row["label_id"], **do[verdict(row)]} for row in sheet_of(by_page)]
        for start in range(0, len(changes), 8):
            server.act(*changes[start : start + 8], audit="mine")
    one, two = said(by_file, "set1"), said(by_page, "set1")
    assert audits.apart(two).all()
    assert set(two["origin"]) == {f"{ORIGIN}mine:{(by_page / 'selections/mine/audit.csv').resolve()}"}
    same = ["label_id", "action", "run", "image", "kind", "label", *"xywh", "mask_counts", "who"]
    pd.testing.assert_frame_equal(
        one.sort_values("label_id")[same].reset_index(drop=True),
        two.sort_values("label_id")[same].reset_index(drop=True),
        rtol=0,
        atol=0.006,  # the sheet has two digits
    )
    file, page = calibration(by_file), calibration(by_page)
    pd.testing.assert_frame_equal(file[0], page[0])
    assert (file[0]["advice"] == "accept").sum() > 0
    assert file[1:] == page[1:]


def test_an_audit_is_answered_by_yes_no_or_another_class_and_only_what_it_asks(
    audited: Callable[[str], Path], reviewing: Callable[..., Any]
) -> None:
    root = audited("w")
    asked = [row["label_id"] for row in sheet_of(root)]
    with reviewing(root) as server:
        assert server.get("/api/list")["audit"] is None  # nobody asked to open it
        other = next(name for name in server.get("/api/list")["rows"]["id"] if name not in asked)
        for change, said_, status in (
            ({"id": other, "do": "accepted"}, "not in the sheet", 404),
            ({"id": asked[0], "do": "moved", "box": [1, 1, 9, 9]}, "whether what was proposed is right", 400),
            ({"do": "drawn", "image": 0, "label": "x", "box": [1, 1, 9, 9]}, "whether what", 400),
        ):
            assert said_ in server.act(change, audit="mine", status=status)["error"]
        assert said(root, "set1").empty
        server.act({"id": asked[0], "do": "accepted"}, audit="mine")
        server.undo()
        assert said(root, "set1").empty
    with pytest.raises(UsageError, match="there: mine"):
        review.prepared(review.ReviewSettings(port=0, audit="yours"), root)


def test_an_audit_asks_of_what_was_proposed_whatever_was_said_of_it_elsewhere(
    audited: Callable[[str], Path], reviewing: Callable[..., Any]
) -> None:
    root = audited("w")
    one, two = (row["label_id"] for row in sheet_of(root)[:2])
    with reviewing(root) as server:
        done = server.act({"id": one, "do": "relabelled", "label": "diode"}, {"id": two, "do": "accepted"})
        assert [change["audit"] for change in done["changes"]] == [False, False]  # no verdict yet
        seen = {change["id"]: change["seq"] for change in done["changes"]}
        assert not audits.apart(said(root, "set1")).any()
        for name in (one, two):
            server.act({"id": name, "do": "accepted", "seen": seen[name]}, audit="mine")
        listed = server.get("/api/list")["state"]
        assert [listed[name]["audit"] for name in (one, two)] == [True, True]
        assert [listed[name]["label"] for name in (one, two)] == ["cell", "cell"]
        server.undo()
        server.undo()
        assert [change["audit"] for change in server.get("/api/changes")["changes"]] == [False, False]
        assert server.get("/api/list")["state"][one]["label"] == "diode"
