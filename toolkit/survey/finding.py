"""One finding of `inspect`, and all that findings are drawn from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dinonat.survey.duplicates import Duplicates, find_duplicates, one_of_each
from dinonat.survey.facts import MASK, PHOTOGRAPH, Facts, view_of
from dinonat.survey.groups import Group, groups_of
from dinonat.survey.naming import THERMAL, named
from dinonat.survey.overlays import Box, Overlay, Stuck, find_overlays, find_stuck
from dinonat.survey.recordings import GAP_NUMBERS, Recordings, find_recordings
from dinonat.survey.twins import Twin, find_twins

Severity = Literal["problem", "warn", "info"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warn", "info")
MOST_EXAMPLES = 6
NEARLY_ALL = 0.9  # of the pictures look like photographs: then all are


@dataclass(frozen=True)
class Marked:
    """A picture of an example, with what is meant marked."""

    image: str
    other: bool = False  # of the folder of colour images
    circles: tuple[tuple[int, int], ...] = ()  # x, y
    boxes: tuple[Box, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What was found, what it means for labels, and what to do about it."""

    key: str
    severity: Severity
    title: str
    count: int
    of: int
    what: str
    means: str
    do: str
    images: tuple[str, ...] = ()
    examples: tuple[tuple[Marked, ...], ...] = ()  # each one picture, or several side by side


@dataclass(frozen=True, eq=False)
class Seen:
    """A surveyed folder: the facts of its images and what they are to each other."""

    facts: tuple[Facts, ...]
    others: tuple[Facts, ...] | None  # of the folder of colour images, where one was given
    skipped: tuple[tuple[str, str], ...]
    duplicates: Duplicates
    recordings: Recordings
    twins: tuple[Twin, ...]
    overlays: tuple[Overlay, ...]
    stuck: tuple[Stuck, ...]
    groups: tuple[Group, ...]
    readable: tuple[Facts, ...]
    thermal: tuple[Facts, ...]
    photographs: tuple[Facts, ...]

    @property
    def keep(self) -> list[str]:
        """Names of what is worth keeping: readable, not flat, no mask, one of each that shows the same."""
        return [
            self.facts[i].image
            for i in one_of_each(self.facts, self.duplicates)
            if not self.facts[i].flat and self.facts[i].look != MASK
        ]

    def colour(self, place: int) -> Facts:
        """Return the colour image of a twin."""
        return (self.facts if self.others is None else self.others)[place]


def compare(
    facts: Sequence[Facts],
    *,
    others: Sequence[Facts] | None = None,
    skipped: Iterable[tuple[str, str]] = (),
    gap: int = GAP_NUMBERS,
) -> Seen:
    """Compare the images of a folder with each other, and with the colour images of another."""
    duplicates = find_duplicates(facts)
    twins = find_twins(facts, others)
    same = [(pair.first, pair.second) for pair in duplicates.pairs]
    if others is None:
        same += [(twin.thermal, twin.colour) for twin in twins]
    different = one_of_each(facts, duplicates)
    overlays = find_overlays(facts, different)
    readable = tuple(fact for fact in facts if not fact.reason)
    thermal, photographs = _split(readable)
    return Seen(
        tuple(facts),
        None if others is None else tuple(others),
        tuple(skipped),
        duplicates,
        find_recordings(facts, same=same, gap=gap),
        twins,
        tuple(overlays),
        tuple(find_stuck(facts, different, overlays)),
        groups_of(facts),
        readable,
        thermal,
        photographs,
    )


def _split(readable: Sequence[Facts]) -> tuple[tuple[Facts, ...], tuple[Facts, ...]]:
    """Return the thermal images and the photographs.

    Words in names decide. Of the others those are photographs that look like one; where nearly all
    pictures do, the few grey and tinted ones among them are photographs too.
    """
    pictures = [fact for fact in readable if fact.unit == "grey" and not named(fact.ref.path).view]
    share = sum(fact.look == PHOTOGRAPH for fact in pictures) / max(len(pictures), 1)
    tinted = {fact.image for fact in pictures} if share > NEARLY_ALL else set()
    kinds: dict[bool, list[Facts]] = {True: [], False: []}
    for fact in readable:
        if fact.look != MASK:
            kinds[view_of(fact) == THERMAL and fact.image not in tinted].append(fact)
    return tuple(kinds[True]), tuple(kinds[False])


def evenly(images: Sequence[str], most: int = MOST_EXAMPLES) -> list[str]:
    """Return at most ``most`` of the images, spread over them.

    >>> evenly(list("abcdefghi"), 3)
    ['a', 'e', 'i']
    """
    if len(images) <= most:
        return list(images)
    return [images[round(i * (len(images) - 1) / (most - 1))] for i in range(most)]


def alone(images: Sequence[str]) -> tuple[tuple[Marked, ...], ...]:
    """Return examples of one picture each."""
    return tuple((Marked(image),) for image in evenly(images))


def counted(count: int, word: str = "image") -> str:
    """Say a number with its word.

    >>> counted(1), counted(1200, "pair")
    ('1 image', '1,200 pairs')
    """
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def many(images: Sequence[object], one: str, several: str) -> str:
    """Say a number of images with the words that fit it.

    >>> many([1], "is flat", "are flat"), many([1, 2], "is flat", "are flat")
    ('1 image is flat', '2 images are flat')
    """
    return f"{counted(len(images))} {verb(len(images), one, several)}"


def verb(count: int, one: str, several: str) -> str:
    """Return the word that fits a number."""
    return one if count == 1 else several
