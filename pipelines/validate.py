"""`dinotool validate`: what a tool would refuse, drop or misread in a file of labels, and the mend."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dinonat.errors import LabelError, UsageError
from dinonat.formats.archives import opened
from dinonat.formats.catalog import FORMATS, alike, sniff
from dinonat.formats.handover import Check, Fault, sentences
from dinonat.settings import Settings, unknown_key

COCO_READERS = ("cvat", "datumaro", "labelformat")  # tools that COCO can be meant for
SHOWN = 40  # kinds of faults that the summary names


class ValidateSettings(Settings):
    """What `dinotool validate` can be told."""

    file: Path | None = None  # a file of labels, the folder of an export, or a zip of one; of whoever made it
    # The tool that is to take it: a format of `export`, or a reader of COCO; None: all that read the format.
    target: str | None = None
    images: Path | None = None  # the folder of the images, to find missing ones and other sizes
    category_base: Literal[0, 1] = 1  # 0: number 0 is a class like others


@dataclass(frozen=True)
class ValidateReport:
    """Every fault of a file: where it is and what it does."""

    file: str
    format: str
    target: str
    faults: tuple[tuple[str, str], ...]  # (where, what and the mend)

    def lines(self) -> list[str]:
        """Text for people: each kind of fault once, with its first place."""
        said = sentences(self.faults)
        more = [f"... and {len(said) - SHOWN} more kinds; --json lists each"] if len(said) > SHOWN else []
        whom = f" for {self.target}" if self.target else ""
        found = f"{len(self.faults)} faults of {len(said)} kinds" if said else "no fault found"
        return [*said[:SHOWN], *more, f"{self.file}: {self.format}{whom}, {found}"]


def run(settings: ValidateSettings) -> ValidateReport:
    """Check a file for a tool.

    Raises UsageError without a file or for an unknown target, LabelError for what is no file of labels.
    """
    if settings.file is None:
        raise UsageError("validate: no file was given. Write `dinotool validate FILE --for coco`.")
    if settings.images is not None and not settings.images.is_dir():
        raise UsageError(f"--images {settings.images}: no such folder.")
    with opened(settings.file) as place:
        name = _format(place, settings.target)
        check = Check(
            target=settings.target or "", images=settings.images, category_base=settings.category_base
        )
        faults: list[Fault] = list(FORMATS[name].faults(place, check))
    return ValidateReport(str(settings.file), name, settings.target or "", tuple(faults))


def _format(place: Path, target: str | None) -> str:
    """Return the format to check by: what the content says, if the target takes it.

    COCO is read by many tools: cvat, datumaro and labelformat may mean theirs or COCO.
    """
    found = sniff(place)
    if target is None or target == found:
        return found
    if found == "coco" and target in COCO_READERS:
        return found
    if target not in (*FORMATS, *COCO_READERS):
        raise UsageError(unknown_key(target, [*FORMATS, *COCO_READERS], "--for"))
    if alike(found, target):
        return target
    raise LabelError(
        f"{place}: looks like {found}, not {target}. Give a file of that format, or --for {found}."
    )
