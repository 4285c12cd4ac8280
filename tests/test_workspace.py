import json
from pathlib import Path

import pytest

from dinonat.errors import UsageError, WorkspaceError
from dinonat.pipelines import progress, workspace


def test_what_was_remembered_last_is_newest(tmp_path: Path) -> None:
    workspace.create(tmp_path)
    for name in ("b", "a"):
        workspace.set_folder(tmp_path, name).mkdir(parents=True)
        workspace.remember(tmp_path, "set", name)
    assert workspace.newest(tmp_path, "set") == "a"
    assert workspace.chosen(tmp_path, "set", None) == "a"
    assert workspace.chosen(tmp_path, "set", "b") == "b"
    assert workspace.names(tmp_path, "set") == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "command"),
    [("weights", "pretrain"), ("set", "embed"), ("proposals", "propose-labels"), ("export", "export")],
)
def test_what_is_missing_is_said_with_the_command_that_makes_it(
    kind: workspace.Kind, command: str, tmp_path: Path
) -> None:
    with pytest.raises(WorkspaceError, match=f"dinotool {command}"):
        workspace.newest(tmp_path / "none", kind)
    workspace.create(tmp_path)
    workspace.folder(tmp_path, kind, "there").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match=f"'other' .there: there.*dinotool {command}"):
        workspace.chosen(tmp_path, kind, "other")


def test_a_newest_that_was_deleted_is_an_error_not_a_path(tmp_path: Path) -> None:
    workspace.create(tmp_path)
    workspace.remember(tmp_path, "set", "gone")
    with pytest.raises(WorkspaceError, match="'gone'"):
        workspace.newest(tmp_path, "set")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\0b"])
def test_no_name_leaves_the_workspace(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain name"):
        workspace.set_folder(tmp_path, name)


@pytest.mark.parametrize("name", ["thermal", "Größe 2", "x.labelled", "<script>", "a\nb"])
def test_other_names_are_folders(name: str, tmp_path: Path) -> None:
    workspace.set_folder(tmp_path, name).mkdir(parents=True)
    assert workspace.names(tmp_path, "set") == [name]


def test_a_file_a_newer_and_a_damaged_workspace_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError, match="a file"):
        workspace.create(tmp_path / "file")
    (tmp_path / workspace.MARKER).write_text(json.dumps({"version": 99}))
    with pytest.raises(WorkspaceError, match="99"):
        workspace.create(tmp_path)
    for damage in ("{", "[]", "\xff"):
        (tmp_path / workspace.MARKER).write_bytes(damage.encode("latin-1"))
        with pytest.raises(WorkspaceError, match="Delete this one file"):
            workspace.create(tmp_path)


def test_progress_yields_everything_in_order_and_is_quiet_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(progress.track(iter([3, 1, 2]), "count")) == [3, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_long_wait_in_a_pipe_gets_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    list(progress.track([1, 2], "embed"))
    captured = capsys.readouterr()
    assert captured.err.startswith("embed: 1 of 2, ")
    assert captured.out == ""
