"""Which images were taken in one go: by time, by the running number in their names, or by their looks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dinonat.records import Float32
from dinonat.survey.duplicates import connected
from dinonat.survey.facts import MASK, Facts
from dinonat.survey.naming import Named, named, seconds

GAP_NUMBERS = 60  # a larger jump of the running number begins a new recording: 2 s of video at 30 frames/s
GAP_SECONDS = 60.0  # a longer pause does, or one of TIMES the usual pause
TIMES = 10.0

# A number that runs with time makes neighbours look alike: an image must resemble the next by number more
# than a distant one in this share of comparisons (0.5 is chance). Asked only of enough images.
MORE_ALIKE = 0.58
ENOUGH = 20
COMPARED = 20_000


@dataclass(frozen=True)
class Recordings:
    """The recording of each image (by place in the facts), and how it was found."""

    of: tuple[str, ...]
    rule: str  # "time", "number", "time and number", "looks" or "none"
    words: str  # the rule in a sentence

    @property
    def count(self) -> int:
        """How many there are."""
        return len(set(self.of))


@dataclass(frozen=True)
class _Shot:
    place: int
    named: Named
    taken: float | None


def find_recordings(
    facts: Sequence[Facts],
    *,
    same: Sequence[tuple[int, int]] = (),
    gap: int = GAP_NUMBERS,
) -> Recordings:
    """Group the images into recordings.

    Images of one folder and camera are a series. Where all of a series have a time, a pause begins a
    new recording; else, where their names hold a running number, a jump by more than ``gap`` does,
    unless the images show that the number does not run with time. The frames of one file are one
    recording. ``same`` names pairs that are never parted: twins, and images that show the same.
    """
    shots = [_shot(i, fact) for i, fact in enumerate(facts)]
    by_time, by_number, alone = _series(facts, shots)
    links = [link for series in by_time for link in _linked(series, _pause(series))]
    numbered = [link for series in by_number for link in _linked(series, lambda a, b: _jump(a, b) > gap)]
    share = more_alike(facts, by_number, gap)
    if share is not None and share < MORE_ALIKE:
        numbered, by_number, alone = [], [], [*alone, *(shot for each in by_number for shot in each)]
    rules = [rule for rule, used in (("time", by_time), ("number", by_number)) if used]
    files = _links_of_files(facts)
    groups = connected([*links, *numbered, *files, *same])
    of = _names(groups, len(facts))
    rules += ["files"] if files else []
    rule = " and ".join(rules) or ("looks" if same else "none")
    return Recordings(of, rule, _words(rules, gap, share, bool(same), len(alone), len(facts)))


def _shot(place: int, fact: Facts) -> _Shot:
    parts = named(fact.ref.path)
    return _Shot(place, parts, seconds(fact.taken or parts.taken))


def _series(
    facts: Sequence[Facts], shots: list[_Shot]
) -> tuple[list[list[_Shot]], list[list[_Shot]], list[_Shot]]:
    """Return the series that are ordered by time, those by number, and the images that have neither."""
    by_folder: dict[tuple[str, str], list[_Shot]] = {}
    for shot in shots:
        fact = facts[shot.place]
        if not fact.reason and fact.ref.n_frames == 1:
            by_folder.setdefault((shot.named.folder, fact.camera), []).append(shot)
    timed, numbered, alone = [], [], []
    for own in by_folder.values():
        if len(own) > 1 and all(shot.taken is not None for shot in own):
            timed.append(sorted(own, key=lambda shot: (shot.taken, shot.named.stem)))
            continue
        alone += [shot for shot in own if shot.named.number is None]
        for series in _counters([shot for shot in own if shot.named.number is not None]):
            numbered.append(sorted(series, key=lambda shot: (shot.named.number, shot.named.stem)))
    return timed, [each for each in numbered if len(each) > 1], alone


def _counters(shots: list[_Shot]) -> list[list[_Shot]]:
    """Split by prefix, unless one counter runs on through prefixes that differ in numbers only.

    That is so where the prefixes take turns along the counter without ever sharing a number.
    """
    forms: dict[str, dict[str, list[_Shot]]] = {}
    for shot in shots:
        forms.setdefault(shot.named.form, {}).setdefault(shot.named.prefix, []).append(shot)
    series = []
    for prefixes in forms.values():
        own = list(prefixes.values())
        series += [[shot for each in own for shot in each]] if _one_counter(own) else own
    return series


def _one_counter(prefixes: list[list[_Shot]]) -> bool:
    numbers = [{shot.named.number or 0 for shot in each} for each in prefixes]
    if len(numbers) < 2 or sum(map(len, numbers)) > len(set().union(*numbers)):
        return False
    ends = sorted((min(each), max(each)) for each in numbers)
    return any(ends[i + 1][0] < ends[i][1] for i in range(len(ends) - 1))


def _linked(series: list[_Shot], parted: Callable[[_Shot, _Shot], bool]) -> list[tuple[int, int]]:
    return [(first.place, second.place) for first, second in pairwise(series) if not parted(first, second)]


def _jump(first: _Shot, second: _Shot) -> int:
    return (second.named.number or 0) - (first.named.number or 0)


def _pause(series: list[_Shot]) -> Callable[[_Shot, _Shot], bool]:
    """Return the test whether a pause between two images parts recordings of this series."""
    times = np.array([shot.taken for shot in series], np.float64)
    usual = float(np.quantile(np.diff(times), 0.5, method="lower"))
    longest = max(GAP_SECONDS, TIMES * usual)
    return lambda first, second: (second.taken or 0.0) - (first.taken or 0.0) > longest


def _links_of_files(facts: Sequence[Facts]) -> list[tuple[int, int]]:
    """Link the frames of each file."""
    first: dict[str, int] = {}
    return [(first.setdefault(fact.ref.path, i), i) for i, fact in enumerate(facts) if fact.ref.n_frames > 1]


def more_alike(facts: Sequence[Facts], series: Sequence[Sequence[_Shot]], gap: int) -> float | None:
    """Return in which share of comparisons an image is more like the next by number than a distant one.

    None where fewer than ENOUGH images can be compared. Only images of one view are, and alike is the
    size of the correlation, so that neither gain nor polarity counts.
    """
    one_view = [own for each in series for own in _by_view(facts, each) if len(own) >= ENOUGH]
    near = [link for each in one_view for link in _linked(each, lambda a, b: _jump(a, b) > gap)]
    rng = np.random.default_rng(0)
    far = []
    for each in one_view:
        first, second = rng.integers(0, len(each), (2, COMPARED * len(each) // sum(map(len, one_view))))
        distant = np.abs(first - second) > len(each) // 4
        far += [(each[a].place, each[b].place) for a, b in zip(first[distant], second[distant], strict=True)]
    of_near, of_far = _correlations(facts, near), np.sort(_correlations(facts, far))
    if min(of_near.size, of_far.size) < ENOUGH:
        return None
    below, to = (np.searchsorted(of_far, of_near, side) for side in ("left", "right"))
    return float(np.mean((below + to) / 2) / of_far.size)


def _by_view(facts: Sequence[Facts], series: Sequence[_Shot]) -> list[list[_Shot]]:
    views: dict[tuple[str, bool], list[_Shot]] = {}
    for shot in series:
        views.setdefault((shot.named.word, facts[shot.place].look == MASK), []).append(shot)
    return list(views.values())


def _correlations(facts: Sequence[Facts], pairs: Sequence[tuple[int, int]]) -> Float32:
    """Return the sizes of the correlations of the pairs of which both show something."""
    looks = [
        (one.look, other.look)
        for a, b in pairs
        if (one := facts[a].traces) is not None and (other := facts[b].traces) is not None
    ]
    values = [abs(float(a.astype(np.float32) @ b)) for a, b in looks if a is not None and b is not None]
    return np.array(values, np.float32)


def _names(groups: Sequence[tuple[int, ...]], count: int) -> tuple[str, ...]:
    """Name recordings in the order of their first image; one that belongs to none is its own."""
    first = {place: group[0] for group in groups for place in group}
    firsts = sorted({first.get(place, place) for place in range(count)})
    digits = max(2, len(str(len(firsts))))
    name = {place: f"rec-{number:0{digits}}" for number, place in enumerate(firsts, start=1)}
    return tuple(name[first.get(place, place)] for place in range(count))


def _words(rules: list[str], gap: int, share: float | None, same: bool, alone: int, count: int) -> str:
    """Say the rules that applied in sentences."""
    said = []
    if "time" in rules:
        said.append(
            f"By time: a pause of more than {GAP_SECONDS:.0f} s, or of {TIMES:.0f} times the usual one, "
            "begins a new recording."
        )
    if "number" in rules:
        said.append(f"By the number in the name: a jump by more than {gap} begins a new recording.")
    if share is not None:
        said.append(
            f"An image resembles the next by number more than a distant one in {share:.0%} of comparisons "
            + (
                "(50% would be chance)."
                if share >= MORE_ALIKE
                else "(50% would be chance), so numbers do not follow time here and were not used."
            )
        )
    if same:
        said.append("Images that show the same, and twins, share their recording.")
    if "files" in rules:
        said.append("The frames of one file are one recording.")
    if not rules and not same:
        said.append("Nothing tells which images were taken in one go, so each counts as its own.")
    elif not rules:
        said.append("Nothing else tells which images were taken in one go.")
    elif alone:
        said.append(f"{alone} of {count} images have neither time nor number and count as their own.")
    return " ".join(said)


def rand_index(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of pairs on which two groupings agree: together in both, or apart in both.

    >>> rand_index("aabb", "aabc")  # of six pairs, only the last two images are judged differently
    0.8333333333333334
    """
    count = len(one)
    if count < 2:
        return 1.0

    def together(labels: Sequence[object]) -> int:
        sizes = np.unique(np.array([repr(label) for label in labels]), return_counts=True)[1]
        return int((sizes * (sizes - 1) // 2).sum())

    both = together(list(zip(one, other, strict=True)))
    pairs = count * (count - 1) // 2
    return (pairs + 2 * both - together(one) - together(other)) / pairs
