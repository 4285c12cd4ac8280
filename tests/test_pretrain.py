import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dinonat.errors import ImageError, UsageError
from dinonat.models import catalog
from dinonat.models.nat import NATSettings
from dinonat.pipelines import workspace as places
from dinonat.pipelines.pretrain import PretrainSettings, run
from dinonat.settings import read_yaml

SMALL = {
    "network": "tiny", "batch": 4, "global_sizes": (32, 32), "local_sizes": (16, 16), "n_local": 1,
    "out_dim": 16, "hidden": 16, "bottleneck": 8, "picture_side": 48, "workers": 0, "threads": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    settings = NATSettings(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), kernel_size=3, position_bias=False)
    monkeypatch.setitem(catalog.NETWORKS, "tiny", settings)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "rgb"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "not a picture.png").write_text("hello")
    return folder


def settings(folder, **changes) -> PretrainSettings:
    return PretrainSettings.checked({**SMALL, "folders": (folder,), "epochs": 2, **changes})


def test_a_run_leaves_weights_figures_and_its_settings(pictures, tmp_path):
    report = run(settings(pictures), tmp_path / "w")
    assert (report.images, report.failed, report.steps) == (6, 1, 3)
    folder = places.weights_folder(tmp_path / "w", places.newest(tmp_path / "w", "weights"))
    assert catalog.load_network(str(folder / "teacher.safetensors"))[1] == report.fingerprint
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 3
    assert read_yaml(str(folder / "settings.yaml"))["network"] == "tiny"
    assert not (folder / "pictures.npy").exists()


def test_the_same_again_is_already_done_and_other_settings_are_another_run(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    second = run(settings(pictures), tmp_path / "w")
    assert second.already_done
    assert second.fingerprint == first.fingerprint
    assert run(settings(pictures, again=True), tmp_path / "w").fingerprint == first.fingerprint
    assert run(settings(pictures, seed=1), tmp_path / "w").run != first.run


def test_a_run_goes_on_for_longer_and_nothing_else(pictures, tmp_path):
    first = run(settings(pictures), tmp_path / "w")
    longer = run(settings(pictures, epochs=4, resume=first.run), tmp_path / "w")
    assert longer.run == first.run
    assert longer.steps == 6
    assert longer.fingerprint != first.fingerprint
    with pytest.raises(UsageError, match="other learning_rate; only --minutes and --epochs"):
        run(settings(pictures, learning_rate=1e-4, resume=first.run), tmp_path / "w")
    with pytest.raises(UsageError, match="no such run"):
        run(settings(pictures, resume="nonsense"), tmp_path / "w")


def test_minutes_become_steps_that_are_written_down(pictures, tmp_path):
    report = run(settings(pictures, epochs=None, minutes=0.005), tmp_path / "w")
    length = json.loads((tmp_path / "w/weights" / report.run / "length.json").read_text())
    assert length["steps"] == report.steps >= 1


def test_no_readable_image_is_said_with_the_reason(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb/a.png").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.png: not an image"):
        run(settings(tmp_path / "rgb"), tmp_path / "w")


def test_a_device_that_is_not_here_is_refused(pictures, tmp_path):
    with pytest.raises(UsageError, match="device=warp"):
        run(settings(pictures, device="warp"), tmp_path / "w")


@pytest.mark.parametrize("preset", ["pretrain-cpu", "paper-text", "paper-algorithm1"])
def test_presets_are_settings(preset, tmp_path):
    built = PretrainSettings.resolve(config=preset, named={"folders": (tmp_path,)})
    assert built.network in catalog.NETWORKS
    if preset == "paper-text":
        assert built.global_scale == (0.5, 1.0)
        assert built.teacher_update == "epoch"
    if preset == "paper-algorithm1":
        assert built.n_local == 0


def test_paper_presets_make_their_steps(pictures, tmp_path):
    for preset in ("paper-text", "paper-algorithm1"):
        named = {
            **SMALL,
            "folders": (pictures,),
            "epochs": 1,
            "n_local": None if preset == "paper-text" else 0,
        }
        built = PretrainSettings.resolve(config=preset, named=named)
        assert np.isfinite(run(built, tmp_path / preset).loss)


def test_pretraining_loads_no_faiss():
    code = "import dinonat.pipelines.pretrain, sys; print('faiss' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "True"]
