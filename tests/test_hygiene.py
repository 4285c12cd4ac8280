import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT_TORCH = ("formats", "images", "neighbors", "pages", "proposals", "saliency")
LIGHT = ("dinonat", "dinonat.pipelines.cli", "dinonat.pipelines.run", "dinonat.scenes")
COMMANDS_WITH_TORCH = ("pretrain", "embed", "agreement")
COMMANDS = (
    *("pretrain", "embed", "propose", "selection", "mapping", "rounds", "evaluate_proposals", "export"),
    *("evaluate", "evaluate_linear", "agreement", "run", "doctor", "import_labels", "validate", "inspection"),
)
HEAVY = ("torch", "natten", "faiss")


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Return which heavy libraries a fresh Python has in memory after running ``code``."""
    program = (
        "import atexit, sys\n"
        f"say = lambda: print('\\nLOADED', *[m for m in {HEAVY!r} if m in sys.modules])\n"
        f"atexit.register(say)\n{code}"
    )
    command = [sys.executable, "-c", program, *arguments]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    marker, *names = child.stdout.splitlines()[-1].split()
    assert marker == "LOADED"
    return set(names)


def modules_of(*rooms: str) -> list[str]:
    return [
        f"dinonat.{room}.{path.stem}"
        for room in rooms
        for path in sorted((ROOT / "toolkit" / room).glob("*.py"))
        if path.stem != "__init__"
    ]


def importing(*names: str) -> str:
    return "\n".join(f"import {name}" for name in names)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['dinotool', '--help']\nfrom dinonat.pipelines.cli import main; main()"
    assert loaded_by(code) == set()


def test_light_modules_stay_light() -> None:
    assert loaded_by(importing(*LIGHT)) == set()


def test_the_lazy_names_of_the_package_load_no_torch() -> None:
    code = "import dinonat\n[getattr(dinonat, name) for name in dinonat.__all__]"
    assert "torch" not in loaded_by(code)


def test_only_models_pretraining_embeddings_evaluation_and_agreement_load_torch() -> None:
    """Their rooms and the commands that run no network: all of them together load no torch, so none does."""
    commands = [f"dinonat.pipelines.{name}" for name in COMMANDS if name not in COMMANDS_WITH_TORCH]
    found = loaded_by(
        importing(*modules_of(*WITHOUT_TORCH), "dinonat.geometry", "dinonat.settings", *commands)
    )
    assert found == {"faiss"}


def test_no_room_or_command_with_torch_loads_faiss() -> None:
    commands = [f"dinonat.pipelines.{name}" for name in COMMANDS_WITH_TORCH]
    rooms = modules_of("models", "pretraining", "embeddings", "agreement")
    found = loaded_by(importing(*rooms, *commands))
    assert "torch" in found
    assert "faiss" not in found


def test_sub_packages_hold_a_docstring_only() -> None:
    for path in [*(ROOT / "toolkit").glob("*/__init__.py"), ROOT / "pipelines" / "__init__.py"]:
        code = path.read_text(encoding="utf-8").strip()
        assert code.startswith('"""'), path
        assert code.endswith('"""'), path
        assert code.count('"""') == 2, path


def test_no_file_names_the_machine_it_was_written_on_or_a_package_host() -> None:
    """Only PyTorch's own index of CPU builds may be named."""
    files = [ROOT / name for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run")]
    for path in [*files, *ROOT.glob("*.md"), *ROOT.glob("configs/*.yaml"), *ROOT.glob("examples/*")]:
        text = path.read_text(encoding="utf-8")
        for word in ("/work/", "/root/", "/home/", "/opt/", "pypi.org", "pythonhosted"):
            assert word not in text, f"{path} names {word}"
