"""What an inspection leaves in files: the facts, the recordings, the twins, lists for --list."""

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from dinonat.files import write_bytes, write_whole
from dinonat.survey.fact_table import fact_table
from dinonat.survey.finding import Finding, Seen
from dinonat.survey.groups import Group

NAMED = 20  # images that a summary names for each finding; files.parquet names all


def summary(seen: Seen, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what other commands and scripts read as JSON; nothing in it depends on the clock."""
    failed = sum(bool(fact.reason) for fact in seen.facts)
    of = {name for name, fact in zip(seen.recordings.of, seen.facts, strict=True) if not fact.reason}
    return {
        "counts": {
            "images": len(seen.facts),
            "readable": len(seen.facts) - failed,
            "failed": failed,
            "recordings": len(of),
            "twins": len(seen.twins),
        },
        "recordings": {"rule": seen.recordings.rule, "words": seen.recordings.words},
        "kinds": [_kind(group) for group in seen.groups],
        "findings": [_finding(finding) for finding in findings],
    }


def _kind(group: Group) -> dict[str, Any]:
    values = {name: value for name, value in asdict(group).items() if name != "images"}
    for name in ("least", "median", "most"):
        values[name] = round(values[name], 4)
    return {"count": len(group.images), **values}


def _finding(finding: Finding) -> dict[str, Any]:
    values = {name: value for name, value in asdict(finding).items() if name != "examples"}
    return values | {"images": list(finding.images[:NAMED])}


def write_tables(target: Path, seen: Seen, findings: Sequence[Finding]) -> None:
    """Write files.parquet, recordings.csv, twins.csv and lists/ into ``target``, each whole or not at all."""
    table = fact_table(seen, findings)
    write_whole(target / "files.parquet", lambda stream: table.to_parquet(cast("Any", stream), index=False))
    recordings = [
        (fact.image, name)
        for fact, name in zip(seen.facts, seen.recordings.of, strict=True)
        if not fact.reason
    ]
    _write_csv(target / "recordings.csv", ("image", "recording"), recordings)
    pairs = [(seen.facts[twin.thermal].image, seen.colour(twin.colour).image) for twin in seen.twins]
    _write_csv(target / "twins.csv", ("thermal", "colour"), pairs)
    _write_lists(target / "lists", seen)


def _write_csv(path: Path, header: tuple[str, str], rows: Iterable[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_bytes(path, text.getvalue().encode())


def _write_lists(folder: Path, seen: Seen) -> None:
    """Write the lists that --list takes: one of each of what is worth keeping, and one for each kind."""
    shutil.rmtree(folder, ignore_errors=True)
    keep = seen.keep
    if len(keep) < len(seen.facts):
        _write_list(folder / "keep.txt", keep)
    if len(seen.groups) > 1:
        for group in seen.groups:
            _write_list(folder / f"kind-{group.number}.txt", group.images)


def _write_list(path: Path, images: Sequence[str]) -> None:
    end = "\0" if any("\n" in image or "\r" in image for image in images) else "\n"
    write_bytes(path, "".join(image + end for image in images).encode())
