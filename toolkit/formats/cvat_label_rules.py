"""What must be right with the labels that a CVAT file declares, and in the file for the constructor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from dinonat.formats.cvat_labels import INPUT_TYPES, LABELS
from dinonat.formats.handover import Fault
from dinonat.formats.tables import LARGEST_FILE
from dinonat.formats.xml_files import Element

LONGEST = 64  # characters of a label or an attribute's name in CVAT's database
CHOICES = ("select", "radio")


def declared_labels(meta: Element) -> dict[str, set[str]] | None:
    """Return the labels of ``<meta>`` with their attributes' names; None where it has no ``<labels>``."""
    found = list(_all(meta, "labels"))
    if not found:
        return None
    return {
        label.said("name") or "": {item.said("name") or "" for item in _all(label, "attribute")}
        for labels in found
        for label in labels.all("label")
    }


def label_faults(meta: Element, file: Path) -> Iterator[Fault]:
    """Yield the faults of the labels in ``<meta>``, and of ``cvat_labels.json`` where it lies beside."""
    names: set[str] = set()
    found = [label for labels in _all(meta, "labels") for label in labels.all("label")]
    if not found:
        yield (
            f"line {meta.line}",
            "no labels in <meta>; datumaro reads everything without a class. Declare them.",
        )
    for label in found:
        name = label.said("name") or ""
        for what in _name_faults("label", name, names):
            yield f"line {label.line}, label {name!r}", what
        for item in _all(label, "attribute"):
            if item.said("input_type") not in INPUT_TYPES:
                where = f"line {item.line}, attribute {item.said('name')!r} of {name!r}"
                yield where, _type_fault(item.said("input_type"))
    beside = file.parent / LABELS
    if beside.is_file():
        for where, what in _constructor_faults(beside, declared_labels(meta) or {}):
            yield f"{LABELS}{where}", what


def _constructor_faults(path: Path, declared: dict[str, set[str]]) -> Iterator[Fault]:
    """Yield the faults of a file for the constructor's "Raw" tab, and what it lacks of ``declared``."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("too large")
        labels = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        yield "", f"not valid JSON ({error}); CVAT's constructor refuses it. Export again."
        return
    if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        yield "", "not a list of labels; CVAT's constructor refuses it. Export again."
        return
    names: set[str] = set()
    for label in labels:
        name = label.get("name")
        own = name if isinstance(name, str) else ""
        for what in _name_faults("label", own, names):
            yield f", label {own!r}", what
        attributes = label.get("attributes")
        if not isinstance(attributes, list) or not all(isinstance(item, dict) for item in attributes):
            yield f", label {own!r}", "no list 'attributes' of objects; CVAT's constructor refuses it."
            continue
        for which, what in _attributes_faults(attributes):
            yield f", label {own!r}, attribute {which!r}", what
        lacking = declared.get(own, set()) - {item.get("name") for item in attributes} - {""}
        if lacking:
            yield (
                f", label {own!r}",
                f"lacks the attributes {sorted(lacking)} of annotations.xml; CVAT drops them.",
            )
    for name in sorted(set(declared) - names - {""}):
        yield f", label {name!r}", "is missing, but in annotations.xml; CVAT refuses the upload. Add it."


def _attributes_faults(attributes: list[dict[str, Any]]) -> Iterator[tuple[object, str]]:
    """Yield the name of each attribute of one label that has a fault, and the fault."""
    names: set[str] = set()
    for item in attributes:
        name = item.get("name")
        for what in _name_faults("attribute", name if isinstance(name, str) else "", names):
            yield name, what
        for what in _attribute_faults(item.get("input_type"), item.get("values"), item):
            yield name, what


def _attribute_faults(kind: object, values: object, item: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one attribute beside its name."""
    default = item.get("default_value", "")
    if kind not in INPUT_TYPES:
        yield _type_fault(kind)
    if not isinstance(item.get("mutable"), bool):
        yield "attribute without 'mutable' of true or false; CVAT's constructor refuses it."
    if not isinstance(default, str):
        yield "attribute whose 'default_value' is no text; CVAT's constructor refuses it. Quote it."
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        yield "attribute whose 'values' are no list of texts; CVAT's constructor refuses it. Quote them."
    elif kind in CHOICES and not values:
        yield f"attribute of type {kind} without 'values' to choose from. Give some."
    elif kind in CHOICES and default not in ("", *values):
        yield "attribute whose 'default_value' is none of its 'values'. Give one of them."
    elif kind == "number" and not _range(values):
        yield "attribute of type number, which needs 'values' of minimum, maximum and step, as texts."


def _name_faults(kind: str, name: str, names: set[str]) -> Iterator[str]:
    """Yield what is wrong with a name; put it into ``names``."""
    if not name:
        yield f"{kind} without a name; CVAT refuses it."
    elif name in names:
        yield f"{kind} that is declared a second time; CVAT refuses it. Keep one."
    elif len(name) > LONGEST:
        yield f"{kind} name of more than {LONGEST} characters, which CVAT cuts. Shorten it."
    names.add(name)


def _type_fault(kind: object) -> str:
    """Return the sentence for an attribute of a type that CVAT does not have."""
    return f"attribute of input_type {kind!r}; CVAT knows {', '.join(INPUT_TYPES)}."


def _range(values: list[str]) -> bool:
    """Say whether ``values`` are three numbers."""
    try:
        return len([float(value) for value in values]) == 3
    except ValueError:
        return False


def _all(element: Element, name: str) -> Iterator[Element]:
    """Yield every element of that name below ``element``."""
    for child in element.children:
        if child.name == name:
            yield child
        yield from _all(child, name)
