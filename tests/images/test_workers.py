import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dinonat.errors import DinonatError
from dinonat.images.workers import Standing, run_in_workers

DECODERS = """
import os, sys, time
from pathlib import Path

def decode(name):
    print("noise that a library prints")
    os.write(1, b"and noise below Python")
    if "abort" in name:
        os.abort()
    if "exit" in name:
        os._exit(7)
    if "hang" in name:
        time.sleep(60)
    if "fault" in name:
        raise KeyError(name)
    if name.startswith("once:"):  # killed from outside at the first try
        mark = Path(name[5:])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
    return name.upper()

def modules(_):
    return sorted({name.split(".")[0] for name in sys.modules})

def pid(_):
    return os.getpid()
"""


@pytest.fixture
def decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A module of decoders that children can import too."""
    (tmp_path / "made_decoders.py").write_text(DECODERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "made_decoders", raising=False)
    import made_decoders

    return made_decoders


def lost(name: str, reason: str) -> str:
    return f"{name}: {reason}"


def test_answers_come_in_order_and_a_death_costs_one_item(decoders: object) -> None:
    names = [f"a{number}" for number in range(40)]
    names[5], names[6], names[20] = "exit 1", "abort 2", "exit 3"
    answers = list(run_in_workers(decoders.decode, names, workers=2, on_death=lost))  # type: ignore[attr-defined]
    expected = [name.upper() for name in names]
    for place in (5, 6, 20):
        code = -signal.SIGABRT if "abort" in names[place] else 7
        expected[place] = f"{names[place]}: the process that read it ended with code {code}"
    assert answers == expected


def test_a_process_killed_from_outside_costs_nothing(decoders: object, tmp_path: Path) -> None:
    names = ["a", f"once:{tmp_path}/mark", "b"]
    answers = list(run_in_workers(decoders.decode, names, workers=1, on_death=lost))  # type: ignore[attr-defined]
    assert answers == [name.upper() for name in names]


def test_a_decoder_that_hangs_is_stopped(decoders: object) -> None:
    answers = run_in_workers(decoders.decode, ["a", "hang", "b"], workers=1, on_death=lost, seconds=3)  # type: ignore[attr-defined]
    assert list(answers) == ["A", "hang: reading it took more than 3 s", "B"]


def test_a_defect_is_raised_here(decoders: object) -> None:
    answers = run_in_workers(decoders.decode, ["a", "fault"], workers=1, on_death=lost)  # type: ignore[attr-defined]
    assert next(answers) == "A"
    with pytest.raises(KeyError):
        next(answers)


class Unsendable:
    def __reduce__(self) -> str:
        raise ValueError("cannot be sent")


def test_an_item_that_cannot_be_sent_is_a_defect_and_no_death(decoders: object) -> None:
    answers = run_in_workers(decoders.decode, ["a", Unsendable()], workers=1, on_death=lost)  # type: ignore[attr-defined]
    assert next(answers) == "A"
    with pytest.raises(ValueError, match="cannot be sent"):
        next(answers)


def test_children_import_neither_torch_nor_the_calling_script(decoders: object, tmp_path: Path) -> None:
    """A script without a guard that imports torch, as users write them, is not run again."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, types
            sys.modules["torch"] = types.ModuleType("torch")
            print("once")
            from dinonat.images.workers import run_in_workers
            import made_decoders
            found, = run_in_workers(made_decoders.modules, [0], workers=1, on_death=None)
            print("torch" in found, "numpy" in found, "faiss" in found)
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["once", "False", "False", "False"]


def test_a_module_in_the_working_folder_does_not_stand_in(
    decoders: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/pickle.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path / "here")
    assert list(run_in_workers(decoders.decode, ["a"], workers=1, on_death=lost)) == ["A"]  # type: ignore[attr-defined]


def test_a_child_that_cannot_start_is_one_sentence(decoders: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # now it does not find the function
    with pytest.raises(DinonatError, match=r"did not start \(ModuleNotFoundError.*made_decoders.*workers=0"):
        list(run_in_workers(decoders.decode, ["a"], workers=2, on_death=lost))  # type: ignore[attr-defined]


def test_children_end_when_the_reader_stops_early(decoders: object) -> None:
    answers = run_in_workers(decoders.pid, range(100), workers=2, on_death=lost)  # type: ignore[attr-defined]
    child = next(answers)
    answers.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_children_end_when_the_parent_is_killed(decoders: object, tmp_path: Path) -> None:
    script = (
        "from dinonat.images.workers import run_in_workers; import made_decoders, time\n"
        "for pid in run_in_workers(made_decoders.pid, range(9), workers=1, on_death=None):\n"
        "    print(pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def test_without_workers_it_is_a_plain_map() -> None:
    assert list(run_in_workers(abs, [-1, 2], workers=0, on_death=lambda item, reason: 0)) == [1, 2]


def test_standing_processes_outlive_a_question_and_a_death(decoders: object) -> None:
    """One process answers one question after the other; after a death another one takes its place."""
    pids = Standing(decoders.pid, workers=1, on_death=None)  # type: ignore[attr-defined,arg-type]
    first, second = (pids.submit(number).result() for number in range(2))
    assert first == second
    pids.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    names = Standing(decoders.decode, workers=1, on_death=lost)  # type: ignore[attr-defined]
    told = [names.submit(name).result() for name in ("a", "abort", "b")]
    assert told == ["A", f"abort: the process that read it ended with code {-signal.SIGABRT}", "B"]
    names.close()
