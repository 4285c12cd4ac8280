"""Made scenes: one drawn world seen in colour and in the infrared, with true boxes, for demo and tests.

They show that the chain runs and whether a box lies where a thing is. They are never results: a drawn
person is three materials and six capsules. Everything follows from the seed.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinonat.errors import UsageError
from dinonat.files import write_bytes, write_json
from dinonat.geometry import box_of_mask, mask_to_counts
from dinonat.records import Bool, Float32, UInt8

Float64 = NDArray[np.float64]
UInt16 = NDArray[np.uint16]

KINDS = ("person", "car", "animal")
KELVIN_PER_COUNT = 0.04  # of the made camera; a FLIR core in high gain has the same
RECORDING = 6  # scenes in a row that share place, weather and camera, as frames of one drive do

# A thing is a list of capsules in its own units: foot at (0, 0), height 1, x to the right, y down:
# (x0, y0, x1, y1, radius, material). Later ones lie in front.
Capsule = tuple[float, float, float, float, float, str]
SHAPES: dict[str, tuple[Capsule, ...]] = {
    "person": (
        (-0.07, -0.45, -0.10, -0.05, 0.06, "trousers"),
        (0.07, -0.45, 0.10, -0.05, 0.06, "trousers"),
        (-0.15, -0.76, -0.19, -0.48, 0.04, "coat"),
        (0.15, -0.76, 0.19, -0.48, 0.04, "coat"),
        (0.00, -0.74, 0.00, -0.48, 0.12, "coat"),
        (0.00, -0.92, 0.00, -0.90, 0.075, "skin"),
    ),
    "car": (
        (-0.95, -0.40, 0.95, -0.40, 0.26, "paint"),
        (-0.45, -0.72, 0.30, -0.72, 0.26, "paint"),
        (-0.38, -0.74, 0.22, -0.74, 0.15, "glass"),
        (0.78, -0.46, 0.95, -0.42, 0.16, "bonnet"),
        (-0.68, -0.19, -0.68, -0.19, 0.19, "tyre"),
        (0.68, -0.19, 0.68, -0.19, 0.19, "tyre"),
    ),
    "animal": (
        (-0.48, -0.45, -0.52, -0.05, 0.05, "fur"),
        (-0.30, -0.42, -0.28, -0.05, 0.05, "fur"),
        (0.30, -0.42, 0.28, -0.05, 0.05, "fur"),
        (0.45, -0.45, 0.50, -0.05, 0.05, "fur"),
        (-0.58, -0.62, -0.75, -0.45, 0.03, "fur"),
        (-0.42, -0.56, 0.42, -0.58, 0.18, "fur"),
        (0.50, -0.68, 0.66, -0.86, 0.09, "fur"),
        (0.72, -0.88, 0.84, -0.84, 0.07, "muzzle"),
    ),
    "bush": (  # in the way, never labelled, hardly warmer than the ground
        (-0.35, -0.35, -0.10, -0.40, 0.35, "leaves"),
        (0.05, -0.55, 0.15, -0.50, 0.40, "leaves"),
        (0.40, -0.30, 0.45, -0.30, 0.30, "leaves"),
    ),
}
HEIGHTS = {"person": 0.34, "car": 0.26, "animal": 0.22, "bush": 0.20}  # share of the picture, near the camera

# Material -> emissivity, kelvin above the air (lowest, highest), darkest and brightest colour.
MATERIALS: dict[str, tuple[float, tuple[float, float], Sequence[int], Sequence[int]]] = {
    "skin": (0.98, (11, 15), (110, 70, 50), (235, 195, 170)),
    "coat": (0.95, (4, 8), (20, 20, 20), (230, 230, 230)),
    "trousers": (0.95, (3, 6), (15, 15, 25), (120, 120, 150)),
    "paint": (0.90, (0, 3), (30, 30, 30), (240, 240, 240)),
    "glass": (0.80, (0, 1), (20, 30, 40), (70, 90, 110)),  # reflects the cold sky
    "bonnet": (0.90, (6, 14), (30, 30, 30), (240, 240, 240)),
    "tyre": (0.95, (5, 12), (15, 15, 15), (45, 45, 45)),
    "fur": (0.96, (5, 9), (50, 35, 20), (200, 170, 130)),
    "muzzle": (0.97, (9, 13), (40, 30, 20), (120, 90, 70)),
    "leaves": (0.97, (-1, 1), (20, 45, 15), (80, 120, 60)),
}
PAINTED = ("coat", "trousers", "paint", "bonnet")  # of any hue; the others vary in brightness only
# Ground -> colour, kelvin above the air: meadow, asphalt, sand.
GROUNDS = (((70, 95, 45), 0.0), ((105, 105, 105), 3.0), ((150, 130, 95), 1.5))


@dataclass(frozen=True, eq=False)
class MadeThing:
    """One thing of a scene as far as it can be seen: not what lies behind another."""

    kind: str
    box_xywh: tuple[float, float, float, float]  # pixels
    mask: Bool  # (H, W)


@dataclass(frozen=True, eq=False)
class Scene:
    """One moment of a drawn world, as two perfectly aligned cameras see it."""

    colour: UInt8  # (H, W, 3)
    counts: UInt16  # (H, W) of a camera with KELVIN_PER_COUNT, its noise and its columns
    things: tuple[MadeThing, ...]


@dataclass(frozen=True)
class Weather:
    """What the frames of one recording share."""

    air: float  # kelvin
    sky: float  # kelvin
    light: float  # 0.25 (dusk) to 1
    ground: int  # index into GROUNDS
    horizon: float  # share of the height
    columns: int  # seed of the camera's fixed pattern


def weather(seed: int, recording: int) -> Weather:
    """Draw place, hour and camera of a recording."""
    rng = np.random.default_rng([seed, 1, recording])
    air = float(rng.uniform(272, 298))
    return Weather(
        air=air,
        sky=air - float(rng.uniform(20, 40)),
        light=float(rng.uniform(0.25, 1)),
        ground=int(rng.integers(len(GROUNDS))),
        horizon=float(rng.uniform(0.15, 0.35)),
        columns=int(rng.integers(2**31)),
    )


def cloud(rng: np.random.Generator, size_hw: tuple[int, int], cells: Sequence[int] = (4, 16, 48)) -> Float32:
    """Return smooth random texture (H, W) in about [-1, 1]: octaves of linearly interpolated noise."""
    height, width = size_hw
    total = np.zeros(size_hw)
    for octave, n in enumerate(cells):
        grid = rng.uniform(-1, 1, (n + 1, n + 1))
        rows = np.linspace(0, n, height, endpoint=False)
        columns = np.linspace(0, n, width, endpoint=False)
        top, left = rows.astype(int), columns.astype(int)
        down, right = (rows - top)[:, None], (columns - left)[None, :]
        upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
        lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
        total += (upper * (1 - down) + lower * down) / 2**octave
    return (total / 1.75).astype(np.float32)


def apparent(emissivity: float, kelvin: float, sky: float) -> float:
    """Return what a thermal camera reads off a surface that also mirrors the sky (grey body, T^4)."""
    return float((emissivity * kelvin**4 + (1 - emissivity) * sky**4) ** 0.25)


def backdrop(rng: np.random.Generator, place: Weather, size_hw: tuple[int, int]) -> tuple[Float32, Float32]:
    """Return ground and sky without things: colour (H, W, 3) in [0, 255] and kelvin (H, W)."""
    texture = cloud(rng, size_hw)
    row = np.arange(size_hw[0], dtype=np.float32)[:, None] / size_hw[0]  # (H, 1)
    below = row >= place.horizon
    height = np.clip(1 - row / place.horizon, 0, 1)  # 0 at the horizon, 1 at the top of the picture
    ground, warmth = GROUNDS[place.ground]
    colour = np.where(
        below[..., None],
        np.array(ground) * (1 + 0.45 * texture[..., None]),
        np.array((165, 190, 215)) * (1 + 0.08 * texture[..., None]),
    )
    haze = place.air - 3 - 0.3 * height * (place.air - place.sky)  # low sky is nearly as warm as the air
    kelvin = np.where(below, place.air + warmth * (1 + texture), haze + texture)
    return colour.astype(np.float32), kelvin.astype(np.float32)


def look_of(rng: np.random.Generator, material: str, body: Float64, place: Weather) -> tuple[Float64, float]:
    """Return colour (3,) and apparent kelvin of a material on a thing of the hue ``body`` (3,)."""
    emissivity, (low, high), dark, bright = MATERIALS[material]
    tint = body if material in PAINTED else body[:1]
    warm = place.air + float(rng.uniform(low, high))
    return np.array(dark) + tint * (np.array(bright) - np.array(dark)), apparent(emissivity, warm, place.sky)


def paint_thing(
    rng: np.random.Generator,
    kind: str,
    place: Weather,
    foot_xy: tuple[float, float],
    height: float,
    colour: Float32,  # (H, W, 3), changed in place
    kelvin: Float32,  # (H, W), changed in place
) -> Bool:
    """Draw one thing into both views and return the pixels it covers (H, W)."""
    mirror = 1 if rng.random() < 0.5 else -1
    reach = 1.35 * height  # no capsule goes further from the foot
    rows = slice(max(0, int(foot_xy[1] - reach)), int(foot_xy[1] + 0.2 * height) + 1)
    columns = slice(max(0, int(foot_xy[0] - reach)), int(foot_xy[0] + reach) + 1)
    near, near_kelvin = colour[rows, columns], kelvin[rows, columns]  # views: the picture itself changes
    size_hw = (near.shape[0], near.shape[1])
    v = (np.arange(size_hw[0], dtype=np.float64)[:, None] + rows.start + 0.5 - foot_xy[1]) / height
    u = (
        (np.arange(size_hw[1], dtype=np.float64)[None, :] + columns.start + 0.5 - foot_xy[0])
        / height
        * mirror
    )
    shading = cloud(rng, size_hw, (6, 16))
    body = rng.uniform(size=3)  # one colour for paint and bonnet of a car, and so on
    materials = sorted({part[5] for part in SHAPES[kind]})
    looks = {material: look_of(rng, material, body, place) for material in materials}
    covered = np.zeros(kelvin.shape, dtype=bool)
    for *ends, radius, material in SHAPES[kind]:
        rgb, temperature = looks[material]
        distance = capsule_distance(u, v, np.array(ends) + rng.normal(0, 0.012, 4)) - radius
        alpha = np.clip(0.5 - distance * height, 0, 1).astype(np.float32)  # one pixel of soft edge
        near_kelvin += alpha * (temperature + 0.6 * shading - near_kelvin)
        near += alpha[..., None] * (rgb * (1 + 0.2 * shading[..., None]) - near)
        covered[rows, columns] |= alpha >= 0.5
    return covered


def capsule_distance(u: NDArray[np.floating], v: NDArray[np.floating], ends: Float64) -> Float64:
    """Return the distance (H, W) of points u (1, W), v (H, 1) to the segment ``ends`` = (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = ends
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((u - x0) * dx + (v - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    distance: Float64 = np.hypot(u - x0 - along * dx, v - y0 - along * dy)
    return distance


def make_scene(seed: int, index: int, *, size_hw: tuple[int, int] = (192, 256)) -> Scene:
    """Draw scene ``index`` of the world ``seed``: two to five things, perhaps a bush in front of one."""
    if min(size_hw) < 32:
        raise UsageError(f"size_hw={size_hw}: made scenes need at least 32 pixels a side.")
    height, width = size_hw
    place = weather(seed, index // RECORDING)
    rng = np.random.default_rng([seed, 2, index])
    colour, kelvin = backdrop(rng, place, size_hw)
    kinds = [KINDS[int(i)] for i in rng.integers(0, len(KINDS), int(rng.integers(2, 6)))] + ["bush"]
    nearness = np.sort(rng.uniform(0.15, 1, len(kinds)))  # far ones first: near ones cover them
    slots = rng.permutation(len(kinds))  # side by side, so that little is hidden
    seen: list[tuple[str, Bool]] = []
    for kind, near, slot in zip(rng.permutation(kinds), nearness, slots, strict=True):
        foot_y = height * (place.horizon + (0.97 - place.horizon) * near)
        foot_x = width * (slot + float(rng.uniform(0.25, 0.75))) / len(kinds)
        tall = height * HEIGHTS[kind] * (0.45 + 0.55 * float(near)) * float(rng.uniform(0.85, 1.15))
        mask = paint_thing(rng, str(kind), place, (foot_x, foot_y), tall, colour, kelvin)
        seen = [(name, before & ~mask) for name, before in seen] + [(str(kind), mask)]
    noisy = colour * place.light + rng.normal(0, 3, colour.shape)
    things = tuple(
        MadeThing(kind=name, box_xywh=box_of_mask(mask), mask=mask)
        for name, mask in seen
        if name in KINDS and mask.sum() >= 24
    )
    return Scene(np.clip(noisy, 0, 255).astype(np.uint8), expose(kelvin, place, rng), things)


def expose(kelvin: Float32, place: Weather, rng: np.random.Generator) -> UInt16:
    """Return what the made infrared camera stores: blurred, with noise and a fixed pattern of columns."""
    padded = np.pad(kelvin, 1, mode="edge")
    wide = padded[:, :-2] * 0.25 + padded[:, 1:-1] * 0.5 + padded[:, 2:] * 0.25
    soft = wide[:-2] * 0.25 + wide[1:-1] * 0.5 + wide[2:] * 0.25
    columns = np.random.default_rng(place.columns).normal(0, 0.06, kelvin.shape[1])
    measured = soft + columns + rng.normal(0, 0.08, kelvin.shape)
    counts: UInt16 = np.rint(measured / KELVIN_PER_COUNT).astype(np.uint16)
    return counts


@dataclass(frozen=True)
class MadeScenes:
    """Where a made world lies on disk."""

    rgb: Path  # folder of colour pictures, 8-bit PNG
    thermal: Path  # folder of thermal pictures with the names of the first colour ones
    labels: Path  # CSV image,label,x,y,w,h of a few thermal pictures: what a person would have drawn
    truth: Path  # COCO: every thing of every thermal picture, to compare with


def write_scenes(
    folder: Path,
    *,
    colour: int = 400,
    thermal: int = 60,
    labelled: int = 8,
    seed: int = 0,
    bits: int = 16,
    size_hw: tuple[int, int] = (192, 256),
) -> MadeScenes:
    """Write ``colour`` colour pictures and the thermal views of the first ``thermal`` of them.

    Thermal pictures are 16-bit counts, or 8-bit with the camera's own gain (``bits`` 8). The labelled
    ones are spread over the recordings. A folder that holds the same world already is left as it is;
    `made.json`, written last, says which one it holds. Raises UsageError for numbers that make no sense.
    """
    if not 0 < labelled <= thermal <= colour or bits not in (8, 16):
        raise UsageError(
            f"colour={colour}, thermal={thermal}, labelled={labelled}, bits={bits}: "
            "need 0 < labelled <= thermal <= colour, and bits 8 or 16."
        )
    made = MadeScenes(folder / "rgb", folder / "thermal", folder / "labels.csv", folder / "truth.json")
    numbers = {"colour": colour, "thermal": thermal, "labelled": labelled, "seed": seed, "bits": bits}
    facts = json.dumps(numbers | {"size_hw": list(size_hw)}, sort_keys=True).encode() + b"\n"
    done = folder / "made.json"
    if done.is_file() and done.read_bytes() == facts:
        return made
    things: list[tuple[MadeThing, ...]] = []
    for index in range(colour):
        scene = make_scene(seed, index, size_hw=size_hw)
        write_bytes(made.rgb / name_of(index), png(scene.colour))
        if index < thermal:
            picture = scene.counts if bits == 16 else automatic_gain(scene.counts)
            write_bytes(made.thermal / name_of(index), png(picture))
            things.append(scene.things)
    write_answers(made, things, labelled=labelled, size_hw=size_hw)
    write_bytes(done, facts)
    return made


def name_of(index: int) -> str:
    """File name of a made picture."""
    return f"made-{index:04d}.png"


def png(pixels: UInt8 | UInt16) -> bytes:
    """Encode pixels (H, W) of 8 or 16 bits, or (H, W, 3) of 8 bits, as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def automatic_gain(counts: UInt16) -> UInt8:
    """Return what a camera with automatic gain shows: the 1st to 99th percentile over 8 bits."""
    low, high = np.percentile(counts, [1, 99])
    scaled = (counts - low) / max(high - low, 1) * 255
    shown: UInt8 = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return shown


def write_answers(
    made: MadeScenes,
    things: Sequence[tuple[MadeThing, ...]],
    *,
    labelled: int,
    size_hw: tuple[int, int],
) -> None:
    """Write the truth, the recordings, and the labels of ``labelled`` evenly spread pictures."""
    chosen = {int(i) for i in np.linspace(0, len(things) - 1, labelled).round()}
    labels = ["image,label,x,y,w,h"]
    annotations: list[dict[str, object]] = []
    for index, seen in enumerate(things):
        for thing in seen:
            x, y, w, h = thing.box_xywh
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": KINDS.index(thing.kind) + 1,
                    "bbox": [x, y, w, h],
                    "area": int(thing.mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": list(size_hw), "counts": mask_to_counts(thing.mask)},
                }
            )
            if index in chosen:
                labels.append(f"{name_of(index)},{thing.kind},{x:g},{y:g},{w:g},{h:g}")
    height, width = size_hw
    images = [
        {"id": i + 1, "file_name": name_of(i), "width": width, "height": height} for i in range(len(things))
    ]
    categories = [{"id": i + 1, "name": kind, "supercategory": ""} for i, kind in enumerate(KINDS)]
    write_json(
        made.truth,
        {
            "info": {"description": "Made scenes: drawn, not photographed", "version": "1"},
            "licenses": [{"id": 0, "name": "", "url": ""}],
            "categories": categories,
            "images": images,
            "annotations": annotations,
        },
    )
    write_bytes(made.labels, ("\n".join(labels) + "\n").encode())
    recordings = [f"{name_of(i)},made-{i // RECORDING:02d}" for i in range(len(things))]
    write_bytes(
        made.labels.with_name("recordings.csv"), "\n".join(["image,recording", *recordings, ""]).encode()
    )
