import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = {"toolkit": "dinonat", "pipelines": "dinonat/pipelines", "configs": "dinonat/configs"}


def tree() -> dict[str, Path]:
    """Return what the wheel must hold: its name there -> the file in the checkout."""
    found = {}
    for folder, place in PLACES.items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            if path.is_file() and "__pycache__" not in inside.parts and path.suffix != ".so":
                found[f"{place}/{inside.as_posix()}"] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel from a copy, so that no old build/ can help."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in PLACES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = (copy / "dist").glob("*.whl")
    return found


def test_every_folder_is_a_listed_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {name.rpartition("/")[0] for name in tree() if name.endswith("/__init__.py")}
    assert sorted(listed) == sorted(folder.replace("/", ".") for folder in folders)
    assert not (ROOT / "toolkit" / "pipelines").exists()  # the mapping would hide it
    assert not (ROOT / "toolkit" / "configs").exists()


def test_every_folder_with_code_has_an_init() -> None:
    names = set(tree())
    for name in names:
        if name.endswith(".py"):
            assert f"{name.rpartition('/')[0]}/__init__.py" in names


def test_the_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    expected = tree()
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        compiled = {name for name in packed if name.startswith("dinonat/models/_kernel.")}
        assert packed - compiled == set(expected)
        assert compiled or shutil.which("cc") is None
        for name, path in expected.items():
            assert archive.read(name) == path.read_bytes(), name


def test_the_wheel_names_both_commands_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        facts = {n.split(".dist-info/")[1]: n for n in archive.namelist() if ".dist-info/" in n}
        entries = archive.read(facts["entry_points.txt"]).decode()
        metadata = archive.read(facts["METADATA"]).decode()
    for command in ("dinotool", "dinonat"):
        assert f"{command} = dinonat.pipelines.cli:main" in entries
    assert "License-Expression: Apache-2.0" in metadata
    assert "licenses/LICENSE" in facts


def test_the_unpacked_wheel_runs_beside_folders_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for name in PLACES:
        (tmp_path / "user" / name).mkdir(parents=True)
        (tmp_path / "user" / name / "__init__.py").write_text("raise ImportError('not ours')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = "import dinonat.pipelines as p, dinonat.settings as s; print(p.__file__); s.read_yaml('crops')"
    for command in (["-c", code], ["-m", "dinonat.pipelines", "--version"]):
        child = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path / "user",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == 0, child.stderr
        if command[0] == "-c":
            assert str(tmp_path / "site") in child.stdout


def test_constraints_satisfy_what_the_project_asks_for() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text
    assert "+" not in pins["torch"]  # any build of the version satisfies it
