"""What can be told from COCO run lengths without drawing them, and how they are packed into a text."""

from collections.abc import Sequence

import numpy as np

from dinonat.geometry import Box, mask_to_counts
from dinonat.records import Bool

LARGEST_IMAGE = 1 << 28  # pixels; masks of a larger one are refused before anything is drawn


def box_of_counts(counts: Sequence[int], height: int) -> Box:
    """Return the tightest box x, y, w, h around the mask of run lengths, in an image of ``height`` rows.

    (0, 0, 0, 0) where the mask is empty.

    >>> box_of_counts([1, 3, 2], 3)
    (0.0, 0.0, 2.0, 3.0)
    """
    ends = np.cumsum(np.asarray(counts, np.int64))
    first, last = ends[0 : len(ends) - 1 : 2], ends[1::2] - 1
    some = last >= first
    first, last = first[some], last[some]
    if not len(first):
        return 0.0, 0.0, 0.0, 0.0
    left, right = int(first[0]) // height, int(last[-1]) // height + 1
    # A run that goes on in the next column holds the last row of one and the first row of the other.
    wraps = bool((first // height != last // height).any())
    top = 0 if wraps else int((first % height).min())
    low = height if wraps else int((last % height).max()) + 1
    return float(left), float(top), float(right - left), float(low - top)


def window_counts(window: Bool, left: int, top: int, size_hw: tuple[int, int]) -> tuple[int, ...]:
    """Return the run lengths of an image that is empty but for ``window`` (h, w) at ``left``, ``top``.

    Only the columns of the window are gone through. () where it holds no pixel; the window must lie inside.

    >>> window_counts(np.array([[False, True], [True, True]]), 1, 0, (3, 3))
    (4, 1, 1, 2, 1)
    """
    if not window.any():
        return ()
    height, width = size_hw
    columns = np.zeros((height, window.shape[1]), bool)
    columns[top : top + window.shape[0]] = window
    counts = mask_to_counts(columns)
    counts[0] += left * height
    behind = (width - left - window.shape[1]) * height
    if len(counts) % 2:  # the last run is of zeros
        counts[-1] += behind
    elif behind:
        counts.append(behind)
    return tuple(counts)


def pack(counts: Sequence[int]) -> str:
    """Return run lengths as the text of COCO's mask API (``rleToString``); `coco_masks.unpack` reads it.

    From the fourth number on the difference to the number two before is written, in groups of five
    bits, lowest first, each as a character from code 48 up; bit 5 says that another group follows.

    >>> pack([1, 3])
    '13'
    """
    text = bytearray()
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group = value & 31
            value >>= 5
            if value == (-1 if group & 16 else 0):
                text.append(group + 48)
                break
            text.append((group | 32) + 48)
    return text.decode("ascii")
