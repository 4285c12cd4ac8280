"""What a folder of YOLO labels must hold so that Ultralytics, CVAT, datumaro and supervision take all of it.

Most of these faults are passed over in silence: a text that is not found is a picture with nothing on it.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dinonat.errors import LabelError
from dinonat.formats.fault_places import as_fault
from dinonat.formats.handover import Check, Fault
from dinonat.formats.yolo import stem
from dinonat.formats.yolo_files import Layout, counterpart, image_name, layout, splits_of, text_lines

ROUNDED = 1.1e-5  # of an edge: what five digits of centre and side may add, as supervision writes them
MIXED = "a {} among {}; a set is for detection or for segmentation, not both."


def faults(path: Path, check: Check) -> Iterator[Fault]:
    """Yield every fault of a folder of YOLO labels, or of the one that a data.yaml lies in."""
    try:
        found = layout(path)
    except LabelError as error:
        yield as_fault(error, path)
        return
    if found.described.endswith((".yaml", ".yml")):
        yield from _data_faults(found)
    if len(set(found.names.values())) < len(found.names):
        yield (
            found.described,
            "one class name stands twice; datumaro and supervision shift all later classes.",
        )
    yield from _picture_faults(found, check)
    boxes: list[str] = []
    polygons: list[str] = []
    for file in found.label_files:
        yield from _file_faults(found, file, check, boxes, polygons)
    if boxes and polygons:
        fewer, kinds = (
            (boxes, ("box", "polygons")) if len(boxes) <= len(polygons) else (polygons, ("polygon", "boxes"))
        )
        for where in fewer:
            yield where, MIXED.format(*kinds)


def _data_faults(found: Layout) -> Iterator[Fault]:
    """Yield what is wrong with data.yaml."""
    where, names = found.described, found.data.get("names")
    try:
        (found.root / where).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        yield where, "not UTF-8; class names come out wrong or the program stops. Save it as UTF-8."
    for key in ("train", "val"):
        if not found.data.get(key):
            yield (
                where,
                f"no '{key}'; Ultralytics stops without it. Write {key}: images/train, if need be twice.",
            )
    if isinstance(names, dict):
        odd = [key for key in names if not re.fullmatch(r"\d{1,9}", str(key))]
        if odd:
            yield where, f"'names' has the key {odd[0]!r}, which is no number from 0; its class is lost."
        elif list(found.names) != list(range(len(found.names))):
            yield where, "'names' is not numbered 0, 1, 2, ... in order; readers shift classes or stop."
    if not found.names:
        yield where, "'names' holds no class, so no row has one."
    count = found.data.get("nc")
    if count is not None and count != len(found.names):
        yield (
            where,
            "'nc' is not the number of names; Ultralytics stops. Leave it out.",
        )
    for key in ("train", "val", "test"):
        value = found.data.get(key)
        if isinstance(value, str) and (value.startswith("/") or re.match(r"[A-Za-z]:[\\/]", value)):
            yield (
                where,
                f"'{key}' is an absolute path; on another machine nothing is found. Write it relative.",
            )


def _picture_faults(found: Layout, check: Check) -> Iterator[Fault]:
    """Yield label files and pictures that do not find each other."""
    beside = dict(found.pictures)
    if check.images is not None:
        pictures = [each for each in check.images.rglob("*") if each.is_file()]
        elsewhere = {stem(each.relative_to(check.images).as_posix()) for each in pictures}
    else:
        elsewhere = set()
    owners: dict[str, str] = {}
    for picture in found.every_picture:
        owner = owners.setdefault(counterpart(picture), picture)
        if owner != picture:
            yield (
                picture,
                "the same name before its ending as another picture; both have one label file. Rename.",
            )
    whole = {picture: key for key, picture in owners.items()}
    splits = splits_of(found.data)
    known = {counterpart(file) for file in found.label_files}
    for file in found.label_files:
        key, bare = counterpart(file), stem(image_name(file, splits))
        if "/" in bare and re.search(r"(^|/)labels/", file):
            yield (
                file,
                "in a folder below its split; datumaro fails and supervision skips it. Flatten the names.",
            )
        if (
            (not beside and not elsewhere)
            or key in beside
            or bare in elsewhere
            or PurePosixPath(bare).name in elsewhere
        ):
            continue
        if any(counterpart(picture + ".x") == key for picture in whole):
            yield (
                file,
                "named after the whole name of its picture; readers look for NAME.txt, not NAME.png.txt.",
            )
        else:
            yield file, "no picture of this name; its rows are read by nobody."
    for key, picture in beside.items():
        if known and key not in known and f"{key}{Path(picture).suffix}" not in known:
            yield (
                picture,
                "no label file; trainers take it as a picture with nothing on it. Write an empty one if so.",
            )


def _file_faults(
    found: Layout, file: str, check: Check, boxes: list[str], polygons: list[str]
) -> Iterator[Fault]:
    """Yield what is wrong with the rows of one text; add where its boxes and polygons stand."""
    try:
        lines = text_lines(found.root / file)
    except LabelError as error:
        yield as_fault(error, found.root)
        return
    seen: set[bytes] = set()
    for number, line in enumerate(lines, start=1):
        cells, where = line.split(), f"{file}, line {number}"
        if not cells:
            continue
        if not line.isascii():
            yield (
                where,
                "signs that are no plain text (ASCII); readers stop. Write nothing but numbers.",
            )
            continue
        key = b" ".join(cells)
        if key in seen:
            yield where, "the same row a second time; Ultralytics drops it, others count two objects."
        seen.add(key)
        if len(cells) in (5, 6) or len(cells) % 2:
            (boxes if len(cells) < 7 else polygons).append(where)
        for what in _row_faults(cells, found.names, check):
            yield where, what


def _row_faults(cells: list[bytes], names: dict[int, str], check: Check) -> Iterator[str]:
    """Yield what is wrong with one row."""
    count = len(cells)
    if count == 6:
        yield "6 numbers: a prediction with its score; as a label Ultralytics and CVAT refuse it. Cut it."
    elif count < 5 or count % 2 == 0:
        yield "neither 5 numbers (a box) nor 7, 9, 11, ... (a polygon); Ultralytics and CVAT refuse the file."
        return
    elif count >= 7 and check.target in ("datumaro", "cvat"):
        yield "a polygon; datumaro's and CVAT's YOLO readers take boxes only, without a word or not at all."
    try:
        number, *shares = [float(cell) for cell in cells]
    except ValueError:
        yield "something that is no number; every reader stops."
        return
    if not number.is_integer():
        yield "a class that is no whole number; every reader stops."
    elif int(number) not in names:
        yield "a class without a name in 'names'; Ultralytics drops the file, datumaro stops."
    elif b"." in cells[0]:
        yield "a class written as a decimal number; datumaro and supervision stop. Write 0, not 0.0."
    yield from _share_faults(shares[:4] if count == 6 else shares)


def _share_faults(shares: list[float]) -> Iterator[str]:
    """Yield what is wrong with the numbers behind the class."""
    if not all(map(math.isfinite, shares)):
        yield "NaN or an infinite number; Ultralytics trains on it to NaN, supervision stops."
    elif min(shares) < 0 or max(shares) > 1:
        yield "a number outside 0 to 1; Ultralytics drops the file. Divide by the sides, and clip."
    elif len(shares) > 4:
        xs, ys = shares[::2], shares[1::2]
        if max(xs) == min(xs) or max(ys) == min(ys):
            yield "a polygon of no width or height; it holds no pixel."
    elif min(shares[2:]) <= 0:
        yield "a box of no width or height; trainers drop it or divide by zero."
    elif any(
        not side / 2 - ROUNDED <= centre <= 1 - side / 2 + ROUNDED
        for centre, side in zip(shares[:2], shares[2:], strict=True)
    ):
        yield "a box that reaches outside its image; readers clip it or draw it outside. Clip it."
