"""What `dinotool bench formats` times in another Python: datumaro or supervision writing the same labels.

Run by its path with a Python that has one of them and needs no dinonat. It reads the set once, says that
it is ready, and then answers each line of JSON on its standard input with one on its standard output.
"""

import contextlib
import ctypes
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Write = Callable[[str, str, int, bool], Callable[[], object]]  # (format, folder, images, facts) -> the export

# Our name of a format -> datumaro's, and what it is asked so that it writes what ours does.
DATUMARO: dict[str, tuple[str, dict[str, Any]]] = {
    "coco": ("coco_instances", {}),
    "cvat": ("cvat", {"allow_undeclared_attrs": True}),
    "voc": ("voc_detection", {"allow_attributes": False}),
    "yolo": ("yolo_ultralytics", {}),
    "datumaro": ("datumaro", {}),
}
SUPERVISION = ("coco", "voc", "yolo")


def main(library: str, file: str, pictures: str) -> None:
    """Answer until standard input ends; what the library prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    write: Write | None = None
    try:
        importlib.import_module(library)
        given = json.loads(Path(file).read_text("utf-8"))
        write = (_datumaro if library == "datumaro" else _supervision)(given, pictures)
        formats = list(DATUMARO if library == "datumaro" else SUPERVISION)
        said: dict[str, Any] = {"version": importlib.metadata.version(library), "formats": formats}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), file=answers, flush=True)
    if write is None:
        return
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            export = write(asked["format"], asked["folder"], asked["images"], asked["facts"])
            said = _spent(export)
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


def _spent(export: Callable[[], object]) -> dict[str, float | None]:
    """Return the seconds of an export by the clock and of the CPU, and the MB it held beyond those before."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # man 5 proc: resets VmHWM
    held, wall, cpu = _resident("VmRSS"), time.perf_counter(), time.process_time()
    export()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = _resident("VmHWM")
    memory = None if held is None or peak is None else max(0.0, peak - held)
    return {"wall": wall, "cpu": cpu, "memory": memory}


def _resident(key: str) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def _rows(given: dict[str, Any], images: int) -> Iterator[tuple[list[Any], list[list[Any]]]]:
    """Yield the first images, each with its labels."""
    labels: list[list[list[Any]]] = [[] for _ in given["images"]]
    for at, *label in given["labels"]:
        labels[at].append(label)
    yield from zip(given["images"][:images], labels[:images], strict=True)


def _datumaro(given: dict[str, Any], pictures: str) -> Write:
    """Return what writes with datumaro; each set is made once, before it is timed."""
    from datumaro import Bbox, Dataset, DatasetItem, Image

    made: dict[tuple[int, bool, bool], Any] = {}

    def items(images: int, facts: bool, two: bool) -> Iterator[Any]:
        for number, ((name, width, height), labels) in enumerate(_rows(given, images)):
            boxes = [
                Bbox(x, y, w, h, label=label, id=place, attributes=said if facts else {})
                for place, (x, y, w, h, label, said) in enumerate(labels, start=1)
            ]
            media = Image.from_file(path=os.path.join(pictures, name), size=(height, width))
            subset = ("train" if number else "val") if two else "default"  # its YOLO insists on both
            yield DatasetItem(os.path.splitext(name)[0], subset=subset, media=media, annotations=boxes)

    def write(name: str, folder: str, images: int, facts: bool) -> Callable[[], object]:
        target, more = DATUMARO[name]
        key = (images, facts, name == "yolo")
        if key not in made:
            made.clear()
            made[key] = Dataset.from_iterable(list(items(*key)), categories=given["classes"])
        return lambda: made[key].export(folder, target, save_media=False, **more)

    return write


def _supervision(given: dict[str, Any], pictures: str) -> Write:
    """Return what writes with supervision, which holds no facts; it opens the pictures for their sizes."""
    import numpy as np
    from supervision import DetectionDataset, Detections

    made: dict[int, Any] = {}

    def detections(labels: list[list[Any]]) -> Any:
        if not labels:
            return Detections.empty()
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _, _ in labels], np.float32)
        numbers = np.array([label for *_, label, _ in labels])
        scores = np.array([said.get("score", 1) for *_, said in labels], np.float32)
        return Detections(xyxy=boxes, class_id=numbers, confidence=scores)

    def write(name: str, folder: str, images: int, facts: bool) -> Callable[[], object]:
        if images not in made:
            made.clear()
            found = {
                os.path.join(pictures, image): detections(labels)
                for (image, _, _), labels in _rows(given, images)
            }
            made[images] = DetectionDataset(classes=given["classes"], images=list(found), annotations=found)
        dataset = made[images]
        if name == "coco":
            return lambda: dataset.as_coco(annotations_path=os.path.join(folder, "labels.json"))
        if name == "voc":
            return lambda: dataset.as_pascal_voc(annotations_directory_path=folder)
        yaml = os.path.join(folder, "data.yaml")
        return lambda: dataset.as_yolo(annotations_directory_path=folder, data_yaml_path=yaml)

    return write


if __name__ == "__main__":
    main(*sys.argv[1:4])
