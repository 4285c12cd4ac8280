"""Pretraining that is killed at any moment and started again ends with the same weights, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROUNDS = 10 if os.environ.get("DINOTOOL_TORTURE") else 2  # `make torture` asks for more

# Loads the libraries once; each line that it is given is a command, which a child of its own runs.
PROGRAM = """
import json, os, random, sys
import numpy, torch
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pipelines.cli import main
import dinonat.pipelines.pretrain
from dinonat.pretraining import trainer
catalog.NETWORKS["tiny"] = NATSettings(
    dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False
)
trainer.SAVE_SECONDS = 0.02  # instead of two minutes
for line in sys.stdin:
    words, *files = json.loads(line)
    child = os.fork()
    if not child:
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        random.seed(), numpy.random.seed(), torch.seed()  # as different as if they had begun afresh
        sys.argv[1:] = words
        main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
RECIPE = {
    "network": "tiny", "batch": 4, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 2,
    "out_dim": 16, "hidden": 16, "bottleneck": 8, "drop_path": 0.2, "dense": 0.5, "targets": "centre",
    "accumulate": 2,
    "profile": "thermal", "thermal_from": 0.3, "picture_side": 40, "workers": 0, "device": "cpu",
}  # fmt: skip
STEPS = 40


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "rgb", np.random.default_rng(0)
    folder.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


class Training:
    """Runs the command again and again in one workspace each, and kills it."""

    def __init__(self, pictures: Path) -> None:
        words = [f"--set={key}={json.dumps(value)}" for key, value in RECIPE.items()]
        self.words = ["pretrain", str(pictures), f"--epochs={STEPS / 2}", "--threads=1", "--json", *words]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, folder: Path) -> int:
        """Begin the command, and return its process."""
        assert self.process.stdin is not None
        files = [str(folder / name) for name in ("said.out", "said.err")]
        self.process.stdin.write(json.dumps([[*self.words, "-w", str(folder / "w")], *files]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def finished(self, folder: Path) -> tuple[str, bytes]:
        """Leave the command alone, and return what it made."""
        self.begin(folder)
        assert self.answer() == 0, (folder / "said.err").read_text()
        report = json.loads((folder / "said.out").read_text())
        assert report["steps"] == STEPS
        return report["fingerprint"], Path(report["weights"]).read_bytes()

    def killed(self, folder: Path, seconds: float) -> bool:
        """Kill the command so long after it has saved once more; return whether it was still at work."""
        saved, child = newest_state(folder), self.begin(folder)
        with suppress(ProcessLookupError):  # it has ended
            while newest_state(folder) == saved:
                os.kill(child, 0)
                time.sleep(0.005)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        return self.answer() == -signal.SIGKILL


def newest_state(folder: Path) -> int:
    states = list(folder.glob("w/weights/*/state.pt"))
    return states[0].stat().st_mtime_ns if states else 0


@pytest.fixture
def training(pictures: Path) -> Iterator[Training]:
    training = Training(pictures)
    yield training
    training.process.communicate()


def test_kill_at_random_moments_and_resume_to_the_same_weights(training: Training, tmp_path: Path) -> None:
    moments = random.Random(time.time_ns())
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = training.finished(tmp_path / "whole")
    killed = sum(training.killed(tmp_path / "cut", moments.random() * 0.3) for _ in range(ROUNDS))
    assert training.finished(tmp_path / "cut") == whole
    assert killed >= min(ROUNDS, 2)
