"""`dinotool run`: the whole chain in one line, each stage a process of its own, and a page at the end."""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from dinonat.embeddings.store import open_set
from dinonat.errors import DinonatError, UsageError
from dinonat.files import write_bytes
from dinonat.pages.doubts import doubt_lists
from dinonat.pages.facts import collect
from dinonat.pages.gather import choose_images, write_drawn
from dinonat.pages.report import render
from dinonat.pipelines import workspace as places
from dinonat.pipelines.audits import calibration_of
from dinonat.pipelines.doubts_file import read_doubts
from dinonat.pipelines.progress import say
from dinonat.pipelines.review_doors import PORT
from dinonat.records import read_proposals
from dinonat.scenes import write_scenes
from dinonat.settings import Settings

DEMO_MINUTES = 1.5  # of pretraining, so that the whole demo takes at most five on two cores
DRAWN = 4  # pictures with their boxes, as files
DEMO_COLOUR, DEMO_THERMAL, DEMO_LABELLED = 240, 48, 8  # made scenes
STAGES = ("pretrain", "embed", "propose-labels", "export")


class RunSettings(Settings):
    """What `dinotool run` can be told; ``stages`` reaches every other setting of a stage."""

    images: Path | None = None  # thermal images to label
    rgb: tuple[Path, ...] = ()  # colour images to learn from; none: the newest weights, else the starter's
    labels: Path | None = None  # a few labels of them
    demo: bool = False  # made scenes instead of folders
    minutes: float | None = Field(None, gt=0)  # of pretraining; None: 30, or DEMO_MINUTES
    weights: str | None = None  # a run or file: no pretraining
    k: int | None = None
    seed: int = 0
    threads: int | None = None
    again: bool = False
    stages: dict[str, dict[str, Any]] = {}  # noqa: RUF012  stage -> its settings; pydantic copies it


@dataclass(frozen=True)
class RunReport:
    """Where everything lies, and what each stage said."""

    coco: str
    report: str
    pictures: tuple[str, ...]
    stages: Mapping[str, Mapping[str, Any]]  # the JSON of each stage
    made_scenes: bool

    def lines(self) -> list[str]:
        """Text for people."""
        embed, propose = self.stages["embed"], self.stages["propose-labels"]
        return [
            f"Network {embed['weights']}, set {embed['set']}, proposals {propose['run']}"
            + (" (made scenes: drawn, never results)" if self.made_scenes else ""),
            f"COCO file    {self.coco}",
            f"Report page  {self.report}",
            *(f"Picture      {picture}" for picture in self.pictures),
        ]


def run(settings: RunSettings, workspace: Path) -> RunReport:
    """Pretrain, embed, propose, export and write the page; a stage that is done already is not redone.

    Raises UsageError without images, DinonatError where a stage fails (it says itself why).
    """
    _check(settings)
    places.create(workspace)
    if settings.demo:
        settings = _with_scenes(settings, workspace)
    reports: dict[str, Mapping[str, Any]] = {}
    weights = _weights(settings, workspace)
    if weights is None:
        reports["pretrain"] = _stage("pretrain", list(map(str, settings.rgb)), _pretrain(settings), workspace)
        weights = str(reports["pretrain"]["better"] or reports["pretrain"]["run"])
    common = {"threads": settings.threads, "again": settings.again or None}
    embed = {"weights": weights, **common, **settings.stages.get("embed", {})}
    reports["embed"] = _stage("embed", [str(settings.images)], embed, workspace)
    propose = {
        "set": reports["embed"]["set"],
        "labels": settings.labels and str(settings.labels),
        "k": settings.k,
        "seed": settings.seed,
        "again": settings.again or None,
        **settings.stages.get("propose-labels", {}),
    }
    reports["propose-labels"] = _stage("propose-labels", [], propose, workspace)
    proposals = str(reports["propose-labels"]["run"])
    export = {"proposals": proposals, "format": "coco", **settings.stages.get("export", {})}
    reports["export"] = _stage("export", [], export, workspace)
    files = [str(Path(reports["export"]["folder"]) / file) for file in reports["export"]["files"]]
    page, pictures = _write_page(workspace, reports, files, made_scenes=settings.demo)
    return RunReport(
        coco=files[0],
        report=str(page),
        pictures=tuple(map(str, pictures)),
        stages=reports,
        made_scenes=settings.demo,
    )


def _check(settings: RunSettings) -> None:
    """Refuse what makes no sense before any work is done."""
    unknown = sorted(set(settings.stages) - set(STAGES))
    if unknown:
        raise UsageError(f"stages: no stage called '{unknown[0]}'. Stages: {', '.join(STAGES)}.")
    if settings.demo:
        if settings.images or settings.rgb or settings.labels:
            raise UsageError("--demo draws its own images and labels. Leave out --demo to use your folders.")
        return
    if settings.images is None:
        raise UsageError("run: no folder of images was given. Write `dinotool run FOLDER`, or --demo.")
    for folder in (settings.images, *settings.rgb):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder. Give the folder that holds the images.")
    if settings.labels and not settings.labels.exists():
        raise UsageError(f"--labels {settings.labels}: no such file or folder.")


def _with_scenes(settings: RunSettings, workspace: Path) -> RunSettings:
    """Draw the scenes and return the settings that point at them."""
    folder = workspace / "scenes"
    say(f"Drawing {DEMO_COLOUR} made scenes into {folder}")
    made = write_scenes(
        folder, colour=DEMO_COLOUR, thermal=DEMO_THERMAL, labelled=DEMO_LABELLED, seed=settings.seed
    )
    chosen = {
        "images": made.thermal,
        "rgb": (made.rgb,),
        "labels": made.labels,
        "minutes": settings.minutes or DEMO_MINUTES,
    }
    return settings.model_copy(update=chosen)


def _weights(settings: RunSettings, workspace: Path) -> str | None:
    """Return the weights to use, or None where some must be trained first."""
    if settings.weights or settings.rgb:
        return settings.weights
    weights, said = places.newest_weights(workspace)
    say(f"No colour images (--rgb). {said}")
    return weights


def _pretrain(settings: RunSettings) -> dict[str, Any]:
    return {
        "minutes": settings.minutes,
        "seed": settings.seed,
        "threads": settings.threads,
        "again": settings.again or None,
        **settings.stages.get("pretrain", {}),
    }


def _stage(
    name: str, arguments: Sequence[str], settings: Mapping[str, Any], workspace: Path
) -> Mapping[str, Any]:
    """Run one command in a process of its own and return its JSON; its progress goes to our stderr.

    torch and faiss must not meet in one process, and what one stage holds in memory is gone before
    the next begins.
    """
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None]
    options = [word for pair in pairs for word in ("--set", pair)]
    say(f"[{STAGES.index(name) + 1}/{len(STAGES)}] dinotool {' '.join([name, *arguments])}")
    command = [sys.executable, "-P", "-m", "dinonat.pipelines", name, *arguments, *options]
    child = subprocess.run(
        [*command, "--json", "--workspace", str(workspace)], stdout=subprocess.PIPE, text=True, check=False
    )
    if child.returncode:
        kind = UsageError if child.returncode == 2 else DinonatError
        how = f"exit code {child.returncode}" if child.returncode > 0 else f"signal {-child.returncode}"
        raise kind(
            f"run: the stage {name} ended with {how}; the line above says why. The same command goes on here."
        )
    report: Mapping[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return report


def _write_page(
    workspace: Path, reports: Mapping[str, Mapping[str, Any]], files: Sequence[str], *, made_scenes: bool
) -> tuple[Path, list[Path]]:
    """Write report.html and a few pictures with their boxes beside the proposals."""
    folder = places.proposals_folder(workspace, str(reports["propose-labels"]["run"]))
    proposals, made = read_proposals(folder / "proposals.parquet"), places.read_object(folder / "meta.json")
    made = {**made, "calibration": calibration_of(folder)}
    known = open_set(places.set_folder(workspace, str(made["set"])))
    facts = collect(
        proposals,
        items=known.items,
        set_meta=known.meta,
        made=made,
        shown=known.shown,
        training=_training_folder(workspace, str(reports["embed"]["weights"])),
        made_scenes=made_scenes,
        files=[(Path(file).name, file) for file in files],
        warnings=reports["export"]["warnings"],
    )
    root = Path(known.meta["root"])
    said: Any = made.get("doubts", {})
    doubts, unseen = doubt_lists(read_doubts(folder), said, root=root, shown=known.shown)
    facts = dataclasses.replace(
        facts, doubts=doubts, warnings=(*facts.warnings, *unseen), review=_review(workspace, folder.name)
    )
    page = folder / "report.html"
    write_bytes(page, render(facts).encode())
    names = choose_images(proposals, [picture.name for picture in facts.pictures], most=DRAWN)
    return page, write_drawn(names, proposals, folder / "pictures", root=root, shown=known.shown)


def _review(workspace: Path, run: str) -> tuple[str, str]:
    """Return the command that opens the review page of a run, and where it is then."""
    where = [] if workspace == places.DEFAULT_ROOT else ["-w", str(workspace)]
    return shlex.join(["dinotool", "review", "--proposals", run, *where]), f"http://127.0.0.1:{PORT}/"


def _training_folder(workspace: Path, weights: str) -> Path | None:
    """Return the folder of a run of this workspace; weights from elsewhere have no curve to show."""
    ours = weights in places.names(workspace, "weights")
    return places.weights_folder(workspace, weights) if ours else None
