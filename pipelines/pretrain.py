"""`dinotool pretrain`: colour images without labels in, the weights of a teacher network out."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field

from dinonat.errors import UsageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.images.batches import Packed, pack_pictures
from dinonat.images.listing import list_images
from dinonat.models.checkpoint import save
from dinonat.pipelines import workspace as places
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.progress import duration, say, track
from dinonat.pretraining.pictures import alone
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import Course
from dinonat.pretraining.state import load_teacher
from dinonat.pretraining.trainer import Speed, measure_speed, train
from dinonat.records import ImageRef

MEASURED_UP_TO = 20_000  # images for which the default recipe was measured


class PretrainSettings(TrainSettings):
    """What `dinotool pretrain` can be told; the recipe itself is in TrainSettings."""

    folders: tuple[Path, ...] = Field(min_length=1)
    minutes: float = Field(30.0, gt=0)
    epochs: float | None = Field(None, gt=0)  # passes over the images, instead of minutes
    picture_side: int = Field(176, ge=32)  # images are decoded once and kept squashed to this square
    device: str = "auto"
    threads: int | None = None
    workers: int = 2  # processes that decode
    resume: str | None = None  # go on with this run for longer
    again: bool = False


# How long and where a run is made does not change what it is; all else names it.
NOT_IN_ID = {"minutes", "epochs", "device", "threads", "workers", "resume", "again", "folders"}


@dataclass(frozen=True)
class PretrainReport:
    """What a run made."""

    run: str
    weights: str
    fingerprint: str
    images: int
    failed: int
    steps: int
    passes: float
    loss: float
    teacher_entropy: float
    images_per_second: float
    already_done: bool = False

    def lines(self) -> list[str]:
        """Text for people."""
        if self.already_done:
            return [
                f"Run {self.run} is already done: {self.weights}",
                f"Go on for longer with `--resume {self.run}`, or redo it with `--again`.",
            ]
        return [
            f"Run {self.run}: {self.steps} steps, {self.passes:.1f} passes over {self.images} images"
            + (f" ({self.failed} unreadable)" if self.failed else ""),
            f"Loss {self.loss:.3f}, teacher entropy {self.teacher_entropy:.3f}, "
            f"{self.images_per_second:.1f} images/s",
            f"Weights {self.weights} (fingerprint {self.fingerprint})",
        ]


def run(settings: PretrainSettings, workspace: Path) -> PretrainReport:
    """Train a network on the images of ``settings.folders``.

    Raises ImageError where no image can be read, UsageError where ``--resume`` names a run of other
    settings.
    """
    places.create(workspace)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    refs = _listed(settings.folders)
    recipe = TrainSettings.checked(settings.model_dump(include=set(TrainSettings.model_fields)))
    name = short_hash([ref.name for ref in refs], settings.model_dump(mode="json", exclude=NOT_IN_ID))
    if settings.resume and settings.resume != name:
        raise UsageError(_other_run(settings, workspace, name))
    folder = places.weights_folder(workspace, name)
    if settings.again and folder.exists():
        shutil.rmtree(folder)
    done = _finished(folder, settings)
    if done:
        places.remember(workspace, "weights", name)
        return done
    packed = _pack(refs, folder, settings)
    write_bytes(folder / "settings.yaml", _as_yaml(settings))
    report = _train(packed, recipe, settings, folder, name)
    (folder / "pictures.npy").unlink(missing_ok=True)  # large, and made again in a minute where needed
    (folder / "pictures.json").unlink(missing_ok=True)
    places.remember(workspace, "weights", name)
    return report


def _listed(folders: tuple[Path, ...]) -> list[ImageRef]:
    refs: list[ImageRef] = []
    for folder in folders:
        listing = list_images(folder)
        refs.extend(listing.refs)
        for path, reason in listing.skipped:
            say(f"{path}: {reason}")
    return refs


def _pack(refs: list[ImageRef], folder: Path, settings: PretrainSettings) -> Packed:
    folder.mkdir(parents=True, exist_ok=True)
    say(f"Reading {len(refs)} images once, squashed to {settings.picture_side} px")
    packed = pack_pictures(
        refs, folder / "pictures.npy", side=settings.picture_side, workers=settings.workers
    )
    for name, reason in packed.failures[:10]:
        say(f"{name}: {reason}")
    if len(packed.names) > MEASURED_UP_TO:
        say(
            f"{len(packed.names)} images: the default recipe was measured for up to {MEASURED_UP_TO}. "
            "For many more, try --set out_dim=4096 and --set momentum=[0.996,1.0]."
        )
    return packed


def _train(
    packed: Packed, recipe: TrainSettings, settings: PretrainSettings, folder: Path, name: str
) -> PretrainReport:
    device = device_named(settings.device)
    steps = _steps(packed, recipe, settings, folder, device)
    figures: dict[str, float] = {}
    pictures = alone(packed.pixels, packed.aspects)
    passed = _timed(train(pictures, recipe, folder, course=Course(steps), device=device))
    seconds, taken = 0.0, 0
    for last, spent in track(passed, "pretrain", total=steps):
        figures, seconds, taken = last, seconds + spent, taken + 1
    if not figures:  # killed after the last step and before the weights were written
        figures = _last_metrics(folder)
    teacher = load_teacher(folder, recipe)
    facts = {"run": name, "images": str(len(packed.names)), "steps": str(steps)}
    fingerprint = save(folder / "teacher.safetensors", teacher, facts=facts)
    report = PretrainReport(
        run=name,
        weights=str(folder / "teacher.safetensors"),
        fingerprint=fingerprint,
        images=len(packed.names),
        failed=len(packed.failures),
        steps=steps,
        passes=steps * recipe.batch / len(packed.names),
        loss=figures["loss"],
        teacher_entropy=figures["teacher_entropy"],
        images_per_second=taken * recipe.batch / seconds if seconds else 0.0,
    )
    write_json(folder / "report.json", asdict(report))
    return report


def _steps(
    packed: Packed, recipe: TrainSettings, settings: PretrainSettings, folder: Path, device: torch.device
) -> int:
    """Decide once how many steps the run takes, write it down, and say how long that will be."""
    asked = {"epochs": settings.epochs, "minutes": None if settings.epochs else settings.minutes}
    path = folder / "length.json"
    if path.is_file():
        known = places.read_object(path)
        if known["asked"] == asked:
            steps = int(str(known["steps"]))
            say(f"Going on with {folder.name}: {steps} steps in all")
            return steps
    speed = measure_speed(alone(packed.pixels, packed.aspects), recipe, device)
    steps = _wanted_steps(len(packed.names), recipe, settings, speed)
    write_json(path, {"asked": asked, "steps": steps, "seconds_per_step": [speed.small, speed.large]})
    say(
        f"{steps} steps of {recipe.batch} images, {steps * recipe.batch / len(packed.names):.1f} passes over "
        f"{len(packed.names)} images, on {device}: about "
        f"{duration(speed.seconds(steps, recipe.switch_at))} ({recipe.batch / speed.small:.0f} images/s with "
        f"{recipe.global_sizes[0]} px crops, then {recipe.batch / speed.large:.0f} with "
        f"{recipe.global_sizes[1]} px)"
    )
    return steps


def _wanted_steps(images: int, recipe: TrainSettings, settings: PretrainSettings, speed: Speed) -> int:
    if settings.epochs:
        return max(1, round(settings.epochs * images / recipe.batch))
    return max(1, int(settings.minutes * 60 / speed.seconds(1, recipe.switch_at)))


def _timed(steps: Iterator[dict[str, float]]) -> Iterator[tuple[dict[str, float], float]]:
    """Pair the figures of each step with the seconds it took."""
    start = time.perf_counter()
    for figures in steps:
        now = time.perf_counter()
        yield figures, now - start
        start = time.perf_counter()


def _finished(folder: Path, settings: PretrainSettings) -> PretrainReport | None:
    path = folder / "report.json"
    if not path.is_file() or settings.resume:
        return None
    known: Any = places.read_object(path)
    return PretrainReport(**{**known, "already_done": True})


def _other_run(settings: PretrainSettings, workspace: Path, name: str) -> str:
    assert settings.resume
    path = places.weights_folder(workspace, settings.resume) / "settings.yaml"
    if not path.is_file():
        there = ", ".join(places.names(workspace, "weights")) or "none"
        return f"--resume {settings.resume}: no such run in {workspace} (there: {there})."
    before, now = yaml.safe_load(path.read_text("utf-8")), yaml.safe_load(_as_yaml(settings))
    changed = [key for key in now if key not in NOT_IN_ID and before.get(key) != now[key]]
    return (
        f"--resume {settings.resume}: the run was made with other "
        f"{', '.join(changed) or 'images'}; only --minutes and --epochs may change."
    )


def _last_metrics(folder: Path) -> dict[str, float]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    figures: dict[str, float] = json.loads(lines[-1])
    return figures


def _as_yaml(settings: PretrainSettings) -> bytes:
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=True).encode()
