"""Pretraining that is killed at any moment and started again ends with the same weights, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROUNDS = 10 if os.environ.get("DINOTOOL_TORTURE") else 3  # `make torture` asks for more

PROGRAM = """
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pipelines.cli import main
from dinonat.pretraining import trainer
catalog.NETWORKS["tiny"] = NATSettings(
    dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False
)
trainer.SAVE_SECONDS = 0.02  # instead of two minutes
main()
"""
RECIPE = {
    "network": "tiny", "batch": 4, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 2,
    "out_dim": 16, "hidden": 16, "bottleneck": 8, "drop_path": 0.2, "dense": 0.5, "targets": "centre",
    "accumulate": 2,
    "profile": "thermal", "thermal_from": 0.3, "picture_side": 40, "workers": 0, "device": "cpu",
}  # fmt: skip
STEPS = 80


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "rgb", np.random.default_rng(0)
    folder.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def begin(pictures: Path, folder: Path) -> "subprocess.Popen[str]":
    words = [f"--set={key}={json.dumps(value)}" for key, value in RECIPE.items()]
    program = folder / "dinotool_of_a_test.py"
    program.write_text(PROGRAM)
    arguments = ["pretrain", str(pictures), f"--epochs={STEPS / 2}", "--threads=1", "-w", str(folder / "w")]
    return subprocess.Popen(
        [sys.executable, str(program), *arguments, "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(pictures: Path, folder: Path) -> tuple[str, bytes]:
    out, said = (process := begin(pictures, folder)).communicate()
    assert process.returncode == 0, said
    report = json.loads(out)
    assert report["steps"] == STEPS
    return report["fingerprint"], Path(report["weights"]).read_bytes()


def kill_within(process: "subprocess.Popen[str]", folder: Path, seconds: float) -> None:
    """Kill it so long after it has saved once more, if it has not ended by then."""
    states = list(folder.glob("w/weights/*/state.pt"))
    before = states[0].stat().st_mtime_ns if states else 0
    while process.poll() is None:
        states = list(folder.glob("w/weights/*/state.pt"))
        if states and states[0].stat().st_mtime_ns > before:
            time.sleep(seconds)
            break
        time.sleep(0.005)
    process.kill()
    process.communicate()


def test_kill_at_random_moments_and_resume_to_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    moments = random.Random(time.time_ns())
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = finished(pictures, tmp_path / "whole")
    killed = 0
    for _ in range(ROUNDS):
        process = begin(pictures, tmp_path / "cut")
        kill_within(process, tmp_path / "cut", moments.random() * 0.3)
        killed += process.returncode == -signal.SIGKILL
    assert finished(pictures, tmp_path / "cut") == whole
    assert killed >= min(ROUNDS, 2)
