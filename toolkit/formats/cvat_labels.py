"""The labels of a CVAT task: its classes, and the facts of a label as their attributes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dinonat.formats.handover import LABEL_ID, NUMBERS, TEXTS
from dinonat.formats.xml_files import escaped, number_texts

LABELS = "cvat_labels.json"
INPUT_TYPES = ("checkbox", "radio", "number", "text", "select")  # of CVAT's attributes; it knows no others
STATUSES = ("accepted", "proposed", "rejected")  # what a person can choose; a box drawn by hand is accepted
ALWAYS = (LABEL_ID, "status", "score")
FACTS = (*ALWAYS, *(name for name in (*TEXTS, *NUMBERS, "cluster") if name not in ALWAYS))


def said_facts(labels: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of FACTS that at least one label has, and ALWAYS."""
    return tuple(
        name
        for name in FACTS
        if name in ALWAYS
        or (name in NUMBERS and np.isfinite(labels[name].to_numpy(np.float64, na_value=np.nan)).any())
        or (name not in NUMBERS and any(_text(name, value) for value in pd.unique(labels[name]).tolist()))
    )


def attribute_texts(labels: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the ``<attribute>`` elements of each label as one text; what does not exist is not there."""
    template, columns = "", []
    for name in names:
        form, values = _column(name, labels["proposal" if name == LABEL_ID else name])
        template += form
        columns.extend([values] if values is not None else [])
    if not columns:
        return [template.replace("%%", "%")] * len(labels)
    return [template % row for row in zip(*columns, strict=True)]


def declared(labels: pd.DataFrame, classes: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the label constructor's "Raw" tab takes: every class with every attribute, values as texts.

    Attributes are texts: one of type number must have a value, so a box that a person draws would
    claim the score 0. Only the status is chosen from a list, and accepted where a person draws.
    """
    known = {str(value) for value in pd.unique(labels["status"]).tolist()} - {"", *STATUSES}
    select = {"input_type": "select", "default_value": STATUSES[0], "values": [*STATUSES, *sorted(known)]}
    text = {"input_type": "text", "default_value": "", "values": []}
    attributes = [
        {"name": name, "mutable": False, **(select if name == "status" else text)} for name in names
    ]
    return [{"name": name, "attributes": attributes} for name in classes]


def labels_xml(labels: Iterable[dict[str, Any]]) -> str:
    """Return ``<labels>`` of the file's head."""
    lines = []
    for label in labels:
        attributes = "".join(
            f"<attribute><name>{item['name']}</name><mutable>False</mutable>"
            f"<input_type>{item['input_type']}</input_type>"
            f"<default_value>{escaped(item['default_value'])}</default_value>"
            f"<values>{escaped(chr(10).join(item['values']))}</values></attribute>"
            for item in label["attributes"]
        )
        lines.append(
            f"<label><name>{escaped(label['name'])}</name><attributes>{attributes}</attributes></label>\n"
        )
    return f"<labels>\n{''.join(lines)}</labels>"


def _column(name: str, values: "pd.Series[Any]") -> tuple[str, list[str] | None]:
    """Return one attribute as a part of a template, and what goes into it; None where all labels have one."""
    head, tail = f'<attribute name="{name}">', "</attribute>"
    if name in NUMBERS:
        texts = number_texts(values)
        if all(texts):
            return f"{head}%s{tail}", texts
    else:
        codes, uniques = pd.factorize(values)
        said = [*(_text(name, value) for value in uniques.tolist()), ""]  # the last for no value: code -1
        if (codes == codes[:1]).all():
            text = said[codes[0]] if len(codes) else ""
            return (f"{head}{text}{tail}".replace("%", "%%") if text else ""), None
        texts = [said[code] for code in codes.tolist()]
    return "%s", [f"{head}{text}{tail}" if text else "" for text in texts]


def _text(name: str, value: Any) -> str:
    """Return one value as XML holds it; "" for none."""
    missing = value is None or value != value or (name == "cluster" and value < 0)
    return "" if missing else escaped(str(value))
