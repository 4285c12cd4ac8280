"""Which image of a set a label file means: by its whole path, else by its file name."""

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

Warn = Callable[[str], object]  # receives one sentence


@dataclass(frozen=True)
class Matches:
    """``found[asked]`` is the image meant; each other name has its sentence in ``problems``."""

    found: Mapping[str, str]
    problems: tuple[str, ...]


def match_names(asked: Iterable[str], known: Sequence[str]) -> Matches:
    """Find for each asked name the one known image it means.

    The whole relative path decides; else the images with the same file name (and frame), among them
    the one that shares most trailing folders. Two that share equally many are ambiguous: no match.
    Names are compared in Unicode NFC, because file systems differ in how they store an umlaut.

    >>> match_names(["a.png", "day/b.png"], ["x/a.png", "day/b.png", "night/b.png"]).found
    {'a.png': 'x/a.png', 'day/b.png': 'day/b.png'}
    """
    by_path = {_steps(name): name for name in known}
    by_file: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for steps in sorted(by_path):
        by_file[steps[-1]].append(steps)
    found: dict[str, str] = {}
    problems: list[str] = []
    for name in dict.fromkeys(asked):
        steps = _steps(name)
        near = [steps] if steps in by_path else _nearest(steps, by_file[steps[-1]])
        if len(near) == 1:
            found[name] = by_path[near[0]]
        else:
            problems.append(_problem(name, [by_path[each] for each in near]))
    return Matches(found, tuple(problems))


def match_labels(labels: pd.DataFrame, images: Sequence[str], *, warn: Warn = warnings.warn) -> pd.DataFrame:
    """Return the rows of ``labels`` whose image is one of ``images``, with ``image`` named as there.

    A row whose image does not exist, or could be several, is left out; ``warn`` gets one sentence
    for each such image.
    """
    matches = match_names(labels["image"].astype(str), images)
    for problem in matches.problems:
        warn(problem)
    kept = labels[labels["image"].isin(list(matches.found))].copy()
    kept["image"] = kept["image"].map(matches.found).astype("str")
    return kept.reset_index(drop=True)


def _steps(name: str) -> tuple[str, ...]:
    """Split a path of either separator into its folders and file name, without '.' and drives."""
    plain = unicodedata.normalize("NFC", name).replace("\\", "/")
    steps = tuple(step for step in plain.split("/") if step not in ("", "."))
    return steps or ("",)


def _nearest(steps: tuple[str, ...], candidates: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the candidates that share the longest tail with ``steps``."""
    shared = [_shared_tail(steps, candidate) for candidate in candidates]
    return [each for each, length in zip(candidates, shared, strict=True) if length == max(shared)]


def _shared_tail(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Count the equal last steps."""
    length = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        length += 1
    return length


def _problem(name: str, near: list[str]) -> str:
    """Say why ``name`` was left out."""
    if not near:
        return f"{name!r}: no such image in the set; its labels are left out."
    shown = ", ".join(repr(each) for each in near[:3]) + (", ..." if len(near) > 3 else "")
    return (
        f"{name!r}: could be any of {len(near)} images ({shown}); its labels are left out. "
        "Give the path relative to the image folder."
    )
