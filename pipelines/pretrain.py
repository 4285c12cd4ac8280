"""`dinotool pretrain`: images without labels in, the weights of a teacher network out."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock, Timeout

from dinonat.errors import UsageError
from dinonat.files import write_json
from dinonat.pipelines import judges, outcomes, which_run
from dinonat.pipelines import workspace as places
from dinonat.pipelines.beginnings import Beginning, beginning
from dinonat.pipelines.checking import check
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.judges import Judge, read_judged
from dinonat.pipelines.lengths import Length, planned, say_once
from dinonat.pipelines.pretrain_page import write_page
from dinonat.pipelines.pretrain_pictures import Given, asked_for, packed
from dinonat.pipelines.pretrain_report import CheckReport, PretrainReport
from dinonat.pipelines.pretrain_settings import PretrainSettings
from dinonat.pipelines.progress import track
from dinonat.pretraining import ranks
from dinonat.pretraining.health import Collapsed
from dinonat.pretraining.recipe import TrainSettings, phase
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.sizing import fitted
from dinonat.pretraining.state import load_teacher, new_state
from dinonat.pretraining.trainer import train

JUDGED = 8  # times in a run, evenly


def run(settings: PretrainSettings, workspace: Path) -> PretrainReport | CheckReport:
    """Train a network on the images of ``settings.folders`` and ``settings.pairs``.

    Under `torchrun` several processes train together, and the first one alone writes. Raises ImageError
    where no image can be read, UsageError where ``--resume`` names a run of other settings or images,
    Collapsed where it has learned nothing for its patience.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with ranks.together(settings.device) as device:
        ranks.refuse_uneven(settings.batch)
        return _run(settings, workspace, device_named(device))


def _run(told: PretrainSettings, workspace: Path, device: torch.device) -> PretrainReport | CheckReport:
    places.create(workspace)
    settings = which_run.resumed(told, workspace) if told.resume else told
    if not settings.folders and settings.pairs is None:
        raise UsageError("pretrain: no folder of images was given. Write `dinotool pretrain FOLDER`.")
    asked = asked_for(settings, workspace)
    pictures = which_run.pictures_of(asked)
    start = _beginning(settings, pictures, workspace)
    name = settings.resume or which_run.name_of(settings, pictures, start)
    if settings.check:
        with TemporaryDirectory(dir=workspace) as apart:
            given = packed(asked, settings, Path(apart))
            length = Length(settings.minutes, settings.epochs)
            return check(given.pictures, _fitted(settings, start, given), length, device, run=name)
    folder = places.weights_folder(workspace, name)
    with _alone(workspace, name):
        _clear(folder, settings)
        if settings.resume or not outcomes.is_done(folder):
            start = which_run.restarted(folder, start, writes=ranks.rank() == 0)
            ranks.wait()
            given = packed(asked, settings, folder)
            recipe = _fitted(settings, start, given)
            if ranks.rank() == 0:
                which_run.remember(folder, settings, pictures, start)
                write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
            report = _train(given, recipe, settings, start, folder, device)
        else:
            report = replace(outcomes.read(folder), already_done=True)
        if ranks.rank() == 0:
            _tidy(folder)
            places.remember(workspace, "weights", name)
    return report


def _beginning(settings: PretrainSettings, pictures: str, workspace: Path) -> Beginning:
    if settings.resume:
        folder = places.weights_folder(workspace, settings.resume)
        return which_run.began(folder, settings.resume, pictures)
    given, scratch = settings.model_fields_set, settings.from_scratch
    return beginning(settings.init, _plain(settings), given, workspace, from_scratch=scratch)


def _plain(settings: PretrainSettings) -> TrainSettings:
    return TrainSettings.checked(settings.model_dump(include=set(TrainSettings.model_fields)))


def _fitted(settings: PretrainSettings, start: Beginning, given: Given) -> TrainSettings:
    """Fill in what the data decide, and say it."""
    recipe, said = fitted(
        _plain(settings).model_copy(update=dict(start.heads)),
        settings.model_fields_set | set(start.heads),
        images=len(given.pictures.pixels),
        from_weights=start.start is not None,
        with_heads=bool(start.heads),
    )
    say_once(start.said)
    say_once(said)
    if recipe.schedule == "open":
        say_once("Up to the plateau and on it crops are small and views plain; --cool-down has the others.")
    return recipe


def _alone(workspace: Path, name: str) -> AbstractContextManager[object]:
    """Keep a second command from writing to the same run; the system lets go of it when a process dies."""
    if ranks.rank() > 0:
        return nullcontext()
    lock = FileLock(workspace / f".{name}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"{name}: another dinotool is working on this run in {workspace}. Wait for it, or stop it."
        ) from error


def _clear(folder: Path, settings: PretrainSettings) -> None:
    if settings.again and folder.exists() and ranks.rank() == 0:
        shutil.rmtree(folder)
    ranks.wait()


def _tidy(folder: Path) -> None:
    """Delete what is large and is read again where it is needed."""
    for what in ("pictures", "held_out", "monitor"):
        for kind in ("npy", "json"):
            (folder / f"{what}.{kind}").unlink(missing_ok=True)


def _train(
    given: Given,
    recipe: TrainSettings,
    settings: PretrainSettings,
    start: Beginning,
    folder: Path,
    device: torch.device,
) -> PretrainReport:
    """Train to the end of what was asked for, judge on the way, and conclude."""
    course, at = planned(_length(settings), given.pictures, recipe, folder, device)
    judge = _judge(given, recipe, settings, course, folder, at)
    first = None if (at / "state.pt").is_file() else start.start
    if ranks.rank() == 0 and not any(each.step == 0 for each in read_judged(at)):
        begun = [each for each in read_judged(folder) if each.step == 0]
        if begun:  # of the plateau, which began there
            judges.write_down(at, begun[0])
        else:
            judge(new_state(recipe, device, start.start).teacher, {"step": 0})
    ranks.wait()
    steps = train(
        *(given.pictures, recipe, at),
        course=course,
        device=device,
        start=first,
        judge=judge,
        judge_at=_judged_at(course),
        remark=say_once,
    )
    try:
        figures, speed = _through(steps, course, recipe)
    except Collapsed as error:
        if ranks.rank() == 0:
            write_page(folder, given.pictures, recipe, stopped=str(error))
        ranks.wait()  # torchrun ends all processes as soon as one has failed
        raise
    if ranks.rank() == 0:
        figures = figures or _last_metrics(at)  # none where no step was left to make
        if not judges.candidate(at, course.steps).is_file():
            judge(load_teacher(at, recipe).to(device), {**figures, "step": course.steps})
        outcomes.conclude(given, recipe, start, folder, at, course, figures, speed)
        write_page(folder, given.pictures, recipe)
    ranks.wait()
    return outcomes.read(folder)


def _through(
    steps: Iterator[dict[str, float]], course: Course, recipe: TrainSettings
) -> tuple[dict[str, float], float]:
    """Go through all steps and show it; return the last figures ({} of no step) and images a second."""
    shown = track(steps, "pretrain", total=course.steps) if ranks.rank() == 0 else steps
    figures, taken, start = dict[str, float](), 0, time.perf_counter()
    for last in shown:
        figures, taken = last, taken + 1
    return figures, taken * recipe.batch / (time.perf_counter() - start)


def _length(settings: PretrainSettings) -> Length:
    """Return how long; where a run goes on and nobody says, as was said before."""
    given = settings.model_fields_set & {"minutes", "epochs"}
    goes_on = settings.resume is not None
    minutes = settings.minutes if given or not goes_on else None
    return Length(minutes, settings.epochs, more=goes_on, cool_down=settings.cool_down)


def _judge(
    given: Given,
    recipe: TrainSettings,
    settings: PretrainSettings,
    course: Course,
    folder: Path,
    at: Path,
) -> Judge:
    monitor = None
    if settings.monitor is not None and ranks.rank() == 0:
        monitor = judges.read_monitor(
            settings.monitor, folder / "monitor.npy", side=settings.picture_side, workers=settings.workers
        )
    pixels = given.pictures.pixels
    some = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), judges.SAMPLE)).astype(np.int64))
    return Judge(
        folder=at,
        pixels=np.asarray(pixels[some]),
        side=recipe.global_sizes[1],
        monitor=monitor,
        pairs=given.held_out,
        phase_of=lambda step: phase(recipe, course.position(step - 1)),
    )


def _judged_at(course: Course) -> set[int]:
    """Return the steps after which the teacher is judged: eight, evenly, the last among them."""
    begun = course.cool_from or 0
    return {begun + round((course.steps - begun) * part / JUDGED) for part in range(1, JUDGED + 1)} - {0}


def _last_metrics(folder: Path) -> dict[str, float]:
    """Return the last figures that were written down; nothing where the line or the file is lost."""
    try:
        figures: dict[str, float] = json.loads((folder / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return figures
