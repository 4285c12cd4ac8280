"""What people know of the images of a set: labelled boxes, and which recording each image is from."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dinonat.errors import LabelError
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import Warn, match_labels
from dinonat.formats.tables import read_recordings
from dinonat.records import ImageRef, Region


def given_boxes(file: Path, refs: Sequence[ImageRef], *, warn: Warn) -> dict[str, list[Region]]:
    """Return the boxes that the label file gives for each image that has any, with their labels.

    ``warn`` gets a sentence for each image that is named there and is not in ``refs``. Raises
    LabelError where no box is left.
    """
    labels = match_labels(read_labels(file, warn=warn), [ref.name for ref in refs], warn=warn)
    boxes = labels[labels["x"].notna()]
    if boxes.empty:
        raise LabelError(
            f"{file}: no box in it belongs to one of the {len(refs)} images. The images are named like "
            f"{refs[0].name!r}; give a file that names them so."
        )
    given: dict[str, list[Region]] = {}
    for image, label, x, y, w, h in boxes[["image", "label", "x", "y", "w", "h"]].itertuples(index=False):
        given.setdefault(image, []).append(Region((x, y, w, h), label=label))
    return given


def recordings_beside(images: Path) -> Path | None:
    """Return the recordings.csv in the folder of the images or in the one above it, if there is one."""
    places = (images.resolve() / "recordings.csv", images.resolve().parent / "recordings.csv")
    return next((path for path in places if path.is_file()), None)


def recordings_of(file: Path, refs: Sequence[ImageRef], *, warn: Warn) -> dict[str, str]:
    """Return the recording of each image that has one in the CSV ``file``.

    An image is found by its name, else by its path, else by its file name: the same frame in a colour
    and a thermal folder is one moment of one recording. ``warn`` gets a sentence where images are left
    over. Raises LabelError for a file that is not such a CSV.
    """
    table = read_recordings(file)
    by_file: dict[str, set[str]] = {}
    for name, recording in table.items():
        by_file.setdefault(PurePosixPath(name).name, set()).add(recording)
    known: dict[str, str] = {}
    for ref in refs:
        alike = by_file.get(PurePosixPath(ref.path).name, set())
        recording = table.get(ref.name) or table.get(ref.path) or (min(alike) if len(alike) == 1 else "")
        if recording:
            known[ref.name] = recording
    if len(known) < len(refs):
        warn(f"{file}: no recording for {len(refs) - len(known)} of {len(refs)} images.")
    return known
