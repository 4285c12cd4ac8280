"""From maps to regions: candidates of every channel, one ranking, masks on the pixels, boxes from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinonat.errors import UsageError
from dinonat.geometry import box_of_mask, iou_xywh, mask_to_counts
from dinonat.records import Bool, Float32, Int64, Region
from dinonat.saliency.contrast import Parts, box_scores, contrast_parts
from dinonat.saliency.guided import guided_filter, resized, shrunk
from dinonat.saliency.ncut import Cut, ncut_candidates

Float64 = NDArray[np.float64]

# Channels that give candidates, by the name of the option. "contrast" is the hand-made floor.
CHANNELS: dict[str, tuple[str, ...]] = {
    "ncut+attention": ("ncut", "contrast"),
    "ncut": ("ncut",),
    "attention": ("attention",),
    "contrast": ("contrast",),
    "none": (),
}
SALIENCIES = tuple(CHANNELS)
WORKING_PIXELS = 100_000  # the picture is shrunk to about as many before candidates are sought
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
) -> list[Region]:
    """Return at most ``max_regions`` regions of ``picture``, best first, boxes and masks in its pixels.

    ``tokens`` (h, w, c) and ``attention`` (h', w') cover the picture (H, W), luminance in [0, 1], without
    padding. ``method`` is one of SALIENCIES: "ncut+attention" takes the cuts of the tokens and the parts
    that differ from their surroundings, and lets attention raise what it looks at; "ncut", "attention" and
    "contrast" take one channel alone. ``objectness`` is a rank score in (0, 1), not a probability. A flat or
    tiny picture gives []. Raises UsageError for an unknown method.
    """
    if method not in CHANNELS:
        raise UsageError(f"--saliency {method}: not known. Choose one of {', '.join(SALIENCIES)}.")
    picture = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    if min(picture.shape) < 8 or max_regions < 1 or np.ptp(picture) < 1e-6:
        return []
    factor = max(1, int(np.ceil(np.sqrt(picture.size / WORKING_PIXELS))))
    working = shrunk(picture, factor)
    channels = [_candidates(name, tokens, attention, working) for name in CHANNELS[method]]
    channels = [channel for channel in channels if len(channel.boxes)]
    if not channels:
        return []
    focus = attention if method == "ncut+attention" else None
    regions: dict[tuple[float, ...], Region] = {}
    for number, row, score in _ranked(channels, working, focus, max_regions):
        mask = _refined(_mask(channels[number], row, working), picture, factor)
        box = box_of_mask(mask)
        if not box[2]:  # cells smaller than pixels
            continue
        region = Region(box, score, tuple(mask_to_counts(mask)), channels[number].channel)
        regions.setdefault(box, region)  # two candidates can become one mask
    return list(regions.values())


def _candidates(channel: str, tokens: Float32, attention: Float32 | None, working: Float32) -> Candidates:
    """Return what ``channel`` finds; nothing where its map is missing."""
    if channel == "ncut":
        return _cut_candidates(ncut_candidates(tokens), tokens.shape, working.shape)
    if channel == "contrast":
        return _part_candidates("contrast", contrast_parts(working))
    if attention is None:
        return _part_candidates("attention", contrast_parts(np.zeros_like(working)))
    size = (working.shape[0], working.shape[1])
    cell = max(1, round(size[0] / attention.shape[0]))
    looked_at = guided_filter(working, resized(attention, size), radius=cell)
    return _part_candidates("attention", contrast_parts(looked_at))


def _part_candidates(channel: str, parts: Parts) -> Candidates:
    return Candidates(channel, parts.boxes, parts.area.astype(float), np.ones(len(parts.area)), parts)


def _cut_candidates(cuts: list[Cut], grid: tuple[int, ...], size: tuple[int, ...]) -> Candidates:
    """Put boxes round the cuts, from cells of the token grid to pixels of the working picture."""
    scale = np.array([size[1] / grid[1], size[0] / grid[0]] * 2)
    corners = np.array([box_of_mask(cut.mask) for cut in cuts]).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    ends = np.concatenate([np.floor(corners[:, :2] * scale[:2]), np.ceil(corners[:, 2:] * scale[2:])], axis=1)
    boxes = ends.astype(np.int64)
    area = np.array([cut.mask.sum() for cut in cuts]) * scale[0] * scale[1]
    return Candidates("ncut", boxes, area, np.array([cut.vote for cut in cuts]), cuts)


def _ranked(
    channels: list[Candidates], working: Float32, attention: Float32 | None, max_regions: int
) -> list[tuple[int, int, float]]:
    """Return (channel, row, objectness) of the best candidates that do not overlap, best first."""
    boxes = np.concatenate([channel.boxes for channel in channels])
    area = np.concatenate([channel.area for channel in channels])
    owner = np.repeat(np.arange(len(channels)), [len(channel.boxes) for channel in channels])
    row = np.concatenate([np.arange(len(channel.boxes)) for channel in channels])
    scores = box_scores(working, boxes, area) * np.concatenate([channel.weight for channel in channels])
    if attention is not None:
        scores = scores * _focus(attention, boxes, working.shape)
    best = np.argsort(-scores, kind="stable")[:LONG_LIST]
    sides = np.concatenate([boxes[best, :2], boxes[best, 2:] - boxes[best, :2]], axis=1)
    overlaps = iou_xywh(sides, sides) > SAME_BOX
    free = np.ones(len(best), dtype=bool)
    chosen: list[tuple[int, int, float]] = []
    for place, candidate in enumerate(best.tolist()):
        if free[place] and len(chosen) < max_regions:
            free &= ~overlaps[place]
            score = float(scores[candidate])
            chosen.append((int(owner[candidate]), int(row[candidate]), score / (score + 10)))
    return chosen


def _focus(attention: Float32, boxes: Int64, size: tuple[int, ...]) -> Float64:
    """Return the mean of ``attention`` in every box over its mean in the picture, limited to [1/2, 2]."""
    looked_at = resized(attention, (size[0], size[1])).astype(np.float64)
    sums = np.pad(looked_at, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    x0, y0, x1, y1 = boxes.T
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    relative = inside / ((x1 - x0) * (y1 - y0)) / max(float(looked_at.mean()), 1e-9)
    out: Float64 = np.clip(relative, 0.5, 2.0)
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
    size = (working.shape[0], working.shape[1])
    soft = guided_filter(working, resized(coarse.astype(np.float32), size), radius=cell)
    refined = _largest(soft > 0.5)
    return refined if refined.any() else resized(coarse.astype(np.float32), size) >= 0.5


def _refined(mask: Bool, picture: Float32, factor: int) -> Bool:
    """Return a mask of the working picture on the pixels of ``picture``, its edges moved onto their own."""
    out = np.zeros(picture.shape, dtype=bool, order="F")  # column-major: run lengths are read that way
    x, y, w, h = (int(value) for value in box_of_mask(mask))
    margin = 4
    rows = slice(max(0, y - margin), min(mask.shape[0], y + h + margin))
    columns = slice(max(0, x - margin), min(mask.shape[1], x + w + margin))
    window = (
        slice(rows.start * factor, min(rows.stop * factor, picture.shape[0])),
        slice(columns.start * factor, min(columns.stop * factor, picture.shape[1])),
    )
    guide = picture[window]
    enlarged = np.repeat(np.repeat(mask[rows, columns], factor, axis=0), factor, axis=1)
    coarse = enlarged[: guide.shape[0], : guide.shape[1]]
    if factor == 1:
        out[window] = coarse
        return out
    fine = _largest(guided_filter(guide, coarse.astype(np.float32), radius=factor) > 0.5)
    out[window] = fine if fine.any() else coarse
    return out


def _largest(mask: Bool) -> Bool:
    """Return the largest connected part of ``mask``; the first of equals."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    out: Bool = parts == 1 + int(sizes[1:].argmax())
    return out
