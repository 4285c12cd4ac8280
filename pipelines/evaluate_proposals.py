"""`dinotool evaluate proposals`: what proposals are worth by true labels, and what they save a person."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import UsageError, WorkspaceError
from dinonat.evaluation.clicks import Prices
from dinonat.evaluation.intervals import RESAMPLES
from dinonat.files import short_hash
from dinonat.pipelines import workspace as places
from dinonat.pipelines.figures import shortened
from dinonat.pipelines.judged import How, Judgement, given_to, judge
from dinonat.pipelines.judged_lines import box_lines, label_lines
from dinonat.pipelines.labelled import chosen_set
from dinonat.pipelines.propose import TABLE
from dinonat.pipelines.rounds import DEFAULT, DOUBT, RANDOM, Plan, Way, play
from dinonat.pipelines.rounds_report import FIGURES, PAGE, RoundsReport, write
from dinonat.pipelines.truth import read_truth
from dinonat.records import read_proposals
from dinonat.settings import Settings, unknown_key

Share = Annotated[float, Field(gt=0, lt=1)]
STRATEGIES = (RANDOM, DEFAULT, "typical", "coverage", DOUBT)


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
    precision: tuple[Share, ...] = (0.9, 0.95)  # that they are asked for
    resamples: int = Field(RESAMPLES, ge=0)  # behind the intervals; 0: none
    # Instead of a run: label so many images, propose, judge, label more (pipelines/rounds.py).
    rounds: tuple[int, ...] = ()
    set: str | None = None  # of the rounds; the newest where none is named
    per_class: bool = False  # rounds are images a class
    strategies: tuple[str, ...] = ("random", "select")  # or one of select's: typical, coverage, uncertain
    ways: tuple[str, ...] = ("",)  # of proposing: METHOD, METHOD:FEATURES or :FEATURES; "" as it comes
    draws: int = Field(3, ge=1)
    seed: int = 0

    @field_validator("classes", "ignore", "precision", "rounds", "strategies", "ways", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("rounds")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and (min(value) < 1 or list(value) != sorted(set(value))):
            raise ValueError("expected numbers of labelled images, each larger than the one before")
        return value

    @field_validator("strategies")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in STRATEGIES:
                raise ValueError(unknown_key(name, STRATEGIES, "strategies"))
        return value

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
            f"Left out: {judged.left_out} images that it was given or that were audited, or of unknown truth",
            *(label_lines(judged.images, judged.image_audits) if judged.images else []),
            *(label_lines(judged.regions, judged.region_audits) if judged.regions else []),
            *(box_lines(judged.boxes) if judged.boxes else []),
        ]


def run(settings: EvaluateProposalsSettings, workspace: Path) -> ProposalsReport | RoundsReport:
    """Judge the proposals of a run by true labels, leaving out what it was given; or play rounds.

    Raises UsageError without true labels, WorkspaceError where run or set are missing or belong no
    longer together, LabelError where the truth cannot judge the run.
    """
    if settings.labels is None:
        raise UsageError(
            "evaluate proposals: no true labels were given. Write --labels FILE (any format of "
            "import-labels, or a CSV image,label[,x,y,w,h])."
        )
    if settings.rounds:
        return _rounds(settings, settings.labels, workspace)
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


def _rounds(settings: EvaluateProposalsSettings, labels: Path, workspace: Path) -> RoundsReport:
    """Play rounds of labelling, and leave a page."""
    if settings.run is not None:
        raise UsageError(
            f"--rounds labels and proposes anew, so it takes no run ({settings.run}). Leave one of them out."
        )
    known = open_set(places.set_folder(workspace, chosen_set(workspace, settings.set)))
    warnings: list[str] = []
    truth = read_truth(labels, known, classes=settings.classes, ignore=settings.ignore, warn=warnings.append)
    plan = Plan(
        kind="region" if len(truth.boxes) else "image",
        rounds=settings.rounds,
        per_class=settings.per_class and not len(truth.boxes),
        strategies=settings.strategies,
        ways=tuple(_way(text) for text in settings.ways),
        draws=settings.draws,
        seed=settings.seed,
    )
    how = replace(settings.how(), resamples=0)
    played = play(plan, truth, known, how)
    facts = settings.model_dump(mode="json", exclude={"set", "run"})
    name = f"{known.folder.name}-{short_hash(known.meta['identity'], facts)[:6]}"
    folder = places.rounds_folder(workspace, name)
    report = RoundsReport(
        set=known.folder.name,
        model=str(known.meta["model"]),
        labels=str(labels),
        kind=plan.kind,
        per_class=plan.per_class,
        draws=plan.draws,
        rounds=tuple(played),
        page=str(folder / PAGE),
        file=str(folder / FIGURES),
        warnings=tuple(dict.fromkeys(warnings)),
    )
    write(report, folder)
    return report


def _way(text: str) -> Way:
    """Return settings of propose-labels for a way of proposing.

    >>> _way("vote:hog+raw"), _way("")
    (('vote:hog+raw', {'method': 'vote', 'features': 'hog+raw'}), ('', {}))
    """
    method, _, features = text.partition(":")
    given = {"method": method, "features": features}
    return text, {key: value for key, value in given.items() if value}
