"""How long a pretraining run is: minutes or passes into steps, written down, so that all goes by step."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dinonat.errors import UsageError
from dinonat.files import write_bytes, write_json
from dinonat.pages.runs import COOLED
from dinonat.pipelines import workspace as places
from dinonat.pipelines.progress import duration, say
from dinonat.pretraining import ranks
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.schedule import PLATEAU, Course
from dinonat.pretraining.state import saved_step
from dinonat.pretraining.trainer import Speed, measure_speed

COOL_SHARE = 0.3  # of all steps are those that cool an open run down, where nobody says how many


@dataclass(frozen=True)
class Length:
    """What was asked for."""

    minutes: float | None
    epochs: float | None  # instead of minutes
    more: bool = False  # an open run goes on for so much longer
    cool_down: bool = False


def planned(
    length: Length, pictures: Pictures, recipe: TrainSettings, folder: Path, device: torch.device
) -> tuple[Course, Path]:
    """Return where the run goes and the folder of its state; the same question gets the same answer.

    Raises UsageError where a run that is to cool down has no plateau.
    """
    if length.cool_down:
        return _cooling(length, pictures, recipe, folder, device)
    is_open = recipe.schedule == "open"
    done = saved_step(folder / "state.pt")
    if length.minutes is None and length.epochs is None:
        before = _asked_before(folder)
        length = replace(length, minutes=before["minutes"], epochs=before["epochs"])
    known = _known(folder, length, done)
    if known is not None and not (is_open and length.more and done >= known):
        ranks.wait()
        say_once(f"Going on with {folder.name}: {known} steps in all")
        return Course(known, open=is_open), folder
    steps = _steps(length, pictures, recipe, folder, device)
    steps = steps + done if is_open and length.more else max(steps, done)
    _write(folder, length, {"steps": steps})
    return Course(steps, open=is_open), folder


def _cooling(
    length: Length, pictures: Pictures, recipe: TrainSettings, folder: Path, device: torch.device
) -> tuple[Course, Path]:
    """Take the state of the plateau into a folder of its own, so that the plateau may go on later."""
    plateau, cooled = saved_step(folder / "state.pt"), folder / COOLED
    if recipe.schedule != "open" or not plateau:
        raise UsageError(
            "--cool-down: only a run of --open that has been on its way cools down. Begin one with "
            "`dinotool pretrain FOLDER --open`, and name it with --resume RUN."
        )
    length_file = cooled / "length.json"
    known = places.read_object(length_file) if length_file.is_file() else {}
    if known.get("cool_from") != plateau or known.get("asked") != _asked(length):
        more = round(plateau * COOL_SHARE / (1 - COOL_SHARE))
        if length.minutes or length.epochs:
            more = _steps(length, pictures, recipe, folder, device)
        if ranks.rank() == 0:
            write_bytes(cooled / "state.pt", (folder / "state.pt").read_bytes())
            (cooled / "metrics.jsonl").unlink(missing_ok=True)
        known = {"cool_from": plateau, "steps": plateau + max(1, more)}
        _write(cooled, length, {"cool_from": plateau, "steps": int(str(known["steps"]))})
    ranks.wait()
    say_once(f"Cooling down from step {plateau} to {known['steps']}; the plateau stays as it is")
    return Course(int(str(known["steps"])), open=True, cool_from=plateau), cooled


def _asked_before(folder: Path) -> dict[str, float | None]:
    """Return how long was asked for when the run last began or went on."""
    path = folder / "length.json"
    if not path.is_file():
        raise UsageError(f"--resume {folder.name}: nobody ever said how long. Give --minutes or --epochs.")
    asked: dict[str, float | None] = dict(places.read_object(path)["asked"])  # type: ignore[call-overload]
    return asked


def _asked(length: Length) -> dict[str, float | None]:
    return {"epochs": length.epochs, "minutes": None if length.epochs else length.minutes}


def _known(folder: Path, length: Length, done: int) -> int | None:
    """Return the steps that were written down for the same question."""
    path = folder / "length.json"
    if not path.is_file():
        return None
    known = places.read_object(path)
    return int(str(known["steps"])) if known["asked"] == _asked(length) else None


def _write(folder: Path, length: Length, facts: dict[str, int]) -> None:
    if ranks.rank() == 0:
        write_json(folder / "length.json", {"asked": _asked(length), **facts})


def _steps(
    length: Length, pictures: Pictures, recipe: TrainSettings, folder: Path, device: torch.device
) -> int:
    """Make steps of minutes by a few that are timed, and say how long it will be."""
    speed = measure_speed(pictures, recipe, device)
    steps = ranks.agreed(steps_in(length, len(pictures.items), recipe, speed))
    images = len(pictures.items)
    say_once(
        f"{steps} steps of {recipe.batch} images, {steps * recipe.batch / images:.1f} passes over {images}, "
        f"on {device}: about {duration(speed.seconds(steps, small_share(length, recipe)))} "
        f"({recipe.batch / speed.small:.0f} images/s with {recipe.global_sizes[0]} px crops, then "
        f"{recipe.batch / speed.large:.0f} with {recipe.global_sizes[1]} px)"
    )
    return steps


def steps_in(length: Length, images: int, recipe: TrainSettings, speed: Speed) -> int:
    """Make steps of minutes or of passes over ``images``."""
    if length.epochs:
        return max(1, round(length.epochs * images / recipe.batch))
    assert length.minutes
    return max(1, int(length.minutes * 60 / speed.seconds(1, small_share(length, recipe))))


def small_share(length: Length, recipe: TrainSettings) -> float:
    """Share of the steps that have small crops."""
    if length.cool_down:
        return max(0.0, (recipe.switch_at - PLATEAU) / (1 - PLATEAU))
    if recipe.schedule == "open":
        return float(recipe.switch_at > PLATEAU)
    return recipe.switch_at


def say_once(text: str) -> None:
    """Print one line to stderr from the first of several processes."""
    if ranks.rank() == 0:
        say(text)
