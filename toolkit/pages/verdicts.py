"""What is claimed of networks, with the differences to each floor drawn around zero."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dinonat.pages.comparisons import Cell, cell_of, marked
from dinonat.pages.dots import Spot, Triple, scale_of, triple_of

SIGNS = {"holds": "\N{CHECK MARK}", "fails": "\N{MULTIPLICATION X}", "not settled": "?"}
STYLES = {"holds": "holds", "fails": "fails", "not settled": "open"}  # of badges


class Difference(NamedTuple):
    """How far a figure lies above a floor."""

    floor: str
    cell: Cell
    spot: Spot


class Claim(NamedTuple):
    """What is said of a network, and the differences it rests on."""

    about: str
    word: str
    sentence: str
    differences: list[Difference]
    zero: float
    marks: list[tuple[float, str]]


class Judged(NamedTuple):
    """The claims of one network and one preparation."""

    weights: str
    prepared: str
    claims: list[Claim]


def judged(claims: Iterable[Mapping[str, Any]]) -> list[Judged]:
    """Bring together what is said of the same network and preparation, all of one kind on one axis."""
    said = list(claims)
    by_network: dict[tuple[str, str], list[Claim]] = {}
    for one in said:
        alike = [each for each in said if each["about"] == one["about"]]
        claims_of = by_network.setdefault((one["weights"], one["prepared"]), [])
        claims_of.append(_claim(one, alike))
    return [Judged(*key, each) for key, each in by_network.items()]


def _claim(said: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> Claim:
    share = said["about"] == "features"
    scale = scale_of(triple for each in alike for _, triple in _differences(each))
    differences = [
        Difference(name, cell_of(triple, share=share, signed=True), scale.spot(triple))
        for name, triple in _differences(said)
    ]
    marks = marked(scale, share=share)
    return Claim(said["about"], said["word"], said["sentence"], differences, scale.place(0.0), marks)


def _differences(said: Mapping[str, Any]) -> Iterator[tuple[str, Triple]]:
    for name, found in said["differences"].items():
        if (triple := triple_of(found)) is not None:
            yield name, triple
