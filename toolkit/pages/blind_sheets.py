"""A test by eye: attention maps of colour and thermal pictures side by side, half of them strangers.

Whoever looks sees no picture and no name, only numbered pairs of maps, and says which belong together. By
chance half of the answers are right.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dinonat.errors import UsageError
from dinonat.pages.attention_sheets import INK, PAPER, cells
from dinonat.saliency.attention import Layer

SIDE, GAP, NUMBER, COLUMNS = 224, 8, 40, 2  # pixels, and how many pairs stand beside each other
TRIES = 200  # drawings of the half that is shuffled


def blind_sheet(
    colour: Sequence[Layer],
    thermal: Sequence[Layer],
    key: Sequence[tuple[int, int]],
    shape_hw: tuple[int, int],
) -> Image.Image:
    """Draw, for each (i, j) of ``key``, the first map of ``colour[i]`` and on its right of ``thermal[j]``.

    The maps are of pictures of ``shape_hw``. Pairs are numbered from 1, row by row, and nothing else is
    written.
    """
    step_x, step_y = NUMBER + 2 * (SIDE + GAP) + 2 * GAP, SIDE + 2 * GAP
    out = Image.new("RGB", (COLUMNS * step_x, -(-len(key) // COLUMNS) * step_y), PAPER)
    pen, font = ImageDraw.Draw(out), ImageFont.load_default(size=22)
    for place, (i, j) in enumerate(key):
        x, y = place % COLUMNS * step_x, place // COLUMNS * step_y + GAP
        pen.text((x + NUMBER - GAP, y), str(place + 1), font=font, fill=INK, anchor="ra")
        out.paste(cells(colour[i], 0, shape_hw, side=SIDE), (x + NUMBER, y))
        out.paste(cells(thermal[j], 0, shape_hw, side=SIDE), (x + NUMBER + SIDE + GAP, y))
    return out


def blind_key(recordings: Sequence[str], *, seed: int) -> list[tuple[int, int]]:
    """Draw an order of pairs in which half, rounded up, are partners, the others of another recording.

    ``recordings`` says of each pair which recording it is from. Returns (colour, thermal) for each place;
    every picture appears once, and partners are where both are the same. Raises UsageError where there are
    not enough recordings to shuffle between.
    """
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        order = [int(i) for i in rng.permutation(len(recordings))]
        shuffled = sorted(order[: len(order) // 2], key=lambda i: recordings[i])
        largest = max(Counter(recordings[i] for i in shuffled).values(), default=0)
        if 0 < 2 * largest <= len(shuffled):
            # Sorted by recording, a step as wide as the largest one leads out of each.
            partner = dict(zip(shuffled, shuffled[largest:] + shuffled[:largest], strict=True))
            return [(int(i), partner.get(int(i), int(i))) for i in rng.permutation(order)]
    raise UsageError(
        f"Of {len(recordings)} pairs of {len(set(recordings))} recordings no half can be shuffled between "
        "recordings: give at least 4 pairs, not nearly all of one recording."
    )
