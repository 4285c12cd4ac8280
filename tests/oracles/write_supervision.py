"""Let supervision write what it reads of COCO: `PYTHON write_supervision.py coco|yolo|voc PICTURES FILE OUT`.

It runs in a Python of its own, which has supervision and not dinonat.
"""

import sys
from pathlib import Path


def write(name: str, pictures: str, file: str, out: str) -> None:
    from supervision import DetectionDataset

    dataset, folder = DetectionDataset.from_coco(pictures, file), Path(out)
    if name == "coco":
        dataset.as_coco(annotations_path=str(folder / "annotations" / "instances_default.json"))
    elif name == "yolo":
        labels = str(folder / "labels" / "train")
        dataset.as_yolo(
            images_directory_path=str(folder / "images" / "train"),
            annotations_directory_path=labels,
            data_yaml_path=str(folder / "data.yaml"),
        )
    else:
        dataset.as_pascal_voc(annotations_directory_path=str(folder / "Annotations"))


if __name__ == "__main__":
    write(*sys.argv[1:])
