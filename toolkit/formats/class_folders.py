"""A folder for each class with pictures in it: labels of whole images, for torchvision and Ultralytics.

A class may be called anything, a folder may not: classes.csv says which folder is which class, and
image_labels.csv what is known of each label. Pictures may be moved from folder to folder: where a
picture lies is what it shows.
Source: https://docs.ultralytics.com/datasets/classify, torchvision.datasets.ImageFolder.
"""

import csv
import io
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinonat.errors import LabelError
from dinonat.formats.fault_places import as_fault
from dinonat.formats.handover import (
    LABEL_ID,
    NO_BOXES,
    Check,
    Fault,
    Incoming,
    Outgoing,
    Sizes,
    Warn,
    Written,
    incoming,
)
from dinonat.formats.image_labels import IMAGE_LABELS, read_image_labels, write_image_labels
from dinonat.formats.tables import parse_csv
from dinonat.formats.yolo_files import walk

CLASSES = "classes.csv"
NOT_THERE = "images without a label of the whole image: left out, they have no folder"
TWICE = "labels that an image has twice: its picture lies there once"
SPLITS = frozenset({"train", "val", "valid", "validation", "test"})
LONGEST = 100  # bytes of the name of a folder; file systems end at 255, paths of Windows at 260
# Names that Windows keeps for devices, and what lies beside the folders.
TAKEN = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
BESIDE = {CLASSES, IMAGE_LABELS, "manifest.json", "loss_report.txt", "proxies.csv", *SPLITS}


def write(asked: Outgoing, folder: Path) -> Written:
    """Write what is known of labels of whole images; the pictures themselves go to `places`."""
    return _write(asked, folder, places(asked))


def write_classify(asked: Outgoing, folder: Path) -> Written:
    """Write as `write` does, for `classify_places`; every split has a folder for every class that is used.

    Ultralytics and torchvision number the classes by the folders of a split: one that is missing in
    "val" would shift all that follow.
    """
    laid = classify_places(asked)
    folders = {Path(path).parts[:2] for _, path in laid}
    for split in {split for split, _ in folders}:
        for _, name in folders:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
    return _write(asked, folder, laid)


def places(asked: Outgoing) -> list[tuple[int, str]]:
    """Return (row of the image in ``asked.images``, where its picture goes below the folder), sorted.

    SPLIT/CLASS/PICTURE, or CLASS/PICTURE where nothing is split; an image of two classes goes to both.
    """
    return _places(asked, "")


def classify_places(asked: Outgoing) -> list[tuple[int, str]]:
    """Return what `places` does; what is not split is in "train", which Ultralytics must have."""
    return _places(asked, "train")


def picture(split: str, file_name: str) -> str:
    """Return where a picture without a class would lie; `places` says where the pictures go."""
    return f"{split}/{file_name}" if split else file_name


def folder_names(classes: tuple[str, ...]) -> dict[str, str]:
    """Return class -> folder: a name that every file system takes, different for every class.

    >>> folder_names(("car", "Car", "a/b", "..", "con", "night.", "🔥"))["Car"]
    'Car_2'
    """
    found: dict[str, str] = {}
    taken = {unicodedata.normalize("NFC", name).casefold() for name in BESIDE}
    for label in classes:
        safe = _safe(label)
        name, number = safe, 2
        while unicodedata.normalize("NFC", name).casefold() in taken:
            name, number = f"{safe}_{number}", number + 1
        taken.add(unicodedata.normalize("NFC", name).casefold())
        found[label] = name
    return found


def read(path: Path, *, sizes: Sizes | None = None, warn: Warn = warnings.warn) -> Incoming:
    """Read the class of each picture by the folder it lies in, of an export or of what a person sorted.

    ``classes.csv`` names the classes, else their folders do; ids and scores come from image_labels.csv,
    also for a picture that was moved to another class. ``sizes`` are not needed. Raises LabelError
    where no class folder holds a picture.
    """
    names = _classes(path / CLASSES)
    ours = (path / CLASSES).is_file()
    rows: list[dict[str, Any]] = []
    loose: list[str] = []  # pictures in no class folder
    for place, steps in _steps(walk(path)[1], ours):
        if len(steps) == 1:
            loose.append(place)
            continue
        image = "/".join(steps[1:]) if ours else place
        rows.append({"image": image, "kind": "image", "label": names.get(steps[0], steps[0]), "where": place})
    unread = [place.rpartition("/")[2] if ours else place for place in loose]
    known = read_image_labels(path / IMAGE_LABELS, warn=warn, unread=unread)
    if loose and rows:
        warn(f"{path}: {len(loose)} picture(s) in no class folder are left out; the first is {loose[0]}.")
    if not rows and (known or not ours):
        raise LabelError(
            f"{path}: no folder per class with images in it. Expected {path.name}/CLASS/IMAGE.png; a zip "
            "file, whose pictures are not read, has to be unpacked."
        )
    _add_known(rows, known)
    # A picture that was written and is gone from every class has no class any more.
    images = [str(row["image"]) for row in [*rows, *(known if ours else ())]]
    return incoming(rows, images, unread=unread)


def _steps(places: list[str], ours: bool) -> list[tuple[str, list[str]]]:
    """Return each place with its folders and name, without the folder of its split if there are splits.

    No class of ``ours`` has a folder that is called like a split; of a person's it may.
    """
    steps = [place.split("/") for place in places]
    inside = [each for each in steps if len(each) > 1]
    split = (ours or any(len(each) > 2 for each in inside)) and all(each[0] in SPLITS for each in inside)
    return [
        (place, each[1:] if split and len(each) > 1 else each)
        for place, each in zip(places, steps, strict=True)
    ]


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield what readers of class folders stumble over."""
    if not path.is_dir():
        yield path.name, "no folder; pictures in a folder for each class are needed."
        return
    laid = _steps(walk(path)[1], (path / CLASSES).is_file())
    if not any(len(steps) > 1 for _, steps in laid):
        yield "folder", "no folder per class with images in it; every reader stops."
    for place, steps in laid:
        if len(steps) == 1:
            yield place, "in no class folder; readers pass over it. Move it into one."
        elif len(steps) > 2:
            yield place, "below its class folder; Ultralytics takes it, others do not. Move it up."
    if any(place != "/".join(steps) for place, steps in laid):
        yield from _split_faults(path)
    yield from _class_faults(path / CLASSES, sorted({steps[0] for _, steps in laid if len(steps) > 1}))


def _class_faults(file: Path, folders: list[str]) -> Iterator[Fault]:
    """Yield what is wrong with classes.csv, if there is one, and the folders that it does not name."""
    try:
        known = _classes(file)
    except LabelError as error:
        yield as_fault(error, file)
        return
    for name in folders if file.is_file() else ():
        if name not in known:
            yield name, f"a folder that {CLASSES} does not name; its own name is taken for the class."


def _split_faults(path: Path) -> Iterator[Fault]:
    """Yield what is missing in a folder with splits."""
    splits = {each.name: each for each in path.iterdir() if each.is_dir() and each.name in SPLITS}
    if "train" not in splits:
        yield "train", "no such folder; Ultralytics stops without it."
    every = {each.name for split in splits.values() for each in split.iterdir() if each.is_dir()}
    for name, split in sorted(splits.items()):
        for missing in sorted(every - {each.name for each in split.iterdir() if each.is_dir()}):
            yield (
                f"{name}/{missing}",
                "missing, but there in another split; readers number the classes differently.",
            )


def _write(asked: Outgoing, folder: Path, laid: list[tuple[int, str]]) -> Written:
    """Write classes.csv and image_labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows(
        [("folder", "class"), *((name, label) for label, name in folder_names(asked.classes).items())]
    )
    (folder / CLASSES).write_bytes(stream.getvalue().encode())
    whole = asked.labels[asked.labels["kind"] == "image"]
    named = asked.images["file_name"].to_numpy(object)[whole["at"].to_numpy()]
    write_image_labels(whole.assign(image=named), folder / IMAGE_LABELS)
    losses = {
        **asked.losses,
        NO_BOXES: len(asked.labels) - len(whole),
        NOT_THERE: len(asked.images) - whole["at"].nunique(),
        TWICE: len(whole) - len(laid),
    }
    return Written(
        (CLASSES, IMAGE_LABELS), 0, len(whole), {text: n for text, n in sorted(losses.items()) if n}
    )


def _places(asked: Outgoing, default: str) -> list[tuple[int, str]]:
    """Return (row of the image, path of its picture), sorted; ``default``: split of what has none."""
    folders = folder_names(asked.classes)
    whole = asked.labels[asked.labels["kind"] == "image"]
    found = set()
    for at, label in zip(whole["at"].tolist(), whole["label"].astype("str"), strict=True):
        split, name = str(asked.images["split"].iat[at]) or default, str(asked.images["file_name"].iat[at])
        found.add((at, "/".join(filter(None, (split, folders[label], name)))))
    return sorted(found)


def _safe(label: str) -> str:
    """Return a class name without what file systems refuse or turn into something else."""
    plain = re.sub(r"[^\w\-+=@&,;()!' .]", "_", unicodedata.normalize("NFC", label)).strip(" .") or "_"
    plain = plain.encode()[:LONGEST].decode(errors="ignore").strip(" .")
    return f"_{plain}" if plain.split(".")[0].strip().casefold() in TAKEN else plain


def _classes(path: Path) -> dict[str, str]:
    """Return folder -> class of classes.csv; {} where there is none. Raises LabelError for a damaged one."""
    if not path.is_file():
        return {}
    header, rows, _ = parse_csv(path, exact=True)
    if "folder" not in header or "class" not in header:
        raise LabelError(f"{path}: expected the columns folder,class; its header is {', '.join(header)}.")
    at = header.index("folder"), header.index("class")
    return {row[at[0]]: row[at[1]] for _, row in rows if len(row) > max(at)}


def _add_known(rows: list[dict[str, Any]], known: list[dict[str, Any]]) -> None:
    """Add id, score and status of the label that a picture had, first where the class is the same."""
    by_image: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in known:
        by_image[entry["image"]].append(entry)
    left = []
    for row in rows:
        entries = by_image[row["image"]]
        same = next((entry for entry in entries if entry["label"] == row["label"]), None)
        if same is None:
            left.append(row)
            continue
        row |= {name: same[name] for name in (LABEL_ID, "score", "status")}
        entries[:] = [entry for entry in entries if entry["label"] != row["label"]]
    for row in left:
        if by_image[row["image"]]:
            row[LABEL_ID] = by_image[row["image"]].pop(0)[LABEL_ID]
