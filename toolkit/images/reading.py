"""What a user says about files that the files do not say themselves: units, and how a scene was seen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dinonat.errors import UsageError

SCALE = re.compile(r"(?P<size>[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(?P<unit>[KkCc])")

# Name -> what it is, and the values that make sense (the quantities of FLIR's model of a scene).
OBJECT_PARAMETERS: dict[str, tuple[str, float, float]] = {
    "emissivity": ("of the object", 0.01, 1.0),
    "distance": ("to the object, metres", 0.0, 100_000.0),
    "reflected": ("reflected apparent temperature, degrees Celsius", -273.0, 5000.0),
    "atmosphere": ("temperature of the air, degrees Celsius", -100.0, 200.0),
    "humidity": ("relative, 0 to 1", 0.0, 1.0),
    "window": ("temperature of a window in front of the lens, degrees Celsius", -273.0, 5000.0),
    "transmission": ("of that window, 0 to 1", 0.01, 1.0),
}


@dataclass(frozen=True)
class Scale:
    """What one count is: ``size`` kelvin above absolute zero, or degrees Celsius above 0."""

    size: float
    unit: Literal["K", "C"]


@dataclass(frozen=True)
class Reading:
    """The scale of counts that have no unit, and object parameters that replace the camera's."""

    scale: Scale | None = None
    object: Mapping[str, float] = field(default_factory=dict)  # keys of OBJECT_PARAMETERS


AS_STORED = Reading()


def parse_reading(scale: str = "", object: str = "") -> Reading:
    """Read ``scale`` like "0.04K" or "0.1C" and ``object`` like "emissivity=0.95,distance=10".

    Raises UsageError for another form, an unknown name, or a value that no scene has.

    >>> parse_reading("0.04K", "distance=10")
    Reading(scale=Scale(size=0.04, unit='K'), object={'distance': 10.0})
    """
    return Reading(_scale(scale), _object(object))


def _scale(text: str) -> Scale | None:
    if not text.strip():
        return None
    found = SCALE.fullmatch(text.strip())
    try:
        size = float(found["size"]) if found else 0.0
    except ValueError:
        size = 0.0
    if found is None or size <= 0:
        raise UsageError(
            f"scale={text}: expected what one count is, in kelvin above absolute zero or degrees Celsius: "
            "0.04K or 0.1C."
        )
    return Scale(size, "K" if found["unit"] in "Kk" else "C")


def _object(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (part.strip() for part in pair.partition("="))
        if name not in OBJECT_PARAMETERS:
            raise UsageError(f"object={pair}: unknown. Known: {', '.join(OBJECT_PARAMETERS)}.")
        what, least, most = OBJECT_PARAMETERS[name]
        try:
            values[name] = float(number)
        except ValueError:
            values[name] = float("nan")
        if not least <= values[name] <= most:
            raise UsageError(f"object={pair}: {name} is {what}, from {least:g} to {most:g}.")
    return values
