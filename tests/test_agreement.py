import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dinonat.agreement.items import items_of
from dinonat.agreement.verdict import LEAST
from dinonat.errors import CheckpointError, UsageError
from dinonat.images.reading import AS_STORED
from dinonat.models.catalog import NETWORKS, load_network
from dinonat.models.checkpoint import constructed, save
from dinonat.models.nat import NAT, NATSettings
from dinonat.pipelines import agreement_steps, agreement_table
from dinonat.pipelines.agreement import run
from dinonat.pipelines.agreement_figures import blind_order
from dinonat.pipelines.agreement_pictures import Pictures, read_pairs
from dinonat.pipelines.agreement_report import AgreementReport, PicturesReport
from dinonat.pipelines.agreement_settings import AgreementSettings
from dinonat.pipelines.agreement_steps import Steps
from dinonat.pipelines.cli import app
from dinonat.pipelines.options import plain
from dinonat.pipelines.pairs import gather_pairs
from dinonat.scenes import MadeScenes, write_scenes

ONE, TWO = "untrained:0", "untrained:1"
TINY: dict[str, Any] = {"weights": (ONE,), "untrained": 1, "size": 64, "threads": 1, "workers": 0}
FEW = {**TINY, "most": 4}  # pairs, two of each recording
ALL = 12


@pytest.fixture(scope="module", autouse=True)
def shallow_network() -> Iterator[None]:
    """Make the network of a seed with as many heads as it has, and fewer layers."""
    with pytest.MonkeyPatch.context() as patched:
        shallow = NETWORKS["nat_nano"].model_copy(update={"depths": (1, 1, 2, 1)})
        patched.setitem(NETWORKS, "nat_nano", shallow)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeScenes:
    """Colour pictures of 14 scenes, 16-bit thermal ones of the first 12, in two recordings of six."""
    folder = tmp_path_factory.mktemp("made")
    return write_scenes(folder, colour=14, thermal=ALL, labelled=ALL, size_hw=(64, 80))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that tests share: a row that one has made, the others find."""
    return tmp_path_factory.mktemp("place")


def agree(place: Path, colour: Path | None, thermal: Path | None, **more: Any) -> AgreementReport:
    report = run(AgreementSettings.checked({**FEW, "colour": colour, "thermal": thermal, **more}), place)
    assert isinstance(report, AgreementReport)
    return report


def draw(place: Path, colour: Path | None, thermal: Path | None, **more: Any) -> PicturesReport:
    report = run(AgreementSettings.checked({**FEW, "colour": colour, "thermal": thermal, **more}), place)
    assert isinstance(report, PicturesReport)
    return report


def told(place: Path, *arguments: object) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of the command."""
    tiny = ["--size", "64", "--weights", ONE, "--threads", "1", "--set", "untrained=1", "--set", "workers=0"]
    answer = CliRunner().invoke(app, ["agreement", *tiny, *map(str, arguments), "-w", str(place)])
    return answer.exit_code, answer.stdout, answer.stderr


def copied(source: Path, target: Path, make: Callable[[Image.Image], Image.Image] | None = None) -> Path:
    """Copy pictures of the same names, each changed by ``make``."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if make is None:
            shutil.copy(file, target)
        else:
            make(Image.open(file)).save(target / file.name)
    return target


def figures(report: AgreementReport) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the table, its values written so that what is not a number equals itself."""
    return {(line.name, line.prepared): plain(line.figures) for line in report.table}


@pytest.fixture
def rows_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made from now on: an entry for each row of a network, one for those by hand."""
    seen: list[str] = []
    for name in ("network_figures", "hand_made_figures"):
        make = getattr(agreement_table, name)

        def counted(*arguments: Any, name: str = name.split("_")[0], make: Any = make, **more: Any) -> Any:
            if name == "network" or name not in seen:
                seen.append(name)
            return make(*arguments, **more)

        monkeypatch.setattr(agreement_table, name, counted)
    return seen


def test_the_whole_command(made: MadeScenes, place: Path) -> None:
    asked = ["--prepare", "percentile", "--prepare", "clahe", "--prepare", "clahe"]
    asked += ["--labels", str(made.labels), "--pictures", "1", "--blind", "6", "--set", "most=4"]
    code, out, _ = told(place, made.rgb, made.thermal, *asked, "--json")
    report = json.loads(out)
    assert (code, out.count("\n"), report["pairs"], report["recordings"]) == (0, 1, 4, 2)
    folder = Path(report["page"]).parent
    kept = json.loads((folder / "report.json").read_text())
    assert kept == {key: value for key, value in report.items() if key != "seconds"}
    sheets = [Image.open(file) for file in report["pictures"]]
    assert [Path(file).name.split("-")[0] for file in report["pictures"]] == ["attention", "blind.png"]
    assert all(sheet.width > 300 and np.ptp(np.asarray(sheet)) > 200 for sheet in sheets)
    answers = json.loads((folder / "blind-answers.json").read_text())
    assert sorted(answers.values()) == ["partners"] * 2 + ["strangers"] * 2  # of the four there are
    assert report["alignment"].startswith("The pairs are aligned")

    table = [line for line in report["table"] if "inverted" not in line["name"] or line["kind"] != "by hand"]
    kinds = [(line["kind"], line["prepared"]) for line in table]
    both = ("percentile", "clahe")
    expected = [("network", each) for each in both] + [("inverted", "percentile"), ("own grey", "")]
    expected += [("untrained", each) for each in both for _ in "ab"]
    expected += [("by hand", each) for each in both for _ in range(8)] + [("chance", "")]
    assert kinds == expected
    for line in table:
        labelled = any("k-NN/across" in key for key in line["figures"])
        assert labelled == (line["kind"] not in ("by hand", "chance") or line["name"] in ("hog", "raw"))
    claims = [(each["weights"], each["prepared"], each["about"]) for each in report["claims"]]
    assert claims == [(ONE, each, about) for each in both for about in ("attention", "features")]

    code, text, errors = told(place, made.rgb, made.thermal, *asked)  # all rows are there
    assert (code, errors) == (0, "")
    assert text.splitlines()[-1].endswith(report["claims"][-1]["sentence"])
    assert f"Page: {report['page']}" in text
    assert f"The answers: {folder / 'blind-answers.json'}" in text
    assert re.search("[0-9]+ labels of thermal pictures hold for their colour partners", text)
    assert (folder / "report.html").read_text().count("<html") == 1


def test_the_same_call_runs_no_network_and_writes_the_same_bytes(
    made: MadeScenes, place: Path, rows_made: list[str]
) -> None:
    first = agree(place, made.rgb, made.thermal, pictures=1)
    assert rows_made.count("network") in (0, 4)
    folder = Path(first.page).parent
    state = {file.name: file.read_bytes() for file in folder.iterdir()}
    rows_made.clear()
    again = agree(place, made.rgb, made.thermal, pictures=1)
    assert rows_made == []
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == state
    assert plain(asdict(replace(again, seconds=0))) == plain(asdict(replace(first, seconds=0)))


def test_one_more_network_makes_its_own_rows_only(
    made: MadeScenes, place: Path, rows_made: list[str]
) -> None:
    alone = agree(place, made.rgb, made.thermal)
    rows_made.clear()
    both = agree(place, made.rgb, made.thermal, weights=(ONE, TWO, ONE))  # given twice: once
    assert rows_made == ["network"] * 3  # as it is, inverted, its own grey; both are built alike
    table = figures(both)
    assert {key: table[key] for key in figures(alone)} == figures(alone)
    assert len(table) == len(figures(alone)) + 3
    lines = both.lines()
    assert [line.split(",")[0] for line in lines[-4:]] == [ONE, ONE, TWO, TWO]


def test_changed_pictures_make_new_rows(made: MadeScenes, tmp_path: Path, rows_made: list[str]) -> None:
    thermal = copied(made.thermal, tmp_path / "thermal")
    first = agree(tmp_path, made.rgb, thermal, most=2)
    rows_made.clear()
    picture = np.asarray(Image.open(thermal / "made-0000.png"))
    Image.fromarray(picture[::-1].copy()).save(thermal / "made-0000.png")
    again = agree(tmp_path, made.rgb, thermal, most=2)
    assert rows_made == ["network"] * 3 + ["hand"]  # colour and its own grey are what they were
    assert figures(again) != figures(first)
    assert again.name != first.name


def test_what_is_stopped_goes_on_and_half_a_row_is_made_again(
    made: MadeScenes, tmp_path: Path, rows_made: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = agree(place, made.rgb, made.thermal, most=2)
    rows_made.clear()
    with monkeypatch.context() as patched:
        make, rows = agreement_table.network_figures, tmp_path / "w" / "agreements" / "rows"

        def stopped(*arguments: Any) -> Any:
            if len(rows_made) == 2:
                raise KeyboardInterrupt
            return make(*arguments)

        patched.setattr(agreement_table, "network_figures", stopped)
        code, _, errors = told(tmp_path / "w", made.rgb, made.thermal, "--set", "most=2")
    assert (code, "Stopped. What was finished is kept" in errors) == (130, True)
    assert len(list(rows.iterdir())) == 2
    for row, left in zip(sorted(rows.iterdir()), (0, 5000), strict=True):  # bytes of what a full disk leaves
        row.write_bytes(row.read_bytes()[:left])
    rows_made.clear()
    again = agree(tmp_path / "w", made.rgb, made.thermal, most=2)
    assert rows_made == ["network"] * 4 + ["hand"]
    assert figures(again) == figures(whole)


def test_a_picture_and_its_copy_agree_to_every_network_and_nothing_is_claimed(
    made: MadeScenes, tmp_path: Path
) -> None:
    report = agree(tmp_path, made.thermal, copied(made.thermal, tmp_path / "copies"))
    for line in report.table:
        if line.kind in ("network", "own grey", "untrained"):
            assert line.figures["attention/pearson/paired"][0] == pytest.approx(1)
            assert line.figures["grid/aligned/both/1"][0] == 1
            assert line.figures["mean/cka"][0] == pytest.approx(1)
    assert report.claims == ()
    assert report.lines()[-1] == "No verdict: every pair is one picture twice, which agrees to any network."
    assert report.doubts == report.warnings[:1]
    assert report.doubts[0].startswith("4 pairs are one picture twice (made-0000.png, ")
    assert report.lines().index(report.doubts[0]) == len(report.lines()) - 2  # not above the tables
    assert "4 colour pictures are grey (made-0000.png, made-0003.png, made-0006.png, ...)." in report.warnings


def test_of_one_recording_nothing_is_settled(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "one.csv"
    table.write_text("image,recording\n" + "".join(f"{file.name},a\n" for file in made.thermal.iterdir()))
    report = agree(place, made.rgb, made.thermal, recordings=table)
    assert [each.word for each in report.claims] == ["not settled"] * 2
    assert all(
        each.sentence.endswith("one recording, which says nothing about others.") for each in report.claims
    )
    bounds = {bound == bound for line in report.table for each in line.figures.values() for bound in each[1:]}
    assert bounds == {False}
    text = "\n".join(report.lines())
    assert "4 pairs of 1 recording (as" in text
    assert "No intervals and no verdict: all pairs are of one recording" in text


def test_two_pairs_are_measured(made: MadeScenes, place: Path) -> None:
    report = agree(place, made.rgb, made.thermal, most=2, pictures=60)
    assert len(report.pictures) == 1  # a sheet of the two there are
    assert (report.pairs, report.recordings, len(report.claims)) == (2, 2, 2)
    assert "2 pairs are too few to tell whether they are aligned." in report.alignment
    assert "2 of 12 pairs are measured, evenly over all (--set most=0: all)." in report.warnings


def test_what_is_wrong_with_pictures_costs_their_pairs_and_is_said(made: MadeScenes, tmp_path: Path) -> None:
    thermal = copied(made.thermal, tmp_path / "thermal")
    colour = copied(made.rgb, tmp_path / "colour", lambda picture: picture.resize((160, 90)))
    cut = thermal / "made-0001.png"
    cut.write_bytes(cut.read_bytes()[:900])
    (colour / "made-0002.png").write_bytes(b"no picture")
    Image.new("L", (1, 1), 5).save(thermal / "made-0003.png")
    strip = np.random.default_rng(0).integers(0, 255, (3, 200), dtype=np.uint8)
    Image.fromarray(strip).save(thermal / "made-0004.png")
    for name in ("made-0005.png", "made-0006.png"):
        Image.open(colour / name).convert("L").save(colour / name)
    report = agree(tmp_path, colour, thermal, most=0, labels=made.labels)
    said = list(report.warnings)
    assert report.pairs == ALL - 2
    assert "2 colour pictures have no partner (made-0012.png, made-0013.png)." in said
    shapes = next(each for each in said if "of two shapes" in each)
    assert "10 pairs have pictures of two shapes (made-0000.png 160x90 and made-0000.png 80x64, " in shapes
    assert "2 colour pictures are grey (made-0005.png, made-0006.png)." in said
    broken = [each for each in said if each.endswith("Its pair is left out.")]
    assert [each.split(":")[0] for each in broken] == ["made-0002.png", "made-0001.png"]
    assert said[-2:] == broken  # of a long list the end is cut in the text
    assert any(each.startswith("39 labels of colour pictures") for each in said)  # more than lie in 1 x 1


def test_of_pairs_that_are_not_aligned_nothing_is_claimed(made: MadeScenes, tmp_path: Path) -> None:
    thermal = tmp_path / "thermal"
    thermal.mkdir()
    for number in range(ALL):  # each lies beside another scene
        shutil.copy(made.thermal / f"made-{number:04}.png", thermal / f"made-{(number + 5) % ALL:04}.png")
    report = agree(tmp_path, made.rgb, thermal, most=0)
    assert report.alignment.startswith("The pairs are not aligned")
    assert report.lines()[-2].startswith("Figures of pairs that are not aligned say little")
    assert report.lines()[-1].startswith("No verdict: the pictures of a pair do not lie on each other")
    assert report.claims == ()


def test_swapped_folders_are_told(made: MadeScenes, place: Path) -> None:
    report = agree(place, made.rgb, made.thermal)
    assert not any("colour folder first" in each or "grey" in each for each in report.warnings)
    swapped = agree(place, made.thermal, made.rgb)
    assert any("give the colour folder first" in each for each in swapped.warnings)
    assert any(each.startswith("4 colour pictures are grey") for each in swapped.warnings)


def test_labels_that_are_few_or_of_one_class(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,label\nmade-0000.png,a\nmade-0003.png,a\n")
    report = agree(place, made.rgb, made.thermal, labels=table)
    assert f"{table}: all labels are 'a'; k-NN needs two classes and is left out." in report.warnings
    assert not any("k-NN" in key for line in report.table for key in line.figures)
    table.write_text("image,label\nmade-0000.png,a\nmade-0003.png,b\nmade-0013.png,b\nmade-0001.png,b\n")
    report = agree(place, made.rgb, made.thermal, labels=table)
    assert (
        f"{table}: 2 images are in no pair that is measured (made-0013.png, made-0001.png)."
        in report.warnings
    )
    assert any("k-NN" in key for line in report.table for key in line.figures)


def test_boxes_of_pictures_that_are_named_alike_are_of_those_they_lie_in() -> None:
    names = [("a.png", "a.png"), ("b.png", "b.png")]
    large, small = (1000, 500), (100, 50)

    def taken(*corners: tuple[float, float], sizes: Any = ((large, small),) * 2) -> tuple[int, str]:
        rows = [("a.png", "thing", x, y, 20.0, 20.0) for x, y in corners]
        columns = ["image", "label", "x", "y", "w", "h"]
        items, word = items_of(pd.DataFrame(rows, columns=columns), names, sizes)
        return len(items), word

    assert taken((10, 10), (60, 20)) == (2, "thermal")  # they lie in both
    assert taken((10, 10), (600, 20)) == (2, "colour")
    assert taken((10, 10), (600, 20), sizes=((small, large),) * 2) == (2, "thermal")
    assert taken((2000, 10)) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{rgb}"], 2, "give two folders, `dinotool agreement RGB THERMAL`, or one with --pictures N"),
        (["--pictures", "2"], 2, "give two folders"),
        (["{rgb}", "/nowhere/at/all"], 1, "/nowhere/at/all: no such folder"),
        (["{thermal}", "{thermal}"], 2, "no two of 12 pictures .* folder of the colour pictures first"),
        (["{rgb}", "{one}"], 2, r"one pair only \(made-0000.png\)"),
        (["{rgb}", "{broken}"], 1, "Fewer than two of 2 pairs .* The first: made-0000.png: not an image"),
        (["{rgb}", "{thermal}", "--set", "most=1"], 2, "most=1: partners are compared with strangers"),
        (["{rgb}", "{thermal}", "--prepare", "best"], 2, "prepare=best: expected percentile"),
        (["{rgb}", "{thermal}", "--set", "invert=perhaps"], 2, "invert=perhaps: expected auto, yes or no"),
        (["{rgb}", "{thermal}", "--size", "20"], 2, "size=20: .* greater than or equal to 64"),
        (["{rgb}", "{thermal}", "--pair-offset", "5"], 2, "--pair-offset 5: expected two numbers"),
        (["{rgb}", "{thermal}", "--pair-offset", "50,0"], 2, "leaves less than half of a colour picture"),
        (["{rgb}", "{thermal}", "--pictures", "99"], 2, "pictures=99: .* less than or equal to 64"),
        (["{rgb}", "{thermal}", "--blind", "3"], 2, "--blind 3: Of 3 pairs .* give at least 4 pairs"),
        (["{rgb}", "{thermal}", "--weights", "gone.pth"], 1, "no pretraining run called 'gone.pth'"),
        (["{rgb}", "{thermal}", "--labels", "{nobody}"], 1, "nobody.csv: no label of it belongs to"),
        (["{rgb}", "{thermal}", "--labels", "{gone}"], 1, "gone.csv: no such file"),
        (["{rgb}", "{thermal}", "--pair-list", "{nobody}"], 1, "expected the columns colour,thermal"),
        (["{rgb}", "{thermal}", "--recordings", "{gone}"], 1, "gone.csv: cannot be read"),
    ],
)  # fmt: skip
def test_a_slip_is_a_sentence_before_anything_is_measured(
    made: MadeScenes, tmp_path: Path, rows_made: list[str], arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(made.thermal / "made-0000.png", tmp_path / "one")
    (tmp_path / "broken").mkdir()
    for number in range(2):
        (tmp_path / "broken" / f"made-000{number}.png").write_bytes(b"no picture")
    (tmp_path / "nobody.csv").write_text("image,label\nnobody.png,a\n")
    files = {"rgb": made.rgb, "thermal": made.thermal, "labels": made.labels, "gone": tmp_path / "gone.csv"}
    files |= {"one": tmp_path / "one", "broken": tmp_path / "broken", "nobody": tmp_path / "nobody.csv"}
    found, out, errors = told(tmp_path / "w", *(each.format(**files) for each in arguments))
    assert (found, out, rows_made) == (code, "", [])
    *_, last = errors.splitlines()
    assert last.startswith("dinotool: ")
    assert re.search(says, last)
    assert not (tmp_path / "w" / "agreements").exists() or not list((tmp_path / "w" / "agreements").iterdir())


@pytest.mark.parametrize(("size", "prepare"), [(96, "recording"), (100, "window=6000:9000")])
def test_any_size_and_preparation_is_measured(made: MadeScenes, place: Path, size: int, prepare: str) -> None:
    report = agree(place, made.rgb, made.thermal, size=size, prepare=prepare, most=2)
    assert report.size == size
    grey = next(line for line in report.table if line.kind == "own grey")
    assert grey.figures["similarity/pearson/paired"][0] > 0.9


def test_bad_weights_cost_only_themselves_and_the_same_twice_is_one(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    bad, good, again = (tmp_path / f"{name}.safetensors" for name in ("bad", "good", "again"))
    network, _ = load_network(ONE)
    save(good, network)
    save(again, network)
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    save(bad, network)
    names = (str(bad), str(made.labels), str(good), str(again))
    report = agree(place, made.rgb, made.thermal, weights=names, most=2)
    assert [line.name for line in report.table if line.kind == "network"] == [str(good)]
    left = [each for each in report.warnings if each.endswith("It is left out.")]
    assert [each.split(":")[0] for each in left] == [str(bad), str(made.labels)]
    assert f"{again} has the weights of {good}, so it has no rows of its own." in report.warnings
    with pytest.raises(CheckpointError, match="holds NaN or infinity"):
        agree(place, made.rgb, made.thermal, weights=(str(bad),), most=2)


def test_a_row_is_of_the_very_pixels(made: MadeScenes, tmp_path: Path) -> None:
    """Other pictures of the same names, sizes and times: archives and raw formats have such."""
    found = []
    for number, step in enumerate((1, -1, 1)):
        folders = [tmp_path / f"{light.name}{number}" for light in (made.rgb, made.thermal)]
        for light, folder in zip((made.rgb, made.thermal), folders, strict=True):
            folder.mkdir()
            for file in light.iterdir():
                raw = folder / f"{file.stem}.npy"
                np.save(raw, np.asarray(Image.open(file))[::step].copy())
                os.utime(raw, ns=(0, 0))
        found.append(figures(agree(tmp_path / "w", *folders, most=2)))
    assert found[0] == found[2] != found[1]


def test_recordings_that_nobody_knows_settle_nothing(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    table.write_text("image,recording\nmade-0000.png,a\nmade-0001.png,b\n")
    report = agree(place, made.rgb, made.thermal, recordings=table, most=0)
    assert report.recordings >= LEAST
    assert {each.word for each in report.claims} == {"not settled"}
    assert any("pairs are of unknown recordings" in each for each in report.doubts)


def test_wrong_partners_are_named(made: MadeScenes, place: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in made.thermal.iterdir())
    partners = [names[6], *names[1:6], names[0], *names[7:]]
    table = tmp_path / "pairs.csv"
    table.write_text("colour,thermal\n" + "".join(f"{a},{b}\n" for a, b in zip(names, partners, strict=True)))
    report = agree(place, made.rgb, made.thermal, pair_list=table, most=0)
    odd = [each for each in report.doubts if "no better than strangers" in each]
    assert len(odd) == 1
    assert odd[0].startswith("2 pairs fit")
    assert f"{names[0]} and {names[6]}" in odd[0]
    assert f"{names[6]} and {names[0]}" in odd[0]


def test_networks_built_otherwise_have_untrained_rows_of_their_own(
    made: MadeScenes, place: Path, tmp_path: Path
) -> None:
    """Windows of 7 and of 3 have as many weights: their names alone do not tell them apart."""
    files = []
    for kernel in (7, 3):
        network = constructed(
            NATSettings(
                dim=16, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=kernel, position_bias=False
            )
        )
        files.append(str(tmp_path / f"k{kernel}.safetensors"))
        save(Path(files[-1]), network.eval())
    report = agree(place, made.rgb, made.thermal, weights=tuple(files), most=0)
    means = [line for line in report.table if line.name.startswith("untrained, mean")]
    assert len({line.name for line in means}) == 2
    for name, mean in zip(files, means, strict=True):
        own = next(line for line in report.table if line.name == name)
        claim = next(each for each in report.claims if (each.weights, each.about) == (name, "attention"))
        key = "attention/pearson/gap"
        expected = own.figures[key][0] - mean.figures[key][0]
        assert claim.differences["the untrained network"][0] == pytest.approx(expected)


def test_a_vit_is_measured_beside_a_nat(made: MadeScenes, place: Path) -> None:
    report = agree(place, made.rgb, made.thermal, weights=("untrained:0:vit_tiny", ONE), pictures=1, most=2)
    kinds = {line.name.split(" of ")[0] for line in report.table if line.kind == "untrained"}
    means = {"untrained, mean: ViT", "untrained, mean: NAT"}
    assert kinds == means | {"untrained:0 ViT", "untrained:0 NAT"}
    assert len(report.pictures) == len(set(report.pictures)) == 2
    assert [each.about for each in report.claims] == ["attention", "features"] * 2


def test_a_network_without_attention_has_features_only(
    made: MadeScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NAT, "attends", False)
    report = agree(tmp_path, made.rgb, made.thermal, pictures=2, blind=4)
    assert [each.about for each in report.claims] == ["features"]
    assert not report.pictures
    assert f"1 network has no attention to draw ({ONE})." in report.warnings
    assert not any(key.startswith("attention") for key in report.table[0].figures)
    with pytest.raises(UsageError, match="There is no attention to draw"):
        draw(tmp_path, made.rgb, None, pictures=1)


def test_pictures_of_one_folder_or_of_two_that_have_no_pairs(made: MadeScenes, tmp_path: Path) -> None:
    alone = draw(tmp_path, made.rgb, None, pictures=1, blind=4)
    assert "--blind and --labels need pairs of two folders and are left out." in alone.warnings
    assert [Path(file).is_file() for file in alone.pictures] == [True]
    assert alone.lines()[-2:] == [
        f"Attention by head and stage: {alone.pictures[0]}",
        f"Page: {alone.page}",
    ]
    assert Path(alone.page).read_text("utf-8").count("data:image/png") == 1
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(made.thermal / "made-0000.png", others / "elsewhere.png")
    (others / "cut.png").write_bytes(b"no picture")
    both = draw(tmp_path, made.rgb, others, pictures=2)
    said = "no two of 14 colour and 2 thermal pictures belong together by their names or times"
    assert said in both.warnings[0]
    assert both.warnings[0].endswith("So nothing is measured, and pictures of both folders are shown.")
    assert both.warnings[-1].startswith("cut.png: not an image")
    heights = [Image.open(report.pictures[0]).height for report in (alone, both)]
    assert heights[1] > 1.5 * heights[0]  # three rows of heads below each other, not one


@pytest.mark.parametrize("prepare", ["dataset", "recording"])
def test_pictures_alone_have_the_limits_that_their_folder_shares(
    made: MadeScenes, tmp_path: Path, prepare: str
) -> None:
    alone = draw(tmp_path, made.thermal, None, pictures=1, prepare=prepare)
    assert [Path(file).is_file() for file in alone.pictures] == [True]


def read(made: MadeScenes, colour: Path, place: Path, *prepare: str, invert: str = "auto") -> Pictures:
    pairs = gather_pairs(colour, made.thermal, workspace=place)
    return read_pairs(
        pairs,
        prepare=prepare,
        invert=invert,
        reading=AS_STORED,
        size=64,
        offset=(0, 0),
        labels=None,
        workers=0,
    )


def test_colour_is_read_alike_however_thermal_pictures_are_prepared(made: MadeScenes, tmp_path: Path) -> None:
    """Else rows of one name would depend on which preparation was asked for first."""
    grey = copied(made.rgb, tmp_path / "grey", lambda picture: picture.convert("L"))
    first = read(made, grey, tmp_path, "percentile")
    other = read(made, grey, tmp_path, "window=0:30000", "percentile", invert="yes")
    np.testing.assert_array_equal(first.colour.squares.whole, other.colour.squares.whole)
    turned = 255 - other.thermal["percentile"].squares.whole.astype(int)
    assert np.abs(turned - first.thermal["percentile"].squares.whole).max() <= 1  # rounding, once turned


def test_a_test_by_eye_is_drawn_again_until_half_can_be_shuffled(made: MadeScenes, tmp_path: Path) -> None:
    pictures = read(made, made.rgb, tmp_path, "percentile")
    for seed in range(20):
        order = blind_order(AgreementSettings.checked({"blind": 4, "seed": seed}), pictures)
        assert order is not None
        chosen, key = order
        assert len(set(chosen.tolist())) == len(key) == 4
        groups = pictures.groups[chosen]
        strangers = [(i, j) for i, j in key if i != j]
        assert len(strangers) == 2
        assert all(groups[i] != groups[j] for i, j in strangers)
    order = blind_order(AgreementSettings.checked({"blind": 6}), pictures)
    assert order is not None
    assert len(order[1]) == 5  # three pictures of two recordings cannot be shuffled
    one = replace(pictures, groups=np.zeros_like(pictures.groups))
    with pytest.raises(UsageError, match="--blind 6: Of 6 pairs of 1 recordings no half can be shuffled"):
        blind_order(AgreementSettings.checked({"blind": 6}), one)


def test_each_row_is_named_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(agreement_steps.time, "monotonic", lambda: now[0])
    steps = Steps(6)
    steps.end(made=False)
    for title, seconds in (("slow", 300), ("quick", 1), ("unsaid", 1), ("last", 5)):
        steps.begin(title)
        now[0] += seconds
        steps.end(made=True)
    assert capsys.readouterr().err.splitlines() == [
        "agreement: 2 of 6, slow",
        "agreement: 3 of 6, quick; about 20 min left",  # 4 at 300 s
        "agreement: 5 of 6, last; about 3 min left",
    ]


def test_real_pairs(data: Path, tmp_path: Path) -> None:
    folder = data / "paired_road"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    report = agree(tmp_path, folder / "visible", folder / "infrared", most=12)
    table = {line.name: line.figures for line in report.table}
    assert report.alignment.startswith("The pairs are aligned")
    assert report.recordings > 5
    assert table["gradient energy"]["gradient/pearson/gap"][1] > 0.1  # edges are in both lights
    assert table["HOG"]["HOG, centred/aligned/both/1"][0] > 0.9
    assert table[f"{ONE}, colour and its own grey"]["grid, centred/aligned/both/1"][0] > 0.9
    assert [each.word for each in report.claims] == ["fails"] * 2  # of a network that learned nothing
