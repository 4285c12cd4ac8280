"""From tables to the parts of a page: which pictures to show, how many labels, why none."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dinonat.files import write_whole
from dinonat.images.batches import BY_DEFAULT, Shown, read_prepared
from dinonat.pages.curves import Curve, curve_of, read_lines
from dinonat.pages.pictures import NO_CLASS, Mark, colours, draw, thumbnail
from dinonat.pages.report import Abstention, Count, Picture
from dinonat.records import ImageRef

CURVES = {"loss": "Loss", "teacher_entropy": "Entropy of the teacher"}  # key in metrics.jsonl -> title
MOST_REASONS = 12


def choose_images(proposals: pd.DataFrame, images: Sequence[str], *, most: int = 24) -> list[str]:
    """Pick up to ``most`` of ``images`` for people to look at, sorted by name.

    First one image for each class, the rarest class first: that of the class's label of middle score,
    neither the best nor the worst. The others lie evenly over the set. Nothing is picked for looking
    good.
    """
    labelled = proposals[(proposals["advice"] != "unknown") & proposals["image"].isin(images)]
    chosen: dict[str, None] = {}
    for _, rows in sorted(labelled.groupby("label"), key=lambda pair: (len(pair[1]), pair[0])):
        ranked = rows.sort_values(["score", "proposal"], ascending=[False, True], kind="stable")
        fresh = ranked[~ranked["image"].isin(list(chosen))]
        if len(fresh):
            chosen[fresh["image"].iloc[len(fresh) // 2]] = None
    chosen = dict.fromkeys(list(chosen)[:most])
    left = [name for name in sorted(images) if name not in chosen]
    number = min(most - len(chosen), len(left))
    if number > 0:
        places = np.linspace(0, len(left) - 1, number + 2)[1:-1] if number < len(left) else range(len(left))
        chosen |= dict.fromkeys(left[round(place)] for place in places)
    return sorted(chosen)


def marks_of(rows: pd.DataFrame) -> tuple[Mark, ...]:
    """Return the proposals of one image as marks, in the order of the rows."""
    marks = []
    for row in rows.to_dict("records"):
        x, y, w, h = (float(row[side]) for side in "xywh")
        box = (x, y, w, h) if row["kind"] == "region" else None
        label = str(row["label"]) or NO_CLASS
        warmest = warmest_text(float(row["t_max"]), str(row["unit"]))
        marks.append(Mark(label, str(row["advice"]), box, float(row["score"]), str(row["reason"]), warmest))
    return tuple(marks)


def warmest_text(t_max: float, unit: str) -> str:
    """Say how warm the warmest pixel of a label is; "" where nothing was measured.

    Grey levels of a display image are no measurement, so they are not said.

    >>> warmest_text(36.64, "celsius"), warmest_text(17059.0, "counts"), warmest_text(255.0, "grey")
    ('up to 36.6 °C', 'up to 17,059 counts', '')
    """
    if np.isnan(t_max) or unit not in ("celsius", "counts"):
        return ""
    return f"up to {t_max:.1f} °C" if unit == "celsius" else f"up to {t_max:,.0f} counts"


def pictures_of(
    names: Sequence[str],
    proposals: pd.DataFrame,
    *,
    root: Path,
    shown: Shown = BY_DEFAULT,
    side: int = 480,
) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Read, prepare and shrink the named images below ``root``; also return a sentence for each lost one.

    ``shown`` is that of the set, so that people see the pixels that the network saw.
    """
    found, lost = [], []
    grouped = dict(list(proposals[proposals["image"].isin(list(names))].groupby("image")))
    loaded_all = read_prepared([reference(root, name) for name in names], shown=shown)
    for name, loaded in zip(names, loaded_all, strict=True):
        if loaded.prepared is None:
            lost.append(f"{name}: not shown, {loaded.reason}")
            continue
        pixels = loaded.prepared.pixels
        marks = marks_of(grouped[name]) if name in grouped else ()
        height, width = pixels.shape[:2]
        found.append(Picture(name, thumbnail(pixels, side=side), width, height, marks))
    return tuple(found), tuple(lost)


def write_drawn(
    names: Sequence[str],
    proposals: pd.DataFrame,
    folder: Path,
    *,
    root: Path,
    shown: Shown = BY_DEFAULT,
) -> list[Path]:
    """Write the named images with their labels drawn in as ``01.png``, ``02.png``, ...; return the files.

    Labels left unknown are not drawn. An image that cannot be read is left out.
    """
    known = proposals[proposals["advice"] != "unknown"]
    palette, files = colours(known["label"]), []
    loaded_all = read_prepared([reference(root, name) for name in names], shown=shown)
    for number, (name, loaded) in enumerate(zip(names, loaded_all, strict=True), start=1):
        if loaded.prepared is None:
            continue
        marks = marks_of(known[known["image"] == name])
        picture = draw(loaded.prepared.pixels, marks, palette=palette)
        files.append(folder / f"{number:02}.png")
        write_whole(files[-1], lambda stream, picture=picture: picture.save(stream, "PNG"))  # type: ignore[misc]
    return files


def reference(root: Path, name: str) -> ImageRef:
    """Return the image that ``name`` (``path`` or ``path#frame``) is in a set below ``root``."""
    path, _, frame = name.rpartition("#")
    if path and frame.isdecimal() and not (root / name).exists():
        return ImageRef(root, path, int(frame), int(frame) + 2)  # of at least two frames: it has a '#'
    return ImageRef(root, name)


def counts_of(proposals: pd.DataFrame) -> tuple[Count, ...]:
    """Count labels by class and advice, the most frequent class first."""
    labels = proposals["label"].where(proposals["label"] != "", NO_CLASS)
    pairs = Counter(zip(labels, proposals["advice"], strict=True))
    counts = [
        Count(label, *(pairs[label, advice] for advice in ("accept", "review", "unknown")))
        for label in sorted(set(labels))
    ]
    return tuple(sorted(counts, key=lambda count: (-count.accept - count.review, -count.unknown)))


def abstentions_of(proposals: pd.DataFrame) -> tuple[Abstention, ...]:
    """Count the reasons of unknown labels, the most frequent first.

    A reason is its first clause; numbers and quoted names in it differ from item to item, so they do
    not tell reasons apart and are shown as "…", beside the whole reason of one item.
    """
    groups: dict[str, list[str]] = {}
    for reason in map(str, proposals.loc[proposals["advice"] == "unknown", "reason"]):
        clause = re.split(r"[:;(]", re.sub(r"'[^']*'|\d+([.,]\d+)?", "…", reason))[0].strip()
        groups.setdefault(clause, []).append(reason)
    ranked = sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    rows = [
        Abstention(len(each), each[0]) if len(set(each)) == 1 else Abstention(len(each), clause, each[0])
        for clause, each in ranked[:MOST_REASONS]
    ]
    rest = sum(len(each) for _, each in ranked[MOST_REASONS:])
    return (*rows, Abstention(rest, "other reasons")) if rest else tuple(rows)


def curves_of(metrics: Path) -> tuple[Curve, ...]:
    """Read the curves of a ``metrics.jsonl``; a line cut off by a kill ends them, no file gives none."""
    lines = read_lines(metrics)
    curves = [curve_of(lines, key, title) for key, title in CURVES.items()]
    return tuple(curve for curve in curves if curve is not None)
