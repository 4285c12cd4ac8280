"""One row of the table: how well partners agree to one network, or to one description made by hand.

A figure's key says what it is:

    MAP/MEASURE/paired, mismatched or gap       of partners, of strangers, and the difference
    dense/hit, dense/mutual, dense/chance       tokens that find their counterpart, one side moved
    unshifted/hit, unshifted/mutual, ...        the same without moving it: position may help
    VECTOR/PROTOCOL/WAY/k                       share of queries whose partner is among the k nearest
    VECTOR/cka, VECTOR/cka by lot               how alike the two spaces are; with partners drawn by lot
    VECTOR/modality                             how far apart the two means lie

MAP is attention, similarity, component or cut of a network, gradient, residual or intensity by hand.
VECTOR is mean or grid of a network; HOG, hog, raw, thumbnail or orientations by hand; "VECTOR, centred" has
each light's own mean taken off. PROTOCOL is aligned or cropped, the other frames of the query's recording
left out; "aligned, all" and "cropped, all" leave nothing out. WAY is T>V (a thermal query among colour
pictures), V>T or both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dinonat.agreement import floors
from dinonat.agreement.estimates import Drawn, Estimate, Float64
from dinonat.agreement.maps import MEASURES
from dinonat.agreement.matches import dense_matches
from dinonat.agreement.sights import Sight, cell_of, sight_of, tokens_of, vectors_of
from dinonat.agreement.spaces import linear_cka, modality_gap
from dinonat.agreement.squares import MOVED, SEEDS, Squares
from dinonat.embeddings.descriptors import hog, raw
from dinonat.models.network import Network
from dinonat.neighbors.pairs import NEAREST, partner_ranks, units
from dinonat.records import Float32, Int64, UInt8

Figures = dict[str, Estimate]
Kind = Literal["network", "inverted", "own grey", "untrained", "by hand", "chance"]
Vectors = Mapping[str, Float32]  # name -> (n, d)

CENTRED = ", centred"
LOTS = 20  # times that partners are drawn by lot
TOGETHER = ", all"


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table."""

    name: str
    kind: Kind
    figures: Figures
    prepared: str = ""  # how thermal pictures were prepared
    of: str = ""  # the network that is shown something else; of an untrained one, how it is built


@dataclass(frozen=True, eq=False)
class Side:
    """The colour pictures as one network sees them: the same for every preparation of the thermal ones."""

    sight: Sight
    moved: Float32  # (n, h, w, c), of the pictures without their last cells


def side_of(network: Network, colour: Squares) -> Side:
    """Let a network see the colour pictures."""
    return Side(
        sight_of(network, colour.whole),
        tokens_of(network, colour.moved(cell_of(network), far=False)),
    )


def network_figures(network: Network, colour: Side, thermal: Squares, drawn: Drawn) -> Figures:
    """Measure how well what a network sees of thermal pictures fits what it sees of their colour partners."""
    sight = sight_of(network, thermal.whole)
    cropped = [vectors_of(network, thermal.cropped(seed)) for seed in range(SEEDS)]
    moved = tokens_of(network, thermal.moved(cell_of(network), far=True))
    figures: Figures = {}
    for name in sight.maps:
        figures |= map_figures(name, colour.sight.maps[name], sight.maps[name], drawn)
    figures |= dense_figures("dense", colour.moved, moved, drawn, shift=MOVED)
    figures |= dense_figures("unshifted", colour.sight.tokens, sight.tokens, drawn)
    return figures | vector_figures(colour.sight.vectors, sight.vectors, cropped, drawn)


def hand_made_figures(
    colour: Squares, thermal: Squares, drawn: Drawn, *, names: Sequence[str] = ()
) -> dict[str, Figures]:
    """Measure the same for what is made by hand: a row for each map and each vector, by its name.

    ``names`` are the rows that are made; none: all.
    """
    wanted = names or (*MAPS_BY_HAND, *VECTORS_BY_HAND)
    one, other = floors.grey(colour.whole), floors.grey(thermal.whole)
    rows: dict[str, Figures] = {}
    for name, made in MAPS_BY_HAND.items():
        if name in wanted:
            rows[name] = map_figures(MAP_KEYS[name], made(one), made(other), drawn)
    described = [name for name in VECTORS_BY_HAND if name in wanted]
    own, partners = vectors_by_hand(colour.whole, described), vectors_by_hand(thermal.whole, described)
    cropped = [vectors_by_hand(thermal.cropped(seed), described) for seed in range(SEEDS)]
    for name in described:
        some = [{name: each[name]} for each in cropped]
        rows[name] = vector_figures({name: own[name]}, {name: partners[name]}, some, drawn)
    if "HOG" in wanted:
        rows["HOG"] |= _cells_by_hand(colour, thermal, drawn)
    return rows


def _cells_by_hand(colour: Squares, thermal: Squares, drawn: Drawn) -> Figures:
    """Look for each cell of HOG in the partner, as for tokens; by hand there are as many at every size."""
    cell = colour.size / floors.CELLS  # pixels
    moved = colour.moved(cell, far=False), thermal.moved(cell, far=True)
    near, far, one, other = (
        floors.hog_cells(floors.grey(each)) for each in (*moved, colour.whole, thermal.whole)
    )
    return dense_figures("dense", near, far, drawn, shift=MOVED) | dense_figures(
        "unshifted", one, other, drawn
    )


MAPS_BY_HAND = {
    "gradient energy": floors.gradient_energy,
    "spectral residual": floors.spectral_residual,
    "intensity": floors.intensity,
}
MAP_KEYS = {"gradient energy": "gradient", "spectral residual": "residual", "intensity": "intensity"}
VECTORS_BY_HAND: dict[str, Callable[[UInt8], Float32]] = {
    "HOG": lambda pictures: floors.hog_cells(floors.grey(pictures)).reshape(len(pictures), -1),
    "orientations": lambda pictures: floors.orientation_histogram(floors.grey(pictures)),
    "thumbnail": lambda pictures: floors.thumbnail(floors.grey(pictures)),
    "hog": hog,  # these two are those that `embed` stores
    "raw": raw,
}
POLAR = ("intensity", "thumbnail", "raw")  # those that black and white in each other's place make others


def vectors_by_hand(pictures: UInt8, names: Sequence[str] = tuple(VECTORS_BY_HAND)) -> dict[str, Float32]:
    """Return the descriptors (n, d) of pictures (n, S, S, 3) by name."""
    return {name: VECTORS_BY_HAND[name](pictures) for name in names}


def map_figures(name: str, colour: Float32, thermal: Float32, drawn: Drawn) -> Figures:
    """Compare maps (n, h, w) of partners and of strangers."""
    figures: Figures = {}
    for measure, compared in MEASURES.items():
        values = compared(colour, thermal)  # (n, n)
        paired, strangers = drawn.mean(values.diagonal()), drawn.among_strangers(values)
        kinds = {"paired": paired, "mismatched": strangers, "gap": paired - strangers}
        figures |= {f"{name}/{measure}/{kind}": each for kind, each in kinds.items()}
    return figures


def dense_figures(name: str, colour: Float32, thermal: Float32, drawn: Drawn, *, shift: int = 0) -> Figures:
    """Look for each token (n, h, w, c) of a thermal picture in its partner."""
    found = dense_matches(colour, thermal, shift=(shift, shift))
    return {
        f"{name}/hit": drawn.mean(found.hit),
        f"{name}/mutual": drawn.mean(found.mutual),
        f"{name}/chance": drawn.without_interval(found.chance),
    }


def vector_figures(colour: Vectors, thermal: Vectors, cropped: Sequence[Vectors], drawn: Drawn) -> Figures:
    """Look for each picture's partner by each vector, as it is and with each light's mean taken off."""
    figures: Figures = {}
    for name in colour:
        for suffix, ready in (("", _as_it_is), (CENTRED, _centred)):
            one, other = ready(colour[name]), ready(thermal[name])
            some = [ready(each[name]) for each in cropped]
            figures |= retrieval_figures(f"{name}{suffix}", one, other, some, drawn)
        figures |= space_figures(name, colour[name], thermal[name], drawn)
    return figures


def retrieval_figures(
    name: str, colour: Float32, thermal: Float32, cropped: Sequence[Float32], drawn: Drawn
) -> Figures:
    """Count how often the partner is among the nearest, of all and of those of other recordings."""
    figures: Figures = {}
    for protocol, sides in (("aligned", [thermal]), ("cropped", cropped)):
        for suffix, groups in (("", left_out(drawn)), (TOGETHER, None)):
            ways = _ranks(colour, sides, groups)
            for k in NEAREST:
                hits = {way: np.mean([ranks < k for ranks in each], axis=0) for way, each in ways.items()}
                hits["both"] = (hits["T>V"] + hits["V>T"]) / 2
                figures |= {
                    f"{name}/{protocol}{suffix}/{way}/{k}": drawn.mean(each) for way, each in hits.items()
                }
    return figures


def left_out(drawn: Drawn) -> Int64 | None:
    """Return the groups of which others are left out of a search: none where there is one recording only."""
    return drawn.groups if drawn.count > 1 else None


def _ranks(
    colour: Float32, sides: Sequence[Float32], groups: Int64 | None
) -> dict[str, list[np.ndarray[tuple[int], np.dtype[np.intp]]]]:
    one = units(colour)
    others = [units(each) for each in sides]
    return {
        "T>V": [partner_ranks(each, one, groups) for each in others],
        "V>T": [partner_ranks(one, each, groups) for each in others],
    }


def space_figures(name: str, colour: Float32, thermal: Float32, drawn: Drawn) -> Figures:
    """Compare the two spaces as wholes.

    Linear CKA has no interval: few pairs of many dimensions lift it, and pictures that are drawn twice lift
    it more. What partners by lot reach says how much of it is that.
    """
    generator = np.random.default_rng(drawn.seed)
    lots = [linear_cka(colour, thermal[generator.permutation(len(thermal))]) for _ in range(LOTS)]

    def gap(weights: Float64) -> Float64:
        return np.asarray(modality_gap(colour, thermal, weights))

    return {
        f"{name}/cka": drawn.without_interval(float(linear_cka(colour, thermal))),
        f"{name}/cka by lot": drawn.without_interval(float(np.mean(lots))),
        f"{name}/modality": drawn.of(gap),
    }


def chance_figures(drawn: Drawn, *, cells: int) -> Figures:
    """Return what drawing lots gives, for maps of ``cells`` x ``cells``.

    Correlations are 0; of two random quarters of k of N cells, k * k / N are shared on average. A partner
    is among the nearest k of m pictures with probability k / m.
    """
    n, figures = len(drawn.groups), dict[str, Estimate]()
    groups = drawn.groups
    apart = 1 + n - np.bincount(groups)[groups] if drawn.count > 1 else np.full(n, n)
    for k in NEAREST:
        figures[f"cropped/{k}"] = drawn.without_interval(float(np.minimum(1, k / apart).mean()))
        figures[f"cropped{TOGETHER}/{k}"] = drawn.without_interval(min(1.0, k / n))
    quarter = round(cells * cells / 4)
    shared = quarter**2 / cells**2
    figures["overlap"] = drawn.without_interval(shared / (2 * quarter - shared))
    return figures


def _as_it_is(rows: Float32) -> Float32:
    return rows


def _centred(rows: Float32) -> Float32:
    free: Float32 = rows - rows.mean(axis=0)
    return free
