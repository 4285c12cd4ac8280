"""Small charts as numbers for SVG: a histogram, the range of each image, recordings as a strip."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dinonat.pages.curves import ticks
from dinonat.survey.levels import SHOWN_BINS, Levels

WIDTH, HEIGHT = 640, 160  # of a chart's field
MOST_BARS = 320  # images that are drawn one by one; of more, every second, third, ...
TEXT_ROOM = 34  # width that the number of a recording's images needs


class Histogram(NamedTuple):
    """Bars (x, y, width, height) and marks (x, text) below them."""

    bars: list[tuple[float, float, float, float]]
    marks: list[tuple[float, str]]
    images: int


class Bar(NamedTuple):
    """The middle 98 percent of one image."""

    x: float
    top: float
    bottom: float
    median: float
    name: str


class Spans(NamedTuple):
    """One bar for each image, and marks (y, text) on the left."""

    bars: list[Bar]
    width: float  # of a bar
    marks: list[tuple[float, str]]
    every: int  # every how many images one is drawn


class Strip(NamedTuple):
    """Recordings in order: (x, width, name, number of images)."""

    parts: list[tuple[float, float, str, int]]


def histograms_of(levels: Sequence[Levels]) -> Histogram:
    """Add up the histograms of images on one axis, each weighing the same.

    The axis spans what the middle 98 percent of the images reach; each end also holds what lies beyond.
    """
    own = [each for each in levels if each.histogram]
    low, high = min(each.low for each in own), max(each.high for each in own)
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, SHOWN_BINS + 1)
    total = np.zeros(SHOWN_BINS)
    for each in own:
        inner = np.linspace(each.low, max(each.high, each.low + 1e-9), SHOWN_BINS + 1)
        running = np.concatenate([[0], np.cumsum(each.histogram)]) / sum(each.histogram)
        total += np.diff(np.interp(edges, inner, running, left=0.0, right=1.0))
    heights = total / (total.max() or 1.0) * HEIGHT
    step = WIDTH / SHOWN_BINS
    bars = [(i * step, HEIGHT - float(h), step - 1, float(h)) for i, h in enumerate(heights) if h >= 0.05]
    marks = [((value - low) / (high - low) * WIDTH, f"{value:g}") for value in ticks(low, high, 6)]
    return Histogram(bars, marks, len(own))


def spans_of(images: Sequence[tuple[str, Levels]]) -> Spans:
    """Draw the middle 98 percent and the median of each image, in order."""
    every = -(-len(images) // MOST_BARS)
    shown = images[::every]
    low, high = min(own.low for _, own in shown), max(own.high for _, own in shown)
    high = high if high > low else low + 1.0

    def y(value: float) -> float:
        return HEIGHT - (value - low) / (high - low) * HEIGHT

    step = WIDTH / len(shown)
    bars = [
        Bar(i * step, y(own.high), max(y(own.low), y(own.high) + 1), y(own.median), name)
        for i, (name, own) in enumerate(shown)
    ]
    return Spans(bars, min(0.8 * step, 24.0), [(y(v), f"{v:g}") for v in ticks(low, high, 4)], every)


def strip_of(recordings: Sequence[str]) -> Strip:
    """Lay the recordings side by side, as wide as they have images, in order of their first image."""
    counts = Counter(recordings)
    scale, x, parts = WIDTH / len(recordings), 0.0, []
    for name, count in counts.items():
        parts.append((x, count * scale, name, count))
        x += count * scale
    return Strip(parts)
