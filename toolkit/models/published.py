"""Published weights: NAT, DINO and DINOv2 as their authors store them, taken to the key or not at all."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dinonat.errors import CheckpointError
from dinonat.models.checkpoint import constructed
from dinonat.models.foreign import compare, read_foreign, some
from dinonat.models.nat import NATSettings
from dinonat.models.network import Network
from dinonat.models.vit import ViTSettings
from dinonat.settings import Settings

HEADS = ("head.", "classifier.", "dino_head.", "ibot_head.")  # what stands on the backbone and is left out

# Networks that are alike enough to be offered and are not built here: what their keys contain.
NOT_HERE = {
    ".mlp.w12.": "DINOv2's ViT-g, whose MLP is a SwiGLU, is not built here; take its ViT-S, ViT-B or ViT-L",
    "storage_tokens": "DINOv3 is not built here",
    "rope_embed.": "ViTs with rotary positions, as DINOv3's, are not built here",
    "encoder.layer.": "a ViT under the names of Hugging Face; take the .pth file that its authors publish",
    "norm0.weight": "a detector or segmenter on NAT; take the file of the classifier",
}


def load_published(path: Path, known: Mapping[str, Settings]) -> tuple[Network, str]:
    """Read published weights; return the network, and one sentence that says what was taken and what not.

    ``known`` are the networks by name. Which one it is follows from the shapes in the file, then every key
    and every shape must be that network's. A head is left out. The side of a ViT's position embedding is
    taken from the file. Raises CheckpointError where anything is missing, left over or of another shape.
    """
    tensors, word = read_foreign(path)
    found = {key: value for key, value in tensors.items() if not key.startswith(HEADS)}
    left_out = [key for key in tensors if key.startswith(HEADS)]
    translated = any(key.startswith(("nat.encoder.", "encoder.levels.")) for key in found)
    if translated:
        found = from_hugging_face(found)
    found = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value for key, value in found.items()}
    _refuse_relatives(path, found)
    name, settings = _recognised(path, found, known)
    with torch.device("meta"):  # nothing is drawn that the file replaces
        model = constructed(settings)
    compare(
        path,
        f"the published {name}",
        {key: tuple(value.shape) for key, value in model.state_dict().items()},
        found,
    )
    whole = {key: value.float().contiguous() for key, value in found.items()}
    model.load_state_dict(whole, strict=True, assign=True)
    said = [f"{path.name}: the published {name}{f', its {word}' if word else ''}, {len(found)} tensors"]
    if translated:
        said.append("names of Hugging Face translated, query, key and value joined to qkv")
    if left_out:
        said.append(f"its head is left out ({some(left_out)})")
    return model, "; ".join(said) + "."


def _refuse_relatives(path: Path, found: Mapping[str, Tensor]) -> None:
    for sign, sentence in NOT_HERE.items():
        if any(sign in key for key in found):
            raise CheckpointError(f"{path}: {sentence}.")
    if "dinat" in path.name.lower() or any(key.startswith("dinat.") for key in found):
        raise CheckpointError(
            f"{path}: DiNAT has the keys and shapes of NAT, but dilated attention, which is not built here."
        )


def _recognised(
    path: Path, found: Mapping[str, Tensor], known: Mapping[str, Settings]
) -> tuple[str, NATSettings | ViTSettings]:
    """Return the name and the settings of the published network that shapes and kinds of keys point to."""
    if "cls_token" in found and "pos_embed" in found:
        return _recognised_vit(path, found, known)
    tokenizer = found.get("patch_embed.proj.1.weight")
    depth = len({key.split(".")[3] for key in found if re.match(r"levels\.2\.blocks\.\d+\.", key)})
    for name, settings in known.items():
        if (
            tokenizer is not None
            and isinstance(settings, NATSettings)
            and settings.position_bias == ("levels.0.blocks.0.attn.rpb" in found)
            and settings.small_map == "pad"
            and (settings.dim, settings.depths[2]) == (len(tokenizer), depth)
        ):
            return name, settings
    raise CheckpointError(f"{path}: of no network known here; its first keys are {some(sorted(found))}.")


def _recognised_vit(
    path: Path, found: Mapping[str, Tensor], known: Mapping[str, Settings]
) -> tuple[str, ViTSettings]:
    dim, patch = found["cls_token"].shape[-1:], _shape(found, "patch_embed.proj.weight")[-1:]
    registers = (*_shape(found, "register_tokens"), 0, 0)[1]
    for name, settings in known.items():
        if isinstance(settings, ViTSettings) and (
            ((settings.dim,), (settings.patch,), settings.mask_token, settings.registers)
            == (dim, patch, "mask_token" in found, registers)
        ):
            return name, settings.model_copy(update={"positions": _side(path, found["pos_embed"])})
    raise CheckpointError(
        f"{path}: a ViT that is not known here: {', '.join(map(str, dim)) or 'no'} channels, patches of "
        f"{', '.join(map(str, patch)) or 'unknown'} px, {registers} registers, "
        f"{'with' if 'mask_token' in found else 'without'} a mask token."
    )


def _side(path: Path, positions: Tensor) -> int:
    """Return the side of the square of patches that a position embedding (1, 1 + side^2, dim) is for."""
    count = positions.shape[1] - 1 if positions.ndim == 3 else 0
    side = math.isqrt(max(count, 0))
    if side < 1 or side * side != count:
        raise CheckpointError(
            f"{path}: pos_embed has the shape {tuple(positions.shape)}; expected CLS and a square of patches."
        )
    return side


def _shape(found: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tuple(found[key].shape) if key in found else ()


# Names of transformers' NatModel, and those of the authors. Order matters: ends before their beginnings.
HUGGING_FACE = (
    (r"^nat\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.levels\.", "levels."),
    (r"^(levels\.\d+)\.layers\.", r"\1.blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def from_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of transformers' NatModel under the names of the authors.

    Query, key and value become the rows of qkv, in that order; the two rows of layer_scale_parameters
    become gamma1 and gamma2. Keys that have no counterpart stay as they are.
    """
    renamed = {}
    for key, value in tensors.items():
        for pattern, replacement in HUGGING_FACE:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    for key in [key for key in renamed if key.endswith((".attn.query.weight", ".attn.query.bias"))]:
        names = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(name in renamed and renamed[name].shape == renamed[key].shape for name in names):
            renamed[key.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(name) for name in names])
    for key in [key for key in renamed if key.endswith(".layer_scale_parameters")]:
        if len(gains := renamed[key]) == 2:
            del renamed[key]
            for number, gain in enumerate(gains, start=1):
                renamed[key.replace("layer_scale_parameters", f"gamma{number}")] = gain
    return renamed
