"""Label sets with all that breaks a first import, written by us, and libraries in Pythons of their own.

DINOTOOL_ORACLES names a Python with datumaro and supervision, DINOTOOL_LABEL_STUDIO one with
label-studio-sdk (`make test-oracles` makes both); without them these tests skip.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import NUMBERS, TEXTS, Outgoing, Written, outgoing
from dinonat.geometry import mask_to_counts
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images
from dinonat.pages.proxies import write_proxies
from dinonat.pipelines.export_pictures import file_names, places_of
from dinonat.records import PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

HERE = Path(__file__).parent
CLASSES = ("person", "bike, unused", 'car "fast"', "Bär & Söhne")
HEIGHT, WIDTH = 48, 64


@dataclass(frozen=True)
class Exported:
    """An export as a user has it: a folder with files of labels and the pictures."""

    folder: Path
    asked: Outgoing
    written: Written


@pytest.fixture(scope="session")
def oracle() -> Callable[..., Any]:
    """A function that runs a script of this folder with datumaro or supervision; its JSON, if any."""
    return _runner("DINOTOOL_ORACLES")


@pytest.fixture(scope="session")
def label_studio() -> Callable[..., Any]:
    """A function that runs a script of this folder with label-studio-sdk; its JSON."""
    return _runner("DINOTOOL_LABEL_STUDIO")


def _runner(variable: str) -> Callable[..., Any]:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} is not set: run `make test-oracles`")

    def run(script: str, *words: object) -> Any:
        # Isolated: neither the script's folder nor PYTHONPATH is looked into.
        command = [python, "-I", str(HERE / script), *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout) if script.startswith("read") else done.stderr

    return run


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of 64x48 as cameras leave them: nested, 16 bits, turned by EXIF, awkward names."""
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(0)
    (folder / "night").mkdir()
    grey = rng.integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    deep = rng.integers(29_300, 31_500, (HEIGHT, WIDTH), dtype=np.uint16)
    for name in ("night/a.png", "e_empty.png", "f ü space.png", "g 'quoted'.png"):
        Image.fromarray(grey).save(folder / name)
    Image.fromarray(deep).save(folder / "b16.png")
    Image.fromarray(deep).save(folder / "c16.tiff")
    turned = Image.Exif()
    turned[0x0112] = 6  # a camera held upright: the file is 64x48, the picture 48x64
    Image.fromarray(grey).save(folder / "d_exif6.jpg", exif=turned, quality=95)
    return folder


@pytest.fixture(scope="session")
def proxies(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The pictures as `export --proxies` gives them, upright and 8 bits deep, and the list of them."""
    listed = list_images(originals).refs
    loaded = [one for one in read_prepared(listed, workers=0) if one.prepared is not None]
    rows = [
        (one.ref.name, one.prepared.pixels.shape[1], one.prepared.pixels.shape[0], one.sha256)
        for one in loaded
    ]
    images = pd.DataFrame(rows, columns=["image", "width", "height", "sha256"])
    images = images.sort_values("image").reset_index(drop=True)
    folder = tmp_path_factory.mktemp("proxies")
    write_proxies(
        images, folder, file_names(images["image"], root=originals, proxies=True, flat=False), root=originals
    )
    return folder, images


@pytest.fixture(scope="session")
def labels() -> pd.DataFrame:
    """Labels of `originals`: every kind of mask and place that some reader is known to lose."""
    ring = np.zeros((HEIGHT, WIDTH), bool)
    ring[5:30, 5:40] = True
    ring[12:20, 15:25] = False  # 795 px
    parts = np.zeros((HEIGHT, WIDTH), bool)
    parts[2:8, 2:8] = True
    parts[20:30, 30:50] = True  # 36 + 200 px
    edge = np.zeros((HEIGHT, WIDTH), bool)
    edge[40:, 50:] = True
    edge[40, 50] = False
    rows = [
        {"image": "night/a.png", "box": (1.25, 2.5, 20.75, 30.1), "label": CLASSES[0], "score": 0.875},
        {"image": "night/a.png", "mask": ring, "label": CLASSES[2], "score": 0.5},
        {"image": "b16.png", "mask": ring, "label": CLASSES[0], "score": 0.25},
        {"image": "c16.tiff", "mask": parts, "label": CLASSES[3], "score": 0.125},
        {"image": "d_exif6.jpg", "box": (0, 0, HEIGHT, WIDTH), "label": CLASSES[0], "score": 1.0},
        {"image": "f ü space.png", "mask": edge, "label": CLASSES[2], "score": 0.75},
        {"image": "f ü space.png", "box": (44, 40, 20, 8), "label": CLASSES[3], "score": 0.0625},
        {"image": "g 'quoted'.png", "box": (0, 0, 3, 3), "label": CLASSES[3], "score": 0.375},
    ]
    return _table(rows)


@pytest.fixture(scope="session")
def drawn_labels(proxies: tuple[Path, pd.DataFrame]) -> pd.DataFrame:
    """Many labels at random: boxes on hundredths of a pixel, and masks of blobs with holes and parts."""
    rng, (_, images), rows = np.random.default_rng(7), proxies, []
    for _, image in images.iterrows():
        height, width = int(image["height"]), int(image["width"])
        for _ in range(int(rng.integers(0, 6))):
            low = rng.uniform(0, (width - 6, height - 6)).round(2)
            sides = np.minimum(rng.uniform(2, 30, 2), (width, height) - low).round(2)
            row: dict[str, Any] = {"image": image["image"], "label": CLASSES[int(rng.integers(4))]}
            row |= {"box": (*low, *sides), "score": float(rng.integers(1, 999)) / 1000}
            if rng.random() < 0.5:
                mask = np.kron(rng.random((height // 8, width // 8)) < 0.5, np.ones((8, 8))).astype(bool)
                row["mask"] = mask if mask.any() else np.ones((height, width), bool)
            rows.append(row)
    return _table(rows)


@pytest.fixture(scope="session")
def exported(
    labels: pd.DataFrame,
    drawn_labels: pd.DataFrame,
    originals: Path,
    proxies: tuple[Path, pd.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Exported]:
    """A function that writes a set in a format, pictures where the format has them; each only once."""
    made: dict[str, Exported] = {}

    def export(name: str, which: str = "fixture", **options: Any) -> Exported:
        key = f"{name} {which} {options}"
        if key not in made:
            folder, (pictures, images) = tmp_path_factory.mktemp(name), proxies
            names = file_names(images["image"], root=originals, proxies=True, flat=False)
            flat = file_names(images["image"], root=originals, proxies=True, flat=FORMATS[name].flat)
            given = labels if which == "fixture" else drawn_labels
            asked = outgoing(given, images.assign(file_name=flat), CLASSES, **options)
            written = FORMATS[name].write(asked, folder)
            for row, place in places_of(asked, FORMATS[name]):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes((pictures / names[row]).read_bytes())
            made[key] = Exported(folder, asked, written)
        return made[key]

    return export


@pytest.fixture(scope="session")
def said() -> Callable[[Outgoing], dict[str, dict[str, dict[str, Any]]]]:
    """A function that says what a reader should find: file name -> id of a label -> what it is."""

    def say(asked: Outgoing) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in asked.images["file_name"]}
        names = asked.images["file_name"].tolist()
        for row in asked.labels.to_dict("records"):
            found[names[row["at"]]][row["proposal"]] = {
                "label": row["label"],
                "box": [row[side] for side in "xywh"],
                "counts": list(row["mask_counts"]),
                "facts": {name: row[name] for name in (*TEXTS, *NUMBERS, "cluster")},
            }
        return found

    return say


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Complete rows of image, label, score and box or mask to a table of proposals."""
    default = {
        "run": "run1", "set": "set1", "item": "i", "kind": "region", "width": WIDTH, "height": HEIGHT,
        "margin": 0.5, "second": "person", "similarity": 0.75, "advice": "review", "source": "ncut",
        "reason": '3 of 4 "near" neighbours agree, < 5', "objectness": 0.5, "cluster": 2, "neighbours": [],
        "status": "proposed", "model": "0123456789abcdef", "features": "mean=1", "prepare": "percentile",
        "lo": 1.0, "hi": 9.0, "unit": "celsius", **dict.fromkeys(TEMPERATURE_COLUMNS, 21.5),
    }  # fmt: skip
    made = []
    for number, row in enumerate(rows):
        mask, box = row.get("mask"), row.get("box")
        if mask is not None:
            (top, bottom), (left, right) = (
                (int(np.flatnonzero(mask.any(axis))[0]), int(np.flatnonzero(mask.any(axis))[-1]) + 1)
                for axis in (1, 0)
            )
            box = (left, top, right - left, bottom - top)
        counts = [] if mask is None else mask_to_counts(mask)
        own = {"proposal": f"p{number:03}", "mask_counts": counts, **dict(zip("xywh", box, strict=True))}
        made.append({**default, **own, **{key: row[key] for key in ("image", "label", "score")}})
    return as_table(made, PROPOSAL_COLUMNS)
