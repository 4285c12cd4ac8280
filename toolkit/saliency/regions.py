"""From maps to regions: candidates of every channel, one ranking, masks on the pixels, boxes from them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.errors import UsageError
from dinonat.geometry import box_of_mask, mask_to_counts
from dinonat.records import Bool, Float32, Int64, Region
from dinonat.saliency.contrast import Parts, box_scores, contrast_parts
from dinonat.saliency.guided import guided_filter, resized, shrunk
from dinonat.saliency.ncut import Cut, ncut_candidates
from dinonat.saliency.rarity import rarity_map

Float64 = NDArray[np.float64]

# Channels that give candidates, by the name of the option. "contrast" is the hand-made floor.
CHANNELS: dict[str, tuple[str, ...]] = {
    "ncut+attention": ("ncut", "contrast"),
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
    found: Parts | list[Cut]  # where the masks come from


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
    them the parts of the picture that differ from their surroundings; "ncut", "attention", "rarity" (tokens
    unlike those on the border) and "contrast" take one channel alone. Masks below ``min_area`` pixels are
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
    if _nothing_in(working):
        return []
    channels = [_candidates(name, tokens, attention, working) for name in CHANNELS[method]]
    channels = [channel for channel in channels if len(channel.boxes)]
    if not channels:
        return []
    if method == "ncut+attention":
        channels = [_known_by_network(channel, tokens, attention, working.shape) for channel in channels]
    regions: dict[tuple[float, ...], Region] = {}
    for number, row, score in _ranked(channels, working, max_regions):
        mask = _refined(_mask(channels[number], row, working), picture, factor, tight)
        box = box_of_mask(mask)
        if not box[2] or np.count_nonzero(mask) < min_area:  # none: cells smaller than pixels
            continue
        region = Region(box, score, tuple(mask_to_counts(mask)), channels[number].channel)
        regions.setdefault(box, region)  # two candidates can become one mask
    return list(regions.values())


def _nothing_in(working: Float32) -> bool:
    """Say whether a picture (h, w) is flat, a ramp or noise: no edge stands out from all the others."""
    edges = ndimage.gaussian_gradient_magnitude(working, np.sqrt(2), mode="nearest")
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
    coarse = rarity_map(tokens) if channel == "rarity" else attention
    if coarse is None:
        return _part_candidates(channel, contrast_parts(np.zeros_like(working)))
    size = (working.shape[0], working.shape[1])
    cell = max(1, round(size[0] / coarse.shape[0]))
    refined = guided_filter(working, resized(coarse, size), radius=cell)
    return _part_candidates(channel, contrast_parts(refined))


def _part_candidates(channel: str, parts: Parts) -> Candidates:
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


def _ranked(channels: list[Candidates], working: Float32, max_regions: int) -> list[tuple[int, int, float]]:
    """Return (channel, row, objectness) of the best candidates that do not overlap, best first."""
    boxes = np.concatenate([channel.boxes for channel in channels])
    area = np.concatenate([channel.area for channel in channels])
    owner = np.repeat(np.arange(len(channels)), [len(channel.boxes) for channel in channels])
    row = np.concatenate([np.arange(len(channel.boxes)) for channel in channels])
    scores = box_scores(working, boxes, area) * np.concatenate([channel.weight for channel in channels])
    long = np.argsort(-scores, kind="stable")[:LONG_LIST]
    limits = [working.shape[1], working.shape[0]] * 2
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
    channel: Candidates, tokens: Float32, attention: Float32 | None, size: tuple[int, ...]
) -> Candidates:
    """Return ``channel`` with more weight where the network looks and where its tokens are rare."""
    weight = channel.weight
    if attention is not None:
        relative = _mean_in(attention, channel.boxes, size) / max(float(attention.mean()), 1e-9)
        weight = weight * np.clip(relative, 0.001, None) ** (
            CUTS_LOOKED_AT if channel.channel == "ncut" else LOOKED_AT
        )
    rare = rarity_map(tokens)
    deviations = (rare - rare.mean()) / max(float(rare.std()), 1e-6)
    weight = weight * np.exp(RARE * np.clip(_mean_in(deviations, channel.boxes, size), -3, 3))
    return replace(channel, weight=weight)


def _mean_in(values: Float32, boxes: Int64, size: tuple[int, ...]) -> Float64:
    """Return the mean (n,) of a coarse map in boxes of the working picture."""
    fine = resized(values, (size[0], size[1])).astype(np.float64)
    sums = np.pad(fine, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    x0, y0, x1, y1 = boxes.T
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    out: Float64 = inside / ((x1 - x0) * (y1 - y0))
    return out


def _mask(channel: Candidates, row: int, working: Float32) -> Bool:
    """Return the mask of a candidate on the working picture (h, w)."""
    if isinstance(channel.found, Parts):
        mask = np.zeros(working.shape, dtype=bool)
        x0, y0, x1, y1 = channel.boxes[row]
        mask[y0:y1, x0:x1] = channel.found.mask(row)
        return mask
    coarse = channel.found[row].mask
    cell = max(1, round(working.shape[0] / coarse.shape[0]))
    soft = resized(coarse.astype(np.float32), (working.shape[0], working.shape[1]))
    mask = np.zeros(working.shape, dtype=bool)
    x0, y0, x1, y1 = channel.boxes[row]
    margin = 4 * cell  # two windows of the filter: it sees nothing farther away
    window = slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)
    mask[window] = _largest(guided_filter(working[window], soft[window], radius=cell) > 0.5)
    return mask if mask.any() else soft >= 0.5


def _refined(mask: Bool, picture: Float32, factor: int, tight: bool = False) -> Bool:
    """Return a mask of the working picture on the pixels of ``picture``, its edges on those of the object.

    Inside and close around the mask those pixels are kept that differ from a ring of surroundings by more
    than a quarter of what the object's strongest quarter does, and one pixel more all round: people draw
    boxes there. (Without this step recall falls from 49 to 45 % on thermal_aerial and from 29 to 26 % on
    paired_road.) ``tight`` takes half instead of a quarter, and no pixel more. Where less
    than a quarter of the mask would stay it is no such object, and the mask stays.
    """
    out = np.zeros(picture.shape, dtype=bool, order="F")  # column-major: run lengths are read that way
    x, y, w, h = (int(value) for value in box_of_mask(mask))
    rows = slice(max(0, y - 3), min(mask.shape[0], y + h + 3))
    columns = slice(max(0, x - 3), min(mask.shape[1], x + w + 3))
    enlarged = np.repeat(np.repeat(mask[rows, columns], factor, axis=0), factor, axis=1)
    window = (
        slice(rows.start * factor, rows.stop * factor),
        slice(columns.start * factor, columns.stop * factor),
    )
    inside = picture[window]  # may end before the enlarged mask does
    coarse = enlarged[: inside.shape[0], : inside.shape[1]]
    sharp = _sharpened(coarse, ndimage.gaussian_filter(inside, 0.7), factor, tight)
    out[window] = sharp if 4 * sharp.sum() >= coarse.sum() else coarse
    return out


def _sharpened(mask: Bool, values: Float32, reach: int, tight: bool) -> Bool:
    """Return the pixels at most ``reach`` from ``mask`` that differ from its surroundings as it does."""
    near = _grown(mask, reach)
    ring = _grown(mask, 3 * reach) & ~near
    if not ring.any() or not mask.any():
        return mask
    difference = values - np.median(values[ring])
    if difference[mask].mean() < 0:
        difference = -difference
    strong = np.percentile(difference[mask], 75)
    if tight:
        return _largest((difference > strong / 2) & near)
    return _grown(_largest((difference > strong / 4) & near), 1)


def _grown(mask: Bool, reach: int) -> Bool:
    out: Bool = ndimage.maximum_filter(mask, 2 * reach + 1, mode="constant")
    return out


def _largest(mask: Bool) -> Bool:
    """Return the largest connected part of ``mask``; the first of equals."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    out: Bool = parts == 1 + int(sizes[1:].argmax())
    return out
