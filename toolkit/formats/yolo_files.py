"""What lies in a folder of YOLO labels: the classes, the text files, and which picture each is about.

Ultralytics has ``images/train`` beside ``labels/train`` (or ``train/images`` beside ``train/labels``) and
data.yaml; Darknet has obj.data, obj.names and ``obj_train_data`` with texts beside pictures; labelImg has
classes.txt and texts beside pictures.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dinonat.errors import LabelError
from dinonat.formats.tables import PICTURES, read_text

LARGEST_TEXT = 1 << 26  # bytes of the rows of one picture
DESCRIPTIONS = ("data.yaml", "*.yaml", "*.yml", "obj.data", "*.data", "obj.names", "*.names", "classes.txt")
SPLITS = frozenset({"train", "val", "valid", "validation", "test", "trainval", "default"})
NOT_ROWS = re.compile(r"classes|names|train|val|valid|test|readme|license|notes|loss_report", re.I)


@dataclass(frozen=True, eq=False)
class Layout:
    """A folder of labels; every path is relative to ``root``."""

    root: Path
    described: str  # the file that names the classes
    names: dict[int, str]
    data: dict[str, Any]  # of data.yaml; {} where there is none
    label_files: tuple[str, ...]
    pictures: dict[str, str]  # path without ending, "images" in it as "labels" -> path of the picture
    every_picture: tuple[str, ...]
    listed: tuple[str, ...]  # pictures that lists of a split name, which may not be there


def layout(path: Path) -> Layout:
    """Look through a folder, or the folder of a data.yaml, obj.data or classes.txt.

    Raises LabelError where nothing names the classes, or what does is damaged.
    """
    described = path if path.is_file() else _description(path)
    root = described.parent
    data = read_yaml(described) if described.suffix in (".yaml", ".yml") else {}
    names = class_names(described, data)
    texts, pictures = walk(root)
    lists = {text for text in texts if _is_list(text, data)}
    return Layout(
        root,
        described.name,
        names,
        data,
        tuple(_label_files([text for text in texts if text not in lists and text != described.name])),
        {counterpart(picture): picture for picture in pictures},
        tuple(pictures),
        tuple(line for text in sorted(lists) for line in _lines(root / text) if _is_picture(line)),
    )


def counterpart(path: str) -> str:
    """Return a path without ending and with "labels" for its last folder "images": the same for a pair."""
    folders = list(PurePosixPath(path).parts)
    for place in range(len(folders) - 2, -1, -1):
        if folders[place].lower() == "images":
            folders[place] = "labels"
            break
    return os.path.splitext("/".join(folders))[0]


def image_name(path: str, splits: frozenset[str] = SPLITS) -> str:
    """Return what a label file or a picture is called: its path below the folder of its split.

    >>> image_name("labels/train/night/a.txt"), image_name("train/images/a.png"), image_name("a.txt")
    ('night/a.txt', 'a.png', 'a.txt')
    """
    folders = list(PurePosixPath(path).parts)
    for place in range(len(folders) - 2, -1, -1):
        if re.fullmatch(r"labels|images|obj_\w*data", folders[place].lower()):
            rest = folders[place + 1 :]
            return "/".join(rest[1:] if len(rest) > 1 and rest[0] in splits else rest)
    return "/".join(folders)


def splits_of(data: dict[str, Any]) -> frozenset[str]:
    """Return the names of folders that are splits: the usual ones, and those of data.yaml."""
    values = [value for value in data.values() if isinstance(value, str)]
    return SPLITS | {PurePosixPath(value.replace("\\", "/")).name for value in values if "/" in value}


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse data.yaml. Raises LabelError where it is no YAML or no map."""
    try:
        data = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LabelError(f"{path}: not YAML ({reason}). Put names with special signs in quotes.") from error
    if not isinstance(data, dict):
        raise LabelError(f"{path}: not a map with train, val and names. Give the data.yaml of a YOLO set.")
    return {str(key): value for key, value in data.items()}


def class_names(described: Path, data: dict[str, Any]) -> dict[int, str]:
    """Return number -> class, from a list, a map, or a file with a class a line.

    Raises LabelError where there is no such thing.
    """
    if described.suffix in (".yaml", ".yml"):
        return _yaml_names(described, data.get("names"))
    if described.suffix == ".data":
        found = re.search(r"^\s*names\s*=\s*(.+?)\s*$", read_text(described), re.M)
        named = PurePosixPath(found.group(1).replace("\\", "/")).name if found else "obj.names"
        described = described.parent / named  # whatever folder it names: it lies beside
    return {number: name.strip() for number, name in enumerate(_lines(described)) if name.strip()}


def _yaml_names(path: Path, names: object) -> dict[int, str]:
    """Return number -> class of the entry ``names``; numbers may be written as texts."""
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict):
        pairs = {str(key): str(name) for key, name in names.items() if not isinstance(name, list | dict)}
        return {int(key): name for key, name in pairs.items() if re.fullmatch(r"\d{1,9}", key)}
    raise LabelError(f"{path}: no list or map 'names' in it, so no row has a class. Add names: {{0: car}}.")


def _description(folder: Path) -> Path:
    """Return the file that names the classes. Raises LabelError where there is none."""
    for place in ("", "labels/", "*/"):
        for pattern in DESCRIPTIONS:
            for found in sorted(folder.glob(place + pattern)):
                if found.is_file() and (place != "labels/" or found.name == "classes.txt"):
                    return found
    raise LabelError(
        f"{folder}: nothing in it names the classes of YOLO labels. "
        "Put back its data.yaml, obj.names or classes.txt."
    )


def walk(root: Path) -> tuple[list[str], list[str]]:
    """Return the texts and the pictures below ``root``, sorted; linked folders once, hidden ones never."""
    texts, pictures, seen = [], [], set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        below = os.path.relpath(place, root).replace(os.sep, "/") + "/"
        below = "" if below == "./" else below
        texts += [below + name for name in files if name.endswith(".txt") and not name.startswith(".")]
        pictures += [below + name for name in files if _is_picture(name)]
    return sorted(texts), sorted(pictures)


def text_lines(path: Path) -> list[bytes]:
    """Return the lines of one text. Raises LabelError where it cannot be read or is too large."""
    try:
        with path.open("rb", buffering=0) as stream:
            data = stream.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) > LARGEST_TEXT:
        raise LabelError(
            f"{path}: larger than {LARGEST_TEXT >> 20} MiB, which the rows of one picture are not."
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", errors="replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf").splitlines()


def _is_list(text: str, data: dict[str, Any]) -> bool:
    """Say whether a text is a list of pictures: data.yaml says so, or Darknet's and CVAT's names do."""
    asked = [each for value in data.values() for each in (value if isinstance(value, list) else [value])]
    named = {PurePosixPath(each.replace("\\", "/")).name for each in asked if isinstance(each, str)}
    name = PurePosixPath(text).name
    return "/" not in text and (name in named or os.path.splitext(name)[0].lower() in SPLITS)


def _label_files(texts: list[str]) -> Iterator[str]:
    """Yield the texts that hold rows: those in folders made for them, if there are any, else all."""
    marked = [text for text in texts if re.search(r"(^|/)(labels|obj_\w*data)/", text, re.I)]
    for text in marked or texts:
        if PurePosixPath(text).name != "classes.txt" and (
            marked or not NOT_ROWS.fullmatch(os.path.splitext(PurePosixPath(text).name)[0])
        ):
            yield text


def _is_picture(name: str) -> bool:
    """Say whether a name is that of a picture."""
    return name.lower().endswith(PICTURES) and not PurePosixPath(name).name.startswith(".")


def _lines(path: Path) -> list[str]:
    """Return the lines of a text, without their ends."""
    return read_text(path).replace("\r\n", "\n").rstrip("\n").split("\n")
