"""The labelled items behind proposals: which ones each was decided by, where they lie, how alike they are."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dinonat.embeddings.store import EmbeddingSet, open_set
from dinonat.errors import DinonatError
from dinonat.formats.tables import read_csv
from dinonat.neighbors.parts import centred, joined, parse_features
from dinonat.pipelines import workspace as places
from dinonat.pipelines.labelled import GIVEN, MET, given_boxes, uncentred
from dinonat.pipelines.review_list import TABLE, Shown
from dinonat.proposals.abstain import BACKGROUND
from dinonat.proposals.choose import BARE
from dinonat.proposals.objects import shown_by
from dinonat.records import LABEL_COLUMNS, Float32, Int64

KEPT = 1000  # search vectors, of about 16 kB: the same labelled items decide many proposals
PLACES = ["item", "image", "kind", "x", "y", "w", "h", "label"]  # what is read of items, without their masks


@dataclass(frozen=True)
class Voter:
    """One labelled item; ``box`` is None where it is a whole image."""

    item: str
    image: str
    box: tuple[float, ...] | None  # x, y, w, h
    labels: tuple[str, ...]  # several where people gave several; background is one of them


class Voters:
    """The lists of neighbours of a run, and the items that they name; read when they are first asked for."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self._known: dict[str, Voter | None] = {}  # labelled items, of which there are few
        self._counts: dict[str, dict[str, int] | None] = {}  # by the kind of item
        self._kept: OrderedDict[tuple[str, ...], Float32] = OrderedDict()  # search vectors

    @cached_property
    def _lists(self) -> tuple[Int64, Int64, list[str]]:
        """Borders (rows + 1,) of each proposal's list in the numbers (all,) of the named items."""
        lists = pq.read_table(self.shown.folder / TABLE, columns=["proposal", "neighbours"])
        at = pd.Index(lists["proposal"].to_pandas()).get_indexer(self.shown.table["proposal"])
        own = lists["neighbours"].take(pa.array(at)).combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(own), 0).to_numpy(zero_copy_only=False)
        coded = pc.list_flatten(own).dictionary_encode()
        numbers = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return np.concatenate([[0], np.cumsum(lengths)]), numbers, coded.dictionary.to_pylist()

    def of(self, row: int) -> list[str]:
        """Return the items that decided proposal ``row``, the nearest first."""
        borders, numbers, names = self._lists
        return [names[number] for number in numbers[borders[row] : borders[row + 1]]]

    def decided(self, rows: Sequence[int]) -> dict[str, list[int]]:
        """Return each item that decided any of the proposals ``rows``, and which of them."""
        borders, numbers, names = self._lists
        found: dict[int, list[int]] = {}
        for row in rows:
            for number in numbers[borders[row] : borders[row + 1]].tolist():
                found.setdefault(number, []).append(row)
        return {names[number]: own for number, own in found.items()}

    @cached_property
    def boxes(self) -> EmbeddingSet | None:
        """The set of the boxes that the run was given; None where there is none, or it is gone."""
        file = self.shown.folder / GIVEN
        try:
            name = given_boxes(file, self.shown.known)
            return open_set(places.set_folder(self.shown.workspace, name))
        except (DinonatError, OSError):
            return None

    @cached_property
    def _given(self) -> pd.DataFrame:
        """The labels that the run was given (LABEL_COLUMNS)."""
        file = self.shown.folder / GIVEN
        return read_csv(file) if file.is_file() else pd.DataFrame(columns=list(LABEL_COLUMNS))

    @cached_property
    def _items(self) -> "Items":
        return Items(self.shown.known, self.boxes)

    def voters(self, items: Sequence[str]) -> list[Voter | None]:
        """Return what each item is; None for one that is gone."""
        new = [item for item in items if item not in self._known]
        if new:
            self._known.update(zip(new, self._read(new), strict=True))
        return [self._known[item] for item in items]

    def _read(self, items: Sequence[str]) -> list[Voter | None]:
        rows, given = self._items.rows(items), self._given
        own = self._items.facts(rows[rows >= 0])
        boxed = given[given["x"].notna()].reset_index(drop=True)
        met = shown_by(boxed, own.fillna(dict.fromkeys("xywh", 0.0)), least=MET)
        found = []
        for place, facts in enumerate(own.to_dict("records")):
            image, box = str(facts["image"]), tuple(float(facts[side]) for side in "xywh")
            if facts["kind"] == "image":
                labels = given.loc[(given["image"] == image) & given["x"].isna(), "label"].tolist()
                found.append(Voter(facts["item"], image, None, tuple(map(str, labels))))
            elif facts["given"]:
                found.append(Voter(facts["item"], image, box, (str(facts["label"]),)))
            else:
                label = str(boxed["label"][met[place]]) if met[place] >= 0 else BACKGROUND
                found.append(Voter(facts["item"], image, box, (label,)))
        there = iter(found)
        return [next(there) if row >= 0 else None for row in rows]

    def counts(self, kind: str) -> dict[str, int] | None:
        """Return how many examples each class had for items of ``kind``; None where the run does not say."""
        if kind in self._counts:
            return self._counts[kind]
        every = {str(name): int(count) for name, count in (self.shown.made.get("labelled") or {}).items()}
        given = self._given
        labels = given.loc[given["x"].isna(), "label"].astype(str)
        whole = {str(name): int(n) for name, n in labels.value_counts().items()}
        own = whole if kind == "image" else {name: n - whole.get(name, 0) for name, n in every.items()}
        self._counts[kind] = {name: n for name, n in own.items() if n > 0} or None
        return self._counts[kind]

    def cosines(self, row: int, items: Sequence[str]) -> Float32:
        """Return how alike proposal ``row`` and each item are, by the run's search vectors.

        NaN for an item that is gone.
        """
        item, features, kind = (str(self.shown.table[name][row]) for name in ("item", "features", "kind"))
        asked = [(name, features, kind) for name in (item, *items)]
        new = [key for key in dict.fromkeys(asked) if key not in self._kept]
        rows = self._items.rows([name for name, _, _ in new])
        found = self._vectors(rows[rows >= 0], features, kind)
        vectors = np.full((len(new), found.shape[1]), np.nan, np.float32)
        vectors[rows >= 0] = found
        self._kept.update(zip(new, vectors, strict=True))
        cosines: Float32 = np.stack([self._kept[key] for key in asked[1:]]) @ self._kept[asked[0]]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return cosines

    def _vectors(self, rows: Int64, features: str, kind: str) -> Float32:
        weights = parse_features(features.removesuffix(BARE))
        bare = features.endswith(BARE) or self.shown.made.get("settings", {}).get("centring") == "none"
        means = uncentred(self.shown.known) if bare else self.shown.known
        parts = {name: self._items.part(name, rows) for name in weights}
        return joined(centred(parts, {name: means.mean(name, kind) for name in weights}), weights)


class Items:
    """The items of a set and of the set of its labelled boxes, as rows of one table."""

    def __init__(self, known: EmbeddingSet, boxes: EmbeddingSet | None) -> None:
        self._sets = [known] if boxes is None else [known, boxes]
        tables = [_places_of(each).assign(given=number > 0) for number, each in enumerate(self._sets)]
        self._counts = [len(table) for table in tables]
        whole = pd.concat(tables, ignore_index=True)
        # A region that was accepted as it is lies in both sets: what was given has a label.
        self._table = whole[~whole["item"].duplicated(keep="last")]
        self._at = pd.Index(self._table["item"])

    def rows(self, items: Sequence[str]) -> Int64:
        """Return the row of each item, -1 for one that is not there."""
        found = self._at.get_indexer(pd.Index(items))
        rows: Int64 = np.where(found < 0, -1, self._table.index.to_numpy()[found])
        return rows

    def facts(self, rows: Int64) -> pd.DataFrame:
        """Return PLACES of some rows, and whether each was ``given`` with its label."""
        return self._table.loc[rows].reset_index(drop=True)

    def part(self, name: str, rows: Int64) -> Float32:
        """Return the vectors (n, d) of part ``name`` of some rows, which alone are read."""
        found = np.zeros((len(rows), self._sets[0].meta["parts"][name]), np.float32)
        first = 0
        for own, count in zip(self._sets, self._counts, strict=True):
            here = (rows >= first) & (rows < first + count)
            asked, back = np.unique(rows[here] - first, return_inverse=True)
            marks = np.zeros(count, bool)
            marks[asked] = True
            found[here] = own.part(name, marks)[back]
            first += count
        return found


def _places_of(known: EmbeddingSet) -> pd.DataFrame:
    """Return PLACES of every item of a set."""
    files = [known.folder / f"shard-{shard:05d}.items.parquet" for shard in range(known.meta["shards"])]
    tables = [pq.read_table(file, columns=PLACES, read_dictionary=["kind", "label"]) for file in files]
    table: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return table
