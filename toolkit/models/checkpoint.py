"""Weights on disk: safetensors with the settings beside them, loaded strictly or not at all."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from dinonat.errors import CheckpointError
from dinonat.files import write_bytes
from dinonat.models.backbones import Backbone
from dinonat.models.foreign import refuse_infinite
from dinonat.models.nat import NAT, NATSettings
from dinonat.models.network import Network
from dinonat.models.timm_built import TimmSettings
from dinonat.models.vit import ViT, ViTSettings
from dinonat.settings import Settings

KINDS: dict[str, type[Settings]] = {"nat-1": NATSettings, "vit-1": ViTSettings, "timm-1": TimmSettings}


def constructed(settings: Settings) -> Network:
    """Build the network that ``settings`` describe, with weights by chance."""
    if isinstance(settings, NATSettings):
        return NAT(settings)
    if isinstance(settings, TimmSettings):
        return Backbone(settings)
    assert isinstance(settings, ViTSettings)
    return ViT(settings)


def fingerprint(model: nn.Module) -> str:
    """Return 16 hexadecimal digits that name the weights: names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save(path: Path, model: Network, *, facts: dict[str, str] | None = None, half: bool = False) -> str:
    """Write the network, its settings and ``facts`` (text about its training); return the fingerprint.

    ``half`` rounds the weights of ``model`` to float16 and writes them so, in half the bytes. Raises
    CheckpointError where a weight is too large for that.
    """
    if half:
        _round_to_half(model, path)
    name = fingerprint(model)
    kind = next(kind for kind, settings in KINDS.items() if type(model.settings) is settings)
    # One key: safetensors writes several in an order that differs from process to process.
    about = {"kind": kind, "settings": model.settings.model_dump(), "fingerprint": name, **(facts or {})}
    metadata = {"dinonat": json.dumps(about, sort_keys=True)}
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if half:
        tensors = {key: each.half() if each.is_floating_point() else each for key, each in tensors.items()}
    write_bytes(path, to_bytes(tensors, metadata))
    return name


def _round_to_half(model: Network, path: Path) -> None:
    largest = max(float(value.detach().abs().max()) for value in model.state_dict().values() if value.numel())
    if largest > torch.finfo(torch.float16).max:
        raise CheckpointError(f"{path}: a weight of {largest:g} is too large for float16; write them whole.")
    model.half().float()


def load(path: Path) -> Network:
    """Read a network that ``save`` wrote.

    Raises CheckpointError where the file is missing, damaged, of another kind or architecture, or
    where its weights are not those that its fingerprint names.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such weights. Train some with `dinotool pretrain FOLDER` or give --weights."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("dinonat", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file or a damaged one ({error}).") from error
    kind = metadata.get("kind", "missing")
    if kind not in KINDS:
        raise CheckpointError(
            f"{path}: not weights of this toolkit (kind {kind}, expected {' or '.join(KINDS)})."
        )
    for key, value in tensors.items():
        refuse_infinite(path, key, value)
    model = constructed(KINDS[kind].checked(metadata["settings"]))
    _fill(model, tensors, path)
    if fingerprint(model) != metadata["fingerprint"]:
        raise CheckpointError(f"{path}: the weights do not match their fingerprint; the file was changed.")
    return model


def _fill(model: Network, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    if wanted != found:
        differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        key = differing[0]
        raise CheckpointError(
            f"{path}: weights of another architecture, {len(differing)} tensors differ; "
            f"the first is '{key}': expected {wanted.get(key, 'nothing')}, got {found.get(key, 'nothing')}."
        )
    model.load_state_dict(tensors, strict=True)
