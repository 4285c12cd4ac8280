"""`dinotool import-labels`: corrected labels come back, and what changed is written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dinonat.embeddings.store import open_set
from dinonat.errors import UsageError
from dinonat.pipelines import workspace as places
from dinonat.pipelines.coming_in import BroughtIn, bring_in
from dinonat.pipelines.labelled import chosen_set
from dinonat.settings import Settings

SHOWN = 5  # warnings that the summary names


class ImportSettings(Settings):
    """What `dinotool import-labels` can be told."""

    file: Path | None = None  # any format of `export`, a zip of one, a CSV of one's own, a folder per class
    set: str | None = None  # set of embeddings; the newest where none is named
    export: str | None = None  # the export that was corrected, where the file does not tell
    format: str | None = None  # of the file, where its content does not tell
    # Which unchanged proposals a person vouches for: those of images in which anything was changed, or all.
    accept: Literal["touched", "all"] = "touched"
    who: str | None = None  # who did it; the name of the account where nobody says


@dataclass(frozen=True)
class ImportReport(BroughtIn):
    """What a file said, and what became of it."""

    def lines(self) -> list[str]:
        """Text for people."""
        more = [f"... and {len(self.warnings) - SHOWN} more"] if len(self.warnings) > SHOWN else []
        whose = f"corrects the export {self.export} ({self.why})" if self.export else self.why
        return [
            *self.warnings[:SHOWN],
            *more,
            f"{self.file}: {self.format}, {self.images} images of set {self.set}; {whose}",
            *(_class_line(label, counts) for label, counts in self.by_class.items()),
            f"Kept {self.kept} ({self.accepted} accepted), relabelled {self.relabelled}, moved {self.moved}, "
            f"removed {self.removed}, new {self.new}"
            + (f"; {self.known} known already" if self.known else ""),
            f"{self.events} events written; people vouch for {self.standing} labels of the set"
            + (". Nothing of it was new." if not self.events else ""),
        ]


def run(settings: ImportSettings, workspace: Path) -> ImportReport:
    """Bring the labels of a file into labels.db.

    Raises UsageError without a file, LabelError where it is no labels or of no image of the set,
    WorkspaceError where the set is missing or labels.db cannot be written.
    """
    if settings.file is None:
        raise UsageError("import-labels: no file was given. Write `dinotool import-labels FILE`.")
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    brought = bring_in(
        settings.file,
        known,
        workspace,
        format_=settings.format,
        export=settings.export,
        accept=settings.accept,
        who=settings.who,
    )
    return ImportReport(**vars(brought))


def _class_line(label: str, counts: Mapping[str, int]) -> str:
    """Say how good the proposals of one class were where somebody looked.

    >>> _class_line("car", {"kept": 9, "moved": 1})
    'Proposed as car, looked at 10: 9 kept, 1 moved'
    """
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"Proposed as {label}, looked at {sum(counts.values())}: {said}"
