"""Any backbone of timm as a network of this toolkit, with weights by chance or from a file of the user's.

A hierarchical backbone (Swin, ConvNeXt, ResNet) gives its stages as maps. One whose tokens keep their
number (ViT, DeiT, DINOv3's ViT) gives its map of patches and, as a map of one cell, its CLS token or, where
it has none, the vector that it pools.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from dinonat.errors import CheckpointError, UsageError
from dinonat.models.foreign import compare, is_foreign, read_foreign
from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD, Network
from dinonat.models.timm_built import PREFIX, TimmSettings, build_settings, created, published_facts

ATTENTIONS = ("Attention", "AttentionRope", "EvaAttention")  # of timm: softmax over tokens, then attn_drop
OTHERS = "ViT, DeiT, DINOv3, Swin, ConvNeXt and ResNet give maps at any size."


class Backbone(Network):
    """A backbone of timm without its classifier.

    Raises UsageError where timm is not installed, does not know the name or an option, or gives no maps.
    """

    settings: TimmSettings

    def __init__(self, settings: TimmSettings) -> None:
        super().__init__()
        self.settings = settings
        self.model: Any = created(settings)
        stages = getattr(self.model, "feature_info", None)
        if not isinstance(stages, list) or not hasattr(self.model, "forward_intermediates"):
            raise UsageError(f"timm's {settings.name} gives no maps of features. {OTHERS}")
        reductions = [int(stage["reduction"]) for stage in stages]
        self.stride: int = max(reductions)
        self.plain = len(set(reductions)) == 1  # patches from beginning to end
        if self.plain:
            self.apart = int(getattr(self.model, "num_prefix_tokens", 0))  # CLS and registers
            self.strides, self.dims = [self.stride, inf], [stages[-1]["num_chs"]] * 2
        else:
            self.strides, self.dims = reductions, [int(stage["num_chs"]) for stage in stages]
        self.has_cls = self.plain and getattr(self.model, "cls_token", None) is not None
        self.attends = self.has_cls and _last_attention(self.model) is not None

    def pooled(self, tokens: Sequence[Tensor]) -> Tensor:
        """Make one vector (B, dims[-1]) of the maps of ``tokens``: CLS, or what timm's own head pools.

        That is the mean of the last map, which some (ConvNeXt, DaViT, TinyViT) norm afterwards. It is
        the mean alone where the head widens it first (EfficientNet) or takes no map (Twins, CoaT): what
        is compared in pretraining is then what is stored when embedding.
        """
        last = tokens[-1]
        if not self.plain and not self._widens():
            rows = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            vector: Tensor = self.model.forward_head(
                last if rows else last.permute(0, 3, 1, 2), pre_logits=True
            )
            if vector.shape == (len(last), self.dims[-1]):
                return vector
        return last.mean(dim=(1, 2))

    def tokens(self, x: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to all maps (B, h, w, c), fine to coarse."""
        with self._sizes_said(x):
            if self.plain:
                return self._plain_maps(x)
            maps = self.model.forward_intermediates(self._as_trained(x), norm=True, intermediates_only=True)
        sides = [(each.shape[-2:], stride) for each, stride in zip(maps, self.strides, strict=True)]
        if any(
            abs(n - side / stride) >= 1
            for hw, stride in sides
            for n, side in zip(hw, x.shape[2:], strict=True)
        ):
            raise UsageError(f"timm's {self.settings.name} gives no maps that lie over the picture. {OTHERS}")
        return [each.permute(0, 2, 3, 1) for each in maps]

    def tokens_and_attention(self, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """All maps, and how CLS attends to each patch in the last block: [[(B, heads, h, w)]], or []."""
        if not self.attends:
            return self.tokens(x), []
        attention, seen = _last_attention(self.model), []
        # timm hands the weights out only where it writes them down: not in the fused computation.
        hook = attention.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        fused, attention.fused_attn = attention.fused_attn, False
        try:
            tokens = self.tokens(x)
        finally:
            attention.fused_attn = fused
            hook.remove()
        weights = seen[0][:, :, 0, self.apart :]
        return tokens, [[weights.unflatten(-1, tokens[0].shape[1:3])]]

    def _plain_maps(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[2] // self.stride, x.shape[3] // self.stride
        if (height * self.stride, width * self.stride) != tuple(x.shape[2:]):
            raise UsageError(
                f"timm's {self.settings.name} takes pictures whose sides are multiples of {self.stride}; "
                f"got {x.shape[2]} x {x.shape[3]}."
            )
        z = self.model.forward_features(self._as_trained(x))
        if z.ndim != 3 or z.shape[1] != self.apart + height * width:
            raise UsageError(
                f"timm's {self.settings.name} gives no map of {height} x {width} patches for a picture of "
                f"{x.shape[2]} x {x.shape[3]}, but {tuple(z.shape[1:])}. {OTHERS}"
            )
        vector = z[:, 0] if self.has_cls else self.model.forward_head(z, pre_logits=True)
        return [z[:, self.apart :].unflatten(1, (height, width)), vector[:, None, None]]

    def _widens(self) -> bool:
        """Whether the backbone puts more channels than its last map has into the vector that it pools."""
        wide = getattr(self.model, "head_hidden_size", None) or self.model.num_features
        return bool(wide != self.dims[-1])

    def _as_trained(self, x: Tensor) -> Tensor:
        """Turn input normalised with ImageNet's mean and std into input with those of the weights."""
        if (self.settings.mean, self.settings.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return x
        mean, std, own_mean, own_std = (
            torch.tensor(each, device=x.device, dtype=x.dtype)[:, None, None]
            for each in (IMAGENET_MEAN, IMAGENET_STD, self.settings.mean, self.settings.std)
        )
        return (x * std + mean - own_mean) / own_std

    @contextmanager
    def _sizes_said(self, x: Tensor) -> Iterator[None]:
        """Say in a sentence what timm says with an assertion where a picture has a size it cannot take."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UsageError(self._refusal(x, error)) from error

    def _refusal(self, x: Tensor, error: Exception) -> str:
        side, got = _native_side(self.model), tuple(x.shape[2:])
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        if side is None or got == (side, side):
            return f"timm's {self.settings.name} gives no maps here ({reason})."
        return (
            f"timm's {self.settings.name} is built for pictures of {side} x {side} px and does not take "
            f"{got[0]} x {got[1]} ({reason}). Show it that size (embed: --set size={side} --set square=true "
            f"--set region_size={side}). {OTHERS}"
        )


def check_crops(name: str, options: dict[str, JsonValue], sizes: tuple[int, ...]) -> None:
    """Raise UsageError where timm is missing or ``timm:NAME`` cannot be trained on square crops of ``sizes``.

    It is built and shown one crop of each, and asked for maps: only the backbone itself knows what it takes.
    """
    _check_crops(build_settings(name, options).model_dump_json(), tuple(sorted(set(sizes))))


@lru_cache(maxsize=8)
def _check_crops(settings: str, sizes: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network = Backbone(TimmSettings.checked(json.loads(settings))).eval()
        for size in sizes:
            try:
                vector = network(torch.zeros(1, 3, size, size))
            except UsageError as error:
                raise UsageError(
                    f"Crops of {size} px: {error} Give other crops with --set global_sizes=[SMALL,LARGE] and "
                    "--set local_sizes=[SMALL,LARGE]."
                ) from error
            if vector.shape != (1, network.dims[-1]):
                raise UsageError(f"timm's {network.settings.name} gives no vector for a picture. {OTHERS}")
        # What is trained for hours shall give maps afterwards.
        side = -(-max(sizes) // network.stride) * network.stride
        network.tokens(torch.zeros(1, 3, side, side))


def load_backbone(weights: str) -> tuple[Backbone, str]:
    """Return the backbone of ``timm:NAME=FILE`` with the weights of FILE, and a sentence about them.

    FILE holds what timm's own model of that name has, to the name and shape; a classifier, which no
    backbone here has, is left out and named in the sentence. Raises UsageError where there is no "=FILE"
    or no such network, CheckpointError for a bad file.
    """
    name, equals, file = weights.removeprefix(PREFIX).partition("=")
    if not equals or not file:
        raise UsageError(
            f"--weights {weights}: which file? Nothing is downloaded: give {PREFIX}{name}=FILE with weights "
            f"that you have, or untrained:0:{PREFIX}{name} for weights by chance."
        )
    settings, path = build_settings(name), Path(file)
    facts = published_facts(settings.name)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights.")
    if not is_foreign(path):
        raise CheckpointError(
            f"{path}: neither safetensors nor a file of torch.save from outside this toolkit. Weights that "
            f"`dinotool pretrain` made are given alone, without {PREFIX}{name}=."
        )
    found, _ = read_foreign(path)
    pixels = {key: facts[key] for key in ("mean", "std") if facts.get(key)}
    network = Backbone(settings.model_copy(update=pixels))
    wanted = network.model.state_dict()
    named = facts.get("classifier") or ()
    heads = tuple(f"{each}." for each in ([named] if isinstance(named, str) else named))
    classifier = [key for key in found if key not in wanted and key.startswith(heads)]
    kept = {key: value for key, value in found.items() if key not in classifier}
    compare(path, f"timm's {name}", {key: tuple(value.shape) for key, value in wanted.items()}, kept)
    network.model.load_state_dict(kept, strict=True)
    return network, f"{path.name}: {_said(network, classifier)}"


def _said(network: Backbone, classifier: list[str]) -> str:
    count = sum(value.numel() for value in network.model.parameters())
    left = f"; its classifier is left out ({', '.join(classifier)})" if classifier else ""
    looks = "" if network.attends else ("; it has no attention map, so regions are ranked without one")
    return f"timm's {network.settings.name}, {count:,} parameters, all of them found{left}{looks}."


def _native_side(model: Any) -> int | None:
    """Return the side in pixels of the square pictures that a model of timm was built for, if it says."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return int((size or (model.pretrained_cfg or {}).get("input_size") or [None])[-1]) or None


def _last_attention(model: Any) -> Any:
    """Return the attention of the last block of a ViT, if it can be asked for its weights between tokens."""
    blocks = getattr(model, "blocks", None)
    attention = (
        getattr(blocks[-1], "attn", None) if isinstance(blocks, (nn.Sequential, nn.ModuleList)) else None
    )
    return attention if type(attention).__name__ in ATTENTIONS else None
