"""`dinotool bench saliency`: what regions cost without the network, and our cut beside a dense one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dinonat.embeddings.encode import as_input, attended
from dinonat.embeddings.framing import valid_tokens
from dinonat.errors import ImageError
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images, spread
from dinonat.models.catalog import load_network
from dinonat.models.network import Network
from dinonat.pipelines.timing import in_turn, machine, threads
from dinonat.records import Float32, UInt8
from dinonat.saliency.contrast import contrast_parts
from dinonat.saliency.guided import shrunk
from dinonat.saliency.ncut import eigenvectors, ncut_candidates
from dinonat.saliency.regions import SALIENCIES, propose_regions, shrinking
from dinonat.scenes import make_scene
from dinonat.settings import Settings

CPU = torch.device("cpu")
SIZE = (512, 640)  # of the pictures: 32 x 40 tokens of 16 pixels
AIM = 40.0  # milliseconds an image, without the network
CHANNELS = 384  # of the made tokens for the cut: what TokenCut has
WEAK = 1e-5  # TokenCut's affinity of tokens that are not alike


class BenchSaliencySettings(Settings):
    """What `dinotool bench saliency` can be told."""

    folder: Path | None = None  # of images, resized to 640 x 512; None: made scenes
    images: int = Field(8, ge=1)  # at most
    weights: str = "untrained:0"  # whose tokens and attention
    sides: tuple[int, ...] = (28, 56)  # tokens a side at which the cuts are compared
    rounds: int = Field(5, ge=1)
    threads: int = Field(1, ge=1)


@dataclass(frozen=True)
class SaliencyRow:
    """One stage or one saliency: CPU milliseconds an image, the median of the rounds."""

    name: str
    cpu: float


@dataclass(frozen=True)
class CutRow:
    """The normalised cut of tokens: CPU milliseconds, medians of the rounds."""

    side: int  # tokens a side
    dense: float  # scipy.linalg.eigh(D - A, D) in float64, of the second vector; A and D are given
    ours: float  # from the tokens to the second vector
    five: float  # from the tokens to five vectors
    ratio: float  # dense / ours
    correlation: float  # of the two second vectors


@dataclass(frozen=True)
class BenchSaliencyReport:
    """The tables of `bench saliency`."""

    machine: str
    pictures: str
    images: int
    rounds: int
    stages: tuple[SaliencyRow, ...]  # of the default
    whole: tuple[SaliencyRow, ...]  # the default first
    cuts: tuple[CutRow, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        return [
            f"CPU milliseconds, medians of {self.rounds} alternating rounds; {self.images} {self.pictures}, "
            f"640x512, 40x32 tokens, without the network; {self.machine}",
            *(f"  --saliency {row.name:18}{row.cpu:8.1f}" for row in self.whole),
            f"of {self.whole[0].name} (aim: {AIM:g} in all):",
            *(f"  {row.name:29}{row.cpu:8.1f}" for row in self.stages),
            "The cut beside TokenCut's eigh(D - A, D) in float64, on made tokens:",
            f"  {'tokens':10}{'eigh':>10}{'ours':>10}{'ratio':>8}{'five vectors':>14}{'correlation':>13}",
            *(
                f"  {f'{row.side}x{row.side}':10}{row.dense:10.1f}{row.ours:10.1f}{row.ratio:7.1f}x"
                f"{row.five:14.1f}{row.correlation:13.3f}"
                for row in self.cuts
            ),
        ]


@dataclass(frozen=True, eq=False)
class _Maps:
    """What the network gave for one picture, before anything is timed."""

    tokens: Float32  # (32, 40, c)
    attention: Float32
    luminance: Float32  # (512, 640)


def run_saliency(settings: BenchSaliencySettings, workspace: Path) -> BenchSaliencyReport:
    """Time saliency by stage and by channel, and the normalised cut against a dense solver.

    Raises ImageError where no image can be read, UsageError for bad weights.
    """
    network, _ = load_network(settings.weights)
    with threads(settings.threads), threadpool_limits(settings.threads):
        pictures, what = _pictures(settings)
        maps = [_seen(network, picture) for picture in pictures]
        spent = in_turn(_works(maps), rounds=settings.rounds, device=CPU, said="rounds")
        cuts = tuple(_cut(side, settings.rounds) for side in settings.sides)
        on = machine(CPU)
    cost = {name: round(1000 * each.cpu / len(maps), 2) for name, each in spent.items()}
    default = SALIENCIES[0]
    known = {name: cost[name] for name in ("shrink", "cut", "parts")}
    rest = round(cost[default] - sum(known.values()), 2)
    stages = [*known.items(), ("ranking, masks and refinement", rest)]
    return BenchSaliencyReport(
        on,
        what,
        len(maps),
        settings.rounds,
        tuple(SaliencyRow(*each) for each in stages),
        tuple(SaliencyRow(name, cost[name]) for name in SALIENCIES if name != "none"),
        cuts,
    )


def _pictures(settings: BenchSaliencySettings) -> tuple[list[UInt8], str]:
    """Return pictures (512, 640, 3), and what they are."""
    if settings.folder is None:
        return [make_scene(0, i, size_hw=SIZE).colour for i in range(settings.images)], "made scenes"
    refs = spread(list_images(settings.folder).refs, settings.images)
    loaded = list(read_prepared(refs))
    good = [one.prepared.pixels for one in loaded if one.prepared is not None]
    if not good:
        raise ImageError(f"bench saliency: none of {len(loaded)} images can be read ({loaded[0].reason}).")
    resized = [Image.fromarray(pixels).resize(SIZE[::-1], Image.Resampling.BILINEAR) for pixels in good]
    return [np.asarray(one) for one in resized], f"pictures of {settings.folder.name}"


def _seen(network: Network, pixels: UInt8) -> _Maps:
    with torch.inference_mode():
        tokens, weights = network.tokens_and_attention(as_input(network, [pixels]))
        attention = [[block[0] for block in stage] for stage in weights]
        looked_at = attended(network, attention, valid_tokens(SIZE, network.strides), tokens[-1][0])
    grey = (np.asarray(Image.fromarray(pixels).convert("L")) / 255).astype(np.float32)
    return _Maps(tokens[-2][0].numpy(), looked_at, grey)


def _works(maps: list[_Maps]) -> dict[str, Callable[[], object]]:
    """Return the stages of the default and every saliency as a whole, over all pictures."""
    factor = shrinking(maps[0].luminance)
    small = [shrunk(one.luminance, factor) for one in maps]

    def whole(method: str) -> Callable[[], object]:
        return lambda: [
            propose_regions(one.tokens, one.attention, one.luminance, method=method) for one in maps
        ]

    return {
        "shrink": lambda: [shrunk(one.luminance, factor) for one in maps],
        "cut": lambda: [ncut_candidates(one.tokens) for one in maps],
        "parts": lambda: [contrast_parts(one) for one in small],
        **{name: whole(name) for name in SALIENCIES if name != "none"},
    }


def _cut(side: int, rounds: int) -> CutRow:
    """Time our cut and the dense one on the same tokens, and compare their second vectors."""
    tokens = made_tokens(side)
    affinity, degree = dense_problem(tokens)
    works: dict[str, Callable[[], object]] = {
        "dense": lambda: eigh(degree - affinity, degree, subset_by_index=[1, 1]),
        "ours": lambda: eigenvectors(tokens, count=1),
        "five": lambda: eigenvectors(tokens, count=5),
    }
    spent = in_turn(works, rounds=rounds, device=CPU)
    dense, ours, five = (round(1000 * spent[name].cpu, 2) for name in works)
    theirs = eigh(degree - affinity, degree, subset_by_index=[1, 1])[1].ravel()
    correlation = abs(float(np.corrcoef(theirs, eigenvectors(tokens, count=1).ravel())[0, 1]))
    return CutRow(side, dense, ours, five, round(dense / ours, 1), round(correlation, 4))


def dense_problem(tokens: Float32, percentile: float = 60.0) -> tuple[NDArray[np.float64], ...]:
    """Return A and D (N, N) float64 of TokenCut (Wang et al. 2022), with the threshold that ours takes."""
    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = rows @ rows.T
    affinity = np.where(cosine > np.percentile(cosine[::7, ::4], percentile), 1.0, WEAK)
    return affinity, np.diag(affinity.sum(axis=1))


def made_tokens(side: int, *, seed: int = 0) -> Float32:
    """Return tokens (side, side, 384): three grounds, three things on them, noise, and what all share."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((7, CHANNELS))
    y, x = np.mgrid[:side, :side] / side
    kind = (x > 0.4).astype(int) + (y > 0.7)  # grounds 0 to 2
    for number, (left, top) in enumerate([(0.1, 0.1), (0.55, 0.2), (0.3, 0.5)]):
        kind[(x >= left) & (x < left + 0.2) & (y >= top) & (y < top + 0.18)] = 3 + number
    out: Float32 = (kinds[kind] + 1.5 * kinds[6] + 0.5 * rng.standard_normal((side, side, CHANNELS))).astype(
        np.float32
    )
    return out
