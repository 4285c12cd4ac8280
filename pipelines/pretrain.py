"""`dinotool pretrain`: images without labels in, the weights of a teacher network out."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from pydantic import Field

from dinonat.errors import UsageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.pipelines import judges, outcomes
from dinonat.pipelines import workspace as places
from dinonat.pipelines.beginnings import Beginning, beginning
from dinonat.pipelines.checking import check
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.judges import Judge, read_judged
from dinonat.pipelines.lengths import Length, planned, say_once
from dinonat.pipelines.pretrain_page import write_page
from dinonat.pipelines.pretrain_pictures import Given, PictureSettings, asked_for, packed
from dinonat.pipelines.pretrain_report import CheckReport, PretrainReport
from dinonat.pipelines.progress import track
from dinonat.pretraining import ranks
from dinonat.pretraining.health import Collapsed
from dinonat.pretraining.recipe import TrainSettings, phase
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.sizing import fitted
from dinonat.pretraining.state import new_state
from dinonat.pretraining.trainer import train
from dinonat.settings import read_yaml

JUDGED = 8  # times in a run, evenly


class PretrainSettings(TrainSettings, PictureSettings):
    """What `dinotool pretrain` can be told: pictures, recipe, and how long.

    Of the recipe, what nobody gives is fitted to the data (``dinonat.pretraining.sizing``).
    """

    init: str | None = None  # starter, a file or a run; None: starter where it fits
    from_scratch: bool = False
    monitor: Path | None = None  # images in class folders, by which the teachers are judged
    minutes: float = Field(30.0, gt=0)
    epochs: float | None = Field(None, gt=0)  # passes over the images, instead of minutes
    cool_down: bool = False  # end an open run that is on its plateau
    check: bool = False  # learn one batch by heart, say time and memory, and make no run
    device: str = "auto"
    threads: int | None = None
    resume: str | None = None  # go on with this run for longer
    again: bool = False


# How long and where a run is made does not change what it is; all else names it.
NOT_IN_ID = {
    *("minutes", "epochs", "cool_down", "check", "device", "threads", "workers", "resume", "again"),
    *("folders", "pairs", "pair_list", "recordings"),  # the pictures are in it, by name
    *("init", "from_scratch"),  # the weights it begins with are in it, whatever they are called
}


def run(settings: PretrainSettings, workspace: Path) -> PretrainReport | CheckReport:
    """Train a network on the images of ``settings.folders``.

    Under `torchrun` several processes train together, and the first one alone writes. Raises ImageError
    where no image can be read, UsageError where ``--resume`` names a run of other settings, Collapsed
    where it has learned nothing for its patience.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with ranks.together(settings.device) as device:
        return _run(settings, workspace, device_named(device))


def _run(told: PretrainSettings, workspace: Path, device: torch.device) -> PretrainReport | CheckReport:
    places.create(workspace)
    settings = _resumed(told, workspace) if told.resume else told
    if not settings.folders and settings.pairs is None:
        raise UsageError("pretrain: no folder of images was given. Write `dinotool pretrain FOLDER`.")
    asked = asked_for(settings, workspace)
    plain = TrainSettings.checked(settings.model_dump(include=set(TrainSettings.model_fields)))
    start = beginning(settings.init, plain, workspace, from_scratch=settings.from_scratch)
    name = short_hash(asked.names, settings.model_dump(mode="json", exclude=NOT_IN_ID), start.digest)
    if settings.resume and settings.resume != name:
        raise UsageError(_other_run(settings, workspace, name))
    folder = places.weights_folder(workspace, name)
    if settings.again and folder.exists() and ranks.rank() == 0:
        shutil.rmtree(folder)
    ranks.wait()
    if not settings.resume and outcomes.is_done(folder):
        places.remember(workspace, "weights", name)
        return outcomes.read(folder)
    if settings.check:
        with TemporaryDirectory(dir=workspace) as apart:
            given = packed(asked, settings, Path(apart))
            return check(
                given.pictures, _fitted(plain, settings, start, given), _length(settings), device, run=name
            )
    start = _restarted(folder, start)
    given = packed(asked, settings, folder)
    recipe = _fitted(plain, settings, start, given)
    if ranks.rank() == 0:
        write_bytes(folder / "settings.yaml", _as_yaml(settings))
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    try:
        report = _train(given, recipe, settings, start, folder, device)
    except Collapsed as error:
        if ranks.rank() == 0:
            write_page(folder, given.pictures, recipe, stopped=str(error))
        raise
    if ranks.rank() == 0:
        write_page(folder, given.pictures, recipe)
        _tidy(folder)
        places.remember(workspace, "weights", name)
    return report


def _fitted(
    plain: TrainSettings, settings: PretrainSettings, start: Beginning, given: Given
) -> TrainSettings:
    """Fill in what the data decide, and say it."""
    recipe, said = fitted(
        plain,
        settings.model_fields_set,
        images=len(given.pictures.pixels),
        from_weights=start.path is not None,
        with_heads=start.with_heads,
    )
    say_once(start.said)
    say_once(said)
    return recipe


def _length(settings: PretrainSettings) -> Length:
    minutes = settings.minutes if not settings.cool_down or "minutes" in settings.model_fields_set else None
    return Length(minutes, settings.epochs, more=settings.resume is not None, cool_down=settings.cool_down)


def _tidy(folder: Path) -> None:
    """Delete what is large and made again in a minute where it is needed."""
    for name in [
        f"{what}.{kind}" for what in ("pictures", "held_out", "monitor") for kind in ("npy", "json")
    ]:
        (folder / name).unlink(missing_ok=True)


def _train(
    given: Given,
    recipe: TrainSettings,
    settings: PretrainSettings,
    start: Beginning,
    folder: Path,
    device: torch.device,
) -> PretrainReport:
    pictures = given.pictures
    course, at = planned(_length(settings), pictures, recipe, folder, device)
    judge = _judge(given, recipe, settings, course, folder, at)
    if ranks.rank() == 0 and not any(each.step == 0 for each in read_judged(at)):
        judge(new_state(recipe, device, start.path).teacher, {"step": 0})
    ranks.wait()
    judged_at = _judged_at(course)
    steps = train(
        *(pictures, recipe, at),
        course=course,
        device=device,
        start=start.path,
        judge=judge,
        judge_at=judged_at,
        remark=say_once,
    )
    figures, seconds, taken = dict[str, float](), 0.0, 0
    for last, spent in (
        track(_timed(steps), "pretrain", total=course.steps) if ranks.rank() == 0 else _timed(steps)
    ):
        figures, seconds, taken = last, seconds + spent, taken + 1
    speed = taken * recipe.batch / seconds if seconds else 0.0
    if ranks.rank() > 0:
        ranks.wait()
        return outcomes.read(folder)
    if not figures:  # killed after the last step and before the weights were written
        figures = _last_metrics(at)
    report = outcomes.conclude(given, recipe, start, folder, at, course, figures, speed)
    ranks.wait()
    return report


def _judge(
    given: Given,
    recipe: TrainSettings,
    settings: PretrainSettings,
    course: Course,
    folder: Path,
    at: Path,
) -> Judge:
    monitor = None
    side = recipe.global_sizes[1]
    if settings.monitor is not None and ranks.rank() == 0:
        monitor = judges.read_monitor(
            settings.monitor, folder / "monitor.npy", side=settings.picture_side, workers=settings.workers
        )
    pixels = given.pictures.pixels
    some = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), judges.SAMPLE)).astype(np.int64))
    return Judge(
        folder=at,
        pixels=np.asarray(pixels[some]),
        side=side,
        monitor=monitor,
        pairs=given.held_out,
        phase_of=lambda step: phase(recipe, course.position(step - 1)),
    )


def _judged_at(course: Course) -> set[int]:
    """Return the steps after which the teacher is judged: eight, evenly, the last among them."""
    begun = course.cool_from or 0
    return {begun + round((course.steps - begun) * part / JUDGED) for part in range(1, JUDGED + 1)} - {0}


def _restarted(folder: Path, start: Beginning) -> Beginning:
    """Begin with the weights of a run whose state is gone, or was when it last began."""
    ended, again = folder / "teacher.safetensors", folder / "restart.safetensors"
    gone = ended.is_file() and not (folder / "state.pt").is_file()
    if gone and ranks.rank() == 0:
        write_bytes(again, ended.read_bytes())
    ranks.wait()
    if not again.is_file():
        return start
    said = f"{folder.name}: its state was gone. It started again from its weights, with heads that are new."
    return replace(start, path=again, said=said)


def _timed(steps: Iterator[dict[str, float]]) -> Iterator[tuple[dict[str, float], float]]:
    """Pair the figures of each step with the seconds it took."""
    start = time.perf_counter()
    for figures in steps:
        now = time.perf_counter()
        yield figures, now - start
        start = time.perf_counter()


def _resumed(told: PretrainSettings, workspace: Path) -> PretrainSettings:
    """Take what is not said from the run that goes on: `--resume RUN` alone is enough."""
    assert told.resume
    path = places.weights_folder(workspace, told.resume) / "settings.yaml"
    if not path.is_file():
        there = ", ".join(places.names(workspace, "weights")) or "none"
        raise UsageError(f"--resume {told.resume}: no such run in {workspace} (there: {there}).")
    before = read_yaml(str(path))
    given = told.model_dump(mode="json", include=told.model_fields_set)
    length = {"minutes", "epochs", "cool_down", "check", "again"}
    return PretrainSettings.checked({key: before[key] for key in before if key not in length} | given)


def _other_run(settings: PretrainSettings, workspace: Path, name: str) -> str:
    assert settings.resume
    path = places.weights_folder(workspace, settings.resume) / "settings.yaml"
    before, now = (each.model_dump() for each in (PretrainSettings.checked(read_yaml(str(path))), settings))
    changed = [key for key in now if key not in NOT_IN_ID and before[key] != now[key]]
    return (
        f"--resume {settings.resume}: the run was made with other "
        f"{', '.join(changed) or 'images or weights to begin with'}; only --minutes and --epochs may change."
    )


def _last_metrics(folder: Path) -> dict[str, float]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    figures: dict[str, float] = json.loads(lines[-1])
    return figures


def _as_yaml(settings: PretrainSettings) -> bytes:
    """Write down what was given, so that what was not is fitted again in the same way."""
    return yaml.safe_dump(
        settings.model_dump(mode="json", include=settings.model_fields_set), sort_keys=True
    ).encode()
