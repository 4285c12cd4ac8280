"""CVAT for images 1.1, written: annotations.xml and the labels for the constructor, in blocks of labels."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from dinonat.formats.cvat_labels import LABELS, attribute_texts, declared, labels_xml, said_facts
from dinonat.formats.cvat_masks import shapes
from dinonat.formats.handover import MASKS_BOX, Outgoing, Written
from dinonat.formats.xml_files import UNSAYABLE, escaped, sayable

ANNOTATIONS = "annotations.xml"
DEFAULT = "default"  # the subset of images without a split, where others have one
BLOCK = 4096  # labels written at a time
HUMAN = ("accepted", "corrected")  # states that a person gave


def write(asked: Outgoing, folder: Path) -> Written:
    """Write ``annotations.xml``, ``cvat_labels.json`` and the folder ``images``; equal input, equal bytes.

    Masks are one polygon where that says them exactly, else run lengths (``masks`` asks for one form);
    the polygons of one label share a group and its id. Labels of whole images are tags. What a person
    accepted has the source "manual", the rest "auto".
    """
    losses = Counter(dict(asked.losses))
    names = said_facts(asked.labels)
    labels = declared(asked.labels, asked.classes, names)
    with (folder / ANNOTATIONS).open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(_head(asked, labels_xml(labels)))
        _write_images(asked, _texts(asked, names, losses), stream)
        stream.write("</annotations>\n")
    raw = json.dumps(labels, indent=1, ensure_ascii=False)
    (folder / LABELS).write_text(raw.encode("utf-8", "replace").decode() + "\n", encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    _count_unsayable(asked, losses)
    tags = int((asked.labels["kind"] == "image").sum())
    found = {text: count for text, count in losses.items() if count}
    return Written((ANNOTATIONS, LABELS), len(asked.labels) - tags, tags, found)


def picture(split: str, file_name: str) -> str:
    """Return where a picture lies: where datumaro and CVAT's own exports of projects have it."""
    return f"images/{split}/{file_name}" if split else f"images/{file_name}"


def _head(asked: Outgoing, labels: str) -> str:
    """Return the file up to the first image: a task, or a project where images are split into subsets."""
    name = f"<name>{escaped(asked.name)}</name>"
    size = f"<size>{len(asked.images)}</size><mode>annotation</mode>"
    subsets = sorted({split or DEFAULT for split in asked.images["split"]})
    if subsets in ([DEFAULT], []):
        meta = f"<task>{name}{size}\n{labels}</task>"
    else:
        tasks = "".join(
            f"<task><name>{escaped(split)}</name><subset>{escaped(split)}</subset></task>"
            for split in subsets
        )
        meta = f"<project>{name}\n{labels}\n<tasks>{tasks}</tasks></project>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>\n<meta>{meta}</meta>\n'
    )


def _write_images(asked: Outgoing, texts: Iterator[str], stream: IO[str]) -> None:
    """Write each image with its labels, which come in the order of the images."""
    images = asked.images
    counts = np.bincount(asked.labels["at"].to_numpy(np.int64), minlength=len(images)).tolist()
    split = bool((images["split"] != "").any())
    columns = (images[name].tolist() for name in ("file_name", "split", "width", "height"))
    for number, (name, subset, width, height, count) in enumerate(zip(*columns, counts, strict=True)):
        own = f' subset="{escaped(subset or DEFAULT)}"' if split else ""
        stream.write(
            f'<image id="{number}" name="{escaped(name)}"{own} width="{width}" height="{height}">\n'
            f"{''.join(islice(texts, count))}</image>\n"
        )


def _texts(asked: Outgoing, names: tuple[str, ...], losses: Counter[str]) -> Iterator[str]:
    """Yield each label as the lines of its elements; count in ``losses`` what they cannot say."""
    heights = asked.images["height"].to_numpy(np.int64)
    classes = [escaped(name) for name in asked.classes]
    groups = 0
    for start in range(0, len(asked.labels), BLOCK):
        block = asked.labels.iloc[start : start + BLOCK]
        for head, attributes, box, counts, height in _rows(block, names, classes, heights):
            if box is None:
                yield f"<tag{head}>{attributes}</tag>\n"
            elif not counts:
                x, y, right, bottom = box
                yield (
                    f'<box{head} occluded="0" z_order="0" xtl="{x:.2f}" ytl="{y:.2f}" xbr="{right:.2f}" '
                    f'ybr="{bottom:.2f}">{attributes}</box>\n'
                )
            else:
                elements, own, loss = shapes(counts, height, asked.masks)
                losses[MASKS_BOX] += _differs(box, own)
                if loss:
                    losses[loss] += 1
                groups += len(elements) > 1
                group = f' group_id="{groups}"' if len(elements) > 1 else ""
                yield "".join(
                    f'<{name}{head} occluded="0" z_order="0"{group} {form}>{attributes}</{name}>\n'
                    for name, form in elements
                )


def _rows(
    block: pd.DataFrame, names: tuple[str, ...], classes: list[str], heights: np.ndarray
) -> Iterator[tuple[str, str, tuple[float, ...] | None, tuple[int, ...], int]]:
    """Yield of each label its class and source, its attributes, its box, its mask and its image's height.

    The box is left, top, right, bottom, and None for a label of a whole image.
    """
    x, y, w, h = (block[name].to_numpy(np.float64) for name in "xywh")
    regions = (block["kind"] == "region").tolist()
    heads = [
        f' label="{classes[number]}" source="{"manual" if status in HUMAN else "auto"}"'
        for number, status in zip(block["number"].tolist(), block["status"].tolist(), strict=True)
    ]
    boxes = zip(x.tolist(), y.tolist(), (x + w).tolist(), (y + h).tolist(), strict=True)
    own = [box if region else None for box, region in zip(boxes, regions, strict=True)]
    masks, rows = block["mask_counts"].tolist(), heights[block["at"].to_numpy(np.int64)].tolist()
    yield from zip(heads, attribute_texts(block, names), own, masks, rows, strict=True)


def _differs(box: tuple[float, ...], own: tuple[int, int, int, int]) -> bool:
    """Say whether a box (left, top, right, bottom) is another than its mask's."""
    left, top, width, height = own
    return any(abs(a - b) > 0.004 for a, b in zip(box, (left, top, left + width, top + height), strict=True))


def _count_unsayable(asked: Outgoing, losses: Counter[str]) -> None:
    """Count the images and labels whose name or class holds what XML cannot."""
    broken = {number for number, name in enumerate(asked.classes) if not sayable(name)}
    losses[UNSAYABLE] += sum(not sayable(name) for name in asked.images["file_name"])
    losses[UNSAYABLE] += sum(number in broken for number in asked.labels["number"].tolist()) if broken else 0
