"""How `dinotool pretrain` judges its teacher on the way: rank, neighbours by class, held-out pairs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch.nn import functional

from dinonat.embeddings.encode import network_vectors
from dinonat.embeddings.framing import valid_tokens
from dinonat.errors import UsageError
from dinonat.files import write_whole
from dinonat.images.batches import Packed, pack_pictures
from dinonat.images.listing import list_images, spread
from dinonat.models.checkpoint import save
from dinonat.models.network import Network, normalise
from dinonat.neighbors.exact import search
from dinonat.neighbors.pairs import retrieval
from dinonat.neighbors.parts import unit
from dinonat.pipelines.progress import say
from dinonat.pretraining.health import feature_rank
from dinonat.pretraining.judging import Judged, share_right
from dinonat.proposals.votes import knn
from dinonat.records import Float32, Int64, UInt8

SAMPLE = 512  # pictures without labels of which the rank is taken
MONITORED = 1000  # pictures of the monitor's folder, evenly over it
NEIGHBOURS = 20
AT_ONCE = 64
CANDIDATES = "candidates"


@dataclass(frozen=True, eq=False)
class Monitor:
    """Pictures in class folders."""

    pixels: UInt8  # (n, S, S, 3)
    classes: Int64  # (n,)
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Judge:
    """What is looked at, and where the results and the weights that were judged are kept."""

    folder: Path
    pixels: UInt8  # (n, S, S, 3) some of what is trained on
    side: int  # at which pictures are shown to the network
    monitor: Monitor | None = None
    pairs: tuple[UInt8, UInt8] | None = None  # held-out pictures of both lights, in the same order
    phase_of: Callable[[int], int] = lambda step: 0

    def __call__(self, network: Network, figures: Mapping[str, float]) -> None:
        """Judge a teacher after a step (0: before the first), write the line down and keep the weights."""
        found = vectors(network, self.pixels, self.side)
        judged = Judged(
            step=int(figures["step"]),
            rank=feature_rank(torch.from_numpy(found)),
            loss=figures.get("recent_loss"),
            phase=self.phase_of(int(figures["step"])),
            knn=None if self.monitor is None else accuracy(self.monitor, network, self.side),
            pairs=None if self.pairs is None else _found_first(self.pairs, network, self.side),
        )
        save(candidate(self.folder, judged.step), network)
        write_down(self.folder, judged)


def write_down(folder: Path, judged: Judged) -> None:
    """Add what was found of one step, or put it in the place of what was found before."""
    known = {each.step: each for each in read_judged(folder)} | {judged.step: judged}
    lines = "".join(json.dumps(asdict(known[step])) + "\n" for step in sorted(known))
    write_whole(folder / "judged.jsonl", lambda stream: stream.write(lines.encode()))


def candidate(folder: Path, step: int) -> Path:
    """Where the weights that were judged after a step lie."""
    return folder / CANDIDATES / f"{step:08d}.safetensors"


def forget(folder: Path, *, but: int) -> None:
    """Delete the weights that were judged but those of one step, with which a longer run will compare."""
    for path in (folder / CANDIDATES).glob("*.safetensors"):
        if path != candidate(folder, but):
            path.unlink()


def read_judged(folder: Path) -> list[Judged]:
    """Return what was found so far, by step."""
    path = folder / "judged.jsonl"
    if not path.is_file():
        return []
    return [Judged(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def read_monitor(folder: Path, pack: Path, *, side: int, workers: int) -> Monitor:
    """Read a folder of class folders, evenly at most MONITORED pictures.

    Raises UsageError where fewer than two classes have two pictures.
    """
    refs = spread(list_images(folder).refs, MONITORED)
    packed: Packed = pack_pictures(refs, pack, side=side, workers=workers)
    classes = np.array([PurePosixPath(name).parent.as_posix() for name in packed.names])
    for name, reason in packed.failures[:3]:
        say(f"--monitor: {name}: {reason}")
    kinds, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if (counts >= 2).sum() < 2:
        there = ", ".join(f"{kind} ({n})" for kind, n in zip(kinds[:5], counts[:5], strict=True))
        raise UsageError(
            f"--monitor {folder}: needs a folder for each of two classes or more, with two images or more in "
            f"each; found {there}."
        )
    return Monitor(packed.pixels, numbers.astype(np.int64), tuple(map(str, kinds)))


def vectors(network: Network, pixels: UInt8, side: int) -> Float32:
    """Return the `mean` part (n, d) of squashed pictures (n, S, S, 3), shown ``side`` pixels large."""
    device = next(network.parameters()).device
    valid = valid_tokens((side, side), network.strides)
    rows = []
    for first in range(0, len(pixels), AT_ONCE):
        whole = torch.from_numpy(np.array(pixels[first : first + AT_ONCE])).to(device)
        with torch.inference_mode():
            shown = functional.interpolate(normalise(whole), side, mode="bilinear", antialias=True)
            rows.append(network_vectors(network.tokens(shown), valid)["mean"])
    return np.concatenate(rows)


def accuracy(monitor: Monitor, network: Network, side: int) -> float:
    """Percent of the monitor's pictures that their nearest others name right (k 20, T 0.07, centred)."""
    found = vectors(network, monitor.pixels, side)
    bank, own = unit(found - found.mean(0)), np.arange(len(found))
    votes = knn(
        bank,
        monitor.classes,
        bank,
        n_classes=len(monitor.names),
        k=NEIGHBOURS,
        search=search,
        exclude=(own, own),
    )
    return share_right(votes(NEIGHBOURS), monitor.classes)


def _found_first(pairs: tuple[UInt8, UInt8], network: Network, side: int) -> float:
    """Percent of held-out pictures whose nearest in the other light, each centred, is their own partner."""
    colour, thermal = (vectors(network, each, side) for each in pairs)
    found = retrieval(colour - colour.mean(0), thermal - thermal.mean(0))
    return 50 * (found["colour_to_thermal_1"] + found["thermal_to_colour_1"])
