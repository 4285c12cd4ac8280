"""Does it hold? Two sentences: of the attention, and of the features; each against what costs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dinonat.agreement.estimates import Estimate
from dinonat.agreement.rows import CENTRED, Figures

Word = Literal["holds", "fails", "not settled"]

ATTENTION = "attention/pearson/gap"
VECTOR = "grid"  # keeps the layout, as HOG does
FEATURES = "cropped/both/1"
POLARITY = {  # what inverting may make better
    "attention": ATTENTION,
    "partners found": f"{VECTOR}{CENTRED}/{FEATURES}",
    "tokens found": "dense/hit",
    "k-NN from colour": f"{VECTOR}{CENTRED}/k-NN/across",
}
# Recordings below which nothing is settled: five that all say the same do so by chance once in 32, which is
# more than an interval of 95 % leaves to each side, and bootstrap intervals of so few are too narrow.
LEAST = 6


@dataclass(frozen=True, eq=False)
class Claim:
    """A claim, what it rests on, and whether it holds."""

    about: str  # "attention" or "features"
    word: Word
    figure: Estimate
    differences: Mapping[str, Estimate]  # to each floor, by its name


def claim(about: str, figure: Estimate, floors: Mapping[str, Estimate], recordings: int) -> Claim:
    """Compare a figure with floors drawn on the same pairs, of so many ``recordings`` as are known.

    It holds where the lower bound of the difference to each floor is above zero, and fails where the
    upper bound of one is below; else, and where they are fewer than LEAST, the recordings do not settle it.
    """
    differences = {name: figure - floor for name, floor in floors.items()}
    bounds = [each.interval for each in differences.values()]
    word: Word = "not settled"
    if recordings < LEAST:
        pass
    elif all(low > 0 for low, _ in bounds):
        word = "holds"
    elif any(high < 0 for _, high in bounds):
        word = "fails"
    return Claim(about, word, figure, differences)


def claims(
    network: Figures, untrained: Figures, by_hand: Mapping[str, Figures], recordings: int
) -> list[Claim]:
    """Return what can be claimed of a network: of its attention, if it tells of any, and of its features.

    ``untrained`` are figures of networks of its kind with weights by chance, ``by_hand`` those of the
    rows made by hand. Features are those of the grid, and HOG is the better of the two kinds that stand in
    the table; each light's own mean is taken off everywhere.
    """
    made = []
    if ATTENTION in network:
        floors = {
            "gradient energy": by_hand["gradient energy"]["gradient/pearson/gap"],
            "the untrained network": untrained[ATTENTION],
        }
        made.append(claim("attention", network[ATTENTION], floors, recordings))
    hogs = [by_hand[name][f"{name}{CENTRED}/{FEATURES}"] for name in ("HOG", "hog")]
    key = f"{VECTOR}{CENTRED}/{FEATURES}"
    floors = {"HOG": max(hogs, key=lambda each: each.value), "the untrained network": untrained[key]}
    return [*made, claim("features", network[key], floors, recordings)]


def turned(network: Figures, inverted: Figures, recordings: int) -> str:
    """Say in what inverted thermal pictures agree clearly better with colour; "" where in nothing.

    Also "" where they agree clearly worse in anything, and where recordings are too few to tell.
    """
    keys = {name: key for name, key in POLARITY.items() if key in network}
    more = {name: inverted[key] - network[key] for name, key in keys.items()}
    better = [name for name, each in more.items() if each.interval[0] > 0]
    if recordings < LEAST or not better or any(each.interval[1] < 0 for each in more.values()):
        return ""
    said = ", ".join(f"{name} {_signed(more[name], share=name != 'attention')}" for name in better)
    return (
        f"Inverted thermal pictures agree better with colour: {said}. Where labels come from colour "
        "pictures, try --set invert=yes."
    )


def sentence(found: Claim, recordings: int) -> str:
    """Say in words what was found."""
    what = {
        "attention": "Attention: partners' maps correlate {} more than strangers'",
        "features": "Features: {} of partners are found first when thermal pictures are cropped",
    }[found.about]
    share = found.about == "features"
    told = what.format(_figure(found.figure.value, share))
    against = "; ".join(
        f"{name} {_figure(found.figure.value - each.value, share)}, difference {_signed(each, share)}"
        for name, each in found.differences.items()
    )
    ending = {
        "holds": "the claim holds here",
        "fails": "the claim fails here",
        "not settled": f"not settled by {_counted(recordings)}",
    }[found.word]
    return f"{told} ({against}): {ending}."


def _counted(recordings: int) -> str:
    if recordings == 1:
        return "one recording, which says nothing about others"
    few = f", of which at least {LEAST} are needed" if recordings < LEAST else ""
    return f"{recordings} recordings{few}"


def _figure(value: float, share: bool) -> str:
    return f"{100 * value:.1f} %" if share else f"{value:.2f}"


def _signed(difference: Estimate, share: bool) -> str:
    """Write a difference with its interval.

    >>> import numpy as np
    >>> _signed(Estimate(0.1, np.array([0.1, 0.1]), 2), share=True)
    '+10.0 (+10.0 to +10.0) points'
    """
    scale, digits, unit = (100, 1, " points") if share else (1, 2, "")
    low, high = difference.interval
    around = "" if low != low else f" ({scale * low:+.{digits}f} to {scale * high:+.{digits}f})"
    return f"{scale * difference.value:+.{digits}f}{around}{unit}"
