"""Print as JSON what Label Studio's own validator says: `PYTHON read_label_studio.py FOLDER`.

It runs in a Python of its own, which has label-studio-sdk and not dinonat. FOLDER holds label_config.xml
and one or more tasks*.json. For each prediction: its task's image, the errors (none: it is good), its
regions, and of brushes the COCO run lengths that the SDK's converter decodes.
"""

import json
import sys
from pathlib import Path
from typing import Any


def read(folder: str) -> list[dict[str, Any]]:
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((Path(folder) / "label_config.xml").read_text("utf-8"))
    found = []
    for file in sorted(Path(folder).glob("tasks*.json")):
        for task in json.loads(file.read_text("utf-8")):
            image = task["data"]["image"]
            for prediction in task.get("predictions", []):
                errors = interface.validate_prediction(prediction, return_errors=True)
                regions = [{**region, "counts": _brush(region)} for region in prediction["result"]]
                found.append(
                    {
                        **prediction,
                        "image": image,
                        "errors": [str(each) for each in errors],
                        "result": regions,
                    }
                )
            if not task.get("predictions"):
                found.append({"image": image, "errors": [], "result": []})
    return found


def _brush(region: dict[str, Any]) -> list[int] | None:
    import numpy as np
    from label_studio_sdk.converter.brush import decode_rle

    if region.get("type") != "brushlabels":
        return None
    width, height = region["original_width"], region["original_height"]
    pixels = np.asarray(decode_rle(region["value"]["rle"])).reshape(height, width, 4)
    flat = (pixels[:, :, 3] > 127).astype(np.uint8).ravel(order="F")
    cuts = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.r_[0, cuts, flat.size]).tolist()
    return [0, *counts] if flat[0] else list(counts)


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
