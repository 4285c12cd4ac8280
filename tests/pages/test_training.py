import base64
import io
import json
import math
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dinonat.pages.curves import Curve, chart_of, read_lines
from dinonat.pages.runs import read_run
from dinonat.pages.seen import GAP, Seen, sheet_of
from dinonat.pages.training import render

EVIL = "</style><script>alert(1)</script>\u202egnp"
VOID = {"meta", "img", "br"}
RECIPE = {
    "network": "nat_nano", "batch": 48, "out_dim": 1024, "switch_at": 0.7, "global_sizes": [64, 96],
    "profile": "thermal", "thermal_from": 0.6, "schedule": "closed",
}  # fmt: skip
JUDGEMENT = {
    "kept": 100, "why": "step 100: best of 2 by k-NN on the monitor's folder, 71.2 %", "knn": 71.2,
    "knn_before": 64.9, "pairs": 41.7, "pairs_before": 33.3, "rank": 92.4, "rank_before": 80.1,
    "worse": False,
}  # fmt: skip
REPORT = {
    "steps": 200, "images": 1234, "failed": 3, "passes": 7.8, "began": "starter", "images_per_second": 55.5,
    "fingerprint": "abcdef", "better": None, "judgement": JUDGEMENT,
}  # fmt: skip


class Reader(HTMLParser):
    """Reads as a browser does, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def text_of(page: str) -> str:
    return " ".join("".join(read(page).text).split())


def line(step: int, **more: float) -> dict[str, float]:
    loss = 7.0 - step / 100
    return {
        "step": step, "loss": loss, "total_loss": loss - 0.1, "teacher_entropy": 4.0, "spread_entropy": 6.9,
        "kl": loss - 4.0, "feature_std": 0.8, "feature_rank": 30 + step / 10, "koleo": -1.0,
        "learning_rate": 1e-3 / step, "momentum": 0.99, **more,
    }  # fmt: skip


def write_lines(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def make(folder: Path, *, report: dict[str, Any] | None = REPORT, recipe: dict[str, Any] = RECIPE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "metrics.jsonl", [line(step) for step in range(20, 201, 20)])
    judged = [(0, 80.1, 64.9, 33.3), (100, 92.4, 71.2, 41.7), (200, 90.3, 70.8, 25.0)]
    write_lines(
        folder / "judged.jsonl",
        [{"step": s, "rank": r, "knn": k, "pairs": p, "loss": 6.125 if s else None} for s, r, k, p in judged],
    )
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "length.json").write_text(json.dumps({"steps": 200, "asked": {}}))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"folders": ["rgb"], "minutes": 9.5}))
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


def views(seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    large, small = (
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((3, 2, 32, 32, 3), (3, 4, 16, 16, 3))
    )
    return Seen("At the end", large, 255 - large, small, paired=1)


def test_the_page_says_what_the_files_say(tmp_path: Path) -> None:
    page = text_of(render(read_run(make(tmp_path / "4771f319e95d"))))
    for said in (
        "Pretraining run 4771f319e95d",
        "Kept step 100: best of 2 by k-NN on the monitor's folder, 71.2 %.",
        "Better than what it began with, by k-NN on the monitor's folder: 71.2 %, before 64.9 %.",
        "41.7 % find each other first, before 33.3 %",
        "starter", "1,234 (3 unreadable)", "200 of 200, 48.0 images each", "7.8", "55.5 images/s", "nat_nano",
        "ln 1024 = 6.93", "loss 6.8 → 5", "KL: what the student has yet to learn of it 2.8 → 1",
        "where it began: 64.9", "where it began: 33.3", "where it began: 80.1", "learning rate 5e-05 → 5e-06",
        "folders ['rgb'], minutes 9.5",
    ):  # fmt: skip
        assert said in page, said
    assert "has not ended" not in page
    assert "Do not use" not in page


def test_a_loss_that_ends_where_it_began_is_said(tmp_path: Path) -> None:
    make(tmp_path)
    said = "Its loss ends at {}, not below ln(out_dim) = 6.93"
    for end, there in ((6.94, True), (6.92, False)):
        write_lines(
            tmp_path / "metrics.jsonl", [line(180, loss=5.0), *(line(s, loss=end) for s in (190, 200))]
        )
        assert (said.format(f"{end:.2f}") in text_of(render(read_run(tmp_path)))) is there
    for nonsense in (0, -3, 1, "many", None):
        render(read_run(make(tmp_path, recipe={**RECIPE, "out_dim": nonsense})))


def test_the_table_and_the_dots_show_every_judged_point(tmp_path: Path) -> None:
    page = render(read_run(make(tmp_path)))
    rows = [row.split("</td>")[:-1] for row in page.split("<tr")[2:]]
    cells = [[cell.split(">")[-1] for cell in row] for row in rows]
    assert cells == [
        ["0, where it began", "64.9", "33.3", "80.1", ""],
        ["100", "71.2", "41.7", "92.4", "6.125"],
        ["200", "70.8", "25.0", "90.3", "6.125"],
    ]
    dots = [own for tag, own in read(page).tags if tag == "circle"]
    assert [dot["class"] for dot in dots] == ["begun", "kept", "dot"] * 3
    heights = [float(str(dot["cy"])) for dot in dots[:3]]
    assert heights[1] < heights[2] < heights[0]  # 71.2, 70.8, 64.9: up is better


def test_phases_stand_where_the_recipe_puts_them(tmp_path: Path) -> None:
    page = render(read_run(make(tmp_path)))
    moments = {own["x1"] for tag, own in read(page).tags if tag == "line" and own["class"] == "moment"}
    assert moments == {f"{640 * share:.1f}" for share in (0.6, 0.7)}
    assert "student sees thermal-like" in page
    assert "views of 96 px" in page
    plain = render(read_run(make(tmp_path, recipe={**RECIPE, "profile": "plain", "global_sizes": [64, 64]})))
    assert 'class="moment"' not in plain


def test_worse_is_said_first_and_so_is_why_it_stopped(tmp_path: Path) -> None:
    judgement = {**JUDGEMENT, "knn": 60.0, "worse": True}
    page = text_of(
        render(read_run(make(tmp_path, report={**REPORT, "judgement": judgement, "better": "starter"})))
    )
    assert "Worse than what it began with, by k-NN on the monitor's folder: 60.0 %, before 64.9 %." in page
    assert "Do not use these weights." in page
    assert page.index("takes starter instead") < page.index("Is it any good?")
    stopped = "uniform collapse: every picture. Change one thing."
    page = text_of(render(read_run(tmp_path, stopped=True), stopped=stopped))
    assert stopped in page
    assert "This run stopped: step 200 of 200." in page
    assert "Do not use" not in page  # the report that lies there is of an earlier end


def test_without_a_monitor_nothing_is_claimed(tmp_path: Path) -> None:
    judgement = {**JUDGEMENT, "knn": None, "knn_before": None, "pairs": None}
    page = text_of(render(read_run(make(tmp_path, report={**REPORT, "judgement": judgement}))))
    assert "Nothing here says whether it is better than what it began with" in page
    assert "Better than" not in page


@pytest.mark.parametrize(
    "missing", ["judged.jsonl", "recipe.json", "length.json", "settings.yaml", "report.json"]
)
def test_any_file_may_be_missing_or_damaged(tmp_path: Path, missing: str) -> None:
    whole = make(tmp_path)
    (whole / missing).write_text("{cut o\x00: [")
    damaged = render(read_run(whole))
    (whole / missing).unlink()
    assert render(read_run(whole)) == damaged
    assert "loss" in text_of(damaged)


def test_a_run_in_progress_of_which_only_figures_are_there(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "metrics.jsonl",
        [
            {"step": 20, "loss": 6.5, "teacher_entropy": 4.0},
            {"step": 40, "loss": 6.0, "teacher_entropy": 4.5},
        ],
    )
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 60, "lo')
    (tmp_path / "length.json").write_text('{"steps": 100}')
    page = text_of(render(read_run(tmp_path)))
    assert "This run has not ended: step 40 of 100." in page
    assert "2.5 → 1.5" in page  # KL by its definition
    assert "Too few figures" not in page
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "Too few figures" in text_of(render(read_run(empty)))


def test_a_report_of_a_shorter_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "length.json").write_text('{"steps": 400}')
    assert "This run has not ended: step 200 of 400." in text_of(render(read_run(tmp_path)))


def test_plateau_and_way_down_are_one_run_until_the_plateau_goes_on(tmp_path: Path) -> None:
    recipe = {**RECIPE, "schedule": "open", "profile": "plain"}
    make(tmp_path, recipe=recipe, report={**REPORT, "steps": 300})
    cooled = tmp_path / "cooled"
    cooled.mkdir()
    (cooled / "length.json").write_text('{"steps": 300, "cool_from": 180}')
    write_lines(cooled / "metrics.jsonl", [line(step) for step in range(200, 301, 20)])
    write_lines(cooled / "judged.jsonl", [{"step": 0, "rank": 80.1}, {"step": 300, "rank": 99.9}])
    run = read_run(tmp_path)
    assert [each["step"] for each in run.metrics] == list(range(20, 301, 20))
    assert [each["step"] for each in run.judged] == [0, 100, 300]
    assert run.report
    assert "cools down" in render(run)
    os.utime(cooled / "metrics.jsonl", (0, 0))
    run = read_run(tmp_path)
    assert run.step == run.course.steps == 200
    assert "cools down" not in render(run)


@settings(deadline=None, max_examples=40)
@given(position=st.floats(0.01, 1.0), steps=st.integers(1, 3000), open_=st.booleans())
def test_the_first_step_at_a_position(
    tmp_path_factory: pytest.TempPathFactory, position: float, steps: int, open_: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "positions"
    folder.mkdir(exist_ok=True)
    (folder / "length.json").write_text(json.dumps({"steps": steps}))
    run = read_run(folder, recipe={"schedule": "open" if open_ else "closed"})
    steps_there = [step for step in range(steps + 1) if run.course.position(step) >= position]
    assert run.first_step(position) == (steps_there[0] if steps_there else None)


def test_no_name_and_no_file_breaks_the_page(tmp_path: Path) -> None:
    folder = make(
        tmp_path / EVIL.replace("/", "!"), recipe={**RECIPE, "network": EVIL, "global_sizes": [64, EVIL]}
    )
    judgement = {**JUDGEMENT, "why": EVIL, "worse": True, "knn": EVIL, "rank": [EVIL]}
    (folder / "report.json").write_text(
        json.dumps(
            {
                **REPORT,
                "began": EVIL,
                "better": EVIL,
                "judgement": judgement,
                "images": EVIL,
                "failed": EVIL,
                "fingerprint": {EVIL: 1},
            }
        )
    )
    (folder / "settings.yaml").write_text(yaml.safe_dump({"folders": [EVIL], EVIL: EVIL}))
    with (folder / "judged.jsonl").open("a") as stream:
        stream.write(
            json.dumps({"step": EVIL, "rank": EVIL})
            + "\n[1]\n"
            + json.dumps({"step": 150, "rank": math.nan, EVIL: 1})
            + "\n"
        )
    page = render(read_run(folder), seen=[views()], stopped=EVIL)
    reader = read(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not any(name.startswith("on") for _, own in reader.tags for name in own)
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") >= 8
    addresses = [own[key] for _, own in reader.tags for key in ("href", "src") if key in own]
    assert len(addresses) == 3
    assert all(str(address).startswith("data:image/png;base64,") for address in addresses)


def test_views_come_back_out_of_the_page(tmp_path: Path) -> None:
    seen = views()
    reader = read(render(read_run(make(tmp_path)), seen=[seen]))
    sheets = []
    for tag, own in reader.tags:
        if tag == "img":
            with Image.open(io.BytesIO(base64.b64decode(str(own["src"]).split(",")[1]))) as picture:
                sheets.append(np.asarray(picture))
    step = 32 + GAP
    for row in range(3):
        for column in range(2):
            place = slice(row * step, row * step + 32), slice(column * step, column * step + 32)
            assert (sheets[0][place][..., :3] == seen.teacher[row, column]).all()
            assert (sheets[1][place][..., :3] == seen.student[row, column]).all()
            assert (sheets[1][place][..., 3] == 255).all()
    assert sheets[2].shape == sheet_of(seen.local, 32).shape == (3 * step - GAP, 4 * (16 + GAP) - GAP, 4)
    assert (sheets[2][..., 3] > 0).sum() == 12 * 16 * 16  # the gaps are transparent


def test_the_field_reaches_where_it_is_told_and_small_changes_look_small() -> None:
    curve = Curve("x", (0.0, 10.0), (6.93, 6.94))
    flat = chart_of([curve], least=0.5)
    ys = [float(point.split(",")[1]) for point in flat.lines[0].points.split()]
    assert ys[0] - ys[1] == pytest.approx(0.01 / 0.5 * flat.height, abs=0.11)
    assert sum(ys) / 2 == pytest.approx(flat.height / 2, abs=0.1)
    zero = chart_of([curve], reach=0.0)
    assert float(zero.lines[0].points.split(",")[1].split()[0]) == pytest.approx(
        zero.height * 0.01 / 6.94, abs=0.06
    )
    assert [text for _, text in chart_of([curve], moments=[(-1, "a"), (3, "b"), (11, "c")]).moments] == ["b"]


def test_equal_files_give_equal_text(tmp_path: Path) -> None:
    run = read_run(make(tmp_path))
    assert render(run, seen=[views()]) == render(read_run(tmp_path), seen=[views()])
    assert read_lines(tmp_path / "nothing") == []
