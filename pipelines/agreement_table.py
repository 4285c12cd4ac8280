"""The rows of `dinotool agreement`: networks and what stands beside them, each kept once it is made."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from dinonat.agreement.estimates import Drawn, Estimate, mean_of
from dinonat.agreement.floors import CELLS
from dinonat.agreement.retention import retention_figures
from dinonat.agreement.rows import (
    CENTRED,
    POLAR,
    Figures,
    Row,
    Side,
    chance_figures,
    hand_made_figures,
    network_figures,
    side_of,
)
from dinonat.embeddings.descriptors import hand_made
from dinonat.embeddings.encode import crop_vectors
from dinonat.files import short_hash, write_whole
from dinonat.models.catalog import untrained_twin
from dinonat.models.network import Network
from dinonat.pipelines.agreement_networks import Weights
from dinonat.pipelines.agreement_pictures import Light, Pictures
from dinonat.pipelines.agreement_steps import Steps
from dinonat.records import Float32, Int64

FORMAT = 3  # rises when figures of the same pictures change, so that kept rows are made again
MEAN = "untrained, mean:"  # begins the name of the row of untrained networks together
AT_ONCE = 64  # crops that go through the network together


@dataclass(frozen=True, eq=False)
class Measuring:
    """What all rows are measured on, and where they are kept."""

    pictures: Pictures
    drawn: Drawn
    folder: Path
    name: str  # hash of the colour pictures, the recordings, the labels and the seed
    steps: Steps

    @cached_property
    def classes(self) -> Int64:
        """The class of each labelled thing, by number."""
        labels = [item.label for item in self.pictures.items]
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)

    @property
    def crop_groups(self) -> Int64:
        """The recording of each labelled thing."""
        return self.pictures.groups[[item.pair for item in self.pictures.items]]

    def kept(self, what: Sequence[object], make: Callable[[], Figures], title: str) -> Figures:
        """Return figures that were made before, else make and keep them."""
        path = self.folder / f"{short_hash(FORMAT, self.name, *what)}.npz"
        with suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):  # not there, or not as written
            figures = _read(path)
            self.steps.end(made=False)
            return figures
        self.steps.begin(title)
        figures = make()
        _write(path, figures)
        self.steps.end(made=True)
        return figures


def rows_of(measuring: Measuring, weights: Sequence[Weights], *, untrained: int) -> Iterator[Row]:
    """Make the rows one by one: each network, its controls, untrained ones, what is made by hand, chance.

    Every network sees the thermal pictures in each preparation. ``untrained`` networks of each kind have
    weights by chance; their mean is a row, too.
    """
    first = next(iter(measuring.pictures.thermal))
    for own in weights:
        yield from _of_network(measuring, own, first)
    kinds = {each.kind: each for each in weights}
    built = [own.built for own in kinds.values()]
    for own in kinds.values():
        more = f", {own.kind[:6]}" if built.count(own.built) > 1 else ""
        yield from _untrained(measuring, own, untrained, own.built + more)
    yield from _by_hand(measuring, first)
    lots = chance_figures(measuring.drawn, cells=CELLS)
    if measuring.pictures.items:
        lots["k-NN"] = measuring.drawn.without_interval(1 / len(np.unique(measuring.classes)))
    yield Row("chance", "chance", lots)


def how_many(weights: Sequence[Weights], *, preparations: int, untrained: int) -> int:
    """Return how many steps `rows_of` takes; what is made by hand is one, and one more for inverted."""
    kinds = len({each.kind for each in weights})
    return len(weights) * (preparations + 2) + (kinds * untrained + 1) * preparations + 1


def _of_network(measuring: Measuring, own: Weights, first: str) -> Iterator[Row]:
    seen = _Colour(own.network, measuring)
    thermal = measuring.pictures.thermal
    for prepared, light in thermal.items():
        figures = measuring.kept(
            [own.fingerprint, own.kind, light.digest], partial(seen.against, light), f"{own.name}, {prepared}"
        )
        yield Row(own.name, "network", figures, prepared)
    turned = measuring.kept(
        [own.fingerprint, own.kind, thermal[first].digest, "inverted"],
        lambda: seen.against(thermal[first].inverted()),
        f"{own.name}, thermal inverted",
    )
    yield Row(f"{own.name}, thermal inverted", "inverted", turned, first, own.name)
    grey = measuring.kept(
        [own.fingerprint, own.kind, "own grey"],
        lambda: seen.against(measuring.pictures.colour.in_grey()),
        f"{own.name}, colour and its own grey",
    )
    yield Row(f"{own.name}, colour and its own grey", "own grey", grey, "", own.name)


def _untrained(measuring: Measuring, own: Weights, count: int, built: str) -> Iterator[Row]:
    for prepared, light in measuring.pictures.thermal.items():
        rows = []
        for seed in range(count):
            make = partial(_by_chance, own.network, seed, measuring, light)
            name = f"untrained:{seed} {built}"
            figures = measuring.kept([own.kind, seed, light.digest], make, f"{name}, {prepared}")
            rows.append(Row(name, "untrained", figures, prepared, own.kind))
            yield rows[-1]
        means = {key: mean_of([row.figures[key] for row in rows]) for key in rows[0].figures} if rows else {}
        yield Row(f"{MEAN} {built}", "untrained", means, prepared, own.kind)


def _by_chance(network: Network, seed: int, measuring: Measuring, light: Light) -> Figures:
    return _Colour(untrained_twin(network, seed=seed), measuring).against(light)


def _by_hand(measuring: Measuring, first: str) -> Iterator[Row]:
    """Make the rows without a network; of inverted pictures only those that do not come out the same."""
    for prepared, light in measuring.pictures.thermal.items():
        made = _made_by_hand(measuring, light, f"by hand, {prepared}")
        yield from (Row(name, "by hand", figures, prepared) for name, figures in made.items())
    inverted = measuring.pictures.thermal[first].inverted()
    made = _made_by_hand(measuring, inverted, "by hand, thermal inverted", POLAR)
    yield from (Row(f"{name}, thermal inverted", "by hand", made[name], first) for name in POLAR)


def _made_by_hand(
    measuring: Measuring, thermal: Light, title: str, names: Sequence[str] = ()
) -> dict[str, Figures]:
    """Return the figures of each row, or of those that are named; they are kept together."""

    def make() -> Figures:
        colour = measuring.pictures.colour
        rows = hand_made_figures(colour.squares, thermal.squares, measuring.drawn, names=names)
        retained = _retained(measuring, hand_made(colour.crops), hand_made(thermal.crops))
        for key, each in retained.items():  # "hog, centred/k-NN/across" is of the row "hog"
            rows.get(key.split("/")[0].removesuffix(CENTRED), {})[key] = each
        return {f"{name}|{key}": each for name, own in rows.items() for key, each in own.items()}

    rows: dict[str, Figures] = {}
    for name, each in measuring.kept(["by hand", thermal.digest, names], make, title).items():
        row, _, key = name.partition("|")
        rows.setdefault(row, {})[key] = each
    return rows


class _Colour:
    """What one network sees of the colour pictures, looked at when the first row asks for it."""

    def __init__(self, network: Network, measuring: Measuring) -> None:
        self._network, self._measuring = network, measuring

    @cached_property
    def _side(self) -> Side:
        return side_of(self._network, self._measuring.pictures.colour.squares)

    @cached_property
    def _crops(self) -> dict[str, Float32]:
        return _vectors(self._network, self._measuring.pictures.colour)

    def against(self, thermal: Light) -> Figures:
        """Measure how well thermal pictures agree with these."""
        figures = network_figures(self._network, self._side, thermal.squares, self._measuring.drawn)
        if not self._measuring.pictures.items:
            return figures
        return figures | _retained(self._measuring, self._crops, _vectors(self._network, thermal))


def _vectors(network: Network, light: Light) -> dict[str, Float32]:
    with torch.inference_mode():
        found = crop_vectors(network, light.crops, batch=AT_ONCE)
    return {name: found[name] for name in ("mean", "grid")}


def _retained(measuring: Measuring, colour: dict[str, Float32], thermal: dict[str, Float32]) -> Figures:
    if not measuring.pictures.items or measuring.drawn.count < 2:  # nothing of the own recording votes
        return {}
    return retention_figures(
        colour, thermal, measuring.classes, measuring.crop_groups, seed=measuring.drawn.seed
    )


def _write(path: Path, figures: Figures) -> None:
    names = list(figures)
    stream = io.BytesIO()
    np.savez(
        stream,
        names=np.array(names),
        values=np.array([figures[name].value for name in names]),
        groups=np.array([figures[name].groups for name in names]),
        resampled=np.stack([figures[name].resampled for name in names]),
    )
    write_whole(path, lambda file: file.write(stream.getvalue()))


def _read(path: Path) -> Figures:
    with np.load(path, allow_pickle=False) as kept:
        columns = kept["names"].tolist(), kept["values"].tolist(), kept["resampled"], kept["groups"].tolist()
    return {name: Estimate(value, again, groups) for name, value, again, groups in zip(*columns, strict=True)}
