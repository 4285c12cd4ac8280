import dataclasses
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dinonat.errors import ImageError, UsageError, WorkspaceError
from dinonat.pipelines import options
from dinonat.pipelines.cli import app
from dinonat.settings import Settings

RUNNER = CliRunner()
# Command -> module, settings model; functions by the name of the command.
SETTINGS = {
    "pretrain": ("pretrain_settings", "PretrainSettings"),
    "embed": ("embed", "EmbedSettings"),
    "inspect": ("inspection", "InspectSettings"),
    "propose-labels": ("propose", "ProposeSettings"),
    "select": ("selection", "SelectSettings"),
    "review": ("review", "ReviewSettings"),
    "export": ("export_settings", "ExportSettings"),
    "import-labels": ("import_labels", "ImportSettings"),
    "validate": ("validate", "ValidateSettings"),
    "map": ("mapping", "MapSettings"),
    "agreement": ("agreement_settings", "AgreementSettings"),
    "evaluate knn": ("evaluate", "EvaluateKnnSettings"),
    "evaluate linear": ("evaluate_linear", "EvaluateLinearSettings"),
    "evaluate boxes": ("evaluate", "EvaluateBoxesSettings"),
    "evaluate proposals": ("evaluate_proposals", "EvaluateProposalsSettings"),
    "evaluate regions": ("regions_settings", "EvaluateRegionsSettings"),
    "bench reading": ("bench", "BenchReadingSettings"),
    "bench attention": ("bench_attention", "BenchAttentionSettings"),
    "bench embed": ("bench_embed", "BenchEmbedSettings"),
    "bench formats": ("bench_formats", "BenchFormatsSettings"),
    "bench labels": ("bench_labels", "BenchLabelsSettings"),
    "bench model": ("bench_model", "BenchModelSettings"),
    "bench neighbors": ("bench_neighbors", "BenchNeighborsSettings"),
    "bench saliency": ("bench_saliency", "BenchSaliencySettings"),
    "bench train": ("bench_train", "BenchTrainSettings"),
    "bench views": ("bench_views", "BenchViewsSettings"),
    "run": ("run", "RunSettings"),
}
FIELD_OF = {
    "set_name": "set",
    "format_": "format",
    "object_": "object",
    "run_name": "run",
    "open_": "schedule",
}  # where Python needs another word
COMMON = {"config", "set_", "workspace", "json", "debug"}


def callbacks(group: typer.Typer = app, before: str = "") -> dict[str, object]:
    found = {}
    for command in group.registered_commands:
        assert command.callback is not None
        found[before + (command.name or command.callback.__name__)] = command.callback
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        found |= callbacks(sub.typer_instance, f"{before}{sub.name} ")
    return found


def settings_of(command: str) -> type[Settings]:
    module, name = SETTINGS[command]
    model: type[Settings] = getattr(import_module(f"dinonat.pipelines.{module}"), name)
    return model


def test_the_commands_are_those_of_the_plan() -> None:
    assert set(callbacks()) == {*SETTINGS, "doctor"}


@pytest.mark.parametrize("command", [*SETTINGS, "doctor", "evaluate", ""])
def test_every_command_has_help(command: str) -> None:
    result = RUNNER.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    for function in callbacks().values():
        short = (inspect.getdoc(function) or "").splitlines()[0]
        assert 10 < len(short) <= 45, short  # longer ones are cut off in the list of commands


@pytest.mark.parametrize("command", SETTINGS)
def test_every_named_option_is_a_setting_and_has_no_default_of_its_own(command: str) -> None:
    parameters = inspect.signature(callbacks()[command]).parameters
    fields = settings_of(command).model_fields
    for name, parameter in parameters.items():
        if name not in COMMON:
            assert FIELD_OF.get(name, name) in fields
            assert parameter.default is None or parameter.default is inspect.Parameter.empty
    assert set(parameters) >= COMMON
    assert len(set(parameters) - COMMON) <= (18 if command == "pretrain" else 14)


@pytest.mark.parametrize("command", SETTINGS)
def test_an_unknown_key_is_wrong_usage_and_the_nearest_one_is_named(command: str, tmp_path: Path) -> None:
    key = sorted(settings_of(command).model_fields)[0]
    arguments = [*command.split(), *(["x"] if command == "pretrain" else [])]
    result = RUNNER.invoke(app, [*arguments, "--set", f"{key}x=1", "-w", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"'{key}'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_key_in_a_file_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("sise: 96\n")
    result = RUNNER.invoke(app, ["embed", "x", "--config", str(file)])
    assert (result.exit_code, "'size'" in result.stderr) == (2, True)


def test_an_unknown_option_and_a_missing_preset_are_wrong_usage() -> None:
    assert RUNNER.invoke(app, ["embed", "--sise", "96"]).exit_code == 2
    result = RUNNER.invoke(app, ["embed", "x", "--config", "cropz"])
    assert (result.exit_code, "crops" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export"], "dinotool propose-labels"),
        (["propose-labels"], "dinotool embed"),
        (["embed", "{empty}", "--weights", "untrained:0"], "no image"),
        (["pretrain", "{empty}"], "no image"),
    ],
)
def test_what_is_missing_is_a_sentence_and_exit_code_1(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(empty=tmp_path / "empty") for word in arguments]
    result = RUNNER.invoke(app, [*words, "-w", str(tmp_path / "workspace")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("dinotool: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "--demo"),
        (["run", "/does/not/exist"], "no such folder"),
        (["run", "--demo", "--rgb", "x"], "Leave out --demo"),
        (["run", "--demo", "--set", "stages={pretrian: {}}"], "pretrian"),
        (["embed"], "dinotool embed FOLDER"),
    ],
)
def test_commands_that_make_no_sense_are_refused_before_any_work(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    result = RUNNER.invoke(app, [*arguments, "-w", str(tmp_path / "workspace")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ImageError("a.png: not an\nimage."), 1, "dinotool: a.png: not an image."),
        (UsageError("--k 0: too few."), 2, "dinotool: --k 0: too few."),
        (OSError(28, "No space left on device", "x.npy"), 1, "dinotool: x.npy: No space left on device."),
        (ValueError("oh"), 1, "dinotool: ValueError: oh. This is a defect of dinotool"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_errors_become_one_line_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as leaving, options.sentences(debug=False):
        raise error
    assert leaving.value.exit_code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)
    assert len(captured.err.splitlines()) == 1


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as leaving, options.sentences(debug=True):
        raise UsageError("wrong")
    assert leaving.value.exit_code == 2
    assert "Traceback" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Told:
    path: Path
    score: float
    names: tuple[str, ...]

    def lines(self) -> list[str]:
        return ["one", "two"]


def test_json_is_one_object_on_one_line_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    options.show(Told(Path("a/b"), float("nan"), ("ü\n", "</script>")), as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"path": "a/b", "score": None, "names": ["ü\n", "</script>"]}
    options.show(Told(Path("a/b"), 1.0, ()), as_json=False)
    assert capsys.readouterr().out == "one\ntwo\n"


def test_doctor_says_what_is_here(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dinonat.pipelines", "doctor", "--json", "-w", str(tmp_path / "none")]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    checks = {check["name"]: check for check in json.loads(child.stdout)["checks"]}
    assert {"python", "dinotool", "torch", "cpu", "attention", "faiss", "natten", "workspace"} <= set(checks)
    assert all(check["state"] in ("ok", "note") for check in checks.values())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("natten", "state", "words"),
    [
        ("0.21.0 with its kernels", "ok", "NATTEN for maps from the window up without position bias"),
        ("not installed (optional, for CUDA only)", "note", "PyTorch for everything"),
        ("0.21.0, without its compiled kernels: not used", "note", "PyTorch for everything"),
    ],
)
def test_doctor_says_what_attention_runs_on(
    monkeypatch: pytest.MonkeyPatch, natten: str, state: str, words: str
) -> None:
    from dinonat.models import kernel
    from dinonat.pipelines import doctor

    monkeypatch.setattr(kernel, "load", lambda: (None, "it was not compiled when dinonat was installed"))
    monkeypatch.setattr(doctor, "natten_check", lambda: doctor.Check("natten", "ok", natten))
    (cpu,) = doctor.attention_checks(gpu=False)
    assert (cpu.state, "not compiled" in cpu.found, "4 times faster" in cpu.advice) == ("note", True, True)
    again, gpu = doctor.attention_checks(gpu=True)
    assert again == cpu
    assert gpu.state == state
    assert words in gpu.found
    assert ("pip install natten" in gpu.advice) == (state == "note")


def test_doctor_knows_a_command_of_another_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dinonat.pipelines.doctor import command_check

    other = tmp_path / "dinotool"
    other.write_text("#!/bin/sh\nfrom dinotool.cli import main\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = command_check()
    assert check.state == "note"
    assert "another project" in check.found
    assert "python -m dinonat.pipelines" in check.advice
    other.unlink()
    assert "not on PATH" in command_check().found


def test_doctor_reports_a_damaged_workspace_and_fails(tmp_path: Path) -> None:
    from dinonat.pipelines.doctor import DoctorReport, workspace_checks

    (tmp_path / "dinotool-workspace.json").write_text("{")
    checks = tuple(workspace_checks(tmp_path))
    assert checks[0].state == "problem"
    assert not DoctorReport(checks).healthy
    assert "Problems: 1." in DoctorReport(checks).lines()


def test_the_workspace_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTOOL_WORKSPACE", str(tmp_path / "mine"))
    result = RUNNER.invoke(app, ["export"])
    assert "mine" in result.stderr


def test_workspace_errors_reach_the_user_as_they_are() -> None:
    assert options.sentence(WorkspaceError("x: y.")) == "x: y."
