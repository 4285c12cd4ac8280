"""`dinotool inspect`: what a folder of images holds, what is odd in it, and what that means for labels."""

import csv
import io
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from dinonat.errors import ImageError, UsageError
from dinonat.files import short_hash, write_bytes, write_json, write_whole
from dinonat.images.fact_table import fact_table
from dinonat.images.finding import Finding, Seen, compare
from dinonat.images.findings import findings_of
from dinonat.images.groups import Group
from dinonat.images.listing import Listing, list_images
from dinonat.images.reading import Reading, parse_reading
from dinonat.images.recordings import GAP_NUMBERS
from dinonat.images.survey import Facts, survey
from dinonat.pages.inspection import PageFacts, gather, render
from dinonat.pipelines import workspace as places
from dinonat.pipelines.progress import say, track
from dinonat.records import ImageRef
from dinonat.settings import Settings

FINDINGS = "findings.json"  # written last: where it lies, all the others do
FORMAT = 1  # rises when findings change, so that an old inspection is made again
NAMED = 20  # images that findings.json names for each finding; files.parquet names all
KINDS_SHOWN = 12


class InspectSettings(Settings):
    """What `dinotool inspect` can be told."""

    folder: Path | None = None
    rgb: Path | None = None  # folder of colour images of the same moments
    list_file: Path | None = None  # names the images instead, a path a line
    name: str | None = None  # of the inspection; None = name of the folder
    scale: str = ""  # what one count is: "0.04K", "0.1C"
    object: str = ""  # object parameters that replace the camera's: "emissivity=0.95,distance=10"
    gap: int = Field(GAP_NUMBERS, ge=1)  # jump of the number in names that parts recordings
    workers: int | None = Field(None, ge=0)  # processes that read; None = one for each core
    again: bool = False
    strict: bool = False


@dataclass(frozen=True)
class InspectReport:
    """What an inspection found."""

    name: str
    folder: str
    root: str
    images: int
    failed: int
    recordings: int
    twins: int
    kinds: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    page: str
    files_per_second: float  # of this run
    already_done: bool

    def lines(self) -> list[str]:
        """Text for people: kinds, findings, and where the page lies."""
        lines = [_kind_line(kind) for kind in self.kinds[:KINDS_SHOWN]]
        if len(self.kinds) > KINDS_SHOWN:
            lines.append(f"... and {len(self.kinds) - KINDS_SHOWN} more kinds")
        for finding in self.findings:
            lines += ["", f"{finding['severity']:<8} {finding['title']}: {finding['what']}"]
            if finding["severity"] != "info":
                lines += [f"{'':<8} {finding['means']}", f"{'':<8} -> {finding['do']}"]
        rate = (
            "It was done already; --again redoes it."
            if self.already_done
            else (f"{self.files_per_second:.0f} images/s")
        )
        return [
            *lines,
            "",
            f"Inspection {self.name}: {self.images} images, {self.failed} cannot be read, "
            f"{self.recordings} recordings, {self.twins} twins. {rate}",
            f"Page: {self.page}",
        ]


def _kind_line(kind: dict[str, Any]) -> str:
    camera = f", {kind['camera']}" if kind["camera"] else ""
    return (
        f"{kind['count']:>7,}  {kind['format']}, {kind['look']}, {kind['unit']}, {kind['depth']}, "
        f"{kind['sizes']}{camera}: {kind['where']}"
    )


def run(settings: InspectSettings, workspace: Path) -> InspectReport:
    """Look at every image of a folder once and write down what was found into ``workspace``.

    Raises UsageError without a folder and for a bad scale, ImageError where there is no image or none
    of them can be read.
    """
    if settings.folder is None:
        raise UsageError("inspect: no folder of images was given. Write `dinotool inspect FOLDER`.")
    reading = parse_reading(settings.scale, settings.object)
    listing = list_images(settings.folder, list_file=settings.list_file)
    others = list_images(settings.rgb) if settings.rgb else None
    places.create(workspace)
    name = settings.name or settings.folder.resolve().name
    target = places.inspections_folder(workspace, name)
    key = _key(settings, listing, others)
    if not settings.again and (known := _known(target, key)) is not None:
        report = _report(name, target, known, already_done=True)
    else:
        known, per_second = _inspect(settings, listing, others, reading, target, key)
        report = _report(name, target, known, files_per_second=per_second)
    places.remember(workspace, "inspection", name)
    if report.failed >= report.images:
        first = known["findings"][0]["what"]
        raise ImageError(f"{settings.folder}: none of {report.images} images can be read. {first}")
    return report


def _key(settings: InspectSettings, listing: Listing, others: Listing | None) -> str:
    """Name all that decides what is found, as far as it can be known without reading the images."""
    deciding = settings.model_dump(mode="json", include={"scale", "object", "gap"})
    folders = {"root": settings.folder, "rgb": settings.rgb}
    resolved = {name: str(path.resolve()) if path else "" for name, path in folders.items()}
    refs = [listing.refs, others.refs if others else ()]
    files = [[(ref.name, _size(ref)) for ref in own] for own in refs]
    return short_hash("inspection", FORMAT, deciding, resolved, files, listing.skipped)


def _size(ref: ImageRef) -> int:
    try:
        return ref.file.stat().st_size
    except OSError:
        return -1


def _known(target: Path, key: str) -> dict[str, Any] | None:
    """Return an earlier inspection of the same images with the same settings."""
    if not (target / FINDINGS).is_file():
        return None
    known = places.read_object(target / FINDINGS)
    return known if known.get("key") == key else None


def _inspect(
    settings: InspectSettings,
    listing: Listing,
    others: Listing | None,
    reading: Reading,
    target: Path,
    key: str,
) -> tuple[dict[str, Any], float]:
    """Survey, compare, write; return what findings.json holds and how many images were read a second."""
    assert settings.folder is not None
    workers = _cores() if settings.workers is None else settings.workers
    count = len(listing.refs) + (len(others.refs) if others else 0)
    say(f"{settings.folder}: {count} images")
    start = time.perf_counter()
    facts = _surveyed(listing.refs, workers, reading)
    colour = _surveyed(others.refs, workers, reading) if others else None
    per_second = count / (time.perf_counter() - start)
    seen = compare(facts, others=colour, skipped=listing.skipped, gap=settings.gap)
    findings = findings_of(seen)
    known = {"key": key, **_summary(settings, seen, findings)}
    (target / FINDINGS).unlink(missing_ok=True)  # never new files beside old findings
    _write_tables(target, seen, findings)
    page = PageFacts(
        title=f"Inspection of {settings.folder.resolve().name}",
        seen=seen,
        findings=findings,
        files=tuple((file.name, about) for file, about in _files(target)),
    )
    write_bytes(target / "report.html", render(gather(page, workers=workers, reading=reading)).encode())
    write_json(target / FINDINGS, known)
    return known, per_second


def _surveyed(refs: Sequence[ImageRef], workers: int, reading: Reading) -> list[Facts]:
    results = survey(refs, workers=min(workers, len(refs)), reading=reading)
    with closing(cast("Any", results)):
        return list(track(results, "inspect", total=len(refs)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _summary(settings: InspectSettings, seen: Seen, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what other commands and scripts read; nothing in it depends on the clock."""
    assert settings.folder is not None
    failed = sum(bool(fact.reason) for fact in seen.facts)
    of = {name for name, fact in zip(seen.recordings.of, seen.facts, strict=True) if not fact.reason}
    return {
        "root": str(settings.folder.resolve()),
        "rgb": str(settings.rgb.resolve()) if settings.rgb else None,
        "settings": settings.model_dump(mode="json", include={"scale", "object", "gap"}),
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


def _write_tables(target: Path, seen: Seen, findings: Sequence[Finding]) -> None:
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


def _files(target: Path) -> list[tuple[Path, str]]:
    """Return what lies beside the page, and what it is."""
    about = {
        "files.parquet": "every image with its facts, recording and findings",
        "recordings.csv": "image,recording: mend it and give it with --recordings",
        "twins.csv": "thermal,colour",
        FINDINGS: "the findings for scripts",
        "lists": "keep.txt and one list for each kind, for --list",
    }
    return [(target / name, text) for name, text in about.items()]


def _report(
    name: str,
    target: Path,
    known: dict[str, Any],
    *,
    files_per_second: float = 0.0,
    already_done: bool = False,
) -> InspectReport:
    counts = known["counts"]
    return InspectReport(
        name=name,
        folder=str(target),
        root=known["root"],
        images=counts["images"],
        failed=counts["failed"],
        recordings=counts["recordings"],
        twins=counts["twins"],
        kinds=tuple(known["kinds"]),
        findings=tuple(known["findings"]),
        page=str(target / "report.html"),
        files_per_second=round(files_per_second, 1),
        already_done=already_done,
    )
