"""`dinotool bench embed`: from image files to stored vectors, and where the time of it goes."""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from dinonat.embeddings.descriptors import hand_made
from dinonat.embeddings.encode import Vectors, as_input
from dinonat.embeddings.extract import Recipe, embed_shard
from dinonat.embeddings.framing import fitted, one_plane, padded, shown
from dinonat.embeddings.store import SetWriter
from dinonat.errors import ImageError
from dinonat.images.batches import read_prepared
from dinonat.images.listing import list_images, spread
from dinonat.models.catalog import load_network
from dinonat.models.network import Network
from dinonat.pipelines.embed import EmbedSettings, run
from dinonat.pipelines.timing import in_turn, machine, threads
from dinonat.pipelines.turns import Spent
from dinonat.records import Loaded, UInt8
from dinonat.settings import Settings

AIM = 5.0  # CPU milliseconds an image for all that is not the forward pass
MADE_SIZE = (640, 512)  # width and height of made pictures: those of many thermal cameras
FORWARD, LOADING = "forward pass", "load the network, once a run"
CPU = torch.device("cpu")


class BenchEmbedSettings(Settings):
    """What `dinotool bench embed` can be told."""

    folder: Path | None = None  # of images; None: made JPEG files
    images: int = Field(64, ge=1)  # at most, evenly over the folder; one shard
    weights: str = "untrained:0"  # file or untrained:SEED[:NETWORK]
    size: int = Field(224, ge=32, le=4096)  # shorter side that the network sees, pixels
    batch: int = Field(16, ge=1)
    rounds: int = Field(5, ge=1)
    threads: int = Field(1, ge=1)  # with one, the CPU's seconds are those of the work alone
    seed: int = 0


@dataclass(frozen=True)
class EmbedRow:
    """A part of the work: medians in milliseconds an image."""

    part: str
    cpu: float
    wall: float


@dataclass(frozen=True)
class BenchEmbedReport:
    """The table of `bench embed`."""

    machine: str
    pictures: str
    images: int
    failed: int
    weights: str
    size: int
    batch: int
    rounds: int
    whole: EmbedRow
    parts: tuple[EmbedRow, ...]  # they add up to the whole
    above_forward: float  # CPU milliseconds an image of all but the forward pass and loading the network

    def lines(self) -> list[str]:
        """Text for people."""
        failed = f" ({self.failed} unreadable)" if self.failed else ""
        return [
            f"Milliseconds an image, medians of {self.rounds} alternating rounds; {self.images} "
            f"{self.pictures}{failed}, network {self.weights}, {self.size} px, batch {self.batch}, "
            f"saliency none, read in the same process; {self.machine}",
            f"  {'part':36}{'CPU':>8}{'wall':>8}",
            *(f"  {row.part:36}{row.cpu:8.2f}{row.wall:8.2f}" for row in (*self.parts, self.whole)),
            f"Without the forward pass and loading: {self.above_forward:.2f} ms CPU an image (aim: {AIM:g})",
        ]


def run_embed(settings: BenchEmbedSettings, workspace: Path) -> BenchEmbedReport:
    """Time `embed` without saliency, whole and part by part, on the files of a folder.

    Every round reads them under new names, so that nothing is remembered of a file; the system has
    them in memory. Raises ImageError where no image can be read, UsageError for bad weights.
    """
    network, _ = load_network(settings.weights)
    recipe = Recipe.checked({"size": settings.size, "saliency": "none", "batch": settings.batch})
    with TemporaryDirectory() as temporary, threads(settings.threads), threadpool_limits(settings.threads):
        folder = Path(temporary)
        originals, what = _originals(settings, folder)
        rounds = settings.rounds + 1  # one is not counted
        copies = iter([_copied(originals, folder / f"images-{n}") for n in range(1 + 2 * rounds)])
        loaded = _read(next(copies))
        good = [one for one in loaded if one.prepared is not None]
        if not good:
            raise ImageError(f"bench embed: none of {len(loaded)} images can be read ({loaded[0].reason}).")
        works = _works(network, loaded, recipe, settings, copies, folder)
        spent = in_turn(works, rounds=settings.rounds, device=CPU, said="rounds")
        on = machine(CPU)
    whole, parts = _parts(spent, len(loaded))
    above = whole.cpu - sum(row.cpu for row in parts if row.part in (FORWARD, LOADING))
    return BenchEmbedReport(
        on,
        what,
        len(loaded),
        len(loaded) - len(good),
        settings.weights,
        settings.size,
        settings.batch,
        settings.rounds,
        whole,
        parts,
        round(above, 3),
    )


def _works(
    network: Network,
    loaded: Sequence[Loaded],
    recipe: Recipe,
    settings: BenchEmbedSettings,
    copies: Iterator[Path],
    folder: Path,
) -> dict[str, Callable[[], object]]:
    """Return the whole work, and parts of it on what the part before has made."""
    inputs = list(_inputs(network, loaded, recipe))
    planes = [one_plane(one.prepared.pixels) for one in loaded if one.prepared is not None]
    items, vectors = embed_shard(network, loaded, recipe)
    numbers = count()

    def whole() -> None:
        asked = {"images": next(copies), "weights": settings.weights, "workers": 0}
        asked |= {"saliency": "none", "size": settings.size, "batch": settings.batch}
        with redirect_stderr(io.StringIO()):
            run(EmbedSettings.checked(asked | {"threads": settings.threads}), folder / f"{next(numbers)}")

    def write() -> None:
        writer = SetWriter(folder / f"{next(numbers)}", {"bench": True})
        writer.write(0, items, vectors)
        writer.finish(shards=1)

    def forward() -> None:
        with torch.inference_mode():
            for x in inputs:
                network.tokens(x)

    return {
        "whole": whole,
        "read": lambda: _read(next(copies)),
        "describe": lambda: embed_shard(network, loaded, recipe),
        "forward": forward,
        "load": lambda: load_network(settings.weights),
        "by hand": lambda: _by_hand(planes, recipe.batch),
        "write": write,
    }


def _parts(spent: dict[str, Spent], images: int) -> tuple[EmbedRow, tuple[EmbedRow, ...]]:
    """Return the whole and its parts, each less the parts within it."""
    own = {key: np.array(each) * 1000 / images for key, each in spent.items()}
    seen = own["load"] + own["read"] + own["describe"] + own["write"]
    times = {
        LOADING: own["load"],
        "decode and prepare": own["read"],
        FORWARD: own["forward"],
        "HOG and raw pixels": own["by hand"],
        "resize, normalise, pool, rows": own["describe"] - own["forward"] - own["by hand"],
        "write": own["write"],
        "list, look after the set": own["whole"] - seen,
        "whole": own["whole"],
    }

    rows = {part: EmbedRow(part, round(cpu, 3), round(wall, 3)) for part, (wall, cpu) in times.items()}
    whole = rows.pop("whole")
    return whole, tuple(rows.values())


def _inputs(network: Network, loaded: Sequence[Loaded], recipe: Recipe) -> Iterator[Tensor]:
    """Yield the batches that the network gets: pictures of one padded size."""
    groups: dict[tuple[int, ...], list[UInt8]] = {}
    for one in loaded:
        if one.prepared is not None:
            height, width = one.prepared.pixels.shape[:2]
            shape = fitted((height, width), size=recipe.size, square=recipe.square)
            pixels = padded(shown(one.prepared.pixels, shape), stride=network.stride)
            groups.setdefault(pixels.shape[:2], []).append(pixels)
    for group in groups.values():
        for start in range(0, len(group), recipe.batch):
            yield as_input(network, group[start : start + recipe.batch])


def _by_hand(planes: Sequence[UInt8], batch: int) -> list[Vectors]:
    return [hand_made(planes[start : start + batch]) for start in range(0, len(planes), batch)]


def _read(folder: Path) -> list[Loaded]:
    return list(read_prepared(list_images(folder).refs, workers=0))


def _originals(settings: BenchEmbedSettings, folder: Path) -> tuple[list[Path], str]:
    """Return the files to copy, and what they are."""
    if settings.folder is not None:
        refs = list_images(settings.folder).refs
        several = {ref.file for ref in refs if ref.frame}
        files = [ref.file for ref in refs if ref.file not in several]
        if not files:
            raise ImageError(f"{settings.folder}: every file holds several frames; bench embed takes images.")
        return spread(files, settings.images), f"files of {settings.folder.name}"
    made = folder / "made"
    made.mkdir()
    for number in range(settings.images):
        coarse = np.random.default_rng(settings.seed + number).integers(0, 256, (32, 40), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(MADE_SIZE, Image.Resampling.BICUBIC)
        picture.save(made / f"{number:04d}.jpg", quality=90)
    size = f"{MADE_SIZE[0]}x{MADE_SIZE[1]}"
    return sorted(made.iterdir()), f"made grey JPEG files of {size} (smooth noise, seed {settings.seed})"


def _copied(files: Sequence[Path], folder: Path) -> Path:
    """Make a folder of the files under new names; what is remembered of others says nothing of them."""
    folder.mkdir()
    for place, file in enumerate(files):
        name = folder / f"{place:05d}-{file.name}"
        try:
            os.link(file, name)
        except OSError:  # on another disk
            shutil.copyfile(file, name)
    return folder
