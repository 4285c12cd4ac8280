"""From a FLIR camera's counts to degrees Celsius: its calibration, the object, the air, a window."""

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinonat.images.fff import byte_order
from dinonat.records import Float32

Float64 = NDArray[np.float64]
UInt16 = NDArray[np.uint16]

ZERO_CELSIUS = 273.15  # kelvin
LEAST = 0x310  # bytes: up to the last of Planck's constants
TEXT, LONG_TEXT = 16, 32

# What air can hold of water over its temperature in degrees Celsius, as exp of a cubic: FLIR's fit.
VAPOUR = (1.5587, 6.939e-2, -2.7816e-4, 6.8455e-7)


@dataclass(frozen=True)
class Planck:
    """The constants of a camera's curve between temperature and counts."""

    r1: float
    b: float
    f: float
    o: float
    r2: float


@dataclass(frozen=True)
class Air:
    """How air attenuates: FLIR's two exponentials, weighted x and 1 - x."""

    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float


@dataclass(frozen=True)
class Scene:
    """How the object was seen; names, units and ranges are those of reading.OBJECT_PARAMETERS."""

    emissivity: float = 1.0
    distance: float = 0.0
    reflected: float = 20.0
    atmosphere: float = 20.0
    humidity: float = 0.5
    window: float = 20.0
    transmission: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """Everything that a FLIR camera says about its counts."""

    planck: Planck
    air: Air
    scene: Scene
    counts: tuple[int, int] | None = None  # least and largest that the calibration covers
    about: Mapping[str, str] | None = None  # camera, serial, lens, taken


def read_calibration(record: bytes) -> Calibration | None:
    """Read a camera info record; None where it is too short to hold Planck's constants."""
    if len(record) < LEAST:
        return None
    order = byte_order(record)

    def number(place: int, kind: str = "f") -> float:
        return float(struct.unpack_from(order + kind, record, place)[0])

    humidity = number(0x3C)
    scene = Scene(
        emissivity=number(0x20),
        distance=number(0x24),
        reflected=number(0x28) - ZERO_CELSIUS,
        atmosphere=number(0x2C) - ZERO_CELSIUS,
        humidity=humidity / 100 if humidity > 2 else humidity,  # some cameras store per cent
        window=number(0x30) - ZERO_CELSIUS,
        transmission=number(0x34),
    )
    planck = Planck(number(0x58), number(0x5C), number(0x60), number(0x308, "i"), number(0x30C))
    air = Air(number(0x70), number(0x74), number(0x78), number(0x7C), number(0x80))
    return Calibration(planck, air, scene, _covered(record, order), _about(record, order))


def _covered(record: bytes, order: str) -> tuple[int, int] | None:
    if len(record) < LEAST + 4:
        return None
    low, high = struct.unpack_from(order + "HH", record, LEAST)
    return (low, high) if low < high else None


def _about(record: bytes, order: str) -> dict[str, str]:
    def text(place: int, length: int) -> str:
        stored = record[place : place + length].split(b"\0")[0].decode("ascii", "replace")
        return "".join(c for c in stored if c.isprintable()).strip()

    about = {"camera": text(0xD4, LONG_TEXT), "serial": text(0x104, TEXT), "lens": text(0x170, LONG_TEXT)}
    if len(record) >= 0x38E:
        about["taken"] = _time(*struct.unpack_from(order + "IIh", record, 0x384))
    return {name: value for name, value in about.items() if value}


def _time(seconds: int, milliseconds: int, minutes_west: int) -> str:
    """Return ISO 8601 with the camera's own zone; "" where the clock was never set or is no time."""
    if not seconds or milliseconds >= 1000 or abs(minutes_west) >= 24 * 60:
        return ""
    moment = datetime.fromtimestamp(seconds, UTC) + timedelta(milliseconds=milliseconds)
    return moment.astimezone(timezone(timedelta(minutes=-minutes_west))).isoformat(timespec="milliseconds")


def seen_as(calibration: Calibration, changed: Mapping[str, float]) -> Calibration:
    """Return the calibration with object parameters that the user gave in place of the camera's."""
    return replace(calibration, scene=replace(calibration.scene, **changed))


def signal(celsius: float | Float64, planck: Planck) -> Float64:
    """Return the count that a black body of this temperature gives, NaN where there is none."""
    kelvin = np.asarray(celsius, np.float64) + ZERO_CELSIUS
    with np.errstate(all="ignore"):
        counts = planck.r1 / (planck.r2 * (np.exp(planck.b / kelvin) - planck.f)) - planck.o
    return np.asarray(counts, np.float64)


def temperature(counts: float | Float64, planck: Planck) -> Float64:
    """Return degrees Celsius of a black body with these counts, NaN where the formula has no solution."""
    with np.errstate(all="ignore"):
        radiance = np.asarray(counts, np.float64) + planck.o
        argument = planck.r1 / (planck.r2 * radiance) + planck.f
        celsius = planck.b / np.log(argument) - ZERO_CELSIUS
        return np.where((radiance > 0) & (argument > 1) & np.isfinite(celsius), celsius, np.nan)


def water_vapour(scene: Scene) -> float:
    """Return the water in the air: its relative humidity times what air of this temperature can hold."""
    t = np.float64(scene.atmosphere)
    with np.errstate(all="ignore"):
        return float(scene.humidity * np.exp(VAPOUR[0] + VAPOUR[1] * t + VAPOUR[2] * t**2 + VAPOUR[3] * t**3))


def air_transmission(scene: Scene, air: Air) -> float:
    """Return the share of radiation that the air between object and camera lets through.

    FLIR's model has two legs of half the distance each, one before and one behind a window.
    """
    with np.errstate(all="ignore"):
        way, damp = np.sqrt(np.float64(scene.distance) / 2), np.sqrt(np.float64(water_vapour(scene)))
        first = np.exp(-way * (air.alpha1 + air.beta1 * damp))
        second = np.exp(-way * (air.alpha2 + air.beta2 * damp))
        return float(air.x * first + (1 - air.x) * second)


def object_signal(counts: Float64, calibration: Calibration) -> Float64:
    """Return the counts of the object alone: without what it reflects, the air and the window.

    What arrives is E t W t S(object) and, in the order of the way, the surroundings reflected by the
    object (1 - E), the air before the window (1 - t), the window (1 - W) and the air behind it (1 - t),
    each weakened by all that follows it.
    """
    scene, planck = calibration.scene, calibration.planck
    air = air_transmission(scene, calibration.air)
    e, w, t = (np.float64(share) for share in (scene.emissivity, scene.transmission, air))
    reflected = (1 - e) / e * signal(scene.reflected, planck)
    before = (1 - t) / (e * t) * signal(scene.atmosphere, planck)
    window = (1 - w) / (e * t * w) * signal(scene.window, planck)
    behind = (1 - t) / (e * t**2 * w) * signal(scene.atmosphere, planck)
    return counts / (e * t**2 * w) - reflected - before - window - behind


def why_not(calibration: Calibration) -> str:
    """Return what in a calibration forbids degrees, "" where nothing does."""
    scene, planck = calibration.scene, calibration.planck
    positive = {
        "emissivity": scene.emissivity,
        "transmission of the window": scene.transmission,
        "transmission of the air": air_transmission(scene, calibration.air),
        "Planck R1": planck.r1,
        "Planck R2": planck.r2,
        "Planck B": planck.b,
    }
    for name, value in positive.items():
        if not 0 < value < np.inf:
            return f"{name} is {value:g}, which cannot be"
    numbers = [*asdict(scene).values(), *asdict(planck).values()]
    return "" if np.isfinite(numbers).all() else "its parameters are not numbers"


def celsius(counts: UInt16, calibration: Calibration) -> Float32:
    """Return degrees Celsius (H, W) of counts (H, W), NaN where the model has no solution.

    Temperature depends on the count alone: it is computed once for each count between the smallest
    and the largest, in float64, and looked up.
    """
    low, high = int(counts.min()), int(counts.max())
    levels = np.arange(low, high + 1, dtype=np.float64)
    with np.errstate(all="ignore"):
        table = temperature(object_signal(levels, calibration), calibration.planck).astype(np.float32)
    table[~np.isfinite(table)] = np.nan
    return table.take(counts - np.uint16(low), mode="clip")


def described(calibration: Calibration) -> dict[str, Any]:
    """Return what a frame carries of its calibration: parameters as used, camera, time, constants."""
    scene = {name: round(value, 4) for name, value in asdict(calibration.scene).items()}
    covered = None if calibration.counts is None else list(calibration.counts)
    return {
        **scene,
        **(calibration.about or {}),
        "planck": asdict(calibration.planck),
        "calibrated_counts": covered,
    }
