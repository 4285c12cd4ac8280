"""Which run a command means: its name, what it began with and from which pictures, kept in its folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dinonat.errors import UsageError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.pipelines import workspace as places
from dinonat.pipelines.beginnings import Beginning
from dinonat.pipelines.pretrain_pictures import Asked
from dinonat.pipelines.pretrain_settings import NOT_IN_ID, PretrainSettings
from dinonat.pretraining.sizing import FITTED
from dinonat.pretraining.state import Start
from dinonat.records import ImageRef
from dinonat.settings import read_yaml

BEGAN = "began.json"
LENGTH = {"minutes", "epochs", "cool_down", "check", "again"}  # said anew each time


def pictures_of(asked: Asked) -> str:
    """Name the pictures of a run by names and sizes of their files, so that others are another run."""
    pairs = (asked.pairs.colour, asked.pairs.thermal) if asked.pairs else ()
    return short_hash([[(ref.name, _size(ref)) for ref in refs] for refs in (asked.alone, *pairs)])


def _size(ref: ImageRef) -> int:
    try:
        return ref.file.stat().st_size
    except OSError:
        return -1


def name_of(settings: PretrainSettings, pictures: str, start: Beginning) -> str:
    """Return the id of a run; a setting that is given is not one that was fitted and is equal by chance."""
    given = sorted(settings.model_fields_set & set(FITTED))
    return short_hash(pictures, settings.model_dump(mode="json", exclude=NOT_IN_ID), given, start.digest)


def remember(folder: Path, settings: PretrainSettings, pictures: str, start: Beginning) -> None:
    """Write down what was given, what it begins with and from which pictures."""
    given = settings.model_dump(mode="json", include=settings.model_fields_set)
    write_bytes(folder / "settings.yaml", yaml.safe_dump(given, sort_keys=True).encode())
    if not (folder / BEGAN).is_file():
        paths = [start.start.network, start.start.heads] if start.start else [None, None]
        network, heads = (str(path.resolve()) if path else None for path in paths)
        about = {"pictures": pictures, "name": start.name, "network": network, "heads": heads}
        write_json(folder / BEGAN, {**about, "of_heads": dict(start.heads)})


def resumed(told: PretrainSettings, workspace: Path) -> PretrainSettings:
    """Take what is not said from the run that goes on: `--resume RUN` alone is enough.

    Raises UsageError for a run that is not there, and for settings that are others.
    """
    assert told.resume
    folder = places.weights_folder(workspace, told.resume)
    path = folder / "settings.yaml"
    if not path.is_file() or not (folder / BEGAN).is_file():
        there = ", ".join(places.names(workspace, "weights")) or "none"
        raise UsageError(
            f"--resume {told.resume}: no such run in {workspace}, or one of another version (there: {there})."
        )
    before = {key: value for key, value in read_yaml(str(path)).items() if key not in LENGTH}
    given = told.model_dump(mode="json", include=told.model_fields_set)
    settings, first = PretrainSettings.checked(before | given), PretrainSettings.checked(before)
    was, now = first.model_dump(), settings.model_dump()
    changed = [key for key in now if key not in NOT_IN_ID and was[key] != now[key]]
    if changed:
        raise UsageError(
            f"--resume {told.resume}: the run was made with other {', '.join(changed)}; only --minutes and "
            "--epochs may change."
        )
    return settings


def began(folder: Path, run: str, pictures: str) -> Beginning:
    """Return what the run that goes on began with; raise UsageError where its pictures are others now."""
    known: Any = json.loads((folder / BEGAN).read_text("utf-8"))
    if known["pictures"] != pictures:
        raise UsageError(
            f"--resume {run}: the run was made with other images (names, sizes, or the recordings of its "
            f"pairs). Give the same, or begin another run with --init {run}."
        )
    start = None
    if known["network"]:
        start = Start(Path(known["network"]), Path(known["heads"]) if known["heads"] else None)
    return Beginning(start, known["name"], f"Going on with run {run}.", known["of_heads"])


def restarted(folder: Path, start: Beginning, *, writes: bool) -> Beginning:
    """Begin with the weights of a run whose state is gone, or was when it last began."""
    ended, again = folder / "teacher.safetensors", folder / "restart.safetensors"
    if writes and ended.is_file() and not (folder / "state.pt").is_file():
        write_bytes(again, ended.read_bytes())
    if not again.is_file():
        return start
    said = f"{folder.name}: its state was gone. It started again from its weights, with heads that are new."
    return replace(start, start=Start(again), said=said, heads={})
