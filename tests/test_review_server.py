"""What the server of the review page writes, tells and refuses, over real sockets."""

import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dinonat import labels
from dinonat.embeddings.store import open_set
from dinonat.errors import WorkspaceError
from dinonat.files import short_hash
from dinonat.geometry import mask_to_counts
from dinonat.pipelines import import_labels, review, review_again, review_app
from dinonat.pipelines import workspace as places
from dinonat.pipelines.export_labels import gather
from dinonat.pipelines.people import database, said
from dinonat.pipelines.review_list import Shown, fixed_part
from dinonat.pipelines.review_state import Pace
from dinonat.records import read_proposals

pytestmark = pytest.mark.usefixtures("no_sync")
SIZE = (60, 80)
MASK = np.zeros(SIZE, bool)
MASK[3:9, 2:7] = True
GIVEN = [
    {"image": "a.png", "label": "person", "score": 0.9, "second": "car", "mask_counts": mask_to_counts(MASK)},
    {"image": "a.png", "label": "car", "score": 0.5, "x": 20.5},
    {"image": "plain.png", "label": "car", "score": 0.7},
    {"image": "plain.png", "label": "", "second": "background", "score": 0.6, "advice": "unknown"},
    {"image": "plain.png", "label": "night", "kind": "image", "x": 0, "y": 0, "w": 80, "h": 60},
]
WHOLE = dict.fromkeys("xywh", None)


@pytest.fixture
def root(tmp_path: Path, made: SimpleNamespace) -> Path:
    workspace: Path = made.workspace(tmp_path, size_hw=SIZE, proposals=GIVEN)
    return workspace


@pytest.fixture
def server(root: Path, reviewing: Callable[..., Any]) -> Iterator[Any]:
    with reviewing(root) as running:
        yield running


def events(root: Path) -> pd.DataFrame:
    """Return every event of the set, in order."""
    with labels.reading(database(root)) as db:
        return labels.numbered_events(db, "set1", "1", ())


def accept(label_id: str, seen: int = 0) -> dict[str, Any]:
    return {"id": label_id, "do": "accepted", "seen": seen}


def test_the_list_says_each_thing_once_and_column_by_column(server: Any) -> None:
    listed = server.get("/api/list")
    rows, images = listed["rows"], listed["images"]
    assert (listed["set"], listed["run"], listed["kinds"]) == ("set1", "run1", ["image", "region"])
    assert "bad.png" not in images["name"]  # nobody can look at it
    assert {len(column) for column in rows.values()} == {len(GIVEN)}
    assert {len(column) for column in images.values()} == {5}
    assert rows["id"] == ["p0", "p1", "p2", "p3", "p4"]
    assert [images["name"][place] for place in rows["image"]] == [row["image"] for row in GIVEN]
    assert listed["classes"] == ["car", "night", "person"]
    named = [listed["classes"][number] if number >= 0 else "" for number in rows["label"]]
    assert named == ["person", "car", "car", "", "night"]
    assert rows["second"][0] == 0
    assert rows["second"][3] == -1  # background is no class
    assert rows["kind"] == [1, 1, 1, 1, 0]
    assert (rows["x"][1], rows["x"][4]) == (20.5, None)
    assert rows["score"][:2] == [0.9, 0.5]
    assert rows["masked"] == [True, False, False, False, False]
    assert (rows["advice"][3], rows["probability"][0]) == ("unknown", None)
    assert (images["width"][0], images["height"][0], images["unit"][0]) == (80, 60, "counts")
    assert (listed["seq"], listed["state"], listed["drawn"], listed["finished"]) == (0, {}, [], [])


def test_what_was_meant_for_another_run_is_refused_but_what_was_written_is_acknowledged(server: Any) -> None:
    drawn = {"do": "drawn", "image": 0, "label": "dog", "box": [1, 1, 9, 9]}
    for run, status in (("run1", 200), ("run0", 400)):  # numbers of images are those of a run's own list
        told = server.act(drawn, run=run, act=f"for {run}", status=status)
    assert told["error"].startswith("This page shows run run0, but run1 is in hand now.")
    assert "run run0" in server.post("/api/undo", {"act": "back", "run": "run0"}, 400)["error"]
    again = server.act(drawn, run="run0", act="for run1")  # its answer was lost; meanwhile another run came
    assert [change["action"] for change in again["changes"]] == ["drawn"]
    assert len(server.get("/api/list")["drawn"]) == 1


def test_classes_that_have_numbers_come_first(root: Path) -> None:
    with labels.writing(database(root)) as db:
        labels.number_classes(db, "set1", ["tram", "person"])
    shown = Shown(root)
    from dinonat.pipelines.review_state import State

    assert State(shown).classes == ["tram", "person", "car", "night"]


def test_regions_that_nobody_named_are_of_no_class(root: Path, reviewing: Callable[..., Any]) -> None:
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    table = read_proposals(file)
    table.assign(label="object", second="", cluster=np.int32([0, 0, 1, 1, 2])).to_parquet(file)
    with reviewing(root) as server:
        listed = server.get("/api/list")
        assert listed["classes"] == []
        assert listed["rows"]["label"] == [-1] * 5
        assert listed["rows"]["cluster"] == [0, 0, 1, 1, 2]
        assert "choose one" in server.act(accept("p0"), status=400)["error"]
        both = [{"id": name, "do": "relabelled", "label": "deer"} for name in ("p0", "p1")]
        done = server.act(*both)
        assert [change["action"] for change in done["changes"]] == ["relabelled"] * 2
        assert server.act({"id": "p2", "do": "rejected"})["changes"][0]["label"] == "object"
        assert "choose one" in server.act(accept("p2", seen=3), status=400)["error"]
        assert server.get("/api/changes?since=0")["classes"] == ["deer"]  # what is rejected gives no class
        server.undo()
        assert server.undo()["undid"] == "2 relabelled in a.png"
        assert [change["action"] for change in server.get("/api/changes?since=3")["changes"]] == [
            "withdrawn"
        ] * 3


def test_what_is_acknowledged_is_on_the_disk_with_all_that_the_page_did_not_say(
    server: Any, root: Path
) -> None:
    image = server.get("/api/list")["images"]["name"].index("turned.jpg")
    done = server.act(
        accept("p0"),
        {"id": "p1", "do": "moved", "box": [70.25, 50, 40, 40]},
        {"id": "p2", "do": "relabelled", "label": " lorry "},
        {"id": "p3", "do": "rejected", "image": 99, "kind": "image"},  # the server knows better
        accept("p4"),
        {"do": "drawn", "image": image, "label": "dog", "box": [-3, 2, 10, 10]},
        act="one",
    )
    table = events(root)
    drawn = short_hash("drawn", "set1", "one", 5)
    assert table["label_id"].tolist() == ["p0", "p1", "p2", "p3", "p4", drawn]
    assert table["action"].tolist() == ["accepted", "moved", "relabelled", "rejected", "accepted", "drawn"]
    assert table["label"].tolist() == ["person", "car", "lorry", "object", "night", "dog"]
    assert table["image"].tolist() == [*[row["image"] for row in GIVEN], "turned.jpg"]
    assert table["kind"].tolist() == ["region"] * 4 + ["image", "region"]
    assert table["run"].tolist() == ["run1"] * 5 + [""]
    assert table[list("xywh")].iloc[0].tolist() == [1, 2, 4, 4]
    assert table[list("xywh")].iloc[1].tolist() == [70.25, 50, 9.75, 10]  # cut to the image
    assert table[list("xywh")].iloc[4].isna().all()
    assert table[list("xywh")].iloc[5].tolist() == [0, 2, 7, 10]
    assert list(table["mask_counts"].iloc[0]) == mask_to_counts(MASK)
    assert set(table["origin"]) == {"review:run1"}
    assert set(table["who"]) == {"Ada"}
    assert [change["id"] for change in done["changes"]] == table["label_id"].tolist()
    assert [change["seq"] for change in done["changes"]] == table["seq"].tolist() == [1, 2, 3, 4, 5, 6]
    assert done["undo"] == {"what": "2 accepted, 1 moved, 1 relabelled, 1 rejected, 1 drawn in 3 images"}
    with labels.reading(database(root)) as db:
        assert labels.class_names(db, "set1") == ["car", "dog", "lorry", "night", "person"]
    listed = server.get("/api/list")
    assert set(listed["state"]) == {"p0", "p1", "p2", "p3", "p4"}
    assert [label["id"] for label in listed["drawn"]] == [drawn]
    assert listed["drawn"][0]["image"] == image
    counts = server.get("/api/changes")["counts"]
    assert (counts["to_review"], counts["left"], counts["unknown_left"], counts["drawn"]) == (4, 0, 0, 1)


def test_a_moved_box_loses_its_mask_and_a_relabelled_one_keeps_it(server: Any, root: Path) -> None:
    server.act({"id": "p0", "do": "relabelled", "label": "dog"})
    server.act({"id": "p0", "do": "moved", "box": [5, 5, 9, 9], "label": "cat", "seen": 1})
    server.act({"id": "p0", "do": "relabelled", "label": "dog", "seen": 2})
    server.act(accept("p0", seen=3))
    table = events(root)
    assert [len(counts) for counts in table["mask_counts"]] == [len(mask_to_counts(MASK)), 0, 0, 0]
    assert table["label"].tolist() == ["dog", "cat", "dog", "dog"]
    assert table[list("xywh")].iloc[3].tolist() == [5, 5, 9, 9]


def test_the_same_act_again_answers_the_same_and_writes_nothing(server: Any, root: Path) -> None:
    first = server.act(accept("p0"), act="one")
    server.act({"id": "p0", "do": "rejected", "seen": 1}, act="two")
    assert server.act(accept("p0"), act="one")["changes"] == first["changes"]
    assert len(events(root)) == 2
    assert server.undo()["changes"][0]["action"] == "accepted"
    undone = server.post("/api/undo", {"act": "three"})
    again = server.post("/api/undo", {"act": "three"})
    assert undone == again
    assert len(events(root)) == 4
    assert server.get("/api/changes")["counts"]["done_here"] == 2  # retries are no work


def test_of_two_tabs_the_second_is_told_what_stands_and_nothing_is_lost(server: Any, root: Path) -> None:
    server.act(accept("p0"), {"id": "p1", "do": "rejected"})
    answer = server.act(accept("p2"), {"id": "p0", "do": "rejected", "seen": 0}, status=409)
    assert "changed meanwhile" in answer["error"]
    assert [(each["id"], each["seq"], each["action"]) for each in answer["changes"]] == [
        ("p0", 1, "accepted")
    ]
    assert len(events(root)) == 2
    assert server.act({"id": "p0", "do": "rejected", "seen": 1})["seq"] == 3
    assert "changed meanwhile" in server.act(accept("p2", seen=7), status=409)["error"]
    assert [change["id"] for change in server.get("/api/changes?since=1")["changes"]] == ["p1", "p0"]


def test_what_other_programs_say_meanwhile_is_seen(server: Any, root: Path, tmp_path: Path) -> None:
    server.act(accept("p0"))
    mine = tmp_path / "mine.csv"
    mine.write_text("image,label,x,y,w,h\nplain.png,tram,30,30,20,20\n")
    import_labels.run(import_labels.ImportSettings(file=mine), root)
    change = server.get("/api/changes?since=1")["changes"][0]
    assert (change["action"], change["label"], change["image"]) == ("drawn", "tram", 2 + 1)
    assert "tram" in server.get("/api/list")["classes"]
    assert server.undo()["undid"] == "person accepted in a.png"  # not what the file said


def test_what_somebody_else_said_since_is_not_taken_back_with_it(server: Any, root: Path) -> None:
    server.act(accept("p0"), accept("p1"))
    with labels.writing(database(root)) as db:
        own = labels.numbered_events(db, "set1", "label_id = ?", ("p0",)).drop(columns="seq")
        labels.add_events(db, own.assign(label="tram"), set_name="set1", who="", origin="/a/file.csv")
    answer = server.undo(status=409)
    assert [(change["id"], change["label"], change["seq"]) for change in answer["changes"]] == [
        ("p0", "tram", 3)
    ]
    assert said(root, "set1")["label_id"].tolist() == ["p1", "p0"]


def test_everything_is_taken_back_one_by_one_even_after_a_restart(
    root: Path, reviewing: Callable[..., Any]
) -> None:
    with reviewing(root) as server:
        server.act(accept("p0"))
        server.act({"id": "p0", "do": "rejected", "seen": 1}, accept("p1"))
        server.act(finished=2)
        assert server.get("/api/list")["finished"] == [2]
    with reviewing(root) as server:
        name = server.get("/api/list")["images"]["name"][2]
        assert server.undo()["undid"] == f"nothing is missing in {name}"
        assert server.get("/api/changes")["finished"] == []
        back = server.undo()
        assert {each["id"]: each["action"] for each in back["changes"]} == {
            "p0": "accepted",
            "p1": "withdrawn",
        }
        assert back["undo"] == {"what": "person accepted in a.png"}
        assert server.undo()["undo"] is None
        assert "Nothing is left" in server.undo(status=409)["error"]
        assert said(root, "set1").empty
        # What was withdrawn is as if nobody had said anything, whether the page knows of that or not.
        seq = next(each["seq"] for each in server.get("/api/changes")["changes"] if each["id"] == "p1")
        assert server.act(accept("p1", seen=seq))["changes"][0]["action"] == "accepted"
        assert server.act(accept("p0", seen=0))["changes"][0]["label"] == "person"
    assert said(root, "set1")["label_id"].tolist() == ["p1", "p0"]


def test_a_label_that_was_moved_and_taken_back_is_what_it_was_proposed_as(server: Any, root: Path) -> None:
    server.act({"id": "p0", "do": "moved", "box": [5, 5, 9, 9], "label": "cat"})
    seq = server.undo()["seq"]
    server.act(accept("p0", seen=seq))
    last = events(root).iloc[-1]
    assert (last["label"], last["x"], list(last["mask_counts"])) == ("person", 1, mask_to_counts(MASK))


NONSENSE = [
    ({"id": "p1", "do": "moved", "box": [5, 5, 0.5, 9]}, "must cover a pixel"),
    ({"id": "p1", "do": "moved", "box": [500, 5, 20, 9]}, "must cover a pixel"),
    ({"id": "p1", "do": "moved", "box": [5, 5, float("nan"), 9]}, "no JSON"),
    ({"id": "p1", "do": "moved", "box": [5, 5, 9]}, "box"),
    ({"id": "p1", "do": "moved"}, "only a box can be moved"),
    ({"id": "p4", "do": "moved", "box": [5, 5, 9, 9]}, "only a box can be moved"),
    ({"id": "p1", "do": "relabelled"}, "which class"),
    ({"id": "p1", "do": "relabelled", "label": "  "}, "a line of text"),
    ({"id": "p1", "do": "relabelled", "label": "two\nlines"}, "a line of text"),
    ({"id": "p1", "do": "relabelled", "label": " background"}, "reject it instead"),
    ({"id": "p1", "do": "relabelled", "label": "x" * 201}, "200 characters"),
    ({"id": "p3", "do": "accepted"}, "choose one"),
    ({"id": "p1", "do": "withdrawn"}, "do"),
    ({"id": "p1", "do": "accepted", "seen": -1}, "seen"),
    ({"id": "p1", "do": "accepted", "sudo": 1}, "sudo"),
    ({"do": "drawn", "image": 0, "label": "dog"}, "a box is needed"),
    ({"do": "drawn", "image": 0, "box": [1, 1, 5, 5]}, "image and class"),
    ({"do": "drawn", "image": 99, "label": "dog", "box": [1, 1, 5, 5]}, "No image 99"),
    ({"do": "drawn", "image": -1, "label": "dog", "box": [1, 1, 5, 5]}, "No image -1"),
]


def test_what_makes_no_sense_is_a_sentence_and_nothing_is_written(server: Any, root: Path) -> None:
    for change, sentence in NONSENSE:
        assert sentence in server.act(accept("p0"), change, status=400)["error"]
    assert said(root, "set1").empty


def test_other_nonsense_is_a_sentence_too(server: Any, root: Path) -> None:
    assert "No label 'p99'" in server.act(accept("p99"), status=404)["error"]
    assert "says one thing" in server.act(accept("p0"), accept("p0"), status=400)["error"]
    assert "No image 7" in server.act(finished=7, status=400)["error"]
    assert "says nothing" in server.act(status=400)["error"]
    assert "No audit" in server.act(accept("p0"), audit="../x", status=404)["error"]
    for body in ([], 3, None, {"act": ""}, {"act": "x" * 101}, {"act": "x", "changes": 3}):
        assert server.post("/api/act", body, 400)["error"]
    assert server.ask("POST", "/api/act", body=b'{"act":').status == 400
    assert server.get("/api/changes?since=x", 400)["error"]
    assert said(root, "set1").empty


def test_a_name_is_only_text(server: Any, root: Path) -> None:
    name = "\"</script><img src=x>\u202e' OR 1=1; --"
    assert (
        "a line of text" in server.act({"id": "p0", "do": "relabelled", "label": name}, status=400)["error"]
    )
    name = name.replace("\u202e", "")
    server.act({"id": "p0", "do": "relabelled", "label": name})
    answer = server.ask("GET", "/api/list")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["state"]["p0"]["label"] == name == events(root)["label"].iloc[0]


def test_a_class_that_is_known_keeps_its_name_however_odd(server: Any, root: Path) -> None:
    with labels.writing(database(root)) as db:
        labels.number_classes(db, "set1", [" two\nlines"])
    server.act({"id": "p0", "do": "relabelled", "label": " two\nlines"})
    assert events(root)["label"].tolist() == [" two\nlines"]


def test_five_thousand_boxes_on_one_image_are_one_act(server: Any, root: Path) -> None:
    corners = [(n % 79, n // 79 % 59) for n in range(5000)]
    done = server.act(*({"do": "drawn", "image": 0, "label": "bird", "box": [*xy, 1, 1]} for xy in corners))
    assert (
        len({change["id"] for change in done["changes"]}) == len(done["changes"]) == len(events(root)) == 5000
    )
    assert len(server.get("/api/list")["drawn"]) == 5000
    assert server.undo()["undid"] == "5000 drawn in a.png"
    assert server.get("/api/list")["drawn"] == []


def test_an_image_that_vanished_costs_itself(server: Any, tmp_path: Path) -> None:
    place = server.get("/api/list")["images"]["name"].index("a.png")
    (tmp_path / "images/a.png").unlink()
    answer = server.ask("GET", f"/pixels/{place}?r=run1")
    assert answer.status == 404
    assert "a.png" in json.loads(answer.body)["error"]
    assert server.ask("GET", f"/pixels/{place + 3}?r=run1").status == 200
    assert server.act(accept("p0"))["seq"] == 1  # what is known of it can still be said


def test_a_database_that_cannot_be_written_is_a_sentence_and_the_page_goes_on(
    server: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.act(accept("p0"))
    real = labels.writing

    def read_only(path: Path) -> Any:
        raise WorkspaceError(f"{path}: attempt to write a readonly database. See that it can be written.")

    monkeypatch.setattr(labels, "writing", read_only)
    assert "readonly database" in server.act(accept("p1"), status=503)["error"]
    assert "readonly database" in server.undo(status=503)["error"]
    assert server.get("/api/list")["state"]["p0"]["action"] == "accepted"
    assert server.get("/api/changes")["seq"] == 1
    monkeypatch.setattr(labels, "writing", real)
    assert server.act(accept("p1"))["seq"] == 2


def test_labels_of_a_newer_dinotool_are_left_alone(server: Any, root: Path) -> None:
    server.act(accept("p0"))
    with labels.writing(database(root)) as db:
        db.execute("PRAGMA user_version = 99")
    before = database(root).read_bytes()
    assert "Update dinotool" in server.get("/api/changes", 503)["error"]
    assert "Update dinotool" in server.act(accept("p1"), status=503)["error"]
    assert server.ask("GET", "/").status == 200
    assert database(root).read_bytes() == before


def test_a_workspace_of_a_newer_dinotool_is_refused(root: Path) -> None:
    (root / places.MARKER).write_text('{"version": 99}')
    with pytest.raises(WorkspaceError, match="Update dinotool"):
        review.prepared(review.ReviewSettings(port=0), root)


def test_without_a_run_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="propose-labels"):
        review.prepared(review.ReviewSettings(port=0), places.create(tmp_path / "w"))


def test_one_slow_answer_delays_no_other(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(server.desk, "newer_run", slow)
    asking = threading.Thread(target=lambda: server.get("/api/list"))
    asking.start()
    assert begun.wait(30)
    assert server.ask("GET", "/page/index.html").status == 200
    assert server.act(accept("p0"))["seq"] == 1
    go_on.set()
    asking.join(30)


def test_a_defect_is_said_and_costs_one_answer(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.desk, "newer_run", lambda: 1 // 0)
    answer = server.ask("GET", "/api/list")
    assert (answer.status, answer.headers["referrer-policy"]) == (500, "no-referrer")
    assert json.loads(answer.body)["error"].startswith("ZeroDivisionError. This is a defect")
    monkeypatch.undo()
    assert server.get("/api/list")["run"] == "run1"


def test_a_run_that_was_made_anew_is_offered(server: Any, root: Path) -> None:
    assert server.get("/api/changes")["newer_run"] is None
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    table = read_proposals(file)
    file.unlink()
    assert server.get("/api/changes")["newer_run"] is None  # it is being written
    table.assign(label="tram").to_parquet(file)
    assert server.get("/api/changes")["newer_run"] == "run1"
    server.post("/api/run", {"run": "run1"})
    listed = server.get("/api/list")
    assert (listed["classes"], listed["newer_run"]) == (["car", "tram"], None)


def test_a_long_list_is_packed_for_those_who_can_unpack(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_app, "LONG", 100)
    packed = server.ask("GET", "/api/list", {"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.body)) == server.get("/api/list")


def test_what_was_done_on_the_page_is_what_an_export_writes(server: Any, root: Path) -> None:
    server.act(accept("p0"), {"id": "p1", "do": "moved", "box": [5, 6, 7, 8], "label": "tram"})
    server.act(
        {"id": "p2", "do": "rejected"}, {"do": "drawn", "image": 0, "label": "dog", "box": [1, 1, 9, 9]}
    )
    table = gather(root, "run1", open_set(places.set_folder(root, "set1"))).set_index("proposal")
    assert table["status"].astype("str").tolist() == [
        "accepted",
        "accepted",
        "rejected",
        "proposed",
        "proposed",
        "accepted",
    ]
    assert table["label"].astype("str").tolist()[:3] == ["person", "tram", "car"]
    assert table.loc["p1", list("xywh")].tolist() == [5, 6, 7, 8]
    assert table.iloc[-1][["label", "x", "w"]].tolist() == ["dog", 1, 9]


SAYING = "import sys; print('propose regions: 1 of 2', file=sys.stderr, flush=True); "


def child(program: str) -> Callable[..., list[str]]:
    return lambda *_: [sys.executable, "-c", SAYING + program]


def until(server: Any, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    for _ in range(600):
        told: dict[str, Any] = server.get("/api/changes")
        if true(told):
            return told
        threading.Event().wait(0.02)
    raise AssertionError(told)


def test_proposing_again_says_how_far_it_is_and_the_page_is_told_of_the_new_run(
    server: Any, root: Path, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert server.get("/api/changes")["again"] is None
    flag = tmp_path / "go on"
    wait = f"import time, pathlib\nwhile not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.01)\n"
    monkeypatch.setattr(
        review_again,
        "command",
        lambda *_: [sys.executable, "-c", SAYING.replace("; ", "\n") + wait + 'print(\'{"run": "run2"}\')'],
    )
    assert server.post("/api/again", {})["again"]["running"]
    assert "already" in server.post("/api/again", {}, 409)["error"]
    until(server, lambda told: told["again"]["line"] == "propose regions: 1 of 2")
    server.act(accept("p0"))  # nobody waits for it
    made.proposals(
        places.proposals_folder(root, "run2"),
        [{"image": "a.png", "label": "tram", "proposal": "q0"}],
        size_hw=SIZE,
    )
    places.remember(root, "proposals", "run2")
    flag.touch()
    told = until(server, lambda told: not told["again"]["running"])
    assert (told["again"]["done"], told["again"]["failed"]) == ("run2", None)
    assert (told["run"], told["newer_run"]) == ("run1", "run2")
    assert server.post("/api/run", {"run": "run2"}) == {"run": "run2"}
    listed = server.get("/api/list")
    assert (listed["run"], listed["rows"]["id"], listed["newer_run"]) == ("run2", ["q0"], None)
    assert [label["id"] for label in listed["drawn"]] == ["p0"]  # what stands stays in view
    assert server.act(accept("q0"))["changes"][0]["label"] == "tram"
    assert server.ask("GET", f"/pixels/{listed['rows']['image'][0]}?r=run2").status == 200
    assert "No run" in server.post("/api/run", {"run": "../run1"}, 404)["error"]


def test_a_child_that_fails_says_why(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_again, "command", child("sys.exit('dinotool: no labels here.')"))
    server.post("/api/again", {})
    told = until(server, lambda told: not told["again"]["running"])
    assert told["again"]["failed"] == "dinotool: no labels here."
    assert told["again"]["done"] is None


def test_a_server_that_ends_ends_its_child(
    root: Path, reviewing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_again, "command", child("import time; time.sleep(600)"))
    with reviewing(root) as server:
        server.post("/api/again", {})
    assert server.desk.again.state()["running"] is False


def test_the_child_proposes_with_the_settings_of_the_run(tmp_path: Path) -> None:
    made = {"settings": {"k": 7, "method": "vote", "temperature": None, "of a later version": 1}}
    command = review_again.command(tmp_path, "set1", made)
    start = command.index("propose-labels")
    settings = ["--set", "k=7", "--set", 'method="vote"']
    assert command[start:] == ["propose-labels", "set1", *settings, "--json", "--workspace", str(tmp_path)]


def test_the_pace_leaves_out_pauses() -> None:
    pace = Pace()
    assert pace.per_minute() is None
    for at in (0.0, 2.0, 4.0, 1000.0):
        pace.add(2, at)
    assert pace.total == 8
    pace = Pace()
    for at in (0.0, 3.0, 6.0, 300.0, 303.0):
        pace.add(1, at)
    assert pace.per_minute() == round(4 * 60 / (3 + 3 + 60 + 3), 1)


def test_a_run_without_proposals_and_one_of_images_that_are_gone_can_be_drawn_on(
    root: Path, reviewing: Callable[..., Any]
) -> None:
    file = places.proposals_folder(root, "run1") / "proposals.parquet"
    table = read_proposals(file)
    table.assign(image=["a.png", *["gone.png"] * 4]).to_parquet(file)
    with reviewing(root) as server:
        listed = server.get("/api/list")
        assert listed["rows"]["id"] == ["p0"]
        assert "4 proposals are not listed" in listed["sentences"][0]
        server.act(accept("p1"), status=404)
    table[:0].to_parquet(file)
    with reviewing(root) as server:
        assert server.get("/api/list")["rows"]["id"] == []
        server.act({"do": "drawn", "image": 0, "label": "dog", "box": [1, 1, 9, 9]})
    assert said(root, "set1")["label"].tolist() == ["dog"]


def test_more_proposals_than_a_page_can_hold_leave_the_unknown_ones_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinonat.pipelines import review_list

    monkeypatch.setattr(review_list, "MOST", 4)
    shown = Shown(root)
    assert shown.table["proposal"].tolist() == ["p0", "p1", "p2", "p4"]
    assert "1 proposals are not listed" in fixed_part(shown, [], ())["sentences"][0]
