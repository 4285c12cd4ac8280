"""What a review page is told of a run: its images, its proposals row by row, and how they were made.

Everything here is read once, when the page's server starts, and does not change; what people say meanwhile
is in `review_state`. Lists of voters and of run lengths stay out of Python's objects: a hundred thousand
proposals take some ten megabytes.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dinonat.embeddings.store import open_set
from dinonat.errors import ImageError, WorkspaceError
from dinonat.formats import audit_sheets
from dinonat.images.faults import printable
from dinonat.images.prepare import COLOUR
from dinonat.pages.gather import reference
from dinonat.pipelines import workspace as places
from dinonat.proposals.abstain import BACKGROUND, UNKNOWN
from dinonat.proposals.methods import SAID
from dinonat.records import LATER_COLUMNS, PROPOSAL_COLUMNS, Bool, Float32, ImageRef, Int64

TABLE, META = "proposals.parquet", "meta.json"
MOST = 200_000  # proposals that a page is given; what is left unknown goes first
SAID_OF_RUN = 8  # sentences about a run that the page shows
LISTS = ("mask_counts", "neighbours")
APART = {"proposal", "item", "reason"}  # texts that hardly repeat


class Shown:
    """A run of proposals as the page shows it; made once, then only read, from any thread.

    Images are numbers: their place in ``images``. Proposals are rows of ``table`` (PROPOSAL_COLUMNS without
    `mask_counts` and `neighbours`), and ``place_of`` tells the row of a label's id.
    """

    def __init__(self, workspace: Path, run: str | None = None) -> None:
        """Read ``run`` of the workspace, the newest where None.

        Raises WorkspaceError where the run or its set is missing, damaged, or of a newer dinotool.
        """
        self.workspace = workspace
        if (workspace / places.MARKER).is_file():
            places.check_version(workspace / places.MARKER)
        self.run = places.chosen(workspace, "proposals", run)
        self.folder = places.proposals_folder(workspace, self.run)
        self.made: Mapping[str, Any] = places.read_object(self.folder / META)
        self.set_name = str(self.made.get("set", ""))
        self.known = open_set(places.set_folder(workspace, self.set_name))
        self.root = Path(self.known.meta["root"])
        self.real_root = self.root.resolve()
        pictures = self.known.pictures
        self.pictures = pictures[pictures["status"] == "ok"].reset_index(drop=True)
        self.images: list[str] = self.pictures["image"].tolist()
        self.image_at: dict[str, int] = {name: place for place, name in enumerate(self.images)}
        self.made_at = stamp(self.folder / TABLE)
        whole, masks = read_rows(self.folder / TABLE)
        place = pd.Index(self.pictures["image"]).get_indexer(pd.Index(whole["image"].astype("str")))
        kept = _kept(whole, place)
        self.left_out = len(whole) - len(kept)
        self.table = whole.iloc[kept].reset_index(drop=True)
        self.clusters: Int64 = self.table["cluster"].to_numpy(np.int64)
        self.whole: Bool = (self.table["kind"] == "image").to_numpy(bool)
        sides = self.table[list("xywh")].to_numpy(np.float32)
        self.boxes: Float32 = np.where(
            self.whole[:, None], np.float32(np.nan), sides
        )  # (rows, 4): x, y, w, h
        self.masks = masks.take(pa.array(kept))
        self.image_of: Int64 = place[kept].astype(np.int64)  # (rows,): place of each proposal's image
        pa.default_memory_pool().release_unused()  # what reading needed for a moment
        self.place_of: dict[str, int] = {
            name: row for row, name in enumerate(self.table["proposal"].tolist())
        }

    def ref(self, image: int) -> ImageRef:
        """Return the image at a place of the list, to be read.

        Raises ImageError, a sentence, where there is no such place, or where the file, links followed, does
        not lie below the folder of the set.
        """
        if not 0 <= image < len(self.images):
            raise ImageError(f"No image {image}: the list has {len(self.images)}.")
        ref = reference(self.root, self.images[image])
        real = ref.file.resolve()
        if not real.is_relative_to(self.real_root):
            raise ImageError(
                f"{printable(ref.name)}: leads out of {printable(self.root)}, so it is not read. Put "
                "the file itself there."
            )
        return ref

    def mask(self, row: int) -> tuple[int, ...]:
        """Return the run lengths of a proposal's mask (COCO, of the whole image); () where it has none."""
        return tuple(self.masks[row].as_py() or ())

    @cached_property
    def masked(self) -> Bool:
        """Which proposals (rows,) have a mask."""
        lengths = pc.fill_null(pc.list_value_length(self.masks), 0)
        found: Bool = np.asarray(lengths) > 0
        return found

    @cached_property
    def proposed_classes(self) -> list[str]:
        """The classes that the run proposes anywhere, sorted."""
        named = self.table[self.table["cluster"] < 0]
        names = {*named["label"].astype("str").unique(), *named["second"].astype("str").unique()}
        return sorted(names - {"", BACKGROUND})

    def class_of(self, row: int) -> str:
        """Return the class that is proposed for a row; "" where there is none, as of a cluster."""
        return "" if self.clusters[row] >= 0 else str(self.table["label"].iat[row])

    def sentences(self) -> list[str]:
        """Return what is to be known of the run before it is reviewed."""
        said = [str(each) for name in ("audit", "warnings") for each in self.made.get(name) or ()]
        if self.left_out:
            said.insert(0, f"{self.left_out} proposals are not listed: their images are gone, or they are "
                           f"left unknown and more than {MOST:,} in all.")  # fmt: skip
        return said[:SAID_OF_RUN]

    def how(self) -> str:
        """Say in a sentence how the run was made."""
        made = self.made
        network = f"network {made.get('weights') or '?'}"
        methods = [SAID.get(each, each) for each in str(made.get("method") or "").split("; ") if each]
        if made.get("clusters"):
            return f"{made['clusters']} clusters, which nobody has named yet; {network}."
        by = f" by {'; '.join(dict.fromkeys(methods))}" if methods else ""
        examples = ", ".join(f"{n} {name}" for name, n in dict(made.get("labelled") or {}).items())
        return f"Proposed{by} from {examples or 'labels'}; features {made.get('features') or '?'}; {network}."


def stamp(file: Path) -> tuple[int, int]:
    """Return what shows that a file is another one: time of change and size; (0, 0) where it is gone."""
    try:
        facts = file.stat()
    except OSError:
        return 0, 0
    return facts.st_mtime_ns, facts.st_size


def read_rows(path: Path) -> tuple[pd.DataFrame, pa.ChunkedArray]:
    """Return proposals without their lists, repeated texts as categories, and the masks beside them.

    Raises WorkspaceError where ``path`` is no such table.
    """
    try:
        there = set(pq.read_schema(path).names)
        names = [name for name in PROPOSAL_COLUMNS if name not in LISTS and name not in LATER_COLUMNS]
        names += [name for name in LATER_COLUMNS if name in there]
        texts = [name for name in names if PROPOSAL_COLUMNS[name] == "str" and name not in APART]
        table = pq.read_table(path, columns=names, read_dictionary=texts).to_pandas()
        masks = pq.read_table(path, columns=["mask_counts"])["mask_counts"].cast(pa.list_(pa.int32()))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise WorkspaceError(
            f"{path}: not a table of proposals ({error}). Run `dinotool propose-labels` again with --again."
        ) from error
    return table.assign(**{name: value for name, value in LATER_COLUMNS.items() if name not in there}), masks


def _kept(table: pd.DataFrame, place: Int64) -> Int64:
    """Return the rows to show: of images that are there, and at most MOST, what is unknown last."""
    kept = np.flatnonzero(place >= 0)
    if len(kept) <= MOST:
        return np.asarray(kept, np.int64)
    unknown = (table["advice"] == UNKNOWN).to_numpy()[kept]
    worth = table["objectness"].fillna(0.0).to_numpy()[kept]
    return np.sort(kept[np.lexsort((-worth, unknown))[:MOST]])


def fixed_part(shown: Shown, classes: Sequence[str], twins: Collection[int]) -> dict[str, Any]:
    """Return the part of the list that does not change, column by column; ``classes`` give the numbers."""
    pictures, known = shown.pictures, {name: number for number, name in enumerate(classes)}
    unit = np.where(pictures["prepare"] == COLOUR, "colour", pictures["unit"].astype("str"))
    return {
        "set": shown.set_name,
        "run": shown.run,
        "made": shown.how(),
        "kinds": sorted(shown.table["kind"].astype("str").unique()),
        "classes": list(classes),
        "sentences": shown.sentences(),
        "images": {
            "name": shown.images,
            "recording": pictures["recording"].tolist(),
            "width": pictures["width"].to_numpy(),
            "height": pictures["height"].to_numpy(),
            "unit": unit.tolist(),
            "twin": [place in twins for place in range(len(shown.images))],
        },
        "rows": _columns(shown, known),
        "audits": audits_of(shown),
    }


def _columns(shown: Shown, known: Mapping[str, int]) -> dict[str, Any]:
    """Return the proposals column by column; NaN becomes null."""
    table = shown.table
    sides = dict(zip("xywh", shown.boxes.T.round(2), strict=True))
    shares = ("score", "margin", "similarity", "probability", "objectness")
    return {
        "id": table["proposal"].tolist(),
        "image": shown.image_of,
        "kind": (~shown.whole).astype(np.int64),
        **{side: np.ascontiguousarray(values) for side, values in sides.items()},
        **{name: _numbers(table, name, known) for name in ("label", "second")},
        **{name: table[name].to_numpy(np.float32).round(4) for name in shares},
        "advice": table["advice"].astype("str").tolist(),
        "reason": table["reason"].astype("str").tolist(),
        "agree": _agree(table).tolist(),
        "cluster": table["cluster"].to_numpy(np.int64),
        "masked": shown.masked.tolist(),
    }


def _numbers(table: pd.DataFrame, name: str, known: Mapping[str, int]) -> Int64:
    """Return the number of each row's class; -1 where there is none, as of clusters that nobody named."""
    numbers = table[name].astype("str").map(known).fillna(-1).to_numpy(np.int64)
    found: Int64 = np.where(table["cluster"] < 0, numbers, -1).astype(np.int64)
    return found


def _agree(table: pd.DataFrame) -> Bool:
    """Mark the proposals that every method which was asked chose; all where only one was asked."""
    chose = table["agree"].astype("str")
    asked = set(" ".join(chose.unique()).split())
    sets = {text: set(text.split()) == asked for text in chose.unique()}
    found: Bool = chose.map(sets).to_numpy(bool)
    return found


def audits_of(shown: Shown) -> list[dict[str, Any]]:
    """Return the audits that were drawn from the run: names and rows of their sheets, the newest first."""
    found = []
    for name in places.names(shown.workspace, "selection"):
        sheet = places.selections_folder(shown.workspace, name) / audit_sheets.FILE
        rows = [shown.place_of[each] for each in audit_sheets.label_ids(sheet) if each in shown.place_of]
        if rows:
            found.append((sheet.stat().st_mtime, {"name": name, "rows": rows}))
    return [audit for _, audit in sorted(found, key=lambda each: each[0], reverse=True)]


def as_json(value: object) -> bytes:
    """Return ``value`` as compact JSON; NumPy arrays as lists, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
