"""What is wrong with a results file: the list of scored boxes and masks that ``loadRes`` reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinonat.errors import LabelError
from dinonat.formats.coco_annotation_rules import (
    ALL,
    Finding,
    box_findings,
    finite,
    key_of,
    shape_findings,
    size_of,
)
from dinonat.formats.coco_files import parse


def results_findings(results: list[Any], path: Path, target: str) -> Iterator[Finding]:
    """Yield what is wrong with results, by the instances file beside them, if there is one."""
    if target not in ("", "coco"):
        yield (
            "file",
            "a list of results; only loadRes of pycocotools reads it. Give this tool the instances file.",
            ALL,
        )
        return
    if not results:
        yield "file", "no result; pycocotools stops at an empty list. Leave the file out.", ALL
    known = _known(path)
    for index, entry in enumerate(results):
        where = f"result at place {index}"
        if not isinstance(entry, dict):
            yield where, "not an object; pycocotools stops at it. Take it out.", ALL
            continue
        yield from _result_findings(entry, where, known)


def _result_findings(
    entry: dict[str, Any], where: str, known: tuple[dict[Any, tuple[int, int] | None], set[Any]] | None
) -> Iterator[Finding]:
    """Yield what is wrong with one result; ``known`` are the sizes of the images and the classes."""
    image, category = key_of(entry, "image_id"), key_of(entry, "category_id")
    for name in ("image_id", "category_id"):
        if type(entry.get(name)) is not int:
            yield where, f"no whole number '{name}'; pycocotools finds no match for it.", ALL
    if known is not None and type(image) is int and image not in known[0]:
        yield where, "image_id that the instances file beside it does not list; loadRes refuses all.", ALL
    if known is not None and type(category) is int and category not in known[1]:
        yield where, "category_id that the instances file beside it does not list; it is never counted.", ALL
    if not finite(entry.get("score")):
        yield where, "no finite number 'score'; evaluation sorts by it. Write one.", ALL
    size_hw = known[0].get(image) if known is not None else None
    if "bbox" in entry or "segmentation" not in entry:
        yield from box_findings(entry.get("bbox"), where, size_hw)
    if "segmentation" in entry:
        yield from shape_findings(entry, where, size_hw)


def _known(path: Path) -> tuple[dict[Any, tuple[int, int] | None], set[Any]] | None:
    """Return the sizes of the images and the classes by the instances file beside results, or None.

    ``results_NAME.json`` belongs to ``instances_NAME.json``; any other file to the only one there is.
    """
    own = path.with_name(path.name.replace("results_", "instances_"))
    beside = [own] if own != path and own.is_file() else sorted(path.parent.glob("instances_*.json"))
    if len(beside) != 1:
        return None
    try:
        head = parse(beside[0]).head
    except LabelError:
        return None  # its own faults are told where it is checked
    lists = [head.get(key) for key in ("images", "categories")]
    images, classes = ([one for one in list_ or () if isinstance(one, dict)] for list_ in lists)
    return {key_of(image): size_of(image) for image in images}, {key_of(one) for one in classes}
