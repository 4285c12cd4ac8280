"""The views of one step: which pictures, in which light, at which places, for student and for teacher."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dinonat.pretraining import ranks
from dinonat.pretraining.pictures import Pictures
from dinonat.pretraining.recipe import TrainSettings, thermal_look, view_plans
from dinonat.pretraining.thermal_look import LookDraws, draw_look, thermal_like
from dinonat.pretraining.views import Draws, draw_views, make_views, normalised
from dinonat.records import Int64


@dataclass(frozen=True)
class Drawn:
    """All chance of a step's views, drawn for its whole batch whoever makes which part of it.

    Each list has an entry for every group of views: two global ones and the local ones.
    """

    views: list[Draws]
    looks: list[LookDraws] | None  # of thermal-like views for the student
    partners: list[Draws] | None  # the same places in the other light, where there are pairs


@dataclass(frozen=True)
class Part:
    """Some pictures of a batch: two global views as the teacher sees them, all views as the student does."""

    plain: list[Tensor]  # 2 of (n, 3, H, W)
    seen: list[Tensor]  # groups of (count * n, 3, H, W)
    paired: Tensor  # rows that the two see in different light

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.plain[0])


def draw(pictures: Pictures, chosen: Int64, settings: TrainSettings, *, position: float, seed: int) -> Drawn:
    """Draw the views of the pictures that are ``chosen`` (B,), at a ``position`` 0 to 1 of the run."""
    generator = torch.Generator().manual_seed(seed)
    aspects = torch.from_numpy(pictures.aspects[chosen].copy())
    plans = view_plans(settings, position)
    views = [draw_views(aspects, plan, generator, count) for plan, count in plans]
    looks = None
    if settings.profile == "thermal" and position >= settings.thermal_from:
        look = thermal_look(settings)
        looks = [draw_look(len(chosen), look, plan.size, generator, count) for plan, count in plans]
    partners = None
    if (pictures.partners >= 0).any():
        others = [draw_views(aspects, plan, generator, count) for plan, count in plans]
        partners = [replace(b, boxes=a.boxes, flips=a.flips) for a, b in zip(views, others, strict=True)]
    return Drawn(views, looks, partners)


def parts(
    pictures: Pictures, chosen: Int64, drawn: Drawn, accumulate: int, device: torch.device
) -> Iterator[Part]:
    """Make the views of this process's share of a batch, in ``accumulate`` parts."""
    own = np.array_split(np.arange(len(chosen)), ranks.world())[ranks.rank()]
    for rows in np.array_split(own, min(accumulate, len(own))):
        yield _part(pictures, chosen[rows], rows, drawn, device)


def _part(pictures: Pictures, chosen: Int64, rows: Int64, drawn: Drawn, device: torch.device) -> Part:
    taken = _fetched(pictures.pixels, chosen, device)
    places = torch.from_numpy(rows)
    made = [make_views(taken, draws.of(places)) for draws in drawn.views]
    plain = [normalised(group) for group in made]
    seen = plain
    if drawn.looks is not None:
        looks = [look.of(places) for look in drawn.looks]
        seen = [normalised(thermal_like(group, look)) for group, look in zip(made, looks, strict=True)]
    paired = np.flatnonzero(pictures.partners[chosen] >= 0)
    if len(paired) and drawn.partners is not None:
        others = _fetched(pictures.pixels, pictures.partners[chosen[paired]], device)
        at = torch.from_numpy(rows[paired])
        lit = [normalised(make_views(others, draws.of(at))) for draws in drawn.partners]
        seen = [_put(group, light, paired, len(rows)) for group, light in zip(seen, lit, strict=True)]
    return Part(plain[:2], seen, torch.from_numpy(paired).to(device))


def _put(group: Tensor, light: Tensor, paired: Int64, count: int) -> Tensor:
    """Replace the views of the paired pictures in a group (views * count, 3, H, W)."""
    views = len(group) // count
    at = np.concatenate([view * count + paired for view in range(views)])
    return group.index_copy(0, torch.from_numpy(at).to(group.device), light)


def _fetched(pixels: Any, chosen: Int64, device: torch.device) -> Tensor:
    if isinstance(pixels, Tensor):
        return pixels[torch.from_numpy(chosen).to(pixels.device)]
    return torch.from_numpy(np.ascontiguousarray(pixels[chosen])).to(device)
