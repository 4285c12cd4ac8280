"""What passes between stages: frozen records, and the columns of the tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinonat.errors import WorkspaceError

if TYPE_CHECKING:
    import pandas as pd  # half a second to load, which decoding processes need not pay

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

Unit = Literal["celsius", "counts", "grey"]  # degrees are Celsius everywhere
Polarity = Literal["white_hot", "black_hot", "unknown"]

STARTER = "starter"  # names the weights that come with the package
PARTS = ("mean", "grid", "hog", "raw")  # the four vectors of every item, kept apart
HAND_MADE = ("hog", "raw")  # the parts that no network has touched


@dataclass(frozen=True, order=True)
class ImageRef:
    """One frame of one file below ``root``; its ``name`` is the image's identity in a set."""

    root: Path
    path: str  # relative to root, POSIX separators
    frame: int = 0
    n_frames: int = 1

    @property
    def name(self) -> str:
        """``path``, or ``path#frame`` where the file holds several frames."""
        return f"{self.path}#{self.frame}" if self.n_frames > 1 else self.path

    @property
    def file(self) -> Path:
        """Where the file lies."""
        return self.root / self.path


@dataclass(frozen=True, eq=False)
class ThermalFrame:
    """One image as it was measured, before any preparation, in the orientation that EXIF asks for."""

    data: Float32  # (H, W), NaN = no data; luminance (BT.601) of a colour picture
    unit: Unit  # counts never pretend to be degrees; display images are grey
    polarity: Polarity = "unknown"
    source_format: str = ""
    frame: int = 0
    n_frames: int = 1
    bit_depth_effective: int = 8
    rgb: UInt8 | None = None  # (H, W, 3), only where the three channels differ
    meta: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A frame as a network trained on colour sees it; pages and pictures show the same pixels."""

    pixels: UInt8  # (H, W, 3)
    mode: str  # how lo and hi were found (images/prepare.py), or "colour" where the picture was one
    lo: float  # value of the frame that became 0
    hi: float  # value of the frame that became 255; below lo where hot is shown dark
    unit: Unit


@dataclass(frozen=True, eq=False)
class Loaded:
    """One listed image after reading: ``prepared``, or the ``reason`` why there is none."""

    ref: ImageRef
    prepared: Prepared | None
    reason: str = ""  # a sentence where prepared is None
    measured: Float32 | None = None  # (H, W) in prepared.unit, NaN = no data; None for colour pictures
    sha256: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """A box in pixels of the original image, with its mask if it has one."""

    box_xywh: tuple[float, float, float, float]
    objectness: float = float("nan")  # a rank score in [0, 1], not a probability
    mask_counts: tuple[int, ...] = ()  # COCO run lengths, column-major, zeros first; () = no mask
    source: str = "given"
    label: str = ""


# What was measured inside an item's mask (its box where it has none), in `unit`: degrees Celsius, counts
# or grey levels; NaN for colour pictures and where nothing was measured.
TEMPERATURE_COLUMNS = {
    "t_min": "float32",
    "t_median": "float32",
    "t_mean": "float32",
    "t_p95": "float32",
    "t_max": "float32",
}

# Tables. Column -> pandas dtype; every stage that writes one calls `as_table` first.
ITEM_COLUMNS = {
    "item": "str",  # short_hash(image name, kind, box)
    "image": "str",  # ImageRef.name
    "kind": "str",  # "image" or "region"
    "x": "float32",
    "y": "float32",
    "w": "float32",
    "h": "float32",
    "width": "int32",
    "height": "int32",
    "objectness": "float32",
    "mask_counts": "object",  # list[int]
    "source": "str",  # which saliency, or "given"
    "label": "str",  # class that came with a given box, else ""
    "recording": "str",  # "" where unknown
    "status": "str",  # "ok" or "failed"; vectors of failed rows are zero
    "reason": "str",
    "sha256": "str",
    "unit": "str",
    "prepare": "str",
    "lo": "float32",  # value of the frame, in `unit`, that became black
    "hi": "float32",
    **TEMPERATURE_COLUMNS,
}
LABEL_COLUMNS = {  # what people said; x is NaN for a label of the whole image
    "image": "str",
    "label": "str",
    "x": "float32",
    "y": "float32",
    "w": "float32",
    "h": "float32",
}
INCOMING_COLUMNS = {  # what a file says that a person may have changed
    "image": "str",  # as the file names it
    "kind": "str",  # "region" or "image"
    "label": "str",
    "x": "float64",
    "y": "float64",
    "w": "float64",
    "h": "float64",
    "mask_counts": "object",  # tuple[int, ...]: COCO run lengths of the whole image; () = no mask
    "label_id": "str",  # "" where the file has none
    "status": "str",  # "" where the file says nothing, else what it says: proposed, accepted, rejected
    "score": "float64",
    "where": "str",  # for messages: "annotation 17", "a.xml, line 3"
}
EVENT_COLUMNS = {  # what somebody did to one label, and what the label was from then on
    "label_id": "str",  # id of the proposal, or of what was drawn
    "action": "str",  # one of ACTIONS, or WITHDRAWN
    "run": "str",  # of the proposal; "" for what was drawn
    "image": "str",
    "kind": "str",
    "label": "str",
    "x": "float64",
    "y": "float64",
    "w": "float64",
    "h": "float64",
    "mask_counts": "object",  # tuple[int, ...]; () = no mask
}
ACTIONS = ("accepted", "relabelled", "moved", "drawn", "rejected")  # "moved": box or mask, label too
WITHDRAWN = "withdrawn"  # one more action: what was said of the label is taken back, and nobody says anything
REJECTED, ACCEPTED, PROPOSED = "rejected", "accepted", "proposed"  # the status of a label
PROPOSAL_COLUMNS = {
    "proposal": "str",  # short_hash(run, item)
    "run": "str",
    "set": "str",
    "item": "str",
    "image": "str",
    "kind": "str",
    "x": "float32",
    "y": "float32",
    "w": "float32",
    "h": "float32",
    "width": "int32",
    "height": "int32",
    "mask_counts": "object",
    "label": "str",
    "score": "float32",  # share of the vote in [0, 1]
    "margin": "float32",  # score minus that of the second class
    "second": "str",
    "similarity": "float32",  # cosine to the nearest labelled item
    "advice": "str",  # "review" or "unknown" ("accept" only after an audit)
    "reason": "str",  # why, in words
    "objectness": "float32",
    "source": "str",
    "cluster": "int32",  # -1 where there is none
    "neighbours": "object",  # list[str]: labelled items that voted, nearest first
    "method": "str",  # that decided: "vote", "diffuse", "linear", their mean "joint", or "" for none
    "agree": "str",  # the methods that chose this label, with spaces between them
    "probability": "float32",  # that it is right, by an audit; NaN without one: the score is a rank
    "status": "str",  # "proposed"
    "model": "str",  # fingerprint of the network
    "features": "str",  # the parts of the search vector and their weights
    "prepare": "str",
    "lo": "float32",
    "hi": "float32",
    "unit": "str",
    **TEMPERATURE_COLUMNS,
}
# Columns that runs of earlier versions lack, and what they hold there.
LATER_COLUMNS: dict[str, str | float] = {"method": "vote", "agree": "", "probability": float("nan")}


def as_table(rows: "pd.DataFrame | list[dict[str, Any]]", columns: Mapping[str, str]) -> "pd.DataFrame":
    """Return ``rows`` with exactly the declared columns, in their order and types.

    What earlier versions did not write gets its value of LATER_COLUMNS. Raises KeyError when another
    declared column is missing: a defect of the caller, not of the data.
    """
    import pandas as pd

    table = pd.DataFrame(rows, columns=None if len(rows) else list(columns))
    later = {name: value for name, value in LATER_COLUMNS.items() if name in columns and name not in table}
    table = table.assign(**later) if later else table
    missing = [name for name in columns if name not in table]
    if missing:
        raise KeyError(f"table without its columns {missing}")
    typed = {name: table[name].astype(kind) for name, kind in columns.items()}  # type: ignore[call-overload]
    return pd.DataFrame(typed, columns=list(columns)).reset_index(drop=True)


def read_proposals(path: str | Path) -> "pd.DataFrame":
    """Read a ``proposals.parquet`` for a notebook; columns as in PROPOSAL_COLUMNS.

    Raises WorkspaceError where the file is missing or is not such a table.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        return as_table(table, PROPOSAL_COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(
            f"{path}: not a table of proposals ({error}). Give the proposals.parquet that "
            "`dinotool propose-labels` wrote."
        ) from error
