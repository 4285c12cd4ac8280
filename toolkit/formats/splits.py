"""Which images go to training, validation and test, so that no recording lies on two sides.

Frames of one recording, copies of one file and near-duplicates look alike; a network that has seen one of
them knows the others. So whole groups are dealt. Among the ways to deal them, the one is looked for in
which every split gets its share of the images and of each class's labels.

The order is that of iterative stratification, rarest classes first (Sechidis, Tsoumakas, Vlahavas: On the
Stratification of Multi-Label Data, ECML PKDD 2011), with groups in place of examples; what that greedy
order cannot see is mended by moving and swapping groups. Few groups are dealt in every possible way.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from dinonat.errors import LabelError, UsageError
from dinonat.formats.dealing import deal

USUAL = ("train", "val", "test")  # names of shares that are given without
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?<!\.)")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no folder names on Windows


@dataclass(frozen=True, eq=False)
class Split:
    """Which split each image is in, and what that makes of the shares."""

    of: pd.Series  # split of each image; the index is the image
    counts: Mapping[str, Mapping[str, Any]]  # split -> images, groups, share, labels: class -> how many
    note: str  # a sentence where recordings are not known, else ""


def parse_shares(text: str) -> dict[str, float]:
    """Return the share of each split, adding up to 1; percent do as well.

    >>> parse_shares("train=0.8,val=0.1,test=0.1")
    {'train': 0.8, 'val': 0.1, 'test': 0.1}
    >>> parse_shares("train=70,test=30")
    {'train': 0.7, 'test': 0.3}

    Two or three numbers without names are train, val and test. Raises UsageError in words.
    """
    parts = [part.strip() for part in text.split(",")]
    if 1 < len(parts) <= len(USUAL) and not any("=" in part for part in parts):
        parts = [f"{name}={part}" for name, part in zip(USUAL, parts, strict=False)]
    shares: dict[str, float] = {}
    for part in parts:
        name, _, number = (piece.strip() for piece in part.partition("="))
        if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
            raise UsageError(
                f"split {part!r}: {name!r} cannot name a folder. Use letters, "
                "digits, '-' and '_': train=0.8,val=0.2."
            )
        if name.lower() in map(str.lower, shares):
            raise UsageError(f"split {text!r}: {name!r} stands there twice. Give each split one share.")
        shares[name] = _share(number, part)
    total = sum(shares.values())
    whole = 100 if total > 2 else 1
    if abs(total / whole - 1) > 1e-6:
        raise UsageError(f"split {text!r}: the shares add up to {total:g}, expected 1 (or 100 percent).")
    return {name: share / whole for name, share in shares.items()}


def split(
    images: pd.DataFrame,
    labels: pd.DataFrame,
    shares: Mapping[str, float],
    *,
    seed: int,
    near: Iterable[Sequence[str]] = (),
) -> Split:
    """Deal images to splits in whole groups; equal input and seed give equal splits, in any order of rows.

    Parameters
    ----------
    images
        A row for each image: image, recording ("" = not known), sha256 of its bytes ("" = not known).
    labels
        A row for each label: image (one of ``images``), label.
    shares
        Split -> share of the images, adding up to 1.
    seed
        Decides between ways to deal that are equally good.
    near
        Groups of images that look alike and stay together.

    As long as there are as many groups as splits, none is empty, and each has its number of images but
    for at most the size of the largest group. Raises LabelError for fewer groups than splits.
    """
    listed = images.sort_values("image", kind="stable").reset_index(drop=True)
    listed = listed.fillna({"recording": "", "sha256": ""})
    group = _groups(listed, near)
    count = int(group.max(initial=-1)) + 1
    if count < len(shares):
        raise LabelError(
            f"{len(listed)} images are {count} group(s) (recordings, copies, near-duplicates), too few for "
            f"{len(shares)} splits. Ask for fewer splits, or give recordings that are cut finer."
        )
    sizes, classes = _contents(listed, labels, group, count)
    side = deal(sizes, np.array(list(shares.values())), np.random.default_rng(seed))
    names = np.array(list(shares), dtype=object)[side[group]]
    of = pd.Series(names, index=pd.Index(listed["image"]), name="split", dtype="str")
    return Split(of.reindex(images["image"]), _counts(of, labels, side, shares, classes), _note(listed))


def _share(number: str, part: str) -> float:
    """Read one share; UsageError in words."""
    try:
        share = float(number.removesuffix("%"))
    except ValueError as error:
        raise UsageError(f"split {part!r}: expected NAME=SHARE, as in train=0.8,val=0.1,test=0.1.") from error
    if not 0 < share <= 100:
        raise UsageError(f"split {part!r}: a share is above 0. Leave out the split that is to be empty.")
    return share


def _groups(images: pd.DataFrame, near: Iterable[Sequence[str]]) -> NDArray[np.int64]:
    """Return the number of the group of each image: what is joined by any of the reasons is one."""
    places = {name: place for place, name in enumerate(images["image"])}
    ties = [("recording", value, place) for place, value in enumerate(images["recording"]) if value]
    ties += [("bytes", value, place) for place, value in enumerate(images["sha256"]) if value]
    ties += [
        ("near", str(n), places[name]) for n, names in enumerate(near) for name in names if name in places
    ]
    knots = (
        pd.factorize(pd.MultiIndex.from_tuples([tie[:2] for tie in ties]))[0] if ties else np.zeros(0, int)
    )
    ends = np.array([tie[2] for tie in ties], np.int64)
    side = len(images) + (int(knots.max()) + 1 if len(knots) else 0)
    graph = sparse.coo_array((np.ones(len(ends), np.int8), (ends, len(images) + knots)), shape=(side, side))
    found = connected_components(graph.tocsr(), directed=False)[1][: len(images)]
    return pd.factorize(found)[0].astype(np.int64)  # numbered by the first image of each


def _contents(
    images: pd.DataFrame, labels: pd.DataFrame, group: NDArray[np.int64], count: int
) -> tuple[sparse.csr_array, list[str]]:
    """Return what each group holds, images and labels of each class (groups, 1 + classes); the classes."""
    place = pd.Index(images["image"]).get_indexer(pd.Index(labels["image"].astype("str")))
    if (place < 0).any():
        raise KeyError(
            f"label of {labels['image'].iloc[int(np.argmin(place))]!r}, which is no image to split"
        )
    number, classes = pd.factorize(labels["label"].astype("str"), sort=True)
    rows = np.concatenate([group, group[place]])
    columns = np.concatenate([np.zeros(len(group), np.int64), 1 + number])
    sizes = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, 1 + len(classes))).tocsr()
    return sizes, list(classes)


def _counts(
    of: pd.Series,
    labels: pd.DataFrame,
    side: NDArray[np.int64],
    shares: Mapping[str, float],
    classes: list[str],
) -> dict[str, dict[str, Any]]:
    """Count images, groups and labels of each split."""
    table = pd.crosstab(labels["image"].astype("str").map(of), labels["label"].astype("str"))
    table = table.reindex(index=list(shares), columns=classes, fill_value=0)
    images = of.value_counts()
    return {
        name: {
            "images": int(images.get(name, 0)),
            "groups": int((side == number).sum()),
            "share": int(images.get(name, 0)) / len(of),
            "labels": {label: int(table[label][name]) for label in classes},
        }
        for number, name in enumerate(shares)
    }


def _note(images: pd.DataFrame) -> str:
    """Say what is not known of recordings."""
    unknown = int((images["recording"] == "").sum())
    if not unknown:
        return ""
    which = (
        "No recordings are known"
        if unknown == len(images)
        else (f"The recording of {unknown} of {len(images)} images is not known")
    )
    return f"{which}: each such image is its own group, and frames of one recording may lie on both sides."
