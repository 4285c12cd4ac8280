"""`dinotool bench formats`: our writers of labels beside datumaro and supervision, on one made set."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from pydantic import Field

from dinonat.errors import UsageError
from dinonat.formats.catalog import FORMATS
from dinonat.formats.handover import NO_FACTS, Outgoing, outgoing
from dinonat.pipelines.made_labels import CLASSES, SIZE_HW, made_labels
from dinonat.pipelines.peers import PEERS, Peer, PeerError, hand_over, peer_in
from dinonat.pipelines.progress import track
from dinonat.pipelines.timing import peak_memory, ratio, spent_on
from dinonat.settings import Settings

OURS = "dinonat"
# They write a part of the images only: 11 ms an image in datumaro 1.13, and supervision opens each picture.
SLOW = {("voc", "datumaro"): 10, **{(name, "supervision"): 10 for name in ("coco", "voc", "yolo")}}
LIMIT = 1 << 30  # bytes that a million boxes as COCO may take
CPU = torch.device("cpu")
CHILD = (
    "import json, pathlib, sys; from dinonat.pipelines.made_labels import write_many; "
    "print(json.dumps(write_many(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))))"
)


class BenchFormatsSettings(Settings):
    """What `dinotool bench formats` can be told."""

    images: int = Field(20_000, ge=1)
    boxes: int = Field(5, ge=1)  # labels on each
    rounds: int = Field(3, ge=1)
    formats: tuple[str, ...] | None = None  # None: all that are no pictures in folders
    against: Path | None = None  # a Python that has datumaro, supervision or both
    count: int = Field(0, ge=0)  # labels that a process of its own writes as COCO; 0: it is not asked to
    seed: int = 0


@dataclass(frozen=True)
class FormatsRow:
    """One format as one library writes it: medians."""

    format: str
    by: str
    images: int
    wall: float  # seconds for these images
    cpu: float
    memory: float | None  # MB at the worst moment, beyond what was held before
    ratio: float | None  # its seconds an image / ours; None for ours
    cpu_ratio: float | None

    def line(self) -> str:
        """Text for people."""
        memory = f"{'-' if self.memory is None else format(self.memory, '.0f'):>8}"
        ratios = "" if self.ratio is None else f"{self.ratio:9.1f}x{self.cpu_ratio:7.1f}x"
        each = f"{1000 * self.wall / self.images:11.3f}"
        return (
            f"  {self.format:14}{self.by:20}{self.images:8}{self.wall:9.2f}{self.cpu:8.2f}"
            f"{each}{memory}{ratios}"
        )


@dataclass(frozen=True)
class ManyRow:
    """Many labels written by a process that does nothing else."""

    format: str
    labels: int
    seconds: float  # from a table in memory to files
    peak: float  # MB of the whole process: Python, pandas and the table too

    def line(self) -> str:
        """Text for people."""
        fits = "within" if self.peak * 1e6 < LIMIT else "MORE THAN"
        return (
            f"{self.labels} boxes as {self.format} in {self.seconds:.1f} s; the process took "
            f"{self.peak:.0f} MB at its peak ({fits} 1 GiB)"
        )


@dataclass(frozen=True)
class BenchFormatsReport:
    """The table of `bench formats`."""

    images: int
    boxes: int
    rounds: int
    rows: tuple[FormatsRow, ...]
    many: ManyRow | None
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = (("images", 8), ("seconds", 9), ("CPU", 8), ("ms/image", 11), ("MB", 8), ("ratio", 10))
        table = [
            f"Seconds to write the labels of {self.images} made images ({SIZE_HW[1]}x{SIZE_HW[0]}, "
            f"{self.boxes} boxes each), medians of {self.rounds} alternating rounds, one thread",
            f"  {'format':14}{'by':20}" + "".join(f"{head:>{wide}}" for head, wide in heads) + "    (CPU)",
            *(row.line() for row in self.rows),
            "ours: from the table of proposals to files; others: from their own objects to files",
            "MB: held at the worst moment beyond the labels themselves; ratio: of milliseconds an image",
            "slow ones write a tenth of the images",
        ]
        return [
            *self.warnings,
            *(table if self.rows else []),
            *([self.many.line()] if self.many else []),
        ]


def run_formats(settings: BenchFormatsSettings, workspace: Path) -> BenchFormatsReport:
    """Time every format, ours and each library's in turn, in a temporary folder.

    A library that is missing or fails costs its rows and is said. Raises UsageError for an unknown format.
    """
    all_but_pictures = tuple(name for name, one in FORMATS.items() if not one.holds_pictures)
    named = all_but_pictures if settings.formats is None else settings.formats
    unknown = next((name for name in named if name not in FORMATS), None)
    if unknown is not None:
        raise UsageError(f"bench formats: no format {unknown!r}. Take some of {', '.join(FORMATS)}.")
    warnings: list[str] = []
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        rows = _rows(settings, named, folder, stack, warnings) if named else ()
        many = _many("coco", settings.count, folder) if settings.count else None
    return BenchFormatsReport(settings.images, settings.boxes, settings.rounds, rows, many, tuple(warnings))


def _rows(
    settings: BenchFormatsSettings,
    named: tuple[str, ...],
    folder: Path,
    stack: ExitStack,
    warnings: list[str],
) -> tuple[FormatsRow, ...]:
    """Return a row for each format and library, ours first."""
    labels, images = made_labels(settings.images, settings.boxes, settings.seed)
    if settings.against is not None:
        hand_over(outgoing(labels, images, CLASSES), folder)
    peers = [
        peer
        for library in (PEERS if settings.against is not None else ())
        if (peer := stack.enter_context(peer_in(settings.against, library, folder, warnings)))
    ]
    rows: list[FormatsRow] = []
    for name in named:
        ours = _ours(name, lambda: outgoing(labels, images, CLASSES), folder)
        others = [_asked(peer, name, settings.images, ours.facts) for peer in peers if name in peer.formats]
        rows += _timed(name, [ours, *others], settings.rounds, warnings)
    return tuple(rows)


@dataclass(frozen=True)
class _Spent:
    """What one export took."""

    wall: float
    cpu: float
    memory: float | None


@dataclass(frozen=True)
class _Candidate:
    """A library that writes a format: each call does so into a new folder, which is gone afterwards."""

    by: str
    images: int
    write: Callable[[bool], _Spent]  # (measure memory) -> what it took
    facts: bool = True  # whether ours keeps score and facts of a label: then the others are given them too


def _timed(name: str, candidates: list[_Candidate], rounds: int, warnings: list[str]) -> Iterator[FormatsRow]:
    """Yield the rows of one format: all candidates in turn, a first round for memory only."""
    taken: dict[str, list[_Spent]] = {one.by: [] for one in candidates}
    for number in track(range(rounds + 1), name):
        for one in candidates:
            if one.by not in taken:
                continue
            try:
                taken[one.by].append(one.write(number == 0))
            except PeerError as error:
                warnings.append(f"{name} by {one.by} is left out: {error}")
                del taken[one.by]
    own = 1.0, 1.0
    for one in candidates:
        if one.by in taken:
            first, *each = taken[one.by]
            wall, cpu = (median(values) for values in zip(*((s.wall, s.cpu) for s in each), strict=True))
            if one.by == OURS:
                own = wall / one.images, cpu / one.images
                ratios: tuple[float | None, ...] = (None, None)
            else:
                ratios = tuple(map(ratio, (wall / one.images, cpu / one.images), own))
            yield FormatsRow(name, one.by, one.images, round(wall, 4), round(cpu, 4), first.memory, *ratios)


def _ours(name: str, hand: Callable[[], Outgoing], folder: Path) -> _Candidate:
    """Return our own writer; one export is made at once, to see what the format keeps."""
    numbers = count()

    @contextmanager
    def place() -> Iterator[Path]:
        out = folder / f"{OURS}-{name}-{next(numbers)}"
        out.mkdir()
        yield out
        shutil.rmtree(out)

    def write(memory: bool) -> _Spent:
        with place() as out:
            if memory:
                return _Spent(0.0, 0.0, peak_memory(lambda: FORMATS[name].write(hand(), out), CPU))
            return _Spent(*spent_on(lambda: FORMATS[name].write(hand(), out), CPU), None)

    with place() as out:
        asked = hand()
        written = FORMATS[name].write(asked, out)
    return _Candidate(OURS, len(asked.images), write, NO_FACTS not in written.losses)


def _asked(peer: Peer, name: str, images: int, facts: bool) -> _Candidate:
    """Return how a library writes a format."""
    part = max(1, images // SLOW.get((name, peer.library), 1))
    numbers = count()

    def write(memory: bool) -> _Spent:
        out = peer.folder / f"{peer.library}-{name}-{next(numbers)}"
        out.mkdir()
        try:
            said = peer.ask({"format": name, "folder": str(out), "images": part, "facts": facts})
        finally:
            shutil.rmtree(out)
        return _Spent(said["wall"], said["cpu"], said["memory"])

    return _Candidate(peer.by, part, write)


def _many(name: str, labels: int, folder: Path) -> ManyRow:
    """Let a process of its own write many labels, so that its peak is that of writing them alone."""
    words = [sys.executable, "-c", CHILD, name, str(labels), str(folder / "many")]
    (folder / "many").mkdir()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"bench formats: {labels} labels cannot be written: {done.stderr.strip()[-300:]}")
    written, seconds, peak = json.loads(done.stdout)
    return ManyRow(name, written, round(seconds, 2), round(peak, 1))
