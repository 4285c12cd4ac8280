"""Backbones of timm: what is asked of it, and what is refused, with a stand-in for it."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dinonat.errors import CheckpointError, UsageError
from dinonat.models.backbones import Backbone, check_crops
from dinonat.models.catalog import build, load_network
from dinonat.models.checkpoint import load, save
from dinonat.models.foreign import read_foreign
from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.models.timm_built import TimmSettings
from dinonat.pipelines import pretrain
from dinonat.pretraining.dino import move_teacher


class Cells(nn.Module):
    """A stand-in for a hierarchical backbone: means of cells of 4 and 8 px, one gain for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))
        self.feature_info = [{"reduction": 4, "num_chs": 3}, {"reduction": 8, "num_chs": 3}]
        self.num_features = self.head_hidden_size = 3
        self.pretrained_cfg = {"input_size": (3, 32, 32)}

    def forward_intermediates(self, x: Tensor, *, norm: bool, intermediates_only: bool) -> list[Tensor]:
        assert norm
        assert intermediates_only
        if x.shape[2] > 64:
            raise AssertionError("Input height doesn't match model.")
        return [nn.functional.avg_pool2d(x, n) * self.gain[:, None, None] for n in (4, 8)]

    def forward_head(self, x: Tensor, *, pre_logits: bool) -> Tensor:
        assert pre_logits
        return x.mean(dim=(2, 3))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a stand-in in the place of timm; the list gets what each call of create_model was given."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **given: Any) -> nn.Module:
        calls.append({"name": name, **given})
        for key in ("dynamic_img_size", "strict_img_size", "colour"):
            if key in given:
                raise TypeError(f"Cells.__init__() got an unexpected keyword argument '{key}'")
        return Cells()

    known = {"cells_a.web": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "classifier": "head"}}
    models = SimpleNamespace(
        get_arch_pretrained_cfgs=lambda name: known,
        get_pretrained_cfg=lambda name: SimpleNamespace(to_dict=lambda: known["cells_a.web"]),
    )
    timm = SimpleNamespace(
        __version__="1.0",
        create_model=create_model,
        models=models,
        is_model=lambda name: name == "cells_a",
        list_models=lambda: ["cells_a", "other"],
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    return calls


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        UsageError, match=r"swin_x needs timm, which is not installed.*dinonat\[timm\].*torchv"
    ):
        build("timm:swin_x", seed=0)
    with pytest.raises(UsageError, match="needs timm"):
        pretrain.PretrainSettings.checked({"folders": (Path("nowhere"),), "network": "timm:swin_x"})


def test_a_torchvision_of_another_release_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(UsageError, match=r"torchvision::nms does not exist.*same release as torch"):
        build("timm:swin_x", seed=0)


def test_timm_is_never_asked_for_weights(fake: list[dict[str, Any]], tmp_path: Path) -> None:
    """Through every door: built, trained, saved and read again, filled from a file."""
    network = build("timm:cells_a.web", seed=0, drop_path=0.0, options={"depths": [1, 2]})
    save(tmp_path / "own.safetensors", network)
    load(tmp_path / "own.safetensors")
    torch.save(Cells().state_dict(), tmp_path / "cells.pth")
    load_network(f"timm:cells_a={tmp_path / 'cells.pth'}")
    load_network("untrained:3:timm:cells_a")
    check_crops("timm:cells_a", {}, (16, 32))
    assert len(fake) >= 5
    for call in fake:
        assert call["pretrained"] is False
        assert call["num_classes"] == 0
        assert not {"checkpoint_path", "pretrained_cfg", "cache_dir"} & call.keys()
    assert fake[0]["depths"] == (1, 2)
    # What this network does not know is left out, one after the other.
    assert [{"dynamic_img_size", "strict_img_size"} & call.keys() for call in fake[:3]] == [
        {"dynamic_img_size", "strict_img_size"},
        {"strict_img_size"},
        set(),
    ]


@pytest.mark.parametrize("key", ["pretrained", "checkpoint_path", "pretrained_cfg_overlay", "num_classes"])
def test_options_that_load_or_change_the_purpose_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"timm: {key} cannot be set"):
        build("timm:cells_a", seed=0, options={key: True})


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/tmp", "a/b", "", "../x", "A b"])
def test_what_is_no_name_is_refused_before_timm_sees_it(name: str, fake: list[dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match=r"not a name of a network.*Nothing is fetched"):
        build(f"timm:{name}", seed=0)
    assert not fake


def test_settings_in_a_checkpoint_are_held_to_the_same(fake: list[dict[str, Any]], tmp_path: Path) -> None:
    network = build("timm:cells_a", seed=0)
    hostile = TimmSettings.model_construct(name="hf-hub:x/y", options={}, drop_path=0.0)
    network.settings = hostile
    save(tmp_path / "a.safetensors", network)
    network.settings = hostile.model_copy(update={"name": "cells_a", "options": {"checkpoint_path": "/x"}})
    save(tmp_path / "b.safetensors", network)
    fake.clear()
    for name, said in (("a", "not a name"), ("b", "checkpoint_path cannot be set")):
        with pytest.raises(UsageError, match=said):
            load(tmp_path / f"{name}.safetensors")
    assert not fake


@pytest.mark.usefixtures("fake")
def test_names_and_options_that_timm_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"knows no network 'cells_b'. Did you mean cells_a\?"):
        build("timm:cells_b", seed=0)
    with pytest.raises(UsageError, match=r"no weights 'wev' of it. Leave .wev out, or choose one of web"):
        build("timm:cells_a.wev", seed=0)
    with pytest.raises(
        UsageError, match=r"cannot be built with colour .*unexpected keyword argument 'colour'"
    ):
        build("timm:cells_a", seed=0, options={"colour": "red"})


def test_keywords_without_a_network_of_timm() -> None:
    with pytest.raises(UsageError, match="nat_nano is not of timm"):
        pretrain.PretrainSettings.checked({"folders": (Path("x"),), "timm": {"depths": [1]}})
    with pytest.raises(UsageError, match="takes no options of timm"):
        build("vit_tiny", seed=0, options={"depths": [1]})


def test_weights_of_timm_need_a_file() -> None:
    with pytest.raises(UsageError, match=r"which file.*timm:swin=FILE.*untrained:0:timm:swin"):
        load_network("timm:swin")


@pytest.mark.usefixtures("fake")
def test_sizes_that_a_backbone_refuses_are_said() -> None:
    network = build("timm:cells_a", seed=0)
    with pytest.raises(
        UsageError, match=r"built for pictures of 32 x 32 px and does not take 72 x 40 \(Input"
    ):
        network.tokens(torch.zeros(1, 3, 72, 40))
    with pytest.raises(UsageError, match=r"Crops of 96 px: .*--set local_sizes"):
        check_crops("timm:cells_a", {}, (32, 96))


@pytest.mark.usefixtures("fake")
def test_maps_that_do_not_lie_over_the_picture_are_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unpadded convolutions lose a border, so that cells are elsewhere than their numbers say."""
    whole = Cells.forward_intermediates

    def smaller(self: Cells, x: Tensor, **given: bool) -> list[Tensor]:
        return [each[:, :, 1:-1, 1:-1] for each in whole(self, x, **given)]

    check_crops("timm:cells_a", {}, (40, 64))
    monkeypatch.setattr(Cells, "forward_intermediates", smaller)
    with pytest.raises(UsageError, match="no maps that lie over the picture"):
        check_crops("timm:cells_a", {}, (40, 56))


@pytest.mark.usefixtures("fake")
def test_pixels_come_to_the_weights_as_they_were_trained(tmp_path: Path) -> None:
    """The stand-in's maps are means of its input, so they show what it was given: 2 p - 1 for pixels p."""
    save_file(Cells().state_dict(), tmp_path / "cells.safetensors")
    network, _ = load_network(f"timm:cells_a.web={tmp_path / 'cells.safetensors'}")
    assert isinstance(network, Backbone)
    pixels = torch.rand(2, 3, 16, 24)
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    x = (pixels - mean) / std
    torch.testing.assert_close(network(x), 2 * pixels.mean(dim=(2, 3)) - 1)
    expected = (2 * nn.functional.avg_pool2d(pixels, 8) - 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(network.tokens(x)[-1], expected)
    torch.testing.assert_close(build("timm:cells_a", seed=0)(x), x.mean(dim=(2, 3)))
    save(tmp_path / "own.safetensors", network)
    torch.testing.assert_close(load(tmp_path / "own.safetensors")(x), network(x))


@pytest.mark.usefixtures("fake")
def test_a_classifier_is_named_and_nothing_else_may_differ(tmp_path: Path) -> None:
    state = Cells().state_dict()
    said: list[str] = []

    def read(tensors: dict[str, Any]) -> None:
        torch.save(tensors, tmp_path / "c.pth")
        load_network(f"timm:cells_a.web={tmp_path / 'c.pth'}", remark=said.append)

    read({**state, "head.weight": torch.ones(5, 3), "head.bias": torch.ones(5)})
    assert "its classifier is left out (head.weight, head.bias)" in said[0]
    assert "no attention map" in said[0]
    for wrong, message in (
        ({"other": torch.ones(3)}, "not timm's cells_a.web: 1 missing .gain., 1 not of it .other."),
        ({**state, "header": torch.ones(3)}, "1 not of it .header."),
        ({"gain": torch.ones(4)}, r"of another shape .gain: expected .3,., got .4,."),
    ):
        with pytest.raises(CheckpointError, match=message):
            read(wrong)


@pytest.mark.usefixtures("fake")
def test_files_that_are_no_weights(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"gain": Runs()}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="which is code and not weights"):
        load_network(f"timm:cells_a={tmp_path / 'code.pth'}")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="no such weights"):
        load_network(f"timm:cells_a={tmp_path / 'none.pth'}")
    save(tmp_path / "own.safetensors", build("nat_nano", seed=0))
    with pytest.raises(CheckpointError, match="are given alone, without timm:cells_a="):
        load_network(f"timm:cells_a={tmp_path / 'own.safetensors'}")


def test_counts_of_batch_norm_are_numbers_of_a_network(tmp_path: Path) -> None:
    network = nn.Sequential(nn.BatchNorm1d(3))
    torch.save(network.state_dict(), tmp_path / "norm.pth")
    assert read_foreign(tmp_path / "norm.pth")[0].keys() == network.state_dict().keys()
    for key, value in (("0.weight", torch.ones(3).long()), ("0.num_batches_tracked", torch.ones(3).long())):
        torch.save({**network.state_dict(), key: value}, tmp_path / "odd.pth")
        with pytest.raises(CheckpointError, match="no tensor of floating-point numbers"):
            read_foreign(tmp_path / "odd.pth")


def test_a_teacher_with_batch_norm_has_its_students_statistics() -> None:
    teacher, student = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    student(torch.randn(16, 3) * 4 + 7)
    move_teacher(teacher, student, 0.9)
    torch.testing.assert_close(dict(teacher.named_buffers()), dict(student.named_buffers()))
    assert float(teacher.running_mean.min()) > 0.3  # a tenth of 7, as the student has seen one batch
