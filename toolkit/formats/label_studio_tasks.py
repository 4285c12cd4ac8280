"""Files of tasks from Label Studio: which results of a task count, and which picture it shows."""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, unquote_plus

from dinonat.errors import LabelError
from dinonat.formats.json_files import load_json

Row = dict[str, Any]
PICTURE = re.compile(r"\.(png|jpe?g|jfif|tiff?|bmp|webp|gif)$", re.IGNORECASE)
QUESTIONS = ("cls", "choice", "choices", "class", "label")  # names of Choices, where JSON-MIN says no type
SUBMITTED = {"annotation_id", "annotator"}  # what JSON-MIN says of a task that somebody has answered
NO_RESULT = "tasks hold no result: nobody has worked on them, and they say nothing"
UPLOADED = re.compile(r"/?data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(.+)$")


def task_files(path: Path) -> list[Path]:
    """Return the files with tasks that ``path`` means. Raises LabelError for a folder without any."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("tasks*.json")) or sorted(path.glob("*.json"))
    if not found:
        raise LabelError(f"{path}: no tasks.json in it. Give the file that Label Studio exported.")
    return found


def load_tasks(path: Path) -> list[Any]:
    """Parse one file of tasks; a single task may stand alone.

    Raises LabelError where it is missing, too large, not JSON, or no list of objects.
    """
    tasks = load_json(path, "tasks or an export of Label Studio")
    tasks = [tasks] if isinstance(tasks, dict) and "data" in tasks else tasks
    if not isinstance(tasks, list) or (tasks and not any(isinstance(task, dict) for task in tasks)):
        raise LabelError(f"{path}: no list of tasks. Export from Label Studio as JSON or JSON-MIN.")
    return tasks


def image_name(task: Row) -> str:
    """Return the picture of a task as its file name; "" where it has none.

    What we wrote says the name beside the address. Of an address, what Label Studio put around the
    name is taken off: the document root, the project and the eight digits of an upload, the bucket.
    """
    data = data_of(task)
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    spellings = ((key, plain_name(text)) for key, text in texts.items() if key not in ("file_name", "export"))
    pictures = {key: name for key, name in spellings if PICTURE.search(name) or key == "image"}
    name = pictures.get("image") or next(iter(pictures.values()), "")
    own = texts.get("file_name", "")
    return own if own and ("export" in texts or not name or name.endswith(own)) else name


def plain_name(address: str) -> str:
    """Return the path that an address of Label Studio names, percent-decoded.

    >>> plain_name("/data/local-files/?d=images/train/a%20b.png")
    'images/train/a b.png'
    >>> plain_name("/data/upload/3/1a2b3c4d-a.png")
    'a.png'
    """
    address = address.strip()
    if "fileuri=" in address:  # how a task is exported whose bucket needs a signature
        coded = address.rpartition("fileuri=")[2].partition("&")[0]
        try:
            return plain_name(base64.b64decode(unquote(coded), altchars=b"-_").decode())
        except (binascii.Error, ValueError):
            return ""
    if "local-files/?d=" in address:
        return unquote_plus(address.partition("?d=")[2].partition("&")[0]).replace("\\", "/").lstrip("/")
    scheme, mark, rest = address.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        path = unquote(re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")[2])
    else:
        path = rest.partition("/")[2] if mark else address
    uploaded = UPLOADED.search(unquote(path))
    return uploaded.group(1) if uploaded else path.replace("\\", "/").removeprefix("./")


def data_of(task: Row) -> Row:
    """Return what is shown in a task; in JSON-MIN that is the task itself."""
    data = task.get("data")
    return data if isinstance(data, dict) else task


def results_of(task: Row, noted: Counter[str]) -> tuple[list[Any], bool] | None:
    """Return the results of a task and whether a person submitted them; None where nothing is known.

    Without annotation the prediction counts that is ours, by its ``model_version``: it begins with the
    export that the task says it is of. Where a task says none, the only prediction there is.
    """
    if not isinstance(task.get("data"), dict):
        results = list(_flat_results(task))
        if results or task.keys() & SUBMITTED:
            return results, True
        noted[NO_RESULT] += 1
        return None
    given = listed(task.get("annotations", task.get("completions")))
    every = [one for one in given if isinstance(one, dict)]
    valid = [one for one in every if not (one.get("was_cancelled") or one.get("skipped"))]
    if every and not valid:
        noted["tasks were skipped and say nothing"] += 1
        return None
    if valid:
        if len(valid) > 1:
            noted["tasks have several annotations: the last one counts"] += 1
        last = max(enumerate(valid), key=lambda pair: (str(pair[1].get("created_at") or ""), pair[0]))[1]
        return listed(last.get("result")), True
    return _predicted(task, noted)


def _predicted(task: Row, noted: Counter[str]) -> tuple[list[Any], bool] | None:
    """Return the results of the prediction that counts; None where there is none."""
    predictions, export = listed(task.get("predictions")), str(data_of(task).get("export") or "")
    if not predictions:
        if export and "annotations" not in task:  # an image without labels, as we wrote it
            return [], False
        noted[NO_RESULT] += 1
        return None
    known = [one for one in predictions if isinstance(one, dict)]
    if not known:
        noted["tasks without annotation hold only the numbers of predictions and say nothing"] += 1
        return None
    if export:
        own = [one for one in known if f"{one.get('model_version')} ".startswith(f"{export} ")]
    else:
        own = known if len(predictions) == 1 else []
    if not own:
        noted["tasks without annotation hold predictions of other models and say nothing"] += 1
        return None
    return listed(own[-1].get("result")), False


def _flat_results(task: Row) -> Iterator[Row]:
    """Yield the results of a task in JSON-MIN as the long form has them, without ids."""
    for key, cell in task.items():
        if isinstance(cell, str) and key in QUESTIONS:
            yield {"type": "choices", "value": {"choices": [cell]}}
        for value in cell if isinstance(cell, list) else [cell]:
            if isinstance(value, dict) and (
                any(labels_in(value, name) for name in value) or value.keys() & {"x", "points", "rle"}
            ):
                size = {name: value.get(name) for name in ("original_width", "original_height")}
                yield {"type": str(value.get("type", key)).lower(), "value": value, **size}


def labels_in(value: Row, name: str) -> list[str]:
    """Return the labels under a key that holds labels ("rectanglelabels", "labels", "choices")."""
    cell = value.get(name) if name.endswith("labels") or name == "choices" else None
    return [label for label in listed(cell) if isinstance(label, str) and label]


def size_hw(result: Row) -> tuple[int, int] | None:
    """Return the size of the picture that a result was drawn on."""
    height, width = result.get("original_height"), result.get("original_width")
    if not finite(height) or not finite(width) or min(height, width) < 1:
        return None
    return int(height), int(width)


def finite(value: object) -> TypeGuard[float]:
    """Say whether ``value`` is a finite number."""
    return type(value) in (int, float) and -1e9 < value < 1e9  # type: ignore[operator]  # NaN is not


def listed(value: object) -> list[Any]:
    """Return a list, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []
