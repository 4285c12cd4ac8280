"""Label Studio's own validator finds nothing wrong with our predictions, and decodes our brushes as we do."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from scipy import ndimage

from dinonat.formats.catalog import FORMATS
from dinonat.formats.coco_masks import FILLED
from dinonat.polygons import polygon_mask

SETS = ("fixture", "drawn")


def drawn(counts: list[int], size_hw: tuple[int, int]) -> np.ndarray:
    """Run lengths as a mask."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size_hw, order="F")


def file_of(image: str) -> str:
    """Return the file that an address of Label Studio's local files names."""
    return unquote(parse_qs(urlsplit(image).query)["d"][0])


@pytest.mark.parametrize("which", SETS)
def test_every_prediction_is_valid_and_complete(
    label_studio: Callable[..., Any],
    exported: Callable[..., Any],
    said: Callable[..., Any],
    which: str,
) -> None:
    export = exported("label-studio", which)
    read = label_studio("read_label_studio.py", export.folder)
    assert [one["errors"] for one in read] == [[] for _ in read]
    wanted = said(export.asked)
    places = {FORMATS["label-studio"].picture("", file): file for file in wanted}
    by_file = {places[file_of(one["image"])]: one for one in read}
    assert set(by_file) == set(wanted)  # those without a label too
    sizes = export.asked.images.set_index("file_name")[["height", "width"]]
    filled = 0
    for file, labels in wanted.items():
        one = by_file[file]
        assert one["result"] == [] or one["model_version"]
        height, width = sizes.loc[file].tolist()
        for key, label in labels.items():
            regions = [region for region in one["result"] if of_label(region, key)]
            assert regions, (key, one["result"])
            for region in regions:
                assert (region["original_height"], region["original_width"]) == (height, width)
                assert region["value"][region["type"]] == [label["label"]]
                assert region["score"] == pytest.approx(label["facts"]["score"], abs=1e-6)
            if label["counts"]:
                mask = drawn(label["counts"], (height, width))
                found = shown(regions, (height, width))
                if not np.array_equal(found, mask):
                    filled += 1
                    assert np.array_equal(found, ndimage.binary_fill_holes(mask))
            else:
                (box,) = (each["value"] for each in regions)
                whole = (width, height, width, height)
                place = [
                    box[side] * by / 100
                    for side, by in zip(("x", "y", "width", "height"), whole, strict=True)
                ]
                assert place == pytest.approx(label["box"], abs=1e-6)
    assert filled == export.written.losses.get(FILLED, 0)  # what is lost is said


def shown(regions: list[dict[str, Any]], size_hw: tuple[int, int]) -> np.ndarray:
    """Return the mask that brushes, as the SDK decodes them, and polygons show."""
    mask = np.zeros(size_hw, bool)
    for region in regions:
        if region["type"] == "brushlabels":
            mask |= drawn(region["counts"], size_hw)
        else:
            points = np.array(region["value"]["points"]) * (size_hw[1], size_hw[0]) / 100
            mask |= polygon_mask([points.round(6).ravel().tolist()], size_hw)
    return mask


def of_label(region: dict[str, Any], key: str) -> bool:
    """Say whether a region is of a label: its id is the label's, or that with the number of a part."""
    return str(region["id"]).split(":")[0] == key
