"""What is wrong with single entries of a COCO file: ids, boxes, masks, scores."""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import mask_counts, runs_of
from dinonat.formats.handover import LABEL_ID
from dinonat.geometry import counts_to_mask, mask_area
from dinonat.polygons import is_tangled

Finding = tuple[str, str, frozenset[str]]  # where, what, the tools that it hurts

COCO, DATUMARO, CVAT, LABELFORMAT = (
    frozenset({name}) for name in ("coco", "datumaro", "cvat", "labelformat")
)
ALL = COCO | DATUMARO | CVAT | LABELFORMAT
# Half a hundredth of a pixel: what writing with two decimals may add.
SLACK = 0.005 + 1e-9
LONGEST = 1 << 31  # pixels of a side
LARGEST = 1 << 26  # pixels; in a larger image rings are not compared: a file may claim any size
MANY_RINGS = 50  # of one annotation; only so many are compared with each other


def id_findings(
    entry: Mapping[str, Any], index: int, kind: str, effect: str, seen: set[int], hurt: frozenset[str]
) -> Iterator[Finding]:
    """Yield an id that is no whole number, that is among ``seen``, or that is an annotation's 0."""
    number = entry.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        yield (
            f"{kind} at place {index}",
            f"{kind} id is not a whole number; datumaro and CVAT refuse it. Number them from 1.",
            COCO | DATUMARO | CVAT,
        )
        return
    if number in seen:
        yield f"{kind} {number}", f"{kind} id stands twice; {effect}. Give each its own.", hurt
    if number == 0 and kind == "annotation":
        yield f"{kind} 0", "annotation id 0; pycocotools counts its matches as misses. Start at 1.", COCO
    seen.add(number)


def annotation_findings(
    entry: Mapping[str, Any],
    where: str,
    sizes: Mapping[Any, tuple[int, int] | None],
    classes: set[Any],
) -> Iterator[Finding]:
    """Yield what is wrong with one annotation; ``sizes`` of all images and ``classes`` are by their ids."""
    image, category = key_of(entry, "image_id"), key_of(entry, "category_id")
    if image not in sizes:
        yield where, "image_id that no image has; datumaro drops it, CVAT refuses the file.", ALL
    if category not in classes:
        yield where, "category_id that no category has; datumaro and CVAT refuse the file.", ALL
    crowd, facts = entry.get("iscrowd"), entry.get("attributes")
    if type(crowd) is not int or crowd not in (0, 1):
        yield where, "no 'iscrowd' of 0 or 1; datumaro and CVAT refuse the file. Write 0.", ALL
    elif crowd == 1 and isinstance(facts, dict) and facts.get(LABEL_ID):
        yield (
            where,
            "a crowd that is one object, by its label_id; datumaro and CVAT mark masks so when they write, "
            "and evaluation leaves crowds out. Write iscrowd 0.",
            COCO,
        )
    area = entry.get("area")
    if not finite(area) or area <= 0:
        yield where, "no positive 'area'; evaluation by size needs it. Write the mask's or the box's.", ALL
    yield from score_findings(entry, where)
    yield from box_findings(entry.get("bbox"), where, sizes.get(image))
    yield from shape_findings(entry, where, sizes.get(image))


def score_findings(entry: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Yield a score that is no number, and numbers among the attributes that are none."""
    if "score" in entry and not finite(entry["score"]):
        yield (
            where,
            "score is NaN, infinite or no number; datumaro and CVAT refuse the whole file. Leave it out.",
            ALL,
        )
    facts = entry.get("attributes", {})
    if not isinstance(facts, dict):
        yield (
            where,
            "'attributes' is no object; datumaro and CVAT refuse the file. Write {}.",
            DATUMARO | CVAT,
        )
    elif any(isinstance(value, float) and not math.isfinite(value) for value in facts.values()):
        yield (
            where,
            "an attribute is NaN or infinite, which is not JSON; strict readers refuse the file.",
            ALL,
        )


def box_findings(box: object, where: str, size_hw: tuple[int, int] | None) -> Iterator[Finding]:
    """Yield what is wrong with one ``bbox``."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(finite, box)):
        yield where, "'bbox' is not [x, y, width, height] of finite numbers; every reader needs it.", ALL
    elif min(box[2:]) <= 0:
        yield (
            where,
            "box of no or negative size; globox refuses the file, others draw nothing. "
            "Write [x, y, width, height] from the corner at the upper left.",
            ALL,
        )
    elif size_hw is not None:
        x, y, w, h = box
        if min(x, y) < -SLACK or x + w > size_hw[1] + SLACK or y + h > size_hw[0] + SLACK:
            yield (
                where,
                "box reaches outside its image; no reader says so, trainers clip or crash. Clip it.",
                ALL,
            )


def shape_findings(
    entry: Mapping[str, Any], where: str, size_hw: tuple[int, int] | None
) -> Iterator[Finding]:
    """Yield what is wrong with one ``segmentation``: a list of polygons, [], or run lengths."""
    shape = entry.get("segmentation")
    if "segmentation" not in entry:
        yield (
            where,
            "no key 'segmentation'; CVAT refuses the file, labelformat does for masks. Write [] for a box.",
            COCO | CVAT | LABELFORMAT,
        )
    elif isinstance(shape, dict):
        yield from _run_findings(entry, shape, where, size_hw)
        if entry.get("iscrowd") == 0:
            yield (
                where,
                "run lengths with iscrowd 0: right COCO, but labelformat (LightlyStudio) reads polygons "
                "only. Export with --masks polygon for it.",
                LABELFORMAT,
            )
    elif not isinstance(shape, list):
        yield (
            where,
            "segmentation is null or no list; datumaro and CVAT refuse the file. Write [] for a box.",
            COCO | DATUMARO | CVAT,
        )
    elif not all(map(_polygon, shape)):
        yield (
            where,
            "segmentation is not a list of polygons [[x1, y1, x2, y2, x3, y3, ...]] of finite numbers; "
            "pycocotools and datumaro stop at it.",
            ALL,
        )
    elif size_hw and any(is_tangled(ring, size_hw) for ring in shape):
        yield (
            where,
            "a polygon that goes up and down more often than its image has pixels, or reaches beyond any; "
            "no tool draws it, and some take all memory for it. Write run lengths.",
            ALL,
        )
    elif len(shape) > 1 and size_hw and math.prod(size_hw) <= LARGEST and _one_in_another(shape, size_hw):
        yield (
            where,
            "a polygon inside another of its list; readers join the two, so the hole that it means is "
            "filled. Write run lengths.",
            ALL,
        )


def _one_in_another(rings: list[list[float]], size_hw: tuple[int, int]) -> bool:
    """Say whether every pixel of one ring is a pixel of another."""
    points = [np.reshape(ring, (-1, 2)) for ring in rings[:MANY_RINGS]]
    low, high = (np.array([np.ravel(end(one, axis=0)) for one in points]) for end in (np.min, np.max))
    inside = (low[:, None] >= low).all(axis=2) & (high[:, None] <= high).all(axis=2)
    inside = inside & ~np.eye(len(points), dtype=bool)
    for small, large in np.argwhere(inside).tolist():
        masks = [mask_counts([rings[one]], size_hw) for one in (small, large)]
        if all(masks):
            first, second = (counts_to_mask(counts, size_hw) for counts in masks)
            if not (first & ~second).any():
                return True
    return False


def _run_findings(
    entry: Mapping[str, Any], shape: dict[str, Any], where: str, size_hw: tuple[int, int] | None
) -> Iterator[Finding]:
    """Yield what is wrong with a run-length mask, packed or not."""
    try:
        counts, size = runs_of(shape)
    except LabelError as error:
        yield where, f"{error}; no reader can draw the mask, or it is torn. Write the run lengths anew.", ALL
        return
    if size_hw is not None and size != size_hw:
        yield (
            where,
            "size of the run lengths is not the image's [height, width]; datumaro and CVAT refuse it.",
            ALL,
        )
    elif not mask_area(counts):
        yield (
            where,
            "a mask without a pixel; CVAT refuses the file. Write [] or take the annotation out.",
            ALL,
        )
    elif finite(entry.get("area")) and entry["area"] > 0 and mask_area(counts) != entry["area"]:
        yield (
            where,
            "'area' is not the number of pixels in the mask; evaluation by size goes wrong. Write it.",
            ALL,
        )


def place_of(kind: str, entry: Mapping[str, Any], index: int) -> str:
    """Name one entry by its id, or by its place where it has none."""
    number = entry.get("id")
    return f"{kind} {number}" if type(number) is int else f"{kind} at place {index}"


def key_of(entry: Mapping[str, Any], name: str = "id") -> Any:
    """Return an id that can be looked up; a list or object in its place matches nothing."""
    value = entry.get(name)
    return value if isinstance(value, int | str) else object()


def size_of(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width of an image entry, or None."""
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int and 0 < height <= LONGEST and 0 < width <= LONGEST:
        return height, width
    return None


def finite(value: object) -> TypeGuard[float]:
    """Say whether ``value`` is a number that float64 can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _polygon(value: object) -> bool:
    """Say whether ``value`` is [x1, y1, x2, y2, x3, y3, ...]."""
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(finite, value))
