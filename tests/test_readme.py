import re
import tomllib
from pathlib import Path

import typer

from dinonat.pipelines.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: typer.Typer = app, before: str = "") -> dict[str, str]:
    """Return every command of the app with the first line of its help."""
    found = {}
    for command in group.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__ is not None
        found[before + (command.name or command.callback.__name__)] = command.callback.__doc__.splitlines()[0]
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        found |= commands(sub.typer_instance, f"{before}{sub.name} ")
    return found


def test_the_table_of_commands_is_that_of_the_app() -> None:
    table = dict(re.findall(r"^\| `([^`]+)` \| (.+?) \|$", README, flags=re.MULTILINE))
    assert table == commands()


def test_the_lines_of_the_chain_are_commands_of_the_app() -> None:
    lines = re.findall(r"^    dinotool (\S+)", README, flags=re.MULTILINE)
    assert lines == ["pretrain", "embed", "propose-labels", "export", "import-labels"]
    assert set(lines) <= set(commands())


def test_options_in_the_readme_exist() -> None:
    code = (ROOT / "pipelines" / "cli.py").read_text("utf-8") + (ROOT / "pipelines" / "options.py").read_text(
        "utf-8"
    )
    words = set(re.findall(r"\b(\w+)\b", code))
    for line in re.findall(r"^    dinotool .*$", README, flags=re.MULTILINE):
        for option in re.findall(r"--([a-z-]+)", line):
            assert option.replace("-", "_") in words or f"{option}_" in words, option


def test_pictures_and_files_that_the_readme_shows_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).is_file(), target


def test_the_torch_of_the_readme_is_the_constrained_one() -> None:
    (pinned,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"torch==(\S+)", README)) == {pinned}


def test_the_version_has_its_place_in_the_changelog() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {version}" in changelog or "## Unreleased" in changelog
