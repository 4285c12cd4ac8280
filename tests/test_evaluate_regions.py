import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from dinonat.errors import ImageError, LabelError, UsageError
from dinonat.evaluation.classify import Difference
from dinonat.evaluation.intervals import NONE
from dinonat.evaluation.samples import Basis
from dinonat.pipelines import embed, workspace
from dinonat.pipelines.cli import app
from dinonat.pipelines.evaluate import EvaluateKnnSettings, run_knn
from dinonat.pipelines.evaluate_regions import run
from dinonat.pipelines.regions_report import Judged, RegionsReport, standing, verdict
from dinonat.pipelines.regions_settings import EvaluateRegionsSettings
from dinonat.scenes import MadeScenes, write_scenes
from dinonat.settings import read_yaml

SMALL: dict[str, Any] = {"crops": {"region_size": 32, "size": 32}, "threads": 1, "workers": 0, "k": (1, 5)}
ONE, TWO = "untrained:0", "untrained:1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeScenes:
    """Four recordings of six scenes in colour and thermal, a box for everything in them."""
    folder = tmp_path_factory.mktemp("made")
    return write_scenes(folder, colour=24, thermal=24, labelled=24, bits=8, size_hw=(64, 96))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tests share: what one has embedded, the others find."""
    return tmp_path_factory.mktemp("place")


def judge(place: Path, gallery: Path, query: Path | None = None, **more: Any) -> RegionsReport:
    weights = more.pop("weights", ONE)
    return run(
        EvaluateRegionsSettings.checked(
            {**SMALL, "gallery": gallery, "query": query, "weights": weights, **more}
        ),
        place,
    )


def by_hand(place: Path, name: str, images: Path, **more: Any) -> None:
    crops = {**read_yaml("crops"), **SMALL["crops"], "threads": 1, "workers": 0}
    embed.run(
        embed.EmbedSettings.checked({**crops, "images": images, "name": name, "weights": ONE, **more}), place
    )


def figures(rows: Any) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {
        (row.name, row.k): (row.features, row.top1, row.balanced, row.top1_interval, row.balanced_interval)
        for row in rows
    }


def labels_of(made: MadeScenes, file: Path, label: Any, of: slice = slice(None)) -> Path:
    """Write the boxes with other labels: what ``label`` makes of a row."""
    rows = pd.read_csv(made.labels)[of]
    rows.assign(label=[label(row) for row in rows.itertuples()]).to_csv(file, index=False)
    return file


def test_boxes_of_two_folders_give_what_embed_and_evaluate_knn_give(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    report = judge(place, made.rgb, made.thermal, labels=made.labels)
    by_hand(tmp_path, "colour", made.rgb, regions=made.labels)
    by_hand(tmp_path, "thermal", made.thermal, regions=made.labels)
    other = run_knn(
        EvaluateKnnSettings(gallery="colour", query="thermal", leave_out="recording", k=(1, 5)), tmp_path
    )
    assert figures(report.rows) == figures(other.table.rows)
    assert {f.name: getattr(report.basis, f.name) for f in dataclasses.fields(Basis)} == {
        f.name: getattr(other.table, f.name) for f in dataclasses.fields(Basis)
    }
    assert (report.basis.left_out, report.basis.recordings, report.kind) == ("recording", 4, "region")
    assert report.models == other.models[:1]
    assert not report.warnings


def test_one_folder_asks_itself_and_coco_says_the_same(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    report = judge(place, made.thermal, labels=made.labels)
    by_hand(tmp_path, "thermal", made.thermal, regions=made.labels)
    assert figures(report.rows) == figures(run_knn(EvaluateKnnSettings(k=(1, 5)), tmp_path).table.rows)
    again = judge(place, made.thermal, made.thermal, labels=made.truth)
    assert figures(again.rows) == figures(report.rows)


def test_whole_pictures_with_lists_give_what_the_commands_give(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in made.thermal.iterdir())
    (tmp_path / "images").mkdir()
    for name in names:
        shutil.copy(made.thermal / name, tmp_path / "images" / name)
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    lists = {"gallery": names[:14], "query": names[14:]}
    for side, own in lists.items():
        (tmp_path / f"{side}.txt").write_text("\n".join(own))
        by_hand(tmp_path / "w", side, tmp_path / "images", list_file=tmp_path / f"{side}.txt")
    both = {f"{side}_list": tmp_path / f"{side}.txt" for side in lists}
    report = judge(place, tmp_path / "images", labels=table, **both)
    asked = EvaluateKnnSettings(gallery="gallery", query="query", labels=(table,), k=(1, 5))
    assert figures(report.rows) == figures(run_knn(asked, tmp_path / "w").table.rows)
    assert (report.kind, report.basis.gallery, report.basis.query, report.basis.left_out) == (
        "image", 14, 10, "none",
    )  # fmt: skip
    assert "No recordings are known" in report.warnings[0]
    alone = judge(place, tmp_path / "images", labels=table, gallery_list=both["gallery_list"])
    assert (alone.basis.query, alone.basis.left_out) == (14, "image")


def test_folders_are_classes_where_no_labels_are_given(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    for i, path in enumerate(sorted(made.thermal.iterdir())):
        target = tmp_path / "sorted" / "ab"[i % 2] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    report = judge(place, tmp_path / "sorted", recordings=made.labels.with_name("recordings.csv"))
    assert (report.basis.classes, report.basis.left_out, report.basis.query) == (("a", "b"), "recording", 24)


def test_what_is_embedded_is_found_again_and_the_newest_set_stays_the_users(
    made: MadeScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(tmp_path, "mine", made.thermal, regions=made.labels)
    calls: list[int] = []
    whole = embed.embed_shard

    def counted(*positional: Any, **named: Any) -> Any:
        calls.append(1)
        return whole(*positional, **named)

    monkeypatch.setattr(embed, "embed_shard", counted)
    first = judge(tmp_path, made.thermal, labels=made.labels)
    assert len(calls) == 1  # one side, one shard
    assert dataclasses.asdict(judge(tmp_path, made.thermal, labels=made.labels)) == dataclasses.asdict(first)
    assert len(calls) == 1
    both = judge(tmp_path, made.thermal, labels=made.labels, weights=(ONE, TWO))
    assert len(calls) == 2
    assert both.sets[0] == first.sets[0] != both.sets[1]
    judge(tmp_path, made.thermal, labels=made.labels, again=True)
    assert len(calls) == 3
    few = labels_of(made, tmp_path / "few.csv", lambda row: row.label, slice(0, 30))
    judge(tmp_path, made.thermal, labels=few)  # other labels are another set, not a refusal
    assert len(calls) == 4
    assert workspace.newest(tmp_path, "set") == "mine"
    assert workspace.names(tmp_path, "set") == ["mine"]


def test_differences_are_of_the_rows_and_hand_made_ones_are_the_same_for_every_network(
    made: MadeScenes, place: Path
) -> None:
    both = judge(place, made.rgb, made.thermal, labels=made.labels, weights=(ONE, TWO))
    rows = {(row.network, row.name, row.k): row for row in both.rows}
    assert len(rows) == len(both.rows) == 2 * (3 + 2 * 4)
    for (network, name, k), row in rows.items():
        by_hand = [rows["", other, k] for other in ("hog+raw", "hog", "raw")]
        best = max(by_hand, key=lambda each: each.balanced).name
        named = list(dict.fromkeys(["hog+raw", best])) + [ONE] * (network == TWO)
        assert [each.than for each in row.over] == (named if network else [])
        for each in row.over:
            other = rows[ONE, name, k] if each.than == ONE else rows["", each.than, k]
            assert each.balanced == pytest.approx(row.balanced - other.balanced)
            assert each.top1 == pytest.approx(row.top1 - other.top1)
            low, high = each.balanced_interval
            assert low <= high
    alone = judge(place, made.rgb, made.thermal, labels=made.labels, weights=TWO)
    assert figures(alone.rows[:6]) == figures(both.rows[:6])
    second = [row for row in both.rows if row.network == TWO]
    assert figures(second) == figures([row for row in alone.rows if row.network == TWO])


def test_what_only_its_own_recording_knows_cannot_be_right(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    """Each recording has its own class, and the pictures of the query are those of the gallery, renamed."""
    known = pd.read_csv(made.labels.with_name("recordings.csv"))
    numbers = known.set_index("image")["recording"]
    labels = labels_of(made, tmp_path / "labels.csv", lambda row: numbers[row.image])
    renamed = {"image": lambda table: "q-" + table["image"]}
    pd.read_csv(labels).assign(**renamed).to_csv(tmp_path / "query.csv", index=False)
    pd.concat([known, known.assign(**renamed)]).to_csv(tmp_path / "recordings.csv", index=False)
    (tmp_path / "copy").mkdir()
    for path in made.thermal.iterdir():
        shutil.copy(path, tmp_path / "copy" / f"q-{path.name}")
    asked: dict[str, Any] = {"labels": labels, "query_labels": tmp_path / "query.csv", "k": 1}
    asked["recordings"] = tmp_path / "recordings.csv"
    kept = judge(place, made.thermal, tmp_path / "copy", **asked)
    assert {row.balanced for row in kept.rows} == {0.0}
    seen = judge(place, made.thermal, tmp_path / "copy", **asked, leave_out="none")
    assert {row.balanced for row in seen.rows} == {100.0}
    assert any("find themselves" in said for said in seen.warnings)


def row(low: float, high: float, than: str = "hog+raw", name: str = "auto", k: int = 5) -> Judged:
    middle = (low + high) / 2
    over = Difference(middle, middle, (low, high), (low, high), than)
    return Judged(50.0, 50.0, NONE, NONE, name, "grid=1", k, (over,), "net")


def basis(groups: int) -> Basis:
    return Basis(("a", "b"), 9, 9, "recording", groups, 50.0, 50.0, "recording", groups, (), ())


def test_a_network_is_above_only_where_all_intervals_are() -> None:
    above, below, open_ = row(1, 3), row(-3, -1), row(-1, 3)
    assert standing(above) == "clearly above what is made by hand"
    assert standing(below) == "clearly below hog+raw"
    assert standing(open_) == standing(row(0, 0)) == standing(row(*NONE)) == "not settled against hog+raw"
    mixed = dataclasses.replace(above, over=(*above.over, *row(-1, 1, "hog").over))
    assert standing(mixed) == "not settled against hog"
    peer = dataclasses.replace(above, over=(*above.over, *row(-9, -5, "starter").over))
    assert standing(peer) == standing(above)  # another network is no floor
    rows = [above, dataclasses.replace(open_, k=20)]
    said = verdict("net", rows, {"grid=1": 9}, basis(12))
    assert said.startswith(
        "net: auto is clearly above what is made by hand at k=5, not settled against hog+raw at"
    )
    assert "+2.0 (+1.0 to +3.0) against hog+raw" in said
    assert "as far as 4 recordings can tell" in verdict("net", rows, {"grid=1": 9}, basis(4))
    assert "one recording says nothing" in verdict("net", [row(*NONE)], {"grid=1": 9}, basis(1))


def test_where_auto_leaves_the_network_out_nothing_speaks_for_it() -> None:
    rows = [row(5, 9), row(-4, -2, name="all")]
    said = verdict("net", rows, {"hog=1": 6, "hog=1,raw=0.7": 3}, basis(12))
    assert said.startswith(
        "net: auto takes nothing of the network (hog=1 or hog=1,raw=0.7); with it, all is clearly"
    )
    assert "below hog+raw" in said
    assert "for 3 of 9 queries, is clearly above" in verdict(
        "net", rows, {"hog=1": 6, "grid=1": 3}, basis(12)
    )


def test_what_makes_figures_less_than_they_seem_is_said(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    one = labels_of(made, tmp_path / "one.csv", lambda row: "thing")
    assert any("one class only (thing)" in said for said in judge(place, made.thermal, labels=one).warnings)
    strange = labels_of(made, tmp_path / "strange.csv", lambda row: "tree" if row.Index % 3 else row.label)
    report = judge(place, made.thermal, made.rgb, labels=made.labels, query_labels=strange)
    assert any("The gallery has no tree" in said for said in report.warnings)
    early = labels_of(made, tmp_path / "early.csv", lambda row: row.label, slice(0, 12))
    report = judge(place, made.thermal, labels=early, leave_out="image")
    assert report.basis.interval_groups == 1
    text = report.lines()
    assert any("No intervals: all queries are from one recording" in line for line in text)
    assert "not settled" in text[-1]
    assert "one recording says nothing about others" in text[-1]


def test_labels_that_fit_nothing_cost_themselves(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(made.labels)
    odd = tmp_path / "odd.csv"
    more = [{**rows.iloc[0], "image": "nowhere.png"}, {**rows.iloc[0], "x": 5000.0}]
    pd.concat([rows, pd.DataFrame(more)]).to_csv(odd, index=False)
    report = judge(place, made.thermal, labels=odd)
    said = "\n".join(report.warnings)
    assert "1 of the 25 pictures it names are not there ('nowhere.png' first)" in said
    assert "lies outside the image" in said
    assert report.basis.query == len(rows)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"labels": "elsewhere.csv"}, LabelError, "none of its labels names one of the 24 images"),
        ({"query_labels": "elsewhere.csv"}, LabelError, "--query-labels"),
        ({"query_labels": "whole.csv"}, LabelError, "only labels of whole pictures"),
        ({"labels": None}, LabelError, "give the labels with --labels FILE"),
        ({"labels": "outside.csv"}, LabelError, "none of its labelled regions can be used"),
        ({"labels": "none.csv"}, LabelError, "no such file"),
        ({"classes": "tree"}, LabelError, "has no label tree"),
        ({"gallery": "nowhere"}, ImageError, "no such folder"),
        ({"gallery": None}, UsageError, "no folder of images"),
        ({"features": "hgo"}, UsageError, "'hog'"),
        ({"k": 0}, UsageError, "greater than or equal to 1"),
        ({"crops": {"regions": "x"}}, UsageError, "for `evaluate regions` itself"),
        ({"crops": {"sise": 32}}, UsageError, "'size'"),
        ({"prepare": "percentle"}, UsageError, "percentile"),
        ({"weights": "untrained:x"}, UsageError, "untrained:SEED"),
    ],
)
def test_bad_input_is_a_sentence(
    made: MadeScenes, place: Path, tmp_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    rows = pd.read_csv(made.labels)
    rows.assign(image="other/x.png").to_csv(tmp_path / "elsewhere.csv", index=False)
    rows[["image", "label"]].drop_duplicates("image").to_csv(tmp_path / "whole.csv", index=False)
    rows.assign(x=5000.0).to_csv(tmp_path / "outside.csv", index=False)
    files = {key: tmp_path / asked[key] for key in ("labels", "query_labels", "gallery") if asked.get(key)}
    common = {"gallery": made.thermal, "labels": made.labels, "query": made.rgb, "weights": ONE}
    with pytest.raises(error, match=said):
        run(EvaluateRegionsSettings.checked({**SMALL, **common, **asked, **files}), place)


def test_the_command_prints_tables_and_ends_with_the_verdicts(made: MadeScenes, place: Path) -> None:
    words = ["evaluate", "regions", str(made.rgb), str(made.thermal), "--labels", str(made.labels)]
    words += ["--weights", ONE, "--weights", TWO, "--k", "5", "--threads", "1", "-w", str(place)]
    words += ["--set", "crops={size: 32, region_size: 32}", "--set", "workers=0"]
    text = CliRunner().invoke(app, words)
    assert text.exit_code == 0, text.stderr
    lines = text.stdout.splitlines()
    assert [line.split(":", 2)[1] for line in lines[-2:]] == ["0", "1"]  # untrained:0 and untrained:1
    assert all("against hog" in line for line in lines[-2:])
    for said in ("its recording left out (4 recordings)", "majority, chance", "of fewer than 10 recordings"):
        assert said in text.stdout
    assert sum(line.strip().startswith("hog+raw") for line in lines) == 1  # once, not for each network
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert {row["network"] for row in told["rows"]} == {"", ONE, TWO}
    assert told["rows"][-1]["over"][0]["than"] == "hog+raw"
