"""Made labels in the numbers and with the columns of a real export, for `dinotool bench formats`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import outgoing
from dinonat.records import TEMPERATURE_COLUMNS

SIZE_HW = (512, 640)  # of many thermal cameras
CLASSES = ("bicycle", "bird", "bus", "car", "dog", "person", "traffic light", "truck")
REASONS = ("3 of 5 neighbours agree", "4 of 5 neighbours agree", "one neighbour only", "nearest is far away")


def made_labels(images: int, boxes: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table of labels, ``boxes`` for each image, and one of the images; all classes are CLASSES.

    The table of labels has PROPOSAL_COLUMNS as far as a format looks at them. Texts that repeat are
    categorical, so that a million labels take what they must and no more.
    """
    rng = np.random.default_rng(seed)
    count, (height, width) = images * boxes, SIZE_HW
    names = [f"recording-{number // 500:04d}/frame-{number:06d}.png" for number in range(images)]
    low = rng.uniform(0, (width - 100, height - 100), (count, 2)).round(2)
    sides = rng.uniform(4, 99, (count, 2)).round(2)
    shares = {
        name: rng.random(count).astype(np.float32) for name in ("score", "similarity", "objectness", "margin")
    }
    degrees = {
        name: rng.uniform(-5, 60, count).astype(np.float32) for name in ("lo", "hi", *TEMPERATURE_COLUMNS)
    }
    whole = {"kind": "region", "status": "proposed", "advice": "review", "source": "ncut"}
    whole |= {"model": "0123456789abcdef", "prepare": "percentile", "unit": "celsius"}
    columns = {
        "proposal": pd.array([f"{number:016x}" for number in rng.permutation(count)], dtype="str"),
        "image": _repeating(np.repeat(np.arange(images), boxes), names),
        "label": _repeating(rng.integers(0, len(CLASSES), count), CLASSES),
        "reason": _repeating(rng.integers(0, len(REASONS), count), REASONS),
        **{name: _repeating(np.zeros(count, np.int8), [text]) for name, text in whole.items()},
        **dict(zip("xywh", np.concatenate([low, sides], axis=1).astype(np.float32).T, strict=True)),
        **shares,
        **degrees,
        "cluster": np.full(count, -1, np.int32),
        "mask_counts": pd.Series([()] * count, dtype="object"),
    }
    return pd.DataFrame(columns), pd.DataFrame({"image": names, "width": width, "height": height})


def _repeating(codes: np.ndarray, texts: Sequence[str]) -> "pd.Categorical[str]":
    """Return a column of texts that repeat, each held once."""
    return pd.Categorical.from_codes(codes, pd.Index(texts))


def write_many(name: str, count: int, folder: Path) -> tuple[int, float, float]:
    """Write ``count`` boxes, five an image, as format ``name``; return how many, seconds, and MB at the peak.

    The peak is that of the whole process, which should do nothing else: Python, pandas and the table too.
    """
    labels, images = made_labels(count // 5, 5)
    start = time.perf_counter()
    written = FORMATS[name].write(outgoing(labels, images, CLASSES), folder)
    return written.annotations, time.perf_counter() - start, peak_of_process()


def peak_of_process() -> float:
    """Return the most memory in MB that this process held.

    On Linux by its own VmHWM: what getrusage says, a child inherits from a parent that held more.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
