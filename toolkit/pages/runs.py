"""What a run of pretraining left in its folder, as far as it is there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dinonat.pages.curves import number, read_lines
from dinonat.pretraining.schedule import Course

COOLED = "cooled"  # folder, in that of an open run, of the way down from its plateau
JUST_BEFORE = 1 - 1e-9  # the position of a run's last step, nearly
Lines = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Run:
    """A run by its files; what is missing or damaged is empty."""

    name: str
    recipe: Mapping[str, Any]  # as it was run
    given: Mapping[str, Any]  # as it was asked for
    metrics: Lines  # of every 20th step
    judged: Lines  # teachers on the way, step 0 where the run began
    report: Mapping[str, Any]  # empty where the run has not come to the end that it goes to
    course: Course

    @property
    def step(self) -> int:
        """The last step that is known."""
        return max((int(number(line.get("step")) or 0) for line in (*self.metrics, *self.judged)), default=0)

    @property
    def position(self) -> float:
        """Which share of its way, below 1, the run has gone."""
        return min(self.course.position(self.step), JUST_BEFORE)

    def first_step(self, position: float) -> int | None:
        """Return the first step at a position of the course, None where it never comes there."""
        low, high = 0, self.course.steps
        if self.course.position(high) < position:
            return None
        while low < high:  # positions only rise
            middle = (low + high) // 2
            low, high = (low, middle) if self.course.position(middle) >= position else (middle + 1, high)
        return low


def read_run(folder: Path, *, recipe: Mapping[str, Any] | None = None, stopped: bool = False) -> Run:
    """Read the folder of a run; of an open one that cooled down last, plateau and way down together.

    ``recipe`` is that of the run, where its file may be missing. Where it has ``stopped`` before its time,
    a report that lies there is of an earlier end.
    """
    given = _yaml(folder / "settings.yaml")
    recipe = recipe or {**given, **_object(folder / "recipe.json")}
    at = folder / COOLED if _cooled_last(folder) else folder
    length, report = _object(at / "length.json"), _object(folder / "report.json")
    metrics, judged = (_lines(folder, at, name, length) for name in ("metrics.jsonl", "judged.jsonl"))
    last = max((int(number(line.get("step")) or 0) for line in metrics), default=0)
    steps = int(number(length.get("steps")) or number(report.get("steps")) or last or 1)
    cool_from = number(length.get("cool_from"))
    return Run(
        name=folder.resolve().name,
        recipe=recipe,
        given=given,
        metrics=metrics,
        judged=judged,
        report={} if stopped or number(report.get("steps")) != steps else report,
        course=Course(
            steps,
            recipe.get("schedule") == "open",
            None if cool_from is None else min(int(cool_from), steps - 1),
        ),
    )


def _cooled_last(folder: Path) -> bool:
    """Whether the way down was gone after the plateau, which may go on after it."""
    cooled, plateau = folder / COOLED / "metrics.jsonl", folder / "metrics.jsonl"
    if not cooled.is_file():
        return False
    return not plateau.is_file() or cooled.stat().st_mtime_ns >= plateau.stat().st_mtime_ns


def _lines(folder: Path, at: Path, name: str, length: Mapping[str, Any]) -> Lines:
    """Read the lines of a run, those up to where it cooled down first."""
    own = read_lines(at / name)
    if at == folder:
        return own
    begun = number(length.get("cool_from")) or 0
    before = [line for line in read_lines(folder / name) if 0 < (number(line.get("step")) or 0) <= begun]
    return sorted([*own, *before], key=lambda line: number(line.get("step")) or 0)


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}
