"""What timm is asked for: a model by its name and keywords, with weights by chance, for pictures of any size.

timm (Wightman, https://github.com/huggingface/pytorch-image-models) is an extra and is imported when one
of its networks is asked for. It is never asked for pretrained weights, so nothing is fetched.
"""

import difflib
import re
import warnings
from types import ModuleType
from typing import Any

import torch
from pydantic import Field, JsonValue, field_validator
from torch import nn

from dinonat.errors import UsageError
from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.settings import Settings

PREFIX = "timm:"  # how commands tell timm's networks from ours
NAME = r"[a-z0-9_]+(\.[a-z0-9_]+)?"  # of an architecture, and of weights for it; never a place on a network
# Options of timm that would load something or change what a network is for.
RESERVED = {
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_model_args",
    "checkpoint_path", "cache_dir", "pruned", "features_only", "num_classes", "scriptable", "drop_path_rate",
}  # fmt: skip


class TimmSettings(Settings):
    """What a backbone of timm is built from; stored with every checkpoint."""

    name: str  # as timm knows it, with or without the tag of its weights
    options: dict[str, JsonValue] = Field(
        default_factory=dict
    )  # keywords for timm that differ from what the name stands for
    drop_path: float = 0.0
    # Of the pixels that the weights were trained with. Its input is normalised as every Network's.
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise UsageError(
                f"{PREFIX}{name[:80]}: not a name of a network; expected one of timm's, as "
                f"{PREFIX}swin_tiny_patch4_window7_224. Nothing is fetched."
            )
        return name

    @field_validator("options")
    @classmethod
    def _builds_only(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if refused := sorted(RESERVED & options.keys()):
            raise UsageError(
                f"timm: {', '.join(refused)} cannot be set; the keywords say how a network is built, and "
                "nothing is fetched."
            )
        return options


def build_settings(name: str, options: dict[str, JsonValue] | None = None) -> TimmSettings:
    """Return the settings of ``timm:NAME``. Raises UsageError for what cannot be a name or an option."""
    return TimmSettings.checked({"name": name.removeprefix(PREFIX), "options": options or {}})


def published_facts(name: str) -> dict[str, Any]:
    """Return what timm knows of the weights published under ``name``: mean and std of pixels, classifier.

    Raises UsageError for an unknown name.
    """
    timm = timm_of(name)
    _check_name(timm, name)
    known = timm.models.get_pretrained_cfg(name)
    return known.to_dict() if known else {}


def timm_of(name: str) -> ModuleType:
    """Import timm, which is needed for the network ``name``; raise UsageError where that does not work."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except ModuleNotFoundError as error:
        raise UsageError(
            f"timm's {name} needs {error.name}, which is not installed. Install the extra: "
            "pip install 'dinonat[timm]'. It brings torchvision, which must be of the same release as torch."
        ) from error
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise UsageError(
            f"timm's {name}: timm cannot be imported ({(str(error).splitlines() or [''])[0]}). Most often "
            f"torchvision is not of the same release as torch, which is {torch.__version__}."
        ) from error
    module: ModuleType = timm
    return module


def created(settings: TimmSettings) -> nn.Module:
    """Build the model with weights by chance, for pictures of any size where it can be."""
    timm = timm_of(settings.name)
    _check_name(timm, settings.name)
    # Each is for some networks only; what a network does not know is left out.
    ours: dict[str, Any] = {
        "drop_path_rate": settings.drop_path,
        "dynamic_img_size": True,
        "strict_img_size": False,
    }
    ours = {key: value for key, value in ours.items() if key not in settings.options}
    options = {key: _as_tuple(value) for key, value in settings.options.items()}
    while True:
        try:
            model: nn.Module = timm.create_model(
                settings.name, pretrained=False, num_classes=0, **ours, **options
            )
        except TypeError as error:
            unknown = [key for key in ours if "unexpected keyword" in str(error) and key in str(error)]
            if not unknown or (settings.drop_path and "drop_path_rate" in unknown):
                given = {**options, "drop_path": settings.drop_path} if unknown else options
                raise UsageError(f"timm's {settings.name}: {_option_said(given, error)}.") from error
            ours = {key: value for key, value in ours.items() if key not in unknown}
        except (AssertionError, ValueError, RuntimeError, KeyError) as error:
            raise UsageError(f"timm's {settings.name}: {_option_said(options, error)}.") from error
        else:
            return model


def _option_said(options: dict[str, Any], error: Exception) -> str:
    said = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"cannot be built with {', '.join(options)} ({said})" if options else f"cannot be built ({said})"


def _as_tuple(value: Any) -> Any:
    """Turn the lists of YAML and JSON into the tuples that timm's own code has."""
    return tuple(_as_tuple(each) for each in value) if isinstance(value, list) else value


def _check_name(timm: ModuleType, name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() names all."
        raise UsageError(f"timm {timm.__version__} knows no network '{name}'. {hint}")
    if tag:
        tags = sorted(timm.models.get_arch_pretrained_cfgs(architecture))
        known = [each.partition(".")[2] or each for each in tags]
        if tag not in known:
            raise UsageError(
                f"timm {timm.__version__} knows {architecture}, but no weights '{tag}' of it. "
                f"Leave .{tag} out, or choose one of {', '.join(known) or 'none'}."
            )
