"""`dinotool bench labels`: export and import of a made workspace, by how many labels it holds."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from dinonat.embeddings.store import SetWriter, open_set
from dinonat.errors import DinonatError
from dinonat.files import write_json
from dinonat.pipelines import workspace as places
from dinonat.pipelines.coming_in import bring_in
from dinonat.pipelines.export import run as export
from dinonat.pipelines.export_settings import ExportSettings
from dinonat.pipelines.made_labels import SIZE_HW, made_labels, peak_of_process
from dinonat.pipelines.progress import say
from dinonat.records import ITEM_COLUMNS, PARTS, PROPOSAL_COLUMNS, as_table
from dinonat.settings import Settings

SET, RUN = "made", "made"
CHILD = (
    "import json, pathlib, sys; from dinonat.pipelines.bench_labels import measure; "
    "print(json.dumps(measure(pathlib.Path(sys.argv[1]), int(sys.argv[2]))))"
)


class BenchLabelsSettings(Settings):
    """What `dinotool bench labels` can be told."""

    labels: tuple[int, ...] = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class LabelsRow:
    """One workspace: seconds of each step, and the memory of the process that did them all."""

    labels: int
    export_first: float  # COCO, of proposals that nobody has seen
    accept: float  # import of that file, each label accepted: as many events
    export_again: float  # with as many events
    import_again: float  # of that file: nothing is new
    database: float  # MB of labels.db
    peak: float  # MB


@dataclass(frozen=True)
class BenchLabelsReport:
    """The table of `bench labels`."""

    rows: tuple[LabelsRow, ...]

    def lines(self) -> list[str]:
        """Text for people."""
        heads = ("labels", "export", "import", "events", "export", "import", "labels.db", "memory")
        table = [
            f"{row.labels:>10}{row.export_first:>10.1f}{row.accept:>10.1f}{row.labels:>10}{row.export_again:>10.1f}"
            f"{row.import_again:>10.1f}{row.database:>10.0f}{row.peak:>10.0f}"
            for row in self.rows
        ]
        return [
            "Seconds of export and import as COCO, five made labels an image: first without events, then",
            "with as many as labels (import accepts each); MB of the database and of the process at its peak",
            "".join(f"{head:>10}" for head in heads),
            *table,
        ]


def run_labels(settings: BenchLabelsSettings, workspace: Path) -> BenchLabelsReport:
    """Measure each number of labels in a process and a workspace of its own."""
    rows = []
    for count in settings.labels:
        say(f"{count} labels")
        with TemporaryDirectory() as temporary:
            words = [sys.executable, "-P", "-c", CHILD, temporary, str(count)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DinonatError(f"bench labels: {count} labels failed: {done.stderr.strip()[-300:]}")
            rows.append(LabelsRow(**json.loads(done.stdout.splitlines()[-1])))
    return BenchLabelsReport(tuple(rows))


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Make a workspace of ``count`` labels, export and import it twice, and return the figures of a row."""
    workspace = make(folder, count)
    known = open_set(places.set_folder(workspace, SET))
    settings = ExportSettings(format="coco")
    first, report = _timed(lambda: export(settings, workspace))
    accept, _ = _timed(lambda: bring_in(Path(report.folder), known, workspace, accept="all", who="bench"))
    again, report = _timed(lambda: export(settings, workspace))
    repeated, _ = _timed(lambda: bring_in(Path(report.folder), known, workspace, accept="all", who="bench"))
    return {
        "labels": count,
        "export_first": first,
        "accept": accept,
        "export_again": again,
        "import_again": repeated,
        "database": sum(path.stat().st_size for path in workspace.glob("labels.db*")) / 1e6,
        "peak": peak_of_process(),
    }


def make(folder: Path, count: int) -> Path:
    """Return a workspace with one set and one run of ``count`` made proposals, without pictures."""
    workspace = places.create(folder / "workspace")
    labels, images = made_labels(count // 5, 5)
    blank = {
        name: "" if kind == "str" else 0 if kind.startswith("int") else np.nan
        for name, kind in {**PROPOSAL_COLUMNS, **ITEM_COLUMNS}.items()
    }
    own = {"run": RUN, "set": SET, "height": SIZE_HW[0], "width": SIZE_HW[1], "item": labels["proposal"]}
    no_lists = {name: pd.Series([()] * len(labels), dtype=object) for name in ("neighbours", "mask_counts")}
    rest = {name: blank[name] for name in PROPOSAL_COLUMNS if name not in labels}
    target = places.proposals_folder(workspace, RUN)
    target.mkdir(parents=True)
    more: dict[str, Any] = {**rest, **own, **no_lists}
    table = as_table(labels.assign(**more), PROPOSAL_COLUMNS)
    table.to_parquet(target / "proposals.parquet")
    write_json(target / "meta.json", {"set": SET, "said": ""})
    items = images.assign(**{name: blank[name] for name in ITEM_COLUMNS if name not in images})
    no_masks = pd.Series([()] * len(items), dtype=object)
    items = items.assign(kind="image", status="ok", item=items["image"], mask_counts=no_masks)
    writer = SetWriter(
        places.set_folder(workspace, SET), {"root": str(folder), "model": "made", "settings": {}}
    )
    writer.write(0, items, {name: np.ones((len(items), 1), np.float32) for name in PARTS})
    writer.finish(shards=1)
    places.remember(workspace, "set", SET)
    places.remember(workspace, "proposals", RUN)
    return workspace


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a work took, and what it returned."""
    start = time.perf_counter()
    made = work()
    return round(time.perf_counter() - start, 2), made
