"""Label Studio: tasks with predictions, the labelling interface, and a script that serves the pictures.

Everything is a prediction, labels with the status "accepted" too: an annotation would mark its task as
done, and the proposals beside it would never be looked at. A person confirms by submitting. The score of
a task is the least of its regions', so that sorting by score brings the most doubtful tasks first. A
region has the label's id for its id and the label's facts in ``meta``: the editor's source hands both
through when a prediction is submitted. What a person copies there gets a new id and keeps the facts.
(https://labelstud.io/guide/predictions, https://labelstud.io/guide/task_format)
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import orjson
import pandas as pd

from dinonat.errors import LabelError
from dinonat.formats.coco_masks import segmentation
from dinonat.formats.collecting import no_collecting
from dinonat.formats.facts import Facts, label_facts, numbers
from dinonat.formats.handover import LABEL_ID, MASKS_BOX, Outgoing, Written
from dinonat.formats.label_studio_reading import read
from dinonat.formats.label_studio_rules import faults

__all__ = ["faults", "picture", "read", "write"]

CONFIG, SERVE = "label_config.xml", "serve.sh"
MOST_TASKS = 10_000  # in one file: beyond it the import of a file takes minutes or times out
BLOCK = 1000  # images that are made at a time
LOCAL_FILES = "/data/local-files/?d="  # how Label Studio names a file below its document root
NO_SCORE = "scores outside of 0 to 1: left out, Label Studio knows none"

SCRIPT = f"""#!/bin/sh
# Starts Label Studio so that it may show the pictures of this folder, wherever it lies.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="$here"
cat <<END
1. Create a project. Settings, Labeling Interface, Code: paste $here/{CONFIG}
2. Settings, Cloud Storage, Add Source Storage, Local files: $here/images
   (add it, do not sync it: without it Label Studio shows no picture)
3. Import $here/tasks.json (where there are tasks-001.json and more, each of them)
4. Settings, Annotation: switch on the use of predictions to prelabel tasks
END
exec label-studio start "$@"
"""


def picture(split: str, file_name: str) -> str:
    """Return where the picture of a task lies below the folder, which is Label Studio's document root."""
    return f"images/{split}/{file_name}" if split else f"images/{file_name}"


@no_collecting()
def write(asked: Outgoing, folder: Path) -> Written:
    """Write ``tasks.json``, ``label_config.xml`` and ``serve.sh`` into ``folder``; equal input, equal bytes.

    Boxes and points in percent with all digits. Beyond 10,000 tasks there are ``tasks-001.json`` and so
    on. A mask is one polygon for each part, "<label_id>:2" and so on beside the first, with holes
    filled; it stands for its box. Several labels of one whole image are one answer, each with its id
    and facts in its ``meta``. Raises LabelError for a class whose name XML cannot hold.
    """
    losses = Counter(asked.losses)
    whole = asked.labels["at"][(asked.labels["kind"] == "image").to_numpy()]
    config = _config(asked.classes, choices=len(whole) > 0, several=bool(whole.duplicated().any()))
    (folder / CONFIG).write_text(config, encoding="utf-8", newline="\n")
    (folder / SERVE).write_text(SCRIPT, encoding="utf-8", newline="\n")
    (folder / SERVE).chmod(0o755)
    count = len(asked.images)
    names = [f"tasks-{number:03}.json" for number in range(1, -(-count // MOST_TASKS) + 1)]
    names = names if len(names) > 1 else ["tasks.json"]
    version = _model_version(asked)
    for number, name in enumerate(names):
        first, last = number * MOST_TASKS, min((number + 1) * MOST_TASKS, count)
        with (folder / name).open("wb") as stream:
            for at in range(first, last, BLOCK):
                tasks = _tasks(asked, at, min(at + BLOCK, last), version, losses)
                stream.write(b"[\n" if at == first else b",\n")
                stream.write(
                    b",\n".join(orjson.dumps(task, option=orjson.OPT_SERIALIZE_NUMPY) for task in tasks)
                )
            stream.write(b"[]\n" if first == last else b"\n]\n")
    kept = {text: n for text, n in sorted(losses.items()) if n}
    return Written((*names, CONFIG, SERVE), len(asked.labels) - len(whole), len(whole), kept)


def _config(classes: tuple[str, ...], *, choices: bool, several: bool) -> str:
    """Return the labelling interface; the question about whole images only where some have a label."""
    for name in classes:
        if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", name):
            raise LabelError(f"class {name!r}: XML cannot hold a control character. Rename the class.")
    values = [quoteattr(name) for name in classes]
    labels = "".join(f"    <Label value={value}/>\n" for value in values)
    blocks = [
        '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n',
        f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n',
        f'  <PolygonLabels name="poly" toName="image">\n{labels}  </PolygonLabels>\n',
    ]
    if choices:
        answers = "".join(f"    <Choice value={value}/>\n" for value in values)
        kind = "multiple" if several else "single"
        blocks.append(f'  <Choices name="cls" toName="image" choice="{kind}">\n{answers}  </Choices>\n')
    return "<View>\n" + "".join(blocks) + "</View>\n"


def _model_version(asked: Outgoing) -> str:
    """Return one name for all predictions, or Label Studio would show those of one model only."""
    models = sorted({str(name) for name in asked.labels["model"].unique() if isinstance(name, str) and name})
    more = [f"and {len(models) - 3} more"] if len(models) > 3 else []
    return " ".join([asked.name, *models[:3], *more])


def _tasks(
    asked: Outgoing, first: int, last: int, version: str, losses: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield the tasks of the images from ``first`` to before ``last``."""
    place = asked.labels["at"].to_numpy()
    bounds = np.searchsorted(place, np.arange(first, last + 1))
    regions = _regions(asked, asked.labels.iloc[bounds[0] : bounds[-1]], losses)
    images = asked.images.iloc[first:last]
    starts = (bounds - bounds[0]).tolist()
    rows = zip(images["file_name"].tolist(), images["split"].tolist(), starts, starts[1:], strict=False)
    for name, split, start, stop in rows:
        result = [region for parts in regions[start:stop] for region in parts]
        data = {
            "image": LOCAL_FILES + quote(picture(split, name), safe="/"),
            "file_name": name,
            "split": split,
            "export": asked.name,
        }
        yield {"data": data, "predictions": [_prediction(result, version)] if result else []}


def _prediction(result: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """Return the prediction of one task; its score is the least of its regions'."""
    known = [region["score"] for region in result if "score" in region]
    score = {"score": min(known)} if known else {}
    return {"model_version": version, **score, "result": result}


def _regions(asked: Outgoing, labels: pd.DataFrame, losses: Counter[str]) -> list[list[dict[str, Any]]]:
    """Return the regions of each label: one, several for a mask of parts, none where joined to an earlier."""
    sizes = asked.images[["width", "height"]].to_numpy(np.int64)[labels["at"].to_numpy()].reshape(-1, 2)
    boxes = labels[list("xywh")].to_numpy(np.float64)
    # 100 * x / w, in this order: 100 times a whole or half number is exact, and w of w is exactly 100.
    percent = 100 * boxes / np.concatenate([sizes, sizes], axis=1)
    known = [_in_range(score, losses) for score in numbers(labels["score"])]
    columns = zip(
        *(labels[name].tolist() for name in ("proposal", "kind", "number", "at")),
        labels["mask_counts"], sizes.tolist(), boxes.tolist(), percent.tolist(), known,
        label_facts(labels, without=("score",)), strict=True,
    )  # fmt: skip
    regions: list[list[dict[str, Any]]] = []
    answer: dict[str, Any] = {}
    answered = -1
    for label_id, kind, number, at, counts, size, box, shares, score, facts in columns:
        name = asked.classes[number]
        if kind == "image":
            if answered == at:
                _join(answer, name, label_id, score, facts)
                regions.append([])
                continue
            answer, answered = _answer(name, label_id, score, facts), at
            regions.append([answer])
        elif counts:
            polygons = _polygons(counts, size, box, losses)
            regions.append(_parts(polygons, name, label_id, size, score, facts))
        else:
            regions.append([_rectangle(shares, name, label_id, size, score, facts)])
    return regions


def _in_range(score: float | None, losses: Counter[str]) -> float | None:
    """Return a score that Label Studio takes, None otherwise."""
    if score is not None and not 0 <= score <= 1:
        losses[NO_SCORE] += 1
        return None
    return score


def _region(kind: str, name: str, label_id: str, size: list[int], score: float | None) -> dict[str, Any]:
    """Return what every region on the picture has; ``size`` is width, height."""
    region: dict[str, Any] = {"id": label_id, "type": kind, "from_name": name, "to_name": "image"}
    if score is not None:
        region["score"] = score
    region["original_width"], region["original_height"] = size
    region["image_rotation"] = 0
    return region


def _rectangle(
    shares: list[float], name: str, label_id: str, size: list[int], score: float | None, facts: Facts
) -> dict[str, Any]:
    """Return a box as a region; ``shares`` are x, y, w, h in percent."""
    x, y, w, h = shares
    region = _region("rectanglelabels", "box", label_id, size, score)
    region["value"] = {
        "x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [name],
    }  # fmt: skip
    if facts:
        region["meta"] = facts
    return region


def _polygons(
    counts: tuple[int, ...], size: list[int], box: list[float], losses: Counter[str]
) -> list[np.ndarray]:
    """Return the rings (n, 2) in pixels of a mask; what they cannot say is counted."""
    shape = segmentation(list(counts), (size[1], size[0]), masks="polygon")
    assert isinstance(shape.written, list)  # "polygon" gives polygons
    if shape.loss:
        losses[shape.loss] += 1
    rings = [np.reshape(ring, (-1, 2)) for ring in shape.written]
    corners = np.concatenate(rings)
    low, high = corners.min(axis=0), corners.max(axis=0)
    losses[MASKS_BOX] += bool(np.abs(np.concatenate([low, high - low]) - box).max() > 0.005)
    return rings


def _parts(
    rings: list[np.ndarray], name: str, label_id: str, size: list[int], score: float | None, facts: Facts
) -> list[dict[str, Any]]:
    """Return one region for each ring of a mask; those after the first say so in ``meta``."""
    regions = []
    for part, ring in enumerate(rings, start=1):
        region = _region(
            "polygonlabels", "poly", label_id if part == 1 else f"{label_id}:{part}", size, score
        )
        points = (100 * ring / size).tolist()
        region["value"] = {"points": points, "closed": True, "polygonlabels": [name]}
        meta: Facts = facts if part == 1 else {**facts, "part": part}
        if meta:
            region["meta"] = meta
        regions.append(region)
    return regions


def _answer(name: str, label_id: str, score: float | None, facts: Facts) -> dict[str, Any]:
    """Return the label of a whole image."""
    region: dict[str, Any] = {"id": label_id, "type": "choices", "from_name": "cls", "to_name": "image"}
    if score is not None:
        region["score"] = score
    region["value"] = {"choices": [name]}
    region["meta"] = dict(facts)
    return region


def _join(answer: dict[str, Any], name: str, label_id: str, score: float | None, facts: Facts) -> None:
    """Add a further label of the same image: Label Studio keeps one answer to one question."""
    choices = answer["value"]["choices"]
    if "labels" not in answer["meta"]:
        own = {"label": choices[0], LABEL_ID: answer["id"], "score": answer.pop("score", None)}
        answer["meta"] = {"labels": [{**own, **answer["meta"]}]}
    answer["meta"]["labels"].append({"label": name, LABEL_ID: label_id, "score": score, **facts})
    if name not in choices:
        choices.append(name)
