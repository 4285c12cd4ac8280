"""The recipe of a pretraining run: its settings, and the views that they ask for."""

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from dinonat.errors import UsageError
from dinonat.models.backbones import check_crops
from dinonat.models.catalog import NETWORKS
from dinonat.models.nat import NATSettings
from dinonat.models.timm_built import PREFIX
from dinonat.models.vit import ViTSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.thermal_look import ThermalLook
from dinonat.pretraining.views import ViewPlan
from dinonat.settings import Settings

MOST_WARMUP = 12_500  # steps in which the learning rate rises, however long the run
MOST_TEMPERATURE_WARMUP = 37_500


class TrainSettings(Settings):
    """The recipe. Defaults are measured for up to 20,000 images and an hour on two CPU cores."""

    network: str = "nat_nano"  # one of NETWORKS, or timm:NAME
    timm: dict[str, JsonValue] = Field(default_factory=dict)  # keywords for timm, to build NAME otherwise
    batch: int = Field(48, ge=1)  # pictures of an optimizer step, over all processes
    accumulate: int = Field(
        1, ge=1
    )  # parts in which a process goes through its pictures, to need less memory
    # Crops: small ones first, larger ones after `switch_at` of the steps: most of what is learned in
    # the first half hour is learned as well, and twice as fast, at 64 px.
    global_sizes: tuple[int, int] = (64, 96)
    local_sizes: tuple[int, int] = (32, 48)
    switch_at: float = 0.7
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    n_local: int = 4
    # A run to a fixed end, or one that goes on as long as there is time and cools down when told to.
    schedule: Literal["closed", "open"] = "closed"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_share: float = 0.03
    head_first: int = Field(0, ge=0)  # steps in which only the head learns: it is new, and the network is not
    weight_decay: tuple[float, float] = (0.04, 0.2)
    clip: float = 3.0
    momentum: tuple[float, float] = (0.985, 0.9995)
    teacher_update: Literal["step", "epoch"] = "step"
    targets: Literal["sinkhorn", "centre"] = "sinkhorn"
    centre_momentum: float = Field(0.9, ge=0, le=1)  # 1: no centring
    teacher_temperature: tuple[float, float] = (0.02, 0.02)
    temperature_warmup_share: float = 0.3
    student_temperature: float = 0.1
    koleo: float = 0.1
    dense: float = Field(0.0, ge=0)  # weight of the loss between regions
    # The student's views may look thermal towards the end; the teacher's never do.
    profile: Literal["plain", "thermal"] = "plain"
    thermal_from: float = 0.6  # share of the steps after which they do
    thermal_tone: float = Field(0.7, ge=0, le=1)
    thermal_low_resolution: float = Field(0.3, ge=0, le=1)
    thermal_curve: float = Field(0.0, ge=0, le=1)  # these were proposed by others and not measured here
    thermal_gamma: float = Field(0.0, ge=0, le=1)
    thermal_invert: float = Field(0.0, ge=0, le=1)
    thermal_blur: float = Field(0.0, ge=0, le=1)
    thermal_column_noise: float = Field(0.0, ge=0, le=1)
    out_dim: int = 1024
    hidden: int = 1024
    bottleneck: int = 64
    freeze_prototypes: int = Field(100, ge=0)  # steps
    drop_path: float = 0.0
    pooling: Literal["mean", "simpool"] = "mean"  # how a NAT makes one vector of its last tokens
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    graphs: bool = True  # on CUDA, record the passes of our own networks once and replay them
    patience: int = Field(300, ge=1)  # steps for which a collapsed run may stay so before it stops
    seed: int = Field(0, ge=0, le=100_000_000)

    @model_validator(mode="after")
    def _crops_fit(self) -> "TrainSettings":
        """Refuse crops that a ViT cannot cut into patches; a NAT takes any, and timm's are asked."""
        if self.network.startswith(PREFIX):
            check_crops(self.network, self.timm, (*self.global_sizes, *self.local_sizes))
        elif self.timm:
            raise UsageError(
                f"timm={self.timm}: {self.network} is not of timm; only a timm:NAME takes keywords."
            )
        network = NETWORKS.get(self.network)
        if self.pooling != "mean" and not isinstance(network, NATSettings):
            raise UsageError(
                f"pooling={self.pooling}: only a NAT takes it; {self.network} pools in its own way."
            )
        if isinstance(network, ViTSettings):
            for name in ("global_sizes", "local_sizes"):
                if any(size % network.patch for size in getattr(self, name)):
                    raise UsageError(
                        f"{self.network} takes crops whose sides are multiples of {network.patch}: "
                        f"{name}={getattr(self, name)} are not. Give others with --set {name}=[SMALL,LARGE]."
                    )
        return self


def warmup_steps(settings: TrainSettings, course: Course) -> tuple[int, int]:
    """Return in how many steps the learning rate rises, and the teacher's temperature.

    Of a run without an end there is no share; its learning rate rises while the prototypes are frozen.
    """
    if course.open:
        return min(settings.freeze_prototypes, MOST_WARMUP), MOST_TEMPERATURE_WARMUP
    shares = settings.warmup_share, settings.temperature_warmup_share
    rate, temperature = (int(course.steps * share) for share in shares)
    return min(rate, MOST_WARMUP), min(temperature, MOST_TEMPERATURE_WARMUP)


def head_alone(settings: TrainSettings, course: Course) -> int:
    """Return for how many steps only the head learns: of a short run at most a tenth."""
    return settings.head_first if course.open else min(settings.head_first, course.steps // 10)


def view_plans(settings: TrainSettings, share: float) -> list[tuple[ViewPlan, int]]:
    """Return how views are made and how many so: two global ones, as officially, and the local ones.

    ``share`` of the steps is done: late ones have larger crops.
    """
    late = int(share >= settings.switch_at)
    size, local = settings.global_sizes[late], settings.local_sizes[late]
    plans = [
        (ViewPlan(size, settings.global_scale, blur=1.0, solarise=0.0), 1),
        (ViewPlan(size, settings.global_scale, blur=0.1, solarise=0.2), 1),
        (ViewPlan(local, settings.local_scale, blur=0.5, solarise=0.0), settings.n_local),
    ]
    return [(plan, count) for plan, count in plans if count]


def phase(settings: TrainSettings, position: float) -> int:
    """How often the views have become others by a ``position`` 0 to 1 of the run: larger, or thermal-like."""
    changes = [settings.switch_at, *([settings.thermal_from] if settings.profile == "thermal" else [])]
    return sum(position >= change for change in changes)


def thermal_look(settings: TrainSettings) -> ThermalLook:
    """Return how often each ingredient makes a student's view look thermal."""
    return ThermalLook(
        tone=settings.thermal_tone,
        low_resolution=settings.thermal_low_resolution,
        curve=settings.thermal_curve,
        gamma=settings.thermal_gamma,
        invert=settings.thermal_invert,
        blur=settings.thermal_blur,
        column_noise=settings.thermal_column_noise,
    )
