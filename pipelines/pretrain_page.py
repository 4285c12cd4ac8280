"""The page that a pretraining run leaves: curves and figures from its folder, and what its networks saw."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dinonat.files import write_bytes
from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.pages.runs import read_run
from dinonat.pages.seen import Seen
from dinonat.pages.training import render
from dinonat.pretraining import ranks
from dinonat.pretraining.crops import draw, parts
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings
from dinonat.records import Int64, UInt8

SHOWN = 6  # pictures whose views are shown; with pairs, half of them are of pairs
LOCALS = 4  # small views of each


def write_page(folder: Path, pictures: Pictures, recipe: TrainSettings, *, stopped: str = "") -> Path:
    """Write ``folder/report.html`` from what a run left there and from views of some of its pictures.

    ``stopped`` says why the run ended before its time, such as the sentence of ``Collapsed``.
    """
    run = read_run(folder, recipe=recipe.model_dump(mode="json"), stopped=bool(stopped))
    when = "At the end" if run.step >= run.course.steps else f"At step {run.step:,} of {run.course.steps:,}"
    seen = [
        seen_at(pictures, recipe, 0.0, "At the beginning"),
        seen_at(pictures, recipe, run.position, when),
    ]
    page = render(run, seen=seen, images=len(pictures.pixels), items=len(pictures.items), stopped=stopped)
    write_bytes(folder / "report.html", page.encode())
    return folder / "report.html"


def seen_at(pictures: Pictures, recipe: TrainSettings, position: float, when: str) -> Seen:
    """Make views of some pictures as a step does at a position 0 to 1 of the run."""
    chosen = some_of(pictures)
    # Of several processes each gets its share of a batch: as many times the pictures, and each gets all.
    batch = np.tile(chosen, ranks.world())
    drawn = draw(pictures, batch, recipe, position=position, seed=recipe.seed)
    (part,) = parts(pictures, batch, drawn, 1, torch.device("cpu"))
    teacher, student = (_rows(torch.cat(views), len(chosen)) for views in (part.plain, part.seen[:2]))
    small = [_rows(group, len(chosen)) for group in part.seen[2:]]
    local = small[0][:, :LOCALS] if small else np.zeros((len(chosen), 0, 1, 1, 3), np.uint8)
    return Seen(when, teacher, student, local, paired=len(part.paired))


def some_of(pictures: Pictures) -> Int64:
    """Pick a few pictures, evenly over all that are trained on, those of pairs last."""
    there = np.unique(pictures.items)
    paired = pictures.partners[there] >= 0
    alone, of_pairs = _spread(there[~paired], SHOWN), _spread(there[paired], SHOWN)
    if len(alone) and len(of_pairs):
        alone, of_pairs = _spread(there[~paired], SHOWN // 2), _spread(there[paired], SHOWN // 2)
    return np.concatenate([alone, of_pairs])


def _spread(places: Int64, most: int) -> Int64:
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).round().astype(np.int64)]


def _rows(views: Tensor, count: int) -> UInt8:
    """Turn network input (k * n, 3, S, S), one view of all pictures after the other, into (n, k, S, S, 3)."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    shown = ((views.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    grouped = shown.view(-1, count, *shown.shape[1:])
    return np.asarray(grouped.permute(1, 0, 3, 4, 2).contiguous().numpy())
