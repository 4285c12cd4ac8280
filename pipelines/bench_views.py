"""`dinotool bench views`: our views of pretraining beside the official ones with Pillow, in one process."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from dinonat.errors import ImageError
from dinonat.images.listing import list_images, spread
from dinonat.pipelines.devices import device_named
from dinonat.pipelines.pillow_views import pillow_view
from dinonat.pipelines.timing import in_turn, machine, threads
from dinonat.pretraining import recipe
from dinonat.pretraining.views import ViewPlan, draw_views, make_views, normalised
from dinonat.settings import Settings

MADE_SIZE = (500, 375)  # width and height of made pictures: those of many photographs in ImageNet
MARGIN = 8 / 7  # at least so much larger than a global crop are the pictures that ours keeps: 256 for 224


class BenchViewsSettings(Settings):
    """What `dinotool bench views` can be told."""

    folder: Path | None = None  # of colour images; None: smooth noise of MADE_SIZE
    images: int = Field(48, ge=1)  # how many: one batch
    # Pixels of the global crops, of the local ones, how many of these: the official recipe, and ours.
    crops: tuple[tuple[int, int, int], ...] = ((224, 96, 8), (96, 48, 4), (64, 32, 4))
    picture_side: int = Field(176, ge=32)  # of the squashed pictures that pretraining keeps
    rounds: int = Field(5, ge=1)
    threads: int = Field(1, ge=1)
    device: str = "cpu"  # for ours
    seed: int = 0


@dataclass(frozen=True)
class ViewsRow:
    """All views of a picture, medians in milliseconds: of CPU time, or of the clock on another device."""

    global_size: int
    local_size: int
    n_local: int
    picture_side: int
    ours: float
    official: float
    ratio: float  # official / ours, without decoding on either side
    decoded_ratio: float  # (official + decoding) / ours: an epoch after the first

    def line(self) -> str:
        """Text for people."""
        crops = f"2x{self.global_size} + {self.n_local}x{self.local_size}"
        return (
            f"  {crops:16}{self.picture_side:8}{self.ours:10.2f}{self.official:10.2f}"
            f"{self.ratio:7.1f}x{self.decoded_ratio:14.1f}x"
        )


@dataclass(frozen=True)
class BenchViewsReport:
    """The table of `bench views`."""

    machine: str
    pictures: str
    images: int
    rounds: int
    decode: float  # milliseconds a picture, that the official way takes in every epoch
    rows: tuple[ViewsRow, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        return [
            f"Milliseconds a picture, medians of {self.rounds} alternating rounds; {self.images} "
            f"{self.pictures}; {self.machine}",
            f"  {'crops':16}{'picture':>8}{'ours':>10}{'official':>10}{'ratio':>8}{'with decoding':>15}",
            *(row.line() for row in self.rows),
            "ours: uint8 squares, decoded and squashed once before training, to normalised float batches",
            "official: decoded RGB images, one by one with Pillow, to normalised float tensors, not collated",
            f"with decoding: the official way also decodes in every epoch, {self.decode:.2f} ms",
        ]


def run_views(settings: BenchViewsSettings, workspace: Path) -> BenchViewsReport:
    """Time all views of a batch of pictures, made by us and as the official recipe makes them.

    CPU time, by default of one thread. Raises ImageError where no image can be read.
    """
    device = device_named(settings.device)
    files, what = _files(settings)
    pictures = [_decoded(file) for file in files]
    works: dict[tuple[int, str], Callable[[], object]] = {
        (0, "decode"): lambda: [_decoded(file) for file in files]
    }
    sides = [max(settings.picture_side, round(size * MARGIN)) for size, _, _ in settings.crops]
    for number, (crops, side) in enumerate(zip(settings.crops, sides, strict=True)):
        plans = view_plans(*crops)
        works[number, "ours"] = _ours(pictures, side, plans, device, settings.seed)
        works[number, "official"] = _official(pictures, plans, settings.seed)
    with threads(settings.threads):
        taken = in_turn(works, rounds=settings.rounds, device=device, said="rounds")
        on = machine(device)
    spent = {
        key: round(1000 * (each.cpu if device.type == "cpu" else each.wall) / len(pictures), 4)
        for key, each in taken.items()
    }
    decode = spent[0, "decode"]
    rows = tuple(
        _row(*crops, side, spent[number, "ours"], spent[number, "official"], decode)
        for number, (crops, side) in enumerate(zip(settings.crops, sides, strict=True))
    )
    return BenchViewsReport(on, what, len(pictures), settings.rounds, decode, rows)


def view_plans(global_size: int, local_size: int, n_local: int) -> list[tuple[ViewPlan, int]]:
    """Return the plans of pretraining for crops of these sizes, and how often each is followed."""
    sizes = {"global_sizes": (global_size,) * 2, "local_sizes": (local_size,) * 2, "n_local": n_local}
    return recipe.view_plans(recipe.TrainSettings.checked(sizes), 0.0)


def _files(settings: BenchViewsSettings) -> tuple[list[bytes], str]:
    """Return JPEG or other files, and what they are."""
    if settings.folder is None:
        made = f"made pictures (smooth noise, seed {settings.seed}, JPEG {MADE_SIZE[0]}x{MADE_SIZE[1]})"
        return [_made(settings.seed + i) for i in range(settings.images)], made
    refs = spread(list_images(settings.folder).refs, settings.images)
    return [ref.file.read_bytes() for ref in refs], f"pictures of {settings.folder.name}"


def _made(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(MADE_SIZE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _decoded(file: bytes) -> Image.Image:
    """Decode as the official loader does: Pillow, whole, to RGB."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            return image.convert("RGB")
    except OSError as error:
        raise ImageError(f"bench views: a picture cannot be read by Pillow ({error}).") from error


def _ours(
    pictures: list[Image.Image], side: int, plans: list[tuple[ViewPlan, int]], device: torch.device, seed: int
) -> Callable[[], object]:
    squashed = [np.asarray(one.resize((side, side), Image.Resampling.BICUBIC)) for one in pictures]
    pixels = torch.from_numpy(np.stack(squashed)).to(device)
    aspects = torch.tensor([one.width / one.height for one in pictures])
    generator = torch.Generator().manual_seed(seed)
    return lambda: [
        normalised(make_views(pixels, draw_views(aspects, plan, generator, count))) for plan, count in plans
    ]


def _official(
    pictures: list[Image.Image], plans: list[tuple[ViewPlan, int]], seed: int
) -> Callable[[], object]:
    chance = Random(seed)
    each = [plan for plan, count in plans for _ in range(count)]
    return lambda: [[pillow_view(one, plan, chance) for plan in each] for one in pictures]


def _row(
    global_size: int, local_size: int, n_local: int, side: int, ours: float, official: float, decode: float
) -> ViewsRow:
    plain, decoded = official / ours, (official + decode) / ours
    row = (global_size, local_size, n_local, side, ours, official)
    return ViewsRow(*row, round(plain, 2), round(decoded, 2))
