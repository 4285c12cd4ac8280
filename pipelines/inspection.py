"""`dinotool inspect`: what a folder of images holds, what is odd in it, and what that means for labels."""

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from dinonat.errors import ImageError, UsageError, WorkspaceError
from dinonat.files import short_hash, write_bytes, write_json
from dinonat.images.listing import Listing, list_images
from dinonat.images.reading import Reading, parse_reading
from dinonat.pages.inspection import PageFacts, gather, render
from dinonat.pipelines import workspace as places
from dinonat.pipelines.progress import say, track
from dinonat.records import ImageRef
from dinonat.settings import Settings
from dinonat.survey.facts import Facts, survey
from dinonat.survey.finding import compare
from dinonat.survey.findings import findings_of
from dinonat.survey.inspected import summary, write_tables
from dinonat.survey.recordings import GAP_NUMBERS

FINDINGS = "findings.json"  # written last: where it lies, all the others do
FORMAT = 1  # rises when findings change, so that an old inspection is made again
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
            *([f"Lists: {Path(self.folder) / 'lists'}"] if len(self.kinds) > 1 else []),
            f"Page: {self.page}",
        ]


def _named(settings: InspectSettings, folder: Path, workspace: Path) -> str:
    """Return the name of the inspection: as asked for, or the folder's, never that of another folder.

    Raises WorkspaceError where the name that was asked for belongs to another folder.
    """
    root, name = str(folder.resolve()), settings.name or folder.resolve().name
    findings = places.inspections_folder(workspace, name) / FINDINGS
    if not findings.is_file() or places.read_object(findings).get("root") == root or settings.again:
        return name
    if settings.name is None:  # many folders are called "images"
        return f"{name}-{short_hash(root)[:6]}"
    raise WorkspaceError(
        f"--name {name}: an inspection of {places.read_object(findings).get('root')} has that name. Give "
        "another, or --again to replace it."
    )


def _kind_line(kind: dict[str, Any]) -> str:
    camera = f", {kind['camera']}" if kind["camera"] else ""
    return (
        f"kind {kind['number']:<3}{kind['count']:>7,}  {kind['format']}, {kind['look']}, {kind['unit']}, "
        f"{kind['depth']}, {kind['sizes']}{camera}: {kind['where']}"
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
    name = _named(settings, settings.folder, workspace)
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
    files = [[(ref.name, *_stamp(ref)) for ref in own] for own in refs]
    return short_hash("inspection", FORMAT, deciding, resolved, files, listing.skipped)


def _stamp(ref: ImageRef) -> tuple[int, int]:
    """Return size and time of change: many formats keep their size when they are written anew."""
    try:
        facts = ref.file.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


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
    say(f"comparing {len(facts)} images with each other")
    seen = compare(facts, others=colour, skipped=listing.skipped, gap=settings.gap)
    findings = findings_of(seen)
    known = {
        "key": key,
        "root": str(settings.folder.resolve()),
        "rgb": str(settings.rgb.resolve()) if settings.rgb else None,
        "settings": settings.model_dump(mode="json", include={"scale", "object", "gap"}),
        **summary(seen, findings),
    }
    (target / FINDINGS).unlink(missing_ok=True)  # never new files beside old findings
    write_tables(target, seen, findings)
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
