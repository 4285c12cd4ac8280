"""How a pretraining run ends: the teacher that is kept, its weights and the report."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dinonat.files import write_json
from dinonat.models.checkpoint import load, save
from dinonat.pipelines import judges
from dinonat.pipelines import workspace as places
from dinonat.pipelines.beginnings import Beginning
from dinonat.pipelines.pretrain_pictures import Given
from dinonat.pipelines.pretrain_report import Judgement, PretrainReport
from dinonat.pretraining.judging import Judged, best, is_worse
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course

REPORT = "report.json"


def is_done(folder: Path) -> bool:
    """Whether the run in ``folder`` has come to an end."""
    return (folder / REPORT).is_file()


def read(folder: Path) -> PretrainReport:
    """Return what a run reported when it ended."""
    known: Any = places.read_object(folder / REPORT)
    judgement = Judgement(**known["judgement"])
    return PretrainReport(**{**known, "judgement": judgement, "already_done": False})


def conclude(
    given: Given,
    recipe: TrainSettings,
    start: Beginning,
    folder: Path,
    at: Path,
    course: Course,
    figures: dict[str, float],
    speed: float,
) -> PretrainReport:
    """Choose the teacher to keep, write its weights and the report."""
    images = len(given.pictures.pixels)
    # Of a run that was longer once, or went on from an end, only what can still be kept counts.
    there = [each for each in judges.read_judged(at) if each.step <= course.steps]
    judged = [each for each in there if each.step == 0 or judges.candidate(at, each.step).is_file()]
    kept, why = best(judged)
    facts = {"run": folder.name, "images": str(images), "steps": str(kept.step)}
    network = load(judges.candidate(at, kept.step))
    fingerprint = save(folder / "teacher.safetensors", network, facts=facts)
    judges.forget(at, but=kept.step)
    worse = is_worse(judged, kept)
    report = PretrainReport(
        run=folder.name,
        weights=str(folder / "teacher.safetensors"),
        fingerprint=fingerprint,
        images=images,
        failed=given.failed,
        steps=course.steps,
        passes=course.steps * recipe.batch / len(given.pictures.items),
        loss=figures.get("loss"),
        teacher_entropy=figures.get("teacher_entropy"),
        images_per_second=speed,
        began=start.name,
        judgement=_judgement(judged, kept, why, worse=worse),
        better=start.name if worse and start.name else None,
        resumable="plateau" if course.open and course.cool_from is None else "end",
    )
    write_json(folder / REPORT, asdict(report))
    return report


def _judgement(judged: list[Judged], kept: Judged, why: str, *, worse: bool) -> Judgement:
    begun = next((each for each in judged if each.step == 0), None)
    return Judgement(
        kept=kept.step,
        why=why,
        knn=kept.knn,
        knn_before=begun.knn if begun else None,
        pairs=kept.pairs,
        pairs_before=begun.pairs if begun else None,
        rank=kept.rank,
        rank_before=begun.rank if begun else None,
        worse=worse,
    )
