"""Exports and imports that are killed at any moment leave the old or the new behind, and nothing between."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROUNDS = max(20, int(os.environ["DINOTOOL_TORTURE"])) if os.environ.get("DINOTOOL_TORTURE") else 3
LABELS = 4000  # an import of so many takes a tenth of a second of writing

# Loads the libraries once; each line that it is given is a command, which a child of its own runs.
PROGRAM = """
import json, os, sys
from dinonat.pipelines.cli import main
import dinonat.pipelines.export, dinonat.pipelines.import_labels
for line in sys.stdin:
    words, out = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        sys.argv[1:] = words
        main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Shell:
    """Runs commands in a workspace, and kills them."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root.parent / "said.json"
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, *words: object) -> int:
        """Begin a command, and return its process."""
        assert self.process.stdin is not None
        command = [*map(str, words), "-w", str(self.root), "--json"]
        self.process.stdin.write(json.dumps([command, str(self.out)]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def finished(self, *words: object) -> tuple[dict[str, Any], float]:
        """Return the report of a command that is left alone, and how long it took."""
        self.begin(*words)
        start = time.monotonic()
        assert self.answer() == 0
        report: dict[str, Any] = json.loads(self.out.read_text())
        return report, time.monotonic() - start

    def killed(self, *words: object, after: float) -> bool:
        """Kill a command ``after`` seconds; return whether it was still at work."""
        child = self.begin(*words)
        time.sleep(after)
        with suppress(ProcessLookupError):  # it has ended
            os.kill(child, signal.SIGKILL)
        return self.answer() == -signal.SIGKILL


@pytest.fixture
def shell(workspace: Path) -> Iterator[Shell]:
    shell = Shell(workspace)
    yield shell
    shell.process.communicate()


def is_whole(folder: Path) -> bool:
    """Say whether an export lies there; one that does holds every file as its manifest says."""
    if not folder.exists():
        return False
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    record = {f"record/{name}" for name in ("about.json", "labels.parquet", "images.parquet")}
    assert there == {"manifest.json", *record, *files}
    return True


def tables(root: Path) -> tuple[int, int]:
    """Return how many events and classes there are; the database is consistent or not there yet."""
    file = root / "labels.db"
    if not file.exists():
        return 0, 0
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not db.execute("SELECT name FROM sqlite_master").fetchall():
            return 0, 0  # killed before the tables were there
        ((events,),), ((classes,),) = (
            db.execute(f"SELECT count(*) FROM {name}").fetchall() for name in ("events", "classes")
        )
    return events, classes


@pytest.fixture
def workspace(tmp_path: Path, made: SimpleNamespace) -> Path:
    names = [f"day/{n}.png" for n in range(400)]
    rows = [
        {"image": name, "label": f"class {n}", "x": float(n), "y": float(k)}
        for name in names
        for n in range(5)
        for k in range(2)
    ]
    root: Path = made.workspace(tmp_path, names=names, size_hw=(8, 10), proposals=rows)
    return root


def test_an_export_killed_at_any_moment_is_whole_or_not_there(workspace: Path, shell: Shell) -> None:
    command = ("export", "--format", "yolo")
    _, seconds = shell.finished(*command)
    folder = workspace / "exports/run1-yolo"
    assert is_whole(folder)
    moments, count = random.Random(time.time_ns()), 0
    for number in range(ROUNDS):
        if number % 2:  # over an older one and, after somebody has removed that, over nothing
            shutil.rmtree(folder, ignore_errors=True)
        count += shell.killed(*command, after=(number + moments.random()) / ROUNDS * seconds)
        is_whole(folder)
        assert tables(workspace) == (0, 5)
    report, _ = shell.finished(*command)
    assert report["annotations"] == 4000
    assert is_whole(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # leftovers are tidied
    assert count >= 1


def test_an_import_killed_at_any_moment_has_happened_or_not(
    workspace: Path, shell: Shell, tmp_path: Path
) -> None:
    files = [tmp_path / f"mine-{number}.csv" for number in range(ROUNDS + 1)]
    for number, file in enumerate(files):
        rows = [f"day/{n % 400}.png,class {number} {n // 400}" for n in range(LABELS)]
        file.write_text("\n".join(["image,label", *rows]) + "\n")
    report, seconds = shell.finished("import-labels", files[0])
    assert (report["events"], tables(workspace)) == (LABELS, (LABELS, 10))
    moments, count, times = random.Random(time.time_ns()), 0, 1
    for number, file in enumerate(files[1:]):
        after = (number + moments.random()) / ROUNDS * seconds
        count += shell.killed("import-labels", file, after=after)
        done = tables(workspace)
        assert done in ((times * LABELS, times * 10), ((times + 1) * LABELS, (times + 1) * 10))
        times = done[0] // LABELS
    report, _ = shell.finished("import-labels", files[-1])
    times += report["events"] // LABELS
    assert report["events"] in (0, LABELS)  # it had happened, or happens now
    assert tables(workspace) == (times * LABELS, times * 10)
    assert count >= 1
