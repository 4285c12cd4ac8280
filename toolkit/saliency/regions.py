"""From maps to regions: candidates of every channel, one ranking, masks on the pixels, boxes from them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dinonat.errors import UsageError
from dinonat.geometry import box_of_mask
from dinonat.records import Float32, Int64, Region
from dinonat.saliency.contrast import Parts, contrast_parts, edge_scores, edge_strength, sum_in, summed
from dinonat.saliency.guided import guided_filter, resized, shrunk
from dinonat.saliency.masks import Patch, cut_out, refined
from dinonat.saliency.ncut import Cut, ncut_candidates
from dinonat.saliency.rarity import rarity_map
from dinonat.saliency.split import Basins, split_parts

Float64 = NDArray[np.float64]

# Channels that give candidates, by the name of the option. "contrast" is the hand-made floor.
CHANNELS: dict[str, tuple[str, ...]] = {
    "ncut+attention": ("ncut", "contrast"),
    "ncut+attention+split": ("ncut", "contrast", "split"),
    "ncut": ("ncut",),
    "attention": ("attention",),
    "rarity": ("rarity",),
    "contrast": ("contrast",),
    "none": (),
}
SALIENCIES = tuple(CHANNELS)
WORKING_PIXELS = 100_000  # the picture is shrunk to about as many before candidates are sought
CUT_WEIGHT = 1.0  # of cuts times their vote, against parts: 0.6 costs 5 points of recall on rgb_objects
# What candidates gain where the network looks, where its tokens are rare, and where many candidates are
# alike: exponents, found as those of ``box_scores`` were. Cuts have no edge of their own to go by, and go by
# attention more.
LOOKED_AT, CUTS_LOOKED_AT, RARE, ALIKE = 0.3, 0.6, 0.25, 0.2
# Deviation of the edges and strongest edge, both over their mean, below which nothing is in a picture. The
# gradient of noise is Rayleigh distributed: 0.52 and, in 100,000 pixels, 4 to 5.2; ramps have less of both.
# Of 329 real pictures none is below both; the least uneven has 0.64.
UNEVEN, STRONGEST = 0.6, 6.0
SAME_BOX = 0.4  # IoU from which the lower of two candidates is dropped
LONG_LIST = 600  # best candidates among which overlaps are looked for


@dataclass(frozen=True, eq=False)
class Candidates:
    """What one channel found, in pixels of the working picture."""

    channel: str
    boxes: Int64  # (n, 4) x0, y0, x1, y1
    area: Float64  # (n,)
    weight: Float64  # (n,) factor of the score
    found: Parts | Basins | list[Cut]  # where the masks come from


def propose_regions(
    tokens: Float32,
    attention: Float32 | None,
    picture: Float32,
    *,
    method: str = "ncut+attention",
    max_regions: int = 30,
    min_area: int = 0,
    tight: bool = False,
) -> list[Region]:
    """Return at most ``max_regions`` regions of ``picture``, best first, boxes and masks in its pixels.

    ``tokens`` (h, w, c) and ``attention`` (h', w') cover the picture (H, W), luminance in [0, 1], without
    padding. ``method`` is one of SALIENCIES: "ncut+attention" takes the cuts of the tokens, ranked by
    their votes and by attention (so the side of a cut that the network looks at comes first), and beside
    them the parts of the picture that differ from their surroundings, with "+split" also each of several
    peaks of a part; "ncut", "attention", "rarity" (tokens unlike those on the border) and "contrast" take
    one channel alone. Masks below ``min_area`` pixels are
    left out. ``tight`` masks end where an object falls to half of its strength; the others a little farther
    out, where people draw boxes. ``objectness`` is a rank score in (0, 1), not a probability. A picture that
    is flat, a ramp, noise or tiny gives []. Raises UsageError for an unknown method.
    """
    if method not in CHANNELS:
        raise UsageError(f"--saliency {method}: not known. Choose one of {', '.join(SALIENCIES)}.")
    picture = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    if min(picture.shape) < 8 or max_regions < 1 or np.ptp(picture) < 1e-6:
        return []
    factor = shrinking(picture)
    working = shrunk(picture, factor)
    edges = edge_strength(working)
    if _nothing_in(edges):
        return []
    channels = [_candidates(name, tokens, attention, working) for name in CHANNELS[method]]
    channels = [channel for channel in channels if len(channel.boxes)]
    if not channels:
        return []
    if method.startswith("ncut+attention"):
        channels = _known_by_network(channels, tokens, attention, working.shape)
    regions: dict[tuple[float, ...], Region] = {}
    for number, row, score in _ranked(channels, edges, max_regions):
        patch = refined(_patch(channels[number], row, working), picture, factor, tight)
        if patch.mask.any() and np.count_nonzero(patch.mask) >= min_area:  # none: cells smaller than pixels
            counts = tuple(patch.counts(picture.shape))
            region = Region(patch.box, score, counts, channels[number].channel)
            regions.setdefault(patch.box, region)  # two candidates can become one mask
    return list(regions.values())


def _nothing_in(edges: Float32) -> bool:
    """Say whether edges (h, w) are those of a flat picture, a ramp or noise: none stands out."""
    mean = float(edges.mean())
    return bool(edges.std() < UNEVEN * mean and edges.max() < STRONGEST * mean)


def shrinking(picture: Float32) -> int:
    """Return the factor by which ``picture`` (H, W) is shrunk before candidates are sought."""
    return max(1, int(np.ceil(np.sqrt(picture.size / WORKING_PIXELS))))


def _candidates(channel: str, tokens: Float32, attention: Float32 | None, working: Float32) -> Candidates:
    """Return what ``channel`` finds; nothing where its map is missing."""
    if channel == "ncut":
        return _cut_candidates(ncut_candidates(tokens), tokens.shape, working.shape)
    if channel == "contrast":
        return _part_candidates("contrast", contrast_parts(working))
    if channel == "split":
        return _part_candidates("split", split_parts(working))
    coarse = rarity_map(tokens) if channel == "rarity" else attention
    if coarse is None:
        return _part_candidates(channel, contrast_parts(np.zeros_like(working)))
    size = (working.shape[0], working.shape[1])
    cell = max(1, round(size[0] / coarse.shape[0]))
    refined = guided_filter(working, resized(coarse, size), radius=cell)
    return _part_candidates(channel, contrast_parts(refined))


def _part_candidates(channel: str, parts: Parts | Basins) -> Candidates:
    return Candidates(channel, parts.boxes, parts.area.astype(float), np.ones(len(parts.area)), parts)


def _cut_candidates(cuts: list[Cut], grid: tuple[int, ...], size: tuple[int, ...]) -> Candidates:
    """Put boxes round the cuts, from cells of the token grid to pixels of the working picture."""
    scale = np.array([size[1] / grid[1], size[0] / grid[0]] * 2)
    corners = np.array([box_of_mask(cut.mask) for cut in cuts]).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    ends = np.concatenate([np.floor(corners[:, :2] * scale[:2]), np.ceil(corners[:, 2:] * scale[2:])], axis=1)
    boxes = np.clip(ends, 0, [size[1], size[0]] * 2).astype(np.int64)  # ceil of 229.0000001 is 230
    area = np.array([cut.mask.sum() for cut in cuts]) * scale[0] * scale[1]
    return Candidates("ncut", boxes, area, CUT_WEIGHT * np.array([cut.vote for cut in cuts]), cuts)


def _ranked(channels: list[Candidates], edges: Float32, max_regions: int) -> list[tuple[int, int, float]]:
    """Return (channel, row, objectness) of the best candidates that do not overlap, best first."""
    boxes = np.concatenate([channel.boxes for channel in channels])
    area = np.concatenate([channel.area for channel in channels])
    owner = np.repeat(np.arange(len(channels)), [len(channel.boxes) for channel in channels])
    row = np.concatenate([np.arange(len(channel.boxes)) for channel in channels])
    scores = edge_scores(edges, boxes, area) * np.concatenate([channel.weight for channel in channels])
    long = np.argsort(-scores, kind="stable")[:LONG_LIST]
    limits = [edges.shape[1], edges.shape[0]] * 2
    overlap = _overlaps(np.clip(boxes[long] + [-1, -1, 1, 1], 0, limits))
    votes = scores[long] * (overlap > 0.5).sum(axis=1) ** ALIKE
    free = np.ones(len(long), dtype=bool)
    chosen: list[tuple[int, int, float]] = []
    for place in np.argsort(-votes, kind="stable").tolist():
        if free[place] and len(chosen) < max_regions:
            free &= overlap[place] <= SAME_BOX
            score = float(votes[place])
            chosen.append((int(owner[long[place]]), int(row[long[place]]), score / (score + 10)))
    return chosen


def _overlaps(boxes: Int64) -> Float32:
    """Return the IoU (n, n) of boxes x0, y0, x1, y1 with each other, faster than ``iou_xywh`` does."""
    x0, y0, x1, y1 = boxes.astype(np.float32).T
    area = (x1 - x0) * (y1 - y0)
    width = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    height = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    out: Float32 = shared / (area[:, None] + area - shared)
    return out


def _known_by_network(
    channels: list[Candidates], tokens: Float32, attention: Float32 | None, size: tuple[int, ...]
) -> list[Candidates]:
    """Return ``channels`` with more weight where the network looks and where its tokens are rare."""
    rare = rarity_map(tokens)
    rare_sums = _summed_over((rare - rare.mean()) / max(float(rare.std()), 1e-6), size)
    looked_sums = None if attention is None else _summed_over(attention, size)
    known = []
    for channel in channels:
        pixels = (channel.boxes[:, 2:] - channel.boxes[:, :2]).prod(axis=1)
        weight = channel.weight * np.exp(RARE * np.clip(sum_in(rare_sums, channel.boxes) / pixels, -3, 3))
        if attention is not None and looked_sums is not None:
            looked_at = sum_in(looked_sums, channel.boxes) / pixels / max(float(attention.mean()), 1e-9)
            exponent = CUTS_LOOKED_AT if channel.channel == "ncut" else LOOKED_AT
            weight = weight * np.clip(looked_at, 0.001, None) ** exponent
        known.append(replace(channel, weight=weight))
    return known


def _summed_over(values: Float32, size: tuple[int, ...]) -> Float64:
    """Return what `sum_in` needs of a coarse map over the working picture."""
    return summed(resized(values, (size[0], size[1])))


def _patch(channel: Candidates, row: int, working: Float32) -> Patch:
    """Return the mask of a candidate on the working picture (h, w)."""
    x0, y0, x1, y1 = (int(end) for end in channel.boxes[row])
    if isinstance(channel.found, Parts | Basins):
        return Patch(channel.found.mask(row), x0, y0)
    return cut_out(channel.found[row].mask, (x0, y0, x1, y1), working)
