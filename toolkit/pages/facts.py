"""All facts of the page about one run of proposals, from its tables and what its stages wrote down."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dinonat.images.batches import BY_DEFAULT, Shown
from dinonat.images.prepare import COLOUR
from dinonat.pages.gather import abstentions_of, choose_images, counts_of, curves_of, pictures_of
from dinonat.pages.reliability import reliability_of
from dinonat.pages.report import Comparison, ReportFacts
from dinonat.pages.templating import figure, settings_line

# Columns of the comparison: balanced accuracies in percent, and the standard error of the difference.
COLUMNS = {
    "score": "score",
    "plain_k5": "5 nearest",
    "plain_k20": "20 nearest",
    "balanced": "same number a class",
    "error": "± against the safe choice",
}
UNITS = {"celsius": "°C", "counts": "counts of the camera", "grey": "grey levels"}
MOST_FAILURES = 12  # images named on the page; more are counted


def collect(
    proposals: pd.DataFrame,
    *,
    items: pd.DataFrame,
    set_meta: Mapping[str, Any],
    made: Mapping[str, Any],
    shown: Shown = BY_DEFAULT,
    training: Path | None = None,
    made_scenes: bool = False,
    files: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    most: int = 24,
) -> ReportFacts:
    """Collect the facts of the page about one run of proposals.

    Parameters
    ----------
    proposals
        Table of PROPOSAL_COLUMNS.
    items
        Table of ITEM_COLUMNS of the set that they belong to.
    set_meta, made
        What ``meta.json`` of the set and of the run of proposals hold. Of the latter: ``compared``, the
        rows of `proposals.choose`, ``features_reason``, ``labelled``, ``settings`` and ``warnings``;
        ``calibration``, what audits say of its scores, one row a kind of proposals.
    shown
        How that set reads and prepares its images: people see what the network saw.
    training
        Folder of the pretraining run with ``metrics.jsonl`` and ``report.json``, if there was one.
    made_scenes
        The images were drawn by dinotool: the page says so.
    files, warnings
        Lines of the page: what lies where, and what a reader should know.
    most
        Pictures on the contact sheet.
    """
    images = items[(items["kind"] == "image") & (items["status"] == "ok")]
    asked = set(proposals["image"])  # images that somebody labelled have no proposals
    candidates = [name for name in images["image"] if name in asked or not asked]
    names = choose_images(proposals, candidates, most=most)
    pictures, lost = pictures_of(names, proposals, root=Path(set_meta["root"]), shown=shown)
    failed = items[items["status"] != "ok"]
    unread = [f"{row.image}: {row.reason}" for row in failed.head(MOST_FAILURES).itertuples()]
    if len(failed) > len(unread):
        unread.append(f"... and {len(failed) - len(unread)} more could not be read.")
    return ReportFacts(
        title=f"Proposals for {made.get('set', Path(set_meta['root']).name)}",
        sentences=(_summary(proposals),),
        made_scenes=made_scenes,
        pictures=pictures,
        n_images=len(images),
        score_is=_score_is(made),
        counts=counts_of(proposals),
        abstentions=abstentions_of(proposals),
        comparison=comparison_of(made),
        reliability=tuple(reliability_of(found) for found in made.get("calibration", ())),
        curves=curves_of(training / "metrics.jsonl") if training else (),
        training=_training(training / "report.json") if training else (),
        used=used_of(items, set_meta, made),
        files=tuple(files),
        warnings=(*made.get("warnings", ()), *warnings, *lost, *unread),
    )


def _score_is(made: Mapping[str, Any]) -> str:
    """Say what the scores of a run are."""
    if not made.get("labelled"):
        return "how much a region stands out"
    return "the share of the vote" if made.get("method", "vote") == "vote" else "a rank among the proposals"


def _summary(proposals: pd.DataFrame) -> str:
    """Say in one sentence what came out."""
    known = proposals[proposals["advice"] != "unknown"]
    boxes, whole = (int((known["kind"] == kind).sum()) for kind in ("region", "image"))
    parts = [
        f"{boxes:,} {'box' if boxes == 1 else 'boxes'}" if boxes else "",
        f"{whole:,} {'label of a whole image' if whole == 1 else 'labels of whole images'}" if whole else "",
    ]
    unknown = len(proposals) - len(known)
    left = f"; {unknown:,} left unknown rather than guessed" if unknown else ""
    return f"{' and '.join(filter(None, parts)) or 'No labels'} proposed for a person to check{left}."


def comparison_of(made: Mapping[str, Any]) -> Comparison | None:
    """Return the table of features that were compared on the labelled items; None where none was."""
    rows = made.get("compared")
    if not isinstance(rows, list) or not rows or "features" not in rows[0]:
        return None
    keys = [key for key in COLUMNS if key in rows[0]]
    cells = [(_features(row), *(figure(row.get(key)) for key in keys)) for row in rows]
    header = ("features", *(COLUMNS[key] for key in keys))
    taken = [row[0] for row, facts in zip(cells, rows, strict=True) if facts.get("taken")]
    return Comparison(header, tuple(cells), taken[0] if taken else "", str(made.get("features_reason", "")))


def _features(row: Mapping[str, Any]) -> str:
    """Name a row of the comparison; the floor, which nothing taken may fall below, is called that."""
    return f"{row['features']}{' (hand-made floor)' if row.get('name') == 'hog+raw' else ''}"


def used_of(
    items: pd.DataFrame, set_meta: Mapping[str, Any], made: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """Return what made the labels: set, network, labels that were given, and all settings."""
    images, regions = (int((items["kind"] == kind).sum()) for kind in ("image", "region"))
    labelled = ", ".join(f"{count:,} {label}" for label, count in made.get("labelled", {}).items())
    facts = {
        "images": str(set_meta["root"]),
        "set": f"{made.get('set', '')} ({images:,} images, {regions:,} regions)",
        "network": f"{set_meta.get('weights', '')} (fingerprint {set_meta.get('model', '')})",
        "preparation": preparation_of(items),
        "labels given": f"{labelled} in {made.get('labelled_images', 0):,} images" if labelled else "none",
        "search vector": str(made.get("features", "")),
        "run": str(made.get("run", "")),
        "proposed with": settings_line(made.get("settings", {})),
        "embedded with": settings_line(set_meta.get("settings", {})),
    }
    return tuple((name, value) for name, value in facts.items() if value)


def preparation_of(items: pd.DataFrame) -> str:
    """Say how the images became grey levels, and from which unit: for each way its number of images."""
    images = items[(items["kind"] == "image") & (items["status"] == "ok")]
    ways = []
    for (mode, unit), rows in images.groupby(["prepare", "unit"]):
        black, white = (_span(rows[name]) for name in ("lo", "hi"))
        from_to = "" if mode == COLOUR else f" (black {black}, white {white} {UNITS.get(str(unit), unit)})"
        ways.append(f"{mode} for {len(rows):,} {'image' if len(rows) == 1 else 'images'}{from_to}")
    return "; ".join(ways)


def _span(values: pd.Series) -> str:
    """Write one number, or the smallest and the largest where they differ.

    >>> _span(pd.Series([20.0, 20.0])), _span(pd.Series([18.25, 19.5]))
    ('20', '18.25 to 19.5')
    """
    low, high = f"{values.min():.6g}", f"{values.max():.6g}"
    return low if low == high else f"{low} to {high}"


def _training(report: Path) -> tuple[tuple[str, str], ...]:
    """Return the figures of a pretraining run; none where it left no report."""
    try:
        facts = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    hidden = ("weights", "already_done")
    return tuple((key.replace("_", " "), figure(value)) for key, value in facts.items() if key not in hidden)
