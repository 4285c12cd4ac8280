"""What `dinotool agreement` can be told."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from dinonat.settings import Settings


class AgreementSettings(Settings):
    """What `dinotool agreement` can be told."""

    colour: Path | None = None  # folder
    thermal: Path | None = None  # folder; None: pictures of the first only (--pictures)
    weights: tuple[str, ...] = ()  # as `embed --weights` takes them; none: the newest run, else the starter
    prepare: tuple[str, ...] = ("percentile",)  # of the thermal pictures; each is a row of every network
    invert: str = "auto"
    scale: str = ""
    object: str = ""
    pair_list: Path | None = None  # CSV colour,thermal instead of names and times
    pair_offset: str = "0,0"  # how far right and down the thermal picture lies, pixels of the colour one
    recordings: Path | None = None  # CSV image,recording; None: found as `pretrain --pairs` finds them
    labels: Path | None = None  # labelled boxes, or pictures: for k-NN from colour to thermal
    pictures: int = Field(0, ge=0, le=64)  # pairs of which the attention is drawn, by head and stage
    blind: int = Field(0, ge=0, le=64)  # pairs for a test by eye: half of them true, no captions
    size: int = Field(224, ge=64, le=1024)  # side at which networks see the pictures, pixels
    most: int = Field(500, ge=0)  # pairs that are measured, spread over all; 0: all
    untrained: int = Field(3, ge=1, le=20)  # networks by chance of each kind
    seed: int = 0  # of the resamples and the test by eye
    workers: int = Field(1, ge=0)
    threads: int | None = Field(None, ge=1)
    device: str = "auto"

    @field_validator("weights", "prepare", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("prepare")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value)) or ("percentile",)
