"""What proposed boxes are worth: recall against true boxes, beside boxes that cost nothing."""

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.errors import LabelError
from dinonat.geometry import iou_xywh
from dinonat.records import Bool, Float32

Float64 = NDArray[np.float64]
Boxes = Mapping[str, Float64]  # image -> (n, 4) x, y, width, height

COLUMNS = ("boxes", "recall", "small", "medium", "large", "boxes_per_image", "n_truth")
SMALL, LARGE = 32.0**2, 96.0**2  # square pixels, where COCO draws its lines


def recall(proposed: Boxes, truth: Boxes, *, iou: float = 0.5) -> float:
    """Return the share of the true boxes that some proposed box of the same image meets with ``iou``.

    NaN where there are no true boxes.

    >>> recall({"a": np.array([[0.0, 0, 2, 2]])}, {"a": np.array([[0.0, 0, 2, 3], [7, 7, 1, 1]])})
    0.5
    """
    hits = found(proposed, truth, iou=iou)
    return float(hits.mean()) if hits.size else float("nan")


def found(proposed: Boxes, truth: Boxes, *, iou: float = 0.5) -> Bool:
    """Return for every true box, images in sorted order, whether some proposed box meets it (n,)."""
    hits: list[Bool] = [np.zeros(0, dtype=bool)]
    for image in sorted(truth):
        overlaps = iou_xywh(truth[image], proposed.get(image, np.zeros((0, 4))))
        met: Bool = np.any(overlaps >= iou, axis=1)
        hits.append(met)
    return np.concatenate(hits)


def regular_grid(size_hw: tuple[int, int], n: int = 30) -> Float64:
    """Return ``n`` equal boxes (n, 4) that tile the image, in the arrangement closest to squares.

    >>> regular_grid((20, 30), 6)[-1]
    array([20., 10., 10., 10.])
    """
    height, width = size_hw
    shapes = [(rows, n // rows) for rows in range(1, n + 1) if n % rows == 0]
    rows, columns = min(shapes, key=lambda shape: abs(np.log(width * shape[0] / (height * shape[1]))))
    row, column = np.divmod(np.arange(n), columns)
    w, h = width / columns, height / rows
    return np.stack([column * w, row * h, np.full(n, w), np.full(n, h)], axis=1)


def random_boxes(size_hw: tuple[int, int], n: int = 30, *, seed: int | Sequence[int] = 0) -> Float64:
    """Return ``n`` boxes (n, 4) between two uniform points of the image."""
    height, width = size_hw
    points = np.random.default_rng(seed).uniform(size=(n, 2, 2)) * [width, height]
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate([low, high - low], axis=1)


def hot_blobs(picture: Float32, n: int = 30) -> Float64:
    """Return boxes (at most ``n``, 4) round the hottest parts of ``picture`` (H, W), hottest first.

    A part is connected, above the 90th percentile of the picture smoothed by one pixel, has at least 12
    pixels and fills less than a quarter of the picture. Of 18 such rules (Otsu, mean plus one or two
    deviations, percentiles 90, 95 and 98; ranked by area, peak or mass) this found most on thermal_aerial
    and paired_road together, so it is the strongest of its kind to be compared with.
    """
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 1.0)
    parts, count = ndimage.label(smooth > np.percentile(smooth, 90))
    if count == 0:
        return np.zeros((0, 4))
    numbers = np.arange(1, count + 1)
    area = np.bincount(parts.ravel())[1:]
    peaks = ndimage.maximum(smooth, parts, numbers)
    windows = ndimage.find_objects(parts)
    kept = np.flatnonzero((area >= 12) & (area < picture.size / 4))
    best = kept[np.argsort(-peaks[kept], kind="stable")][:n]
    corners = [(windows[i][1], windows[i][0]) for i in best]
    rows = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for x, y in corners]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def compare(
    items: pd.DataFrame,
    truth: pd.DataFrame,
    pictures: Callable[[str], Float32],
    *,
    max_boxes: int = 30,
    seed: int = 0,
) -> pd.DataFrame:
    """Return recall at IoU 0.5 of a set's regions and of three baselines with as many boxes.

    ``items`` has ITEM_COLUMNS, ``truth`` LABEL_COLUMNS (rows without a box are left out), and
    ``pictures(image)`` gives the luminance (H, W) of a prepared image, in pixels of the original. Rows: the
    sources of the regions joined by "+", then "regular grid", "random boxes" and "hot blobs". Columns: boxes
    (which), recall in [0, 1], the same for true boxes that are small (below 32x32 pixels), medium and large
    (96x96 and more), boxes_per_image, n_truth. All images of the set that were read count for
    boxes_per_image; true boxes of other images are not counted. Raises LabelError where none is left.
    """
    images = items[(items["kind"] == "image") & (items["status"] == "ok")].sort_values("image")
    shapes = images[["height", "width"]].to_numpy(np.int64).tolist()
    sizes = {str(image): (shape[0], shape[1]) for image, shape in zip(images["image"], shapes, strict=True)}
    real = _boxes(truth[truth["x"].notna() & truth["image"].isin(list(sizes))])
    if not real:
        raise LabelError(
            f"no box among {len(truth)} labels lies in one of the {len(sizes)} images of the set: give a "
            "file whose rows have x,y,w,h and name images as the set does, relative to its folder."
        )
    regions = items[(items["kind"] == "region") & items["image"].isin(list(sizes))]
    regions = regions.sort_values(["image", "objectness"], ascending=[True, False], kind="stable")
    regions = regions.groupby("image", sort=True).head(max_boxes)
    name = "+".join(sorted(set(regions["source"]))) or "no regions"
    candidates: dict[str, Boxes] = {name: _boxes(regions)}
    candidates["regular grid"] = {image: regular_grid(size, max_boxes) for image, size in sizes.items()}
    candidates["random boxes"] = {
        image: random_boxes(size, max_boxes, seed=[seed, zlib.crc32(image.encode())])
        for image, size in sizes.items()
    }
    candidates["hot blobs"] = {image: hot_blobs(pictures(image), max_boxes) for image in sizes}
    rows = [_row(name, boxes, real, len(sizes)) for name, boxes in candidates.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _boxes(table: pd.DataFrame) -> dict[str, Float64]:
    """Return image -> boxes (n, 4), rows in their order."""
    columns = ["x", "y", "w", "h"]
    return {str(image): rows[columns].to_numpy(np.float64) for image, rows in table.groupby("image")}


def _row(name: str, proposed: Boxes, truth: Boxes, images: int) -> dict[str, object]:
    """Return one row of the comparison."""
    hits = found(proposed, truth)
    area = np.concatenate([boxes[:, 2] * boxes[:, 3] for _, boxes in sorted(truth.items())])
    parts = {"small": area < SMALL, "medium": (area >= SMALL) & (area < LARGE), "large": area >= LARGE}
    shares = {part: float(hits[own].mean()) if own.any() else float("nan") for part, own in parts.items()}
    total = sum(len(boxes) for boxes in proposed.values())
    return {
        "boxes": name,
        "recall": recall(proposed, truth),
        **shares,
        "boxes_per_image": total / images,
        "n_truth": len(hits),
    }
