"""What `auto` makes of a recipe: settings that the data decide, where nobody gave them.

The defaults of TrainSettings are measured for up to 20,000 images and a batch of 48. Towards the size of
ImageNet they go over into what was published for it (Caron et al. 2021; Oquab et al. 2023), evenly in the
logarithm of the number of images; that way was not measured here.
"""

import math
from collections.abc import Collection
from typing import Any

from dinonat.pretraining.recipe import TrainSettings

SMALL, LARGE = 20_000, 1_281_167  # images: up to which the defaults were measured, and of ImageNet
PROTOTYPES = ((20_000, 1024), (50_000, 2048), (100_000, 4096), (200_000, 16_384), (500_000, 32_768))
MOST_PROTOTYPES = 65_536
WIDE_HEAD = 16_384  # prototypes from which the head is as wide as the official one
MEASURED_BATCH = 48
FITTED = (  # settings that are filled in where nobody gives them
    *("out_dim", "hidden", "bottleneck", "momentum", "teacher_temperature", "freeze_prototypes"),
    *("learning_rate", "head_first"),
)
LEARNING_RATE, HIGHEST_RATE = 1e-3, 2e-3
GOING_ON = 0.4  # of the learning rate: a network that has learned already moves in smaller steps
NEW_HEAD_STEPS = 100  # in which a new head learns alone what a network that has learned already says


def fitted(
    settings: TrainSettings,
    given: Collection[str],
    *,
    images: int,
    from_weights: bool = False,
    with_heads: bool = False,
) -> tuple[TrainSettings, str]:
    """Return the recipe with what the data decide filled in, and a sentence that says it.

    Parameters
    ----------
    settings : TrainSettings
    given : collection of str
        Names of settings that somebody has given: those stay.
    images : int
        How many are trained on.
    from_weights : bool
        Whether the network has learned before.
    with_heads : bool
        Whether its heads have, too.
    """
    share = min(1.0, max(0.0, math.log(max(images, 1) / SMALL) / math.log(LARGE / SMALL)))
    prototypes = next((count for most, count in PROTOTYPES if images <= most), MOST_PROTOTYPES)
    values: dict[str, Any] = {
        "out_dim": prototypes,
        "hidden": 2048 if prototypes >= WIDE_HEAD else 1024,
        "bottleneck": 256 if prototypes >= WIDE_HEAD else 64,
        "momentum": (0.996 if from_weights else between(share, 0.985, 0.996), between(share, 0.9995, 1.0)),
        "teacher_temperature": (between(share, 0.02, 0.04), between(share, 0.02, 0.07)),
        "freeze_prototypes": round(between(share, 100, 1250)),
        "learning_rate": _rate(settings.batch, from_weights),
        "head_first": NEW_HEAD_STEPS if from_weights and not with_heads else 0,
    }
    values = {name: value for name, value in values.items() if name not in given}
    told = ", ".join(f"{name} {_written(value)}" for name, value in values.items())
    what = " and for weights that have learned already" if from_weights else ""
    sentence = f"Fitted to {images} images, batches of {settings.batch}{what}: {told or 'nothing'}"
    return TrainSettings.checked(settings.model_dump() | values), sentence


def between(share: float, small: float, large: float) -> float:
    """Return what lies at ``share`` of the way, to four digits, so that it can be written down.

    >>> between(0.0, 0.985, 0.996), between(0.5, 0.02, 0.04), between(1.0, 0.985, 0.996)
    (0.985, 0.03, 0.996)
    """
    return float(f"{small + share * (large - small):.4g}")


def _rate(batch: int, from_weights: bool) -> float:
    """Learning rate by the root of the batch (as DINOv2 scales it), no more than was ever tried."""
    rate = min(HIGHEST_RATE, LEARNING_RATE * math.sqrt(batch / MEASURED_BATCH))
    return float(f"{rate * (GOING_ON if from_weights else 1):.3g}")


def _written(value: Any) -> str:
    return f"[{', '.join(f'{each:g}' for each in value)}]" if isinstance(value, tuple) else f"{value:g}"
