"""`dinotool bench`: how fast this machine is at what takes the time; medians of alternating runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from statistics import median

from pydantic import Field

from dinonat.errors import ImageError, UsageError
from dinonat.images.listing import list_images, spread
from dinonat.images.prepare import prepare
from dinonat.images.reader import read_thermal
from dinonat.pipelines.progress import track
from dinonat.records import ImageRef
from dinonat.settings import Settings

PEER = "flyr"  # reads FLIR's radiometric JPEGs; compared with where it is installed


class BenchReadingSettings(Settings):
    """What `dinotool bench reading` can be told."""

    folder: Path | None = None  # of images
    rounds: int = Field(20, ge=1)  # times that each image is read
    images: int = Field(50, ge=1)  # at most, evenly over the folder


@dataclass(frozen=True)
class ReadingRow:
    """Medians in milliseconds for the images of one format and size, in one process."""

    source_format: str
    unit: str
    width: int
    height: int
    images: int
    decode: float
    prepare: float
    peer: float | None  # decoding by another library, where there is one
    ratio: float | None  # peer / decode

    def line(self) -> str:
        """Text for people."""
        size = f"{self.width}x{self.height}"
        peer = "" if self.peer is None else f"{self.peer:13.2f}{self.ratio:8.1f}x"
        return (
            f"  {self.source_format:12}{self.unit:9}{size:>11}{self.images:8}"
            f"{self.decode:10.2f}{self.prepare:10.2f}{self.decode + self.prepare:10.2f}{peer}"
        )


@dataclass(frozen=True)
class BenchReadingReport:
    """The table of `bench reading`."""

    rounds: int
    rows: tuple[ReadingRow, ...]
    peer: str  # name and version, "" where none is installed
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = "".join(f"{head:>10}" for head in ("decode", "prepare", "both")) + f"{self.peer:>13}"
        return [
            *self.warnings,
            f"Milliseconds an image in one process, medians of {self.rounds} alternating rounds",
            f"  {'format':12}{'unit':9}{'size':>11}{'images':>8}{heads}".rstrip(),
            *(row.line() for row in self.rows),
        ]


@dataclass(frozen=True)
class _Timed:
    """One image that can be read, and the seconds that each round took."""

    kind: tuple[str, str, int, int]
    decode: list[float]
    prepare: list[float]
    peer: list[float]


def run_reading(settings: BenchReadingSettings, workspace: Path) -> BenchReadingReport:
    """Time decoding and preparing the images of a folder, image by image in turn, round after round.

    Files come from the cache of the system: each is read once before. Raises UsageError without a
    folder, ImageError where no image can be read.
    """
    if settings.folder is None:
        raise UsageError(
            "bench reading: no folder of images was given. Write `dinotool bench reading FOLDER`."
        )
    refs = spread(list_images(settings.folder).refs, settings.images)
    peer = _peer()
    timed, warnings = dict[ImageRef, _Timed](), list[str]()
    for ref in refs:
        try:
            frame = read_thermal(ref.file, frame=ref.frame)
            prepare(frame)
        except ImageError as error:
            warnings.append(str(error))
            continue
        height, width = frame.data.shape
        timed[ref] = _Timed((frame.source_format, frame.unit, width, height), [], [], [])
    if not timed:
        raise ImageError(f"{settings.folder}: none of {len(refs)} images can be read ({warnings[0]})")
    beyond: set[ImageRef] = set()  # what the other library cannot read; it may take long to say so
    for _ in track(range(settings.rounds), "rounds"):
        for ref, times in timed.items():
            _time(ref, times)
            if peer is not None and times.kind[0] == "flir-jpeg" and ref not in beyond:
                _time_peer(ref, times, peer, beyond)
    kinds = sorted({times.kind for times in timed.values()})
    rows = tuple(_row(kind, [times for times in timed.values() if times.kind == kind]) for kind in kinds)
    name = f"{PEER} {metadata.version(PEER)}" if peer else ""
    return BenchReadingReport(settings.rounds, rows, name, tuple(warnings))


def _peer() -> Callable[[Path], object] | None:
    """Return how another library decodes a file, where it is installed."""
    if util.find_spec(PEER) is None:
        return None
    unpack = import_module(PEER).unpack
    return lambda path: unpack(str(path)).celsius


def _time(ref: ImageRef, times: _Timed) -> None:
    start = time.perf_counter()
    frame = read_thermal(ref.file, frame=ref.frame)
    decoded = time.perf_counter()
    prepare(frame)
    times.decode.append(decoded - start)
    times.prepare.append(time.perf_counter() - decoded)


def _time_peer(ref: ImageRef, times: _Timed, peer: Callable[[Path], object], beyond: set[ImageRef]) -> None:
    start = time.perf_counter()
    try:
        peer(ref.file)
    except Exception:  # whatever it raises for a file that only we can read
        beyond.add(ref)
    else:
        times.peer.append(time.perf_counter() - start)


def _row(kind: tuple[str, str, int, int], times: list[_Timed]) -> ReadingRow:
    def milliseconds(part: str) -> float | None:
        values = [seconds for one in times for seconds in getattr(one, part)]
        return round(1000 * median(values), 3) if values else None

    decode, prepared, peer = (milliseconds(part) for part in ("decode", "prepare", "peer"))
    assert decode is not None
    assert prepared is not None
    ratio = None if peer is None else round(peer / decode, 1)
    return ReadingRow(*kind, len(times), decode, prepared, peer, ratio)
