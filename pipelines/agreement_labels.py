"""What a file of labels names in pairs of pictures: things that both pictures of a pair show."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dinonat.agreement.items import Item, items_of
from dinonat.errors import LabelError
from dinonat.formats.catalog import read_labels
from dinonat.formats.matching import match_names
from dinonat.pipelines.pairs import Gathered
from dinonat.pipelines.partners import counted, sizes


def labelled_items(
    pairs: Gathered, file: Path | None, offset: tuple[float, float], workers: int, remarks: list[str]
) -> list[Item]:
    """Return what ``file`` names in the pairs, and say in ``remarks`` whose labels were taken.

    Nothing without a file, or where all labels are one. Raises LabelError where no label fits a pair.
    """
    if file is None:
        return []
    names = [(one.name, other.name) for one, other in zip(pairs.colour, pairs.thermal, strict=True)]
    known = [sizes(refs, workers) for refs in (pairs.colour, pairs.thermal)]
    # One that is damaged is left out later; its partner's size keeps it from deciding whose labels these are.
    both = [(a or b or (1, 1), b or a or (1, 1)) for a, b in zip(*known, strict=True)]
    labels = read_labels(file, warn=remarks.append).drop_duplicates(ignore_index=True)
    items, word = items_of(labels, names, both, offset=offset)
    if not items:
        raise LabelError(
            f"{file}: no label of it belongs to a picture of the pairs. They are named like {names[0][1]!r}."
        )
    if len({item.label for item in items}) < 2:
        remarks.append(f"{file}: all labels are {items[0].label!r}; k-NN needs two classes and is left out.")
        return []
    remarks += _about_labels(labels, names, items, word, file)
    return items


def _about_labels(
    labels: pd.DataFrame, names: Sequence[tuple[str, str]], items: Sequence[Item], word: str, file: Path
) -> list[str]:
    """Say whose labels were taken, and how many could not be."""
    other = "colour" if word == "thermal" else "thermal"
    said = (
        f"{len(items)} labels of {word} pictures hold for their {other} partners, too: pairs show the same."
    )
    if all(one == two for one, two in names):  # then only sizes tell whose boxes they are
        said += f" (Both are named alike; boxes are taken as pixels of the {word} ones.)"
    remarks = [said]
    found = [
        match_names(labels["image"].astype(str), side).found for side in map(list, zip(*names, strict=True))
    ]
    missing = [name for name in labels["image"].unique() if not any(name in side for side in found)]
    if missing:
        remarks.append(
            f"{file}: "
            + counted(
                missing, "image is in no pair that is measured", "images are in no pair that is measured"
            )
        )
    boxed = labels["x"].notna() if labels["x"].notna().any() else labels["x"].isna()
    lost = int((boxed & labels["image"].isin(list(found[word == "thermal"]))).sum()) - len(items)
    if lost > 0:
        remarks.append(
            f"{file}: {lost} of its boxes do not lie inside both pictures of their pair and are left out."
        )
    return remarks
