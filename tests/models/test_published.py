import argparse
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dinonat.errors import CheckpointError
from dinonat.models.catalog import NETWORKS, load_network
from dinonat.models.checkpoint import constructed, fingerprint, load, save
from dinonat.models.nat import NAT
from dinonat.models.vit import ViT

Shapes = dict[str, tuple[int, ...]]

# Written from the papers' code, not from ours: (dim, depths, heads, MLP ratio, gains), parameters, keys.
NATS = {
    "nat_mini": ((64, (3, 4, 6, 5), (2, 4, 8, 16), 3, False), 19_984_174, 253),
    "nat_tiny": ((64, (3, 4, 18, 5), (2, 4, 8, 16), 3, False), 27_901_582, 409),
    "nat_small": ((96, (3, 4, 18, 5), (3, 6, 12, 24), 2, True), 50_743_297, 469),
    "nat_base": ((128, (3, 4, 18, 5), (4, 8, 16, 32), 2, True), 89_769_652, 469),
}
# (dim, depth, patch, positions a side), registers; DINO's have neither gains nor a mask token.
DINOS = {
    "vit_tiny": (192, 12, 16, 14),
    "vit_small": (384, 12, 16, 14),
    "vit_base": (768, 12, 16, 14),
    "vit_tiny_8": (192, 12, 8, 28),
    "vit_small_8": (384, 12, 8, 28),
    "vit_base_8": (768, 12, 8, 28),
}
DINOS2 = {
    "dinov2_vits14": (384, 12, 0),
    "dinov2_vitb14": (768, 12, 0),
    "dinov2_vitl14": (1024, 24, 0),
    "dinov2_vits14_reg": (384, 12, 4),
    "dinov2_vitb14_reg": (768, 12, 4),
    "dinov2_vitl14_reg": (1024, 24, 4),
}


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def nat_table(dim: int, depths: tuple[int, ...], heads: tuple[int, ...], ratio: int, gains: bool) -> Shapes:
    table = both("patch_embed.proj.0", dim // 2, 3, 3, 3) | both("patch_embed.proj.1", dim, dim // 2, 3, 3)
    table |= norm("patch_embed.norm", dim)
    for i, depth in enumerate(depths):
        c = dim * 2**i
        for j in range(depth):
            block = f"levels.{i}.blocks.{j}"
            if gains:
                table |= {f"{block}.gamma1": (c,), f"{block}.gamma2": (c,)}
            table |= norm(f"{block}.norm1", c) | norm(f"{block}.norm2", c)
            table |= {f"{block}.attn.rpb": (heads[i], 13, 13)}
            table |= both(f"{block}.attn.qkv", 3 * c, c) | both(f"{block}.attn.proj", c, c)
            table |= both(f"{block}.mlp.fc1", ratio * c, c) | both(f"{block}.mlp.fc2", c, ratio * c)
        if i < 3:
            table |= {f"levels.{i}.downsample.reduction.weight": (2 * c, c, 3, 3)}
            table |= norm(f"levels.{i}.downsample.norm", 2 * c)
    return table | norm("norm", 8 * dim) | both("head", 1000, 8 * dim)


def vit_table(
    dim: int, depth: int, patch: int, positions: int, *, v2: bool = False, registers: int = 0
) -> Shapes:
    table: Shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 1 + positions**2, dim)}
    if v2:
        table |= {"mask_token": (1, dim)}
    if registers:
        table |= {"register_tokens": (1, registers, dim)}
    table |= both("patch_embed.proj", dim, 3, patch, patch)
    for i in range(depth):
        table |= norm(f"blocks.{i}.norm1", dim) | norm(f"blocks.{i}.norm2", dim)
        table |= both(f"blocks.{i}.attn.qkv", 3 * dim, dim) | both(f"blocks.{i}.attn.proj", dim, dim)
        table |= both(f"blocks.{i}.mlp.fc1", 4 * dim, dim) | both(f"blocks.{i}.mlp.fc2", dim, 4 * dim)
        if v2:
            table |= {f"blocks.{i}.ls1.gamma": (dim,), f"blocks.{i}.ls2.gamma": (dim,)}
    return table | norm("norm", dim)


def drawn(table: Shapes, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.05 for key, shape in table.items()}


MINI = drawn(nat_table(*NATS["nat_mini"][0]))
TINY = drawn(vit_table(*DINOS["vit_tiny"]))


def written(path: Path, content: object, **how: bool) -> str:
    torch.save(content, path, **how)
    return str(path)


def refused(path: Path, content: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_network(written(path, content))
    return str(caught.value)


@pytest.mark.parametrize("name", NATS)
def test_nat_has_the_published_keys_shapes_and_parameters(name: str) -> None:
    form, parameters, keys = NATS[name]
    table = nat_table(*form)
    assert len(table) == keys
    assert sum(torch.Size(shape).numel() for shape in table.values()) == parameters
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in constructed(NETWORKS[name]).state_dict().items()}
    assert ours == {key: shape for key, shape in table.items() if not key.startswith("head.")}


@pytest.mark.parametrize("name", [*DINOS, *DINOS2])
def test_vit_has_the_published_keys_and_shapes(name: str) -> None:
    if name in DINOS:
        table = vit_table(*DINOS[name])
        assert len(table) == 6 + 12 * 12
    else:
        dim, depth, registers = DINOS2[name]
        table = vit_table(dim, depth, 14, 37, v2=True, registers=registers)
        assert len(table) == 7 + 14 * depth + (registers > 0)
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in constructed(NETWORKS[name]).state_dict().items()}
    assert ours == table


def test_a_published_nat_loads_to_the_number_and_pads_small_maps(tmp_path: Path) -> None:
    said: list[str] = []
    model, name = load_network(written(tmp_path / "nat_mini.pth", MINI), remark=said.append)
    assert isinstance(model, NAT)
    assert not model.training
    assert model.settings == NETWORKS["nat_mini"]
    assert model.settings.small_map == "pad"
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, MINI[key], atol=0, rtol=0)
    assert said == [
        "nat_mini.pth: the published nat_mini, 251 tensors; its head is left out (head.weight, head.bias)."
    ]
    assert save(tmp_path / "ours.safetensors", model) == name
    again = load(tmp_path / "ours.safetensors")
    assert again.settings == model.settings
    assert fingerprint(again) == name


def hugging_face_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that transformers gave a NAT, with its own cutting of qkv and of the gains."""
    out: dict[str, Tensor] = {}
    gains: dict[str, list[Tensor]] = {}
    for key, value in tensors.items():
        block = re.fullmatch(r"levels\.(\d+)\.blocks\.(\d+)\.(.+)", key)
        if not block:
            start = {"patch_embed.proj": "nat.embeddings.patch_embeddings.projection", "head": "classifier"}
            start |= {"patch_embed.norm": "nat.embeddings.norm", "norm": "nat.layernorm"}
            start |= {f"levels.{i}.downsample": f"nat.encoder.levels.{i}.downsample" for i in range(3)}
            first = next(name for name in start if key.startswith(f"{name}."))
            out[start[first] + key.removeprefix(first)] = value
            continue
        layer, rest = f"nat.encoder.levels.{block[1]}.layers.{block[2]}", block[3]
        kind = rest.rsplit(".", 1)[-1]
        if rest.startswith("attn.qkv"):
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[f"{layer}.attention.self.{part}.{kind}"] = rows.clone()
        elif rest.startswith("gamma"):
            gains.setdefault(f"{layer}.layer_scale_parameters", []).append(value)
        else:
            names = {
                "norm1": "layernorm_before",
                "norm2": "layernorm_after",
                "attn.proj": "attention.output.dense",
                "mlp.fc1": "intermediate.dense",
                "mlp.fc2": "output.dense",
            }
            stem = rest.rsplit(".", 1)[0]
            out[f"{layer}.attention.self.rpb" if rest == "attn.rpb" else f"{layer}.{names[stem]}.{kind}"] = (
                value
            )
    return out | {key: torch.stack(pair) for key, pair in gains.items()}


@pytest.mark.parametrize("prefix", ["nat.", ""])
@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_the_names_of_hugging_face_give_the_same_network(tmp_path: Path, prefix: str, ending: str) -> None:
    theirs = {key.replace("nat.", prefix, 1): value for key, value in hugging_face_names(MINI).items()}
    path = tmp_path / f"model.{ending}"
    if ending == "bin":
        torch.save(theirs, path)
    else:
        save_file(theirs, path, {"format": "pt"})
    said: list[str] = []
    _, name = load_network(str(path), remark=said.append)
    assert name == load_network(written(tmp_path / "a.pth", MINI))[1]
    assert "names of Hugging Face translated" in said[0]


def test_gains_of_hugging_face_are_cut_in_two() -> None:
    from dinonat.models.published import from_hugging_face

    table = nat_table(32, (1, 0, 0, 0), (1, 2, 4, 8), 2, True)
    tensors = {key: value for key, value in drawn(table).items() if not key.startswith("head.")}
    found = from_hugging_face(hugging_face_names(tensors))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("old", [False, True])
def test_a_published_dino_loads_to_the_number(tmp_path: Path, old: bool) -> None:
    path = written(tmp_path / "dino.pth", TINY, _use_new_zipfile_serialization=not old)
    model, _ = load_network(path)
    assert isinstance(model, ViT)
    assert model.settings == NETWORKS["vit_tiny"]
    assert all(torch.equal(value, TINY[key]) for key, value in model.state_dict().items())


def test_a_published_dinov2_loads_with_its_own_details(tmp_path: Path) -> None:
    table = vit_table(384, 12, 14, 37, v2=True, registers=4)
    model, name = load_network(written(tmp_path / "reg.pth", drawn(table)))
    assert isinstance(model, ViT)
    assert (model.settings.registers, model.settings.resize) == (4, "antialias")
    assert model.settings == NETWORKS["dinov2_vits14_reg"]
    assert (
        save(tmp_path / "ours.safetensors", model) == name == fingerprint(load(tmp_path / "ours.safetensors"))
    )


def test_checkpoints_of_dino_training_hold_the_teacher(tmp_path: Path) -> None:
    head = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight_g": torch.ones(2, 1)}
    student = {f"module.backbone.{key}": value + 1 for key, value in TINY.items()}
    teacher = {f"backbone.{key}": value for key, value in TINY.items()} | head
    content = {"student": student, "epoch": 3, "args": argparse.Namespace(arch="vit_tiny", lr=0.1)}
    content["optimizer"] = {"state": {0: {"step": 3}}, "param_groups": []}
    only_student = load_network(written(tmp_path / "student.pth", content))[1]
    said: list[str] = []
    _, name = load_network(written(tmp_path / "full.pth", content | {"teacher": teacher}), remark=said.append)
    assert name == load_network(written(tmp_path / "plain.pth", TINY))[1] != only_student
    assert said[0].startswith("full.pth: the published vit_tiny, its teacher, 150 tensors")
    assert "head.mlp.0.weight" in said[0]


def test_blocks_that_training_cut_into_chunks_are_put_in_a_row(tmp_path: Path) -> None:
    chunked = {re.sub(r"^blocks\.(\d+)\.", r"blocks.0.\1.", key): value for key, value in TINY.items()}
    assert (
        load_network(written(tmp_path / "a.pth", chunked))[1]
        == load_network(written(tmp_path / "b.pth", TINY))[1]
    )


def test_positions_of_another_input_size_are_taken(tmp_path: Path) -> None:
    model, _ = load_network(written(tmp_path / "a.pth", drawn(vit_table(192, 12, 16, 20))))
    assert isinstance(model, ViT)
    assert model.settings.positions == 20
    assert model(torch.zeros(1, 3, 32, 48)).shape == (1, 192)
    odd = TINY | {"pos_embed": torch.zeros(1, 198, 192)}
    assert "expected CLS and a square of patches" in refused(tmp_path / "b.pth", odd)


def test_a_key_too_few_too_many_or_of_another_shape_is_named(tmp_path: Path) -> None:
    changed = dict(MINI)
    del changed["norm.bias"]
    changed["extra.thing"] = torch.ones(1)
    changed["levels.0.blocks.1.attn.rpb"] = torch.ones(2, 9, 9)
    said = refused(tmp_path / "a.pth", changed)
    assert said.startswith(f"{tmp_path / 'a.pth'}: not the published nat_mini: 1 missing (norm.bias)")
    assert "1 not of it (extra.thing)" in said
    assert "1 of another shape (levels.0.blocks.1.attn.rpb: expected (2, 13, 13), got (2, 9, 9))" in said
    few = {key: value for key, value in TINY.items() if not key.startswith("blocks.11.")}
    assert "12 missing (blocks.11.norm1.weight, blocks.11.norm1.bias, " in refused(tmp_path / "b.pth", few)
    assert "and 9 more" in refused(tmp_path / "b.pth", few)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("blocks.0.mlp.w12.weight", "ViT-g"),
        ("storage_tokens", "DINOv3"),
        ("encoder.layer.0.attention.attention.query.weight", "Hugging Face"),
        ("backbone.norm0.weight", "detector or segmenter"),
        ("dinat.layernorm.weight", "DiNAT"),
    ],
)
def test_relatives_that_are_not_built_here_are_named(tmp_path: Path, key: str, words: str) -> None:
    assert words in refused(tmp_path / "a.pth", {key: torch.ones(2)})


def test_dinat_looks_like_nat_and_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "dilated" in refused(tmp_path / "dinat_mini.pth", MINI)
