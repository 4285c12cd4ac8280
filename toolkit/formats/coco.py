"""COCO instances: written so that every reader takes it the first time.

The rules and the readers they were found with: pycocotools, faster-coco-eval, datumaro, CVAT,
labelformat, globox. One pixel grid: the picture as EXIF turns it. Labels of whole images have no
place in COCO; they go to ``image_labels.csv`` beside it, never into boxes of the whole image.
Reading is in ``coco_reading``, checking in ``coco_rules``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dinonat.formats.coco_masks import segmentation
from dinonat.formats.collecting import no_collecting
from dinonat.formats.handover import LABEL_ID, NUMBERS, TEXTS, WHOLE_IMAGE, Outgoing, Written
from dinonat.formats.image_labels import IMAGE_LABELS, write_image_labels
from dinonat.formats.json_columns import Cells, in_one, joined, members, number_cells, text_cells, whole_cells
from dinonat.records import TEMPERATURE_COLUMNS

DESCRIPTION = "dinotool export"  # in `info`: the file has one entry a line, and can be read line by line
BLOCK = 16_384  # labels that are turned into text at a time
MARK = len(",\n")  # between two entries

ATTRIBUTE_NUMBERS = tuple(name for name in NUMBERS if name != "score")  # which has a key of its own


def annotations_file(split: str) -> str:
    """Return where the annotations of a split lie: datumaro's and CVAT's place for a subset."""
    return f"annotations/instances_{split or 'default'}.json"


def results_file(split: str) -> str:
    """Return where the scored labels of a split lie, for ``loadRes``."""
    return f"annotations/results_{split or 'default'}.json"


def picture(split: str, file_name: str) -> str:
    """Return where a picture of the export lies below its folder."""
    return f"images/{split or 'default'}/{file_name}"


@no_collecting()
def write(asked: Outgoing, folder: Path) -> Written:
    """Write COCO under ``folder``, a file for each split that has images; equal input gives equal bytes.

    Beside ``annotations/instances_SPLIT.json`` there is ``annotations/results_SPLIT.json`` where a label
    has a score, ``image_labels.csv`` where a whole image has a label, and ``images/SPLIT``, empty until
    pictures are put there. Ids of images and annotations count over all splits, so an image keeps its
    id however the set is split. The id of a class is its place plus ``asked.category_base``; CVAT and
    datumaro refuse or misread 0.
    """
    losses = Counter(asked.losses)
    regions = np.flatnonzero((asked.labels["kind"] == "region").to_numpy())
    splits = asked.images["split"].to_numpy(object)
    at = asked.labels["at"].to_numpy()[regions]
    files: list[str] = []
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split in sorted(set(splits.tolist())) or [""]:
        own = splits == split
        files += _write_split(asked, split, own, np.flatnonzero(own[at]), regions, folder, losses)
        # datumaro refuses annotations without this folder.
        (folder / picture(split, "")).mkdir(parents=True, exist_ok=True)
    whole = len(asked.labels) - len(regions)
    if whole:
        write_image_labels(asked.labels, folder / IMAGE_LABELS)
        files.append(IMAGE_LABELS)
        losses[WHOLE_IMAGE] = whole
    files.sort(key=lambda name: "/results_" in name)
    return Written(
        tuple(files), len(regions), whole, {text: count for text, count in losses.items() if count}
    )


def _write_split(
    asked: Outgoing,
    split: str,
    own: np.ndarray,
    places: np.ndarray,
    regions: np.ndarray,
    folder: Path,
    losses: Counter[str],
) -> list[str]:
    """Write the files of one split; ``own`` marks its images, ``places`` are its places in ``regions``."""
    scored = np.isfinite(asked.labels["score"].to_numpy(np.float64)[regions[places]]).any()
    names = [annotations_file(split), *([results_file(split)] if scored else [])]
    with ExitStack() as stack:
        main, *results = [stack.enter_context((folder / name).open("wb")) for name in names]
        _write_head(asked, own, main)
        for stream in results:
            stream.write(b"[\n")
        _write_entries(asked, places, regions, main, results, losses)
        main.write(b"\n]}\n")
        for stream in results:
            stream.write(b"\n]\n")
    return names


def _write_entries(
    asked: Outgoing,
    places: np.ndarray,
    regions: np.ndarray,
    main: IO[bytes],
    results: Sequence[IO[bytes]],
    losses: Counter[str],
) -> None:
    """Write the annotations of one split, and those with a score once more as results."""
    first, first_of_results = MARK, MARK
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        entries, scored = _entries(asked, asked.labels.iloc[regions[block]], block, losses)
        main.write(entries[first:])
        first = 0
        if len(scored):
            for stream in results:
                stream.write(scored[first_of_results:])
            first_of_results = 0


def _write_head(asked: Outgoing, own: np.ndarray, stream: IO[bytes]) -> None:
    """Write the file up to its annotations: one entry a line, so that two exports can be compared."""
    info = {"description": DESCRIPTION, "version": "1", "export": asked.name}
    stream.write(b'{"info": ' + orjson.dumps(info) + b',\n"licenses": [{"id": 0, "name": "", "url": ""}],\n')
    classes = enumerate(asked.classes, start=asked.category_base)
    _write_list("categories", ({"id": n, "name": name, "supercategory": ""} for n, name in classes), stream)
    ids = np.flatnonzero(own)
    images = asked.images.iloc[ids]
    columns = [images[name].tolist() for name in ("image", "file_name", "width", "height")]
    listed = (
        {"id": place + 1, "file_name": file_name, "width": width, "height": height}
        | ({} if file_name == image else {"raw": image})
        for place, image, file_name, width, height in zip(ids.tolist(), *columns, strict=True)
    )
    _write_list("images", listed, stream)
    stream.write(b'"annotations": [\n')


def _write_list(name: str, entries: Iterable[dict[str, Any]], stream: IO[bytes]) -> None:
    """Write one of the lists before the annotations, a block at a time."""
    stream.write(b'"%s": [\n' % name.encode())
    left, mark = iter(entries), b""
    while block := list(islice(left, BLOCK)):
        stream.write(mark + b",\n".join(map(orjson.dumps, block)))
        mark = b",\n"
    stream.write(b"\n],\n")


def _entries(
    asked: Outgoing, rows: pd.DataFrame, places: np.ndarray, losses: Counter[str]
) -> tuple[memoryview, memoryview]:
    r"""Return the annotations of one block of regions, and the results of those that have a score.

    Each begins with ",\n". What masks lose is counted in ``losses``.
    """
    at = rows["at"].to_numpy()
    boxes = np.round(rows[list("xywh")].to_numpy(np.float64), 2)
    x, y, w, h = (number_cells(side) for side in boxes.T)
    shapes, areas = _shapes(asked, rows, at, losses)
    area = np.where(areas > 0, areas, np.round(boxes[:, 2] * boxes[:, 3], 4))
    numbers = [
        whole_cells(each) for each in (places + 1, at + 1, rows["number"].to_numpy() + asked.category_base)
    ]
    number, image, category = numbers
    what = joined(
        ['"image_id":', image, ',"category_id":', category, ',"bbox":[', x, ",", y, ",", w, ",", h, "]"]
    )
    score = members({"score": _numbers("score", rows["score"])})
    shape = "[]" if shapes is None else joined([shapes], missing="[]")
    entries = joined(
        [',\n{"id":', number, ",", what, ',"segmentation":', shape, ',"area":', number_cells(area),
         ',"iscrowd":0', score, ',"attributes":{', _attributes(rows), "}}"]
    )  # fmt: skip
    scored = pa.array(np.isfinite(rows["score"].to_numpy(np.float64, na_value=np.nan)))
    # Without a mask, loadRes makes the outline of the box.
    mask = "" if shapes is None else joined([',"segmentation":', shapes], missing=None)
    results = joined([",\n{", what, score, mask, "}"]).filter(scored)
    return in_one(entries), in_one(results)


def _shapes(
    asked: Outgoing, rows: pd.DataFrame, at: np.ndarray, losses: Counter[str]
) -> tuple[Cells | None, np.ndarray]:
    """Return how the mask of each region is written, null without one, and how many pixels it has.

    None instead where no region has one. What is lost is counted in ``losses``.
    """
    masks, areas = rows["mask_counts"].tolist(), np.zeros(len(rows))
    if not any(masks):
        return None, areas
    sizes = asked.images[["height", "width"]].to_numpy()[at].tolist()
    written: list[str | None] = [None] * len(masks)
    for place, (counts, (height, width)) in enumerate(zip(masks, sizes, strict=True)):
        if counts:
            shape = segmentation(list(counts), (height, width), masks=asked.masks)
            losses[shape.loss] += bool(shape.loss)
            areas[place] = shape.area
            written[place] = orjson.dumps(shape.written).decode() if shape.written else None
    return pa.array(written, pa.string()), areas


def _attributes(rows: pd.DataFrame) -> Cells:
    """Return what COCO has no key for, for each row: read as attributes by CVAT, datumaro and FiftyOne.

    Empty texts and numbers that do not exist are left out: JSON has no NaN. Temperatures are in
    hundredths of their unit.
    """
    clusters = rows["cluster"].to_numpy()
    cells = {
        LABEL_ID: text_cells(rows["proposal"]),
        **{name: text_cells(rows[name]) for name in TEXTS},
        **{name: _numbers(name, rows[name]) for name in ATTRIBUTE_NUMBERS},
        "cluster": whole_cells(clusters, clusters >= 0),
    }
    return pc.utf8_slice_codeunits(members(cells), 1)  # without the first comma


def _numbers(name: str, column: pd.Series) -> Cells:
    """Return the finite numbers of a column with the digits that a fact has."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    return number_cells(np.round(values, 2 if name in TEMPERATURE_COLUMNS else 6))
