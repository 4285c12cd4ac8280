"""`dinotool evaluate proposals`: what proposals are worth by true labels, and what they save a person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError, WorkspaceError
from dinonat.evaluation.clicks import Prices
from dinonat.evaluation.intervals import RESAMPLES
from dinonat.pipelines import workspace as places
from dinonat.pipelines.figures import shortened
from dinonat.pipelines.judged import How, Judgement, given_to, judge
from dinonat.pipelines.judged_lines import box_lines, label_lines
from dinonat.pipelines.propose import TABLE
from dinonat.pipelines.truth import read_truth
from dinonat.records import read_proposals
from dinonat.settings import Settings


class EvaluateProposalsSettings(Settings):
    """What `dinotool evaluate proposals` can be told."""

    run: str | None = None  # run of proposals; the newest where none is named
    labels: Path | None = None  # true labels, in any format that import-labels reads
    classes: tuple[str, ...] = ()  # true classes that count; empty: all
    ignore: tuple[str, ...] = ()  # classes whose boxes need not be found and may be
    iou: float = Field(0.5, gt=0, le=1)  # from which a box meets another
    # Clicks that each act takes (evaluation/clicks.py), and IoU from which a box is kept, or adjusted.
    accept: float = Field(1, ge=0)
    reject: float = Field(1, ge=0)
    relabel: float = Field(2, ge=0)
    adjust: float = Field(2, ge=0)
    draw: float = Field(3, ge=0)
    choose: float = Field(2, ge=0)
    keep: float = Field(0.7, gt=0, le=1)
    place: float = Field(0.3, gt=0, le=1)
    audit: int = Field(100, ge=0)  # items of the audits that are tried on paper; 0: none
    audits: int = Field(200, ge=1)  # how many of them
    precision: tuple[float, ...] = (0.9, 0.95)  # that they are asked for
    resamples: int = Field(RESAMPLES, ge=0)  # behind the intervals; 0: none
    seed: int = 0

    @field_validator("classes", "ignore", "precision", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    def how(self) -> How:
        """Return how proposals are judged."""
        prices = Prices(**{name: getattr(self, name) for name in Prices.__dataclass_fields__})
        return How(
            self.iou, prices, self.resamples, self.seed, self.audit, self.audits, precisions=self.precision
        )


@dataclass(frozen=True)
class ProposalsReport:
    """What the proposals of one run are worth."""

    run: str
    set: str
    model: str
    features: str
    labels: str  # file of the truth
    judgement: Judgement
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        judged = self.judgement
        return [
            *shortened(self.warnings),
            f"Proposals {self.run} of set {self.set} ({self.features or 'no features'}), truth {self.labels}",
            f"Left out: {judged.left_out} images that it was given, or of which the truth is not known",
            *(label_lines(judged.images, judged.image_audits) if judged.images else []),
            *(label_lines(judged.regions, judged.region_audits) if judged.regions else []),
            *(box_lines(judged.boxes) if judged.boxes else []),
        ]


def run(settings: EvaluateProposalsSettings, workspace: Path) -> ProposalsReport:
    """Judge the proposals of a run by true labels, leaving out what it was given.

    Raises UsageError without true labels, WorkspaceError where run or set are missing or belong no
    longer together, LabelError where the truth cannot judge the run.
    """
    if settings.labels is None:
        raise UsageError(
            "evaluate proposals: no true labels were given. Write --labels FILE (any format of "
            "import-labels, or a CSV image,label[,x,y,w,h])."
        )
    name = places.chosen(workspace, "proposals", settings.run)
    folder = places.proposals_folder(workspace, name)
    table = read_proposals(folder / TABLE)
    known = _set_of(folder, workspace)
    if not table["item"].isin(known.items["item"]).all():
        raise WorkspaceError(
            f"{folder}: its items are not those of set '{known.folder.name}', which was embedded anew since. "
            "Run `dinotool propose-labels` again."
        )
    warnings: list[str] = []
    truth = read_truth(
        settings.labels, known, classes=settings.classes, ignore=settings.ignore, warn=warnings.append
    )
    judgement = judge(table, truth, known, given_to(folder), settings.how(), run=name, warn=warnings.append)
    return ProposalsReport(
        run=name,
        set=known.folder.name,
        model=str(known.meta["model"]),
        features="; ".join(dict.fromkeys(table["features"].astype(str))),
        labels=str(settings.labels),
        judgement=judgement,
        warnings=tuple(warnings),
    )


def _set_of(folder: Path, workspace: Path) -> EmbeddingSet:
    """Open the set that a run proposes for."""
    made = places.read_object(folder / "meta.json")
    return open_set(places.set_folder(workspace, places.chosen(workspace, "set", str(made.get("set")))))
