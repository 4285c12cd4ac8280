"""What `dinotool export` can be told."""

from pathlib import Path
from typing import Literal

from dinonat.formats.handover import Masks
from dinonat.settings import Settings


class ExportSettings(Settings):
    """What `dinotool export` can be told."""

    proposals: str | None = None  # run of propose-labels; the newest where none is named
    format: str = "coco"
    out: Path | None = None  # a folder; exports/NAME of the workspace where none is given
    status: str | None = None  # only labels of this status: proposed, accepted; several with commas
    where: str | None = None  # only labels for which this holds: score > 0.8 and label == "car"
    only: Path | None = None  # a list of names: only these images, with or without labels
    split: str | None = None  # train=0.8,val=0.2: whole recordings to one side
    masks: Masks = "auto"  # polygons, and run lengths where a mask has holes; or one of them always
    category_base: Literal[0, 1] = 1  # id of the first class; CVAT and datumaro misread 0
    voc_base: Literal[0, 1] = 0  # 1: boxes of VOC as its authors meant them, 1-based and inclusive
    multipart: Literal["bridge", "split"] = "bridge"  # masks of several parts where one ring must do
    proxies: bool = False  # write 8-bit pictures for tools that cannot show the raw files
    copies: bool = False  # copy the pictures themselves beside the labels: a data set of its own
    seed: int = 0  # of the split
    again: bool = False  # replace an export that was changed where it lies


NOT_IN_NAME = {"proposals", "format", "out", "only", "again"}  # these are said by the name's other parts
