"""What tasks for Label Studio must hold, so that its page shows every prediction.

Its server says yes to nearly everything: of eight kinds of broken predictions it took all, and showed
nothing or the wrong thing later. Its SDK finds half of them.
"""

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from dinonat.errors import LabelError
from dinonat.formats.handover import Check, Fault
from dinonat.formats.json_files import has_picture
from dinonat.formats.label_studio_brush import brush_mask
from dinonat.formats.label_studio_shapes import rectangle
from dinonat.formats.label_studio_tasks import (
    finite,
    image_name,
    labels_in,
    load_tasks,
    size_hw,
    task_files,
)
from dinonat.formats.tables import read_text
from dinonat.polygons import is_tangled

MOST_TASKS = 10_000
DRAWN = ("rectanglelabels", "polygonlabels", "brushlabels", "rectangle", "polygon", "brush")
ROUNDING = 1e-6  # percent


class Control(NamedTuple):
    """One tag of the labelling interface that answers are given with."""

    kind: str  # type of its results: the name of the tag in lower case
    to_names: tuple[str, ...]
    labels: frozenset[str]


class Config(NamedTuple):
    """A labelling interface: its controls by name, and the key of ``data`` that each object shows."""

    controls: dict[str, Control]
    objects: dict[str, str]


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of a file or folder of tasks; ``label_config.xml`` beside it says what is allowed.

    Without that file, names and labels are not checked. Where ``check.images`` is given, the pictures are
    looked for below it.
    """
    try:
        files = task_files(path)
    except LabelError as error:
        yield str(path), str(error)
        return
    config = yield from _config(files[0].parent / "label_config.xml")
    seen: set[str] = set()
    for file in files:
        try:
            tasks = load_tasks(file)
        except LabelError as error:
            yield file.name, str(error)
            continue
        if not tasks:
            yield file.name, "no task in it; nothing is imported or shown. Export once more."
        if len(tasks) > MOST_TASKS:
            yield file.name, "more than 10,000 tasks; the import times out. Split the file."
        for place, task in enumerate(tasks, start=1):
            where = f"{file.name}, task {place}"
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                yield where, "no object with 'data'; Label Studio refuses the file. Write {\"data\": {...}}."
                continue
            yield from _data_faults(task, where, config, check, seen)
            yield from _task_faults(task, where, config)


def _config(path: Path) -> Generator[Fault, None, Config | None]:
    """Yield what is wrong with the labelling interface; return it, or None where there is none."""
    if not path.is_file():
        return None
    try:
        root: Element = fromstring(read_text(path))
    except DefusedXmlException:
        yield path.name, "entities or a DTD in it; they are never needed and may be an attack. Remove them."
        return None
    except (ParseError, LabelError, ValueError) as error:
        yield path.name, f"no XML ({error}); Label Studio refuses it. Escape <, & and quotes in names."
        return None
    controls, objects = {}, {}
    for tag in root.iter():
        name, shown = tag.get("name", ""), tag.get("value", "")
        if tag.get("toName"):
            answers = [one for one in tag.iter() if one.tag in ("Label", "Choice")]
            labels = frozenset(one.get("alias") or one.get("value") or "" for one in answers)
            controls[name] = Control(tag.tag.lower(), tuple(tag.get("toName", "").split(",")), labels)
        elif name and shown.startswith("$"):
            objects[name] = shown[1:]
    if not objects:
        yield path.name, 'no tag that shows data, as <Image name="image" value="$image"/>; nothing is shown.'
    for name, control in controls.items():
        for to_name in control.to_names:
            if to_name not in objects:
                yield (
                    path.name,
                    f"{name!r} has toName {to_name!r}, which no tag has; Label Studio refuses it.",
                )
    return Config(controls, objects)


def _data_faults(
    task: dict[str, Any], where: str, config: Config | None, check: Check, seen: set[str]
) -> Iterator[Fault]:
    """Yield what is wrong with the ``data`` of a task."""
    data = task["data"]
    for key in config.objects.values() if config else ():
        if key not in data:
            yield (
                where,
                f"'data' has no key {key!r}, which the interface shows; Label Studio refuses the file.",
            )
    address = next((text for text in data.values() if isinstance(text, str) and "?d=" in text), "")
    named = address.partition("?d=")[2]
    if re.search(r"[#&+]", named):
        yield where, "raw '#', '&' or '+' after ?d=; no picture is shown. Percent-encode the path."
    if ".." in re.split(r"[/\\]", unquote_plus(named)):
        yield where, "'..' after ?d=; Label Studio refuses it. Write the path below its document root."
    name = image_name(task)
    if not name:
        if not config or all(key in data for key in config.objects.values()):
            yield where, "no picture in 'data'; nothing is shown. Write its address."
        return
    where = f"{where}, {name!r}"
    if name in seen:
        yield where, "the same picture a second time; people label it twice. Keep one task."
    seen.add(name)
    if check.images and not any(has_picture(check.images, one) for one in (name, unquote_plus(named))):
        yield where, "its picture is not below the image folder; Label Studio shows nothing there."


def _task_faults(task: dict[str, Any], where: str, config: Config | None) -> Iterator[Fault]:
    """Yield what is wrong with the predictions and annotations of a task."""
    for kind in ("predictions", "annotations"):
        given = task.get(kind, [])
        if not isinstance(given, list):
            yield where, f"'{kind}' is no list; Label Studio refuses the file."
            continue
        for one in given:
            if isinstance(one, int):  # an export names predictions by their numbers
                continue
            result = one.get("result") if isinstance(one, dict) else None
            if not isinstance(result, list):
                yield where, f"one of '{kind}' has no list 'result'; nothing is shown. Write []."
                continue
            if kind == "predictions":
                yield from ((where, what) for what in _prediction_faults(one))
            yield from _result_faults(result, where, config)


def _prediction_faults(prediction: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a prediction beside its result."""
    version = prediction.get("model_version")
    if not isinstance(version, str) or not version:
        yield "no 'model_version'; predictions of several models cannot be told apart. Write a name."
    score = prediction.get("score")
    if score is not None and not (finite(score) and 0 <= score <= 1):
        yield "'score' of the prediction is no number from 0 to 1; sorting by it goes wrong."


def _result_faults(result: list[Any], where: str, config: Config | None) -> Iterator[Fault]:
    """Yield what is wrong with the regions of one prediction or annotation."""
    seen: set[tuple[str, ...]] = set()
    for place, region in enumerate(result, start=1):
        if not isinstance(region, dict) or not isinstance(region.get("value"), dict | None):
            yield f"{where}, region at place {place}", "no object with a 'value'; nothing is shown."
            continue
        label_id, kind = region.get("id"), region.get("type")
        here = f"{where}, region {label_id or f'at place {place}'}"
        if kind == "relation":
            continue
        if not isinstance(label_id, str) or not label_id:
            yield here, "no text 'id'; Label Studio makes up a new one, and corrections cannot be matched."
        else:
            key = (label_id, str(region.get("from_name")), str(kind))
            if key in seen:
                yield here, "its 'id' stands twice in one result; Label Studio keeps one of the two."
            seen.add(key)
        if kind == "choices" and "x" not in (region.get("value") or {}):
            if ("", str(region.get("from_name"))) in seen:
                yield here, "a second answer to one question; Label Studio keeps one. Join their choices."
            seen.add(("", str(region.get("from_name"))))
        yield from ((here, what) for what in _region_faults(region, config))


def _region_faults(region: dict[str, Any], config: Config | None) -> Iterator[str]:
    """Yield what is wrong with one region."""
    kind, value = region.get("type"), region.get("value")
    if not isinstance(kind, str) or not isinstance(value, dict):
        yield "no 'type' or no 'value'; nothing is shown."
        return
    if kind != kind.lower():
        yield f"type {kind!r} has capitals; Label Studio shows nothing. Write {kind.lower()!r}."
    if config is not None:
        yield from _name_faults(region, kind.lower(), value, config)
    if "score" in region and not (finite(region["score"]) and 0 <= region["score"] <= 1):
        yield "'score' of a region is no number from 0 to 1; filters and sorting go wrong."
    if kind.lower() in DRAWN:
        yield from _shape_faults(region, kind.lower(), value)


def _name_faults(region: dict[str, Any], kind: str, value: dict[str, Any], config: Config) -> Iterator[str]:
    """Yield names and labels that the labelling interface does not have."""
    name, to_name = region.get("from_name"), region.get("to_name")
    control = config.controls.get(str(name))
    if to_name not in config.objects:
        yield f"to_name {to_name!r} is not in label_config.xml; Label Studio leaves the region out."
    elif control is not None and to_name not in control.to_names:
        yield f"to_name {to_name!r} is not what {name!r} labels; Label Studio leaves the region out."
    if control is None:
        yield f"from_name {name!r} is not in label_config.xml; Label Studio leaves the region out."
        return
    if control.kind not in (kind, "labels", "number", "textarea"):
        yield f"type {kind!r} but {name!r} is <{control.kind}> in label_config.xml; nothing is shown."
    for key in value:
        for label in labels_in(value, key):
            if control.labels and label not in control.labels:
                yield f"label {label!r} is not one of {name!r} in label_config.xml; it is not shown."


def _shape_faults(region: dict[str, Any], kind: str, value: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with what a region draws."""
    size = size_hw(region)
    if size is None:
        yield "no positive whole 'original_width' and 'original_height'; percent cannot become pixels again."
    if kind.endswith("labels") and not labels_in(value, kind):
        yield f"no list '{kind}' with a label in 'value'; the region is shown without label."
    if kind.startswith("rectangle"):
        yield from _rectangle_faults(value)
    elif kind.startswith("polygon"):
        yield from _polygon_faults(value.get("points"), size)
    elif not isinstance(value.get("rle"), list):
        yield "brush without a list 'rle'; nothing is shown."
    elif size is not None:
        try:
            brush_mask(value["rle"], size)
        except LabelError:
            yield (
                "brush rle does not decode to width x height x 4 values; the page shows nothing. "
                "COCO run lengths are another code: encode it as Label Studio does, or write polygons."
            )


def _rectangle_faults(value: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a rectangle in percent."""
    given = rectangle(value)
    if given is None:
        yield "rectangle without finite x, y, width and height; nothing is shown."
        return
    x, y, w, h = given
    if w <= 0 or h <= 0:
        yield "rectangle of no or negative size; nothing is shown."
    turned = bool(value.get("rotation"))  # its corner may rightly lie elsewhere
    if not turned and (min(x, y) < 0 or x + w > 100 + ROUNDING or y + h > 100 + ROUNDING):
        yield "rectangle reaches outside of 0 to 100 percent; these are pixels, or it must be cut."


def _polygon_faults(points: object, size: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with the points of a polygon in percent."""
    pairs = points if isinstance(points, list) else []
    if not all(isinstance(p, list) and len(p) == 2 and all(map(finite, p)) for p in pairs):
        yield "points are not pairs [x, y] of finite numbers; nothing is shown."
    elif len(pairs) < 3:
        yield "polygon of fewer than three points; nothing is shown."
    elif not all(-ROUNDING <= number <= 100 + ROUNDING for point in pairs for number in point):
        yield "points outside of 0 to 100 percent; these are pixels, or they must be cut."
    elif size is not None and is_tangled(np.divide(pairs, 100) * size[::-1], size):
        yield (
            "polygon that goes up and down more often than its picture has pixels; the page hangs. "
            "Draw it anew, or write a brush."
        )
