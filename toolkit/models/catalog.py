"""The networks by name, and the one way to get a network for use: weights from a file, never by chance."""

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import JsonValue

from dinonat.errors import UsageError
from dinonat.models.backbones import load_backbone
from dinonat.models.checkpoint import constructed, fingerprint, load
from dinonat.models.foreign import is_foreign
from dinonat.models.nat import NATSettings
from dinonat.models.network import Network
from dinonat.models.published import load_published
from dinonat.models.timm_built import PREFIX, TimmSettings, build_settings
from dinonat.models.vit import ViTSettings
from dinonat.records import STARTER

# Trained weights that come with the package; weights/nat_nano.md says how and on what.
STARTER_FILE = Path(__file__).parent.parent / "weights" / "nat_nano.safetensors"

# Positions for 518 px, the size of the last steps of its training.
_DINOV2 = ViTSettings(dim=384, heads=6, patch=14, positions=37, layer_scale=1e-5, mask_token=True)
_REGISTERS = {"registers": 4, "resize": "antialias"}

NETWORKS: dict[str, NATSettings | ViTSettings] = {
    # For CPUs: no position bias, so that nothing hinders the fastest attention on any device.
    "nat_nano": NATSettings(dim=32, depths=(2, 2, 6, 2), heads=(1, 2, 4, 8), position_bias=False),
    # As published (Hassani et al. 2023, table 1); on small maps they pad.
    "nat_mini": NATSettings(dim=64, depths=(3, 4, 6, 5), heads=(2, 4, 8, 16), small_map="pad"),
    "nat_tiny": NATSettings(dim=64, depths=(3, 4, 18, 5), heads=(2, 4, 8, 16), small_map="pad"),
    "nat_small": NATSettings(
        dim=96, depths=(3, 4, 18, 5), heads=(3, 6, 12, 24), mlp_ratio=2, layer_scale=1e-5, small_map="pad"
    ),
    "nat_base": NATSettings(
        dim=128, depths=(3, 4, 18, 5), heads=(4, 8, 16, 32), mlp_ratio=2, layer_scale=1e-5, small_map="pad"
    ),
    # As DINO publishes them (Caron et al. 2021): patches of 16 and 8 px, positions for 224 px.
    "vit_tiny": ViTSettings(dim=192, heads=3),
    "vit_small": ViTSettings(dim=384, heads=6),
    "vit_base": ViTSettings(dim=768, heads=12),
    "vit_tiny_8": ViTSettings(dim=192, heads=3, patch=8, positions=28),
    "vit_small_8": ViTSettings(dim=384, heads=6, patch=8, positions=28),
    "vit_base_8": ViTSettings(dim=768, heads=12, patch=8, positions=28),
    # As DINOv2 publishes them (Oquab et al. 2023), and with registers (Darcet et al. 2023).
    "dinov2_vits14": _DINOV2,
    "dinov2_vitb14": _DINOV2.model_copy(update={"dim": 768, "heads": 12}),
    "dinov2_vitl14": _DINOV2.model_copy(update={"dim": 1024, "heads": 16, "depth": 24}),
    "dinov2_vits14_reg": _DINOV2.model_copy(update=_REGISTERS),
    "dinov2_vitb14_reg": _DINOV2.model_copy(update={"dim": 768, "heads": 12, **_REGISTERS}),
    "dinov2_vitl14_reg": _DINOV2.model_copy(update={"dim": 1024, "heads": 16, "depth": 24, **_REGISTERS}),
}


def build(
    name: str = "nat_nano",
    *,
    seed: int,
    drop_path: float | None = None,
    pooling: str | None = None,
    options: dict[str, JsonValue] | None = None,
) -> Network:
    """Build an untrained network; the same seed gives the same weights.

    ``name`` is one of NETWORKS or ``timm:NAME``, to which ``options`` are keywords for timm; ``pooling``
    is a NAT's ("mean" or "simpool"). Raises UsageError for a name that is not known, and for options where
    there are none.
    """
    settings = _described(name, options or {})
    changes = {"drop_path": drop_path, "pooling": pooling if isinstance(settings, NATSettings) else None}
    settings = settings.model_copy(update={key: value for key, value in changes.items() if value is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return constructed(settings)


def untrained_twin(network: Network, *, seed: int) -> Network:
    """Build a network like ``network``, where it is, in evaluation mode, with weights by chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return constructed(network.settings).eval().to(next(network.parameters()).device)


def _described(name: str, options: dict[str, JsonValue]) -> NATSettings | ViTSettings | TimmSettings:
    if name.startswith(PREFIX):
        return build_settings(name, options)
    if name not in NETWORKS:
        raise UsageError(f"Network '{name}' is not known. Choose one of {', '.join(NETWORKS)}, or timm:NAME.")
    if options:
        raise UsageError(f"{name} takes no options of timm; those are for a network timm:NAME.")
    return NETWORKS[name]


def load_network(weights: str, *, remark: Callable[[str], object] = lambda said: None) -> tuple[Network, str]:
    """Return the network, in evaluation mode, and the fingerprint that names its weights.

    ``weights`` is ``starter``, a checkpoint of this toolkit, a file of published weights (NAT, DINO, DINOv2)
    or ``timm:NAME=FILE``, of which ``remark`` gets a sentence, or ``untrained:SEED`` or
    ``untrained:SEED:NAME`` for control rows; the fingerprint of the latter begins with "untrained".
    Raises CheckpointError for a bad file.
    """
    if weights.startswith("untrained:"):
        _, seed, *name = weights.split(":", 2)
        if not seed.isdigit():
            raise UsageError(
                f"--weights {weights}: expected untrained:SEED with a whole number, as untrained:0."
            )
        model = build(*name[:1], seed=int(seed))
        return model.eval(), f"untrained-{seed}-{fingerprint(model)}"
    path = STARTER_FILE if weights == STARTER else Path(weights)
    if weights.startswith(PREFIX):
        model, said = load_backbone(weights)
        remark(said)
    elif is_foreign(path):
        model, said = load_published(path, NETWORKS)
        remark(said)
    else:
        model = load(path)
    return model.eval(), fingerprint(model)
