"""Sets of vectors on disk: shards that are whole or not there, and meta.json that says what made them.

A set is a folder. Shard 7 is ``shard-00007.items.parquet`` (rows of ITEM_COLUMNS) beside one
``shard-00007.PART.npy`` (rows, d) float16 for each part; the items are written last, so a shard
exists once its items do. Every shard carries the identity of its set: rows of two makings never mix.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dinonat.errors import CheckpointError, WorkspaceError
from dinonat.files import short_hash, write_bytes, write_whole
from dinonat.images.batches import Shown
from dinonat.images.prepare import COLOUR, parse_preparation
from dinonat.images.reading import parse_reading
from dinonat.records import ITEM_COLUMNS, PARTS, Bool, Float32, as_table

META = "meta.json"
FIRST = 20  # failures that meta.json names; the rows hold them all
IDENTITY = b"dinotool.identity"  # key in the metadata of each parquet file
OURS = re.compile(r"\.?(meta\.json|shard-(?P<shard>\d{5,})\.(items\.parquet|\w+\.npy))(?P<part>\.\d+\.part)?")
ARROW = {"str": pa.string(), "float32": pa.float32(), "int32": pa.int32(), "object": pa.list_(pa.int32())}
SCHEMA = pa.schema([(name, ARROW[kind]) for name, kind in ITEM_COLUMNS.items()])
Meta = dict[str, Any]


class SetWriter:
    """Writes one set shard by shard; shards of the same making that are there already are kept."""

    def __init__(
        self, folder: Path, making: Mapping[str, Any], *, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Open ``folder`` for the set that ``making`` describes: all that decides its bytes, JSON-able.

        ``notes`` go into meta.json too and may differ from one start to the next. Raises
        WorkspaceError where the folder holds a set of another making, naming what differs.
        """
        self.folder, self.making, self.notes = folder, dict(making), dict(notes or {})
        self.identity = short_hash(self.making)
        before = read_meta(folder) if (folder / META).exists() else None
        if before is not None:
            refuse_other_making(folder, making_of(before), self.making)
        self.done = frozenset(_shards(folder, self.identity))
        clear(folder, keep=self.done)  # what a killed run left half-done
        self.complete = before is not None and before["complete"] and len(self.done) == before["shards"]
        if not self.complete:
            self._write_meta({"complete": False})

    def write(self, shard: int, items: pd.DataFrame, parts: Mapping[str, Float32]) -> None:
        """Store the rows of shard number ``shard`` and their vectors, part -> (rows, d).

        Raises CheckpointError for vectors that float16 cannot hold, WorkspaceError on a full disk.
        """
        table = pa.Table.from_pandas(as_table(items, ITEM_COLUMNS), schema=SCHEMA, preserve_index=False)
        table = table.replace_schema_metadata({IDENTITY: self.identity.encode()})
        for name in PARTS:
            half = _half(name, parts[name])
            write_whole(
                self.folder / f"shard-{shard:05d}.{name}.npy",
                lambda stream, half=half: np.save(stream, half, allow_pickle=False),  # type: ignore[misc]
            )
        path = self.folder / f"shard-{shard:05d}.items.parquet"
        write_whole(path, lambda stream: pq.write_table(table, stream, compression="zstd"))

    def finish(self, *, shards: int) -> Meta:
        """Write the counts and the mean of each part to meta.json and declare the set complete."""
        present = _shards(self.folder, self.identity)
        if sorted(present) != list(range(shards)):
            raise WorkspaceError(f"{self.folder}: {len(present)} of {shards} shards are there; embed again.")
        counts, units, means, failures = _summary(self.folder, shards)
        parts = {name: _vectors(self.folder, 0, name).shape[1] for name in PARTS}
        state = {"complete": True, "shards": shards, "parts": parts, "counts": counts, "means": means}
        return self._write_meta({**state, "units": units, "failures": failures})

    def _write_meta(self, state: Mapping[str, Any]) -> Meta:
        made_from = sorted(self.making)
        meta = {**self.notes, **self.making, "identity": self.identity, "made_from": made_from, **state}
        # One line a key: readable, though the means are thousands of numbers.
        lines = [f" {json.dumps(key)}: {_json(meta[key])}" for key in sorted(meta)]
        write_bytes(self.folder / META, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
        return meta


@dataclass(frozen=True, eq=False)
class EmbeddingSet:
    """A finished set: its table and, on request, its vectors; row i of both is the same item."""

    folder: Path
    meta: Meta

    @cached_property
    def items(self) -> pd.DataFrame:
        """All rows (ITEM_COLUMNS), images before their regions, in the order of the listing."""
        tables = [pq.read_table(self.folder / f"shard-{shard:05d}.items.parquet") for shard in self._numbers]
        frame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=list(ITEM_COLUMNS))
        frame["mask_counts"] = [list(map(int, counts)) for counts in frame["mask_counts"]]
        return as_table(frame, ITEM_COLUMNS)

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """The rows of images only, without their masks: of a large set a small part of its ``items``."""
        columns = [name for name in ITEM_COLUMNS if name != "mask_counts"]
        texts = ["kind", "source", "recording", "status", "unit", "prepare"]
        files = [self.folder / f"shard-{shard:05d}.items.parquet" for shard in self._numbers]
        tables = [
            pq.read_table(file, columns=columns, filters=[("kind", "=", "image")], read_dictionary=texts)
            for file in files
        ]
        frame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=columns)
        return as_table(frame, {name: ITEM_COLUMNS[name] for name in columns})

    def part(self, name: str, where: Bool | None = None) -> Float32:
        """Return the vectors of part ``name`` (n, d), of the rows that ``where`` (rows,) marks, or of all.

        Vectors of failed rows are zero. Raises WorkspaceError for an unknown part or a damaged shard.
        """
        if name not in PARTS:
            raise WorkspaceError(f"{self.folder}: no part '{name}' in a set. Parts: {', '.join(PARTS)}.")
        if where is not None and where.shape != (self._borders[-1],):
            raise ValueError(f"a mark for each of {self._borders[-1]} rows is needed, got {where.shape}")
        chosen = [np.zeros((0, self.meta["parts"][name]), np.float16)]
        for shard in self._numbers:
            start, stop = self._borders[shard], self._borders[shard + 1]
            if where is not None and not where[start:stop].any():
                continue  # so that reading a large set piece by piece opens each shard once
            values = _vectors(self.folder, shard, name)
            if len(values) != stop - start:
                raise WorkspaceError(
                    f"{self.folder}: {len(values)} vectors for the {stop - start} rows of shard {shard}. "
                    "Run `dinotool embed --again`."
                )
            chosen.append(np.asarray(values if where is None else values[where[start:stop]]))
        return np.concatenate(chosen).astype(np.float32)

    def mean(self, name: str, kind: str) -> Float32:
        """Return the mean (d,) of part ``name`` over the set's usable items of ``kind``, zeros if none."""
        values = self.meta["means"].get(kind, {}).get(name)
        return (
            np.zeros(self.meta["parts"][name], np.float32) if values is None else np.array(values, np.float32)
        )

    @cached_property
    def shown(self) -> Shown:
        """How to read and prepare an image of the set again, to the very pixels that the network saw."""
        settings = self.meta.get("settings", {})
        prepare, invert = settings.get("prepare", "percentile"), settings.get("invert", "auto")
        images = self.pictures[self.pictures["status"] == "ok"]
        stretched = images[images["prepare"] != COLOUR]
        limits = zip(stretched["lo"].tolist(), stretched["hi"].tolist(), strict=True)
        return Shown(
            parse_preparation(prepare, invert=invert),
            dict(zip(stretched["image"], limits, strict=True)),
            parse_reading(settings.get("scale", ""), settings.get("object", "")),
        )

    @property
    def _numbers(self) -> range:
        return range(self.meta["shards"])

    @cached_property
    def _borders(self) -> list[int]:
        """Return the row at which each shard begins, and the number of all rows."""
        files = [self.folder / f"shard-{shard:05d}.items.parquet" for shard in self._numbers]
        return [0, *accumulate(pq.read_metadata(file).num_rows for file in files)]


def open_set(folder: Path) -> EmbeddingSet:
    """Open the finished set in ``folder``.

    Raises WorkspaceError where there is none, where it is unfinished, or where shards are missing
    or of another making.
    """
    if not (folder / META).exists():
        raise WorkspaceError(f"{folder}: no set of vectors here. Make one with `dinotool embed FOLDER`.")
    meta = read_meta(folder)
    if not meta["complete"]:
        raise WorkspaceError(
            f"{folder}: this set is unfinished. Run the same `dinotool embed` again; it goes on."
        )
    missing = set(range(meta["shards"])) - set(_shards(folder, meta["identity"]))
    if missing:
        raise WorkspaceError(
            f"{folder}: shard {min(missing)} is missing or of another making. Run the same `dinotool embed` "
            "again; it fills the gaps."
        )
    return EmbeddingSet(folder, meta)


def read_meta(folder: Path) -> Meta:
    """Read ``meta.json``; raises WorkspaceError where it is not one that we wrote."""
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(meta, dict) and {"identity", "complete", *meta["made_from"]} <= meta.keys():
            return meta
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise WorkspaceError(
        f"{path}: damaged, or not of a set of vectors. Embed with --again, or give another --name."
    )


def making_of(meta: Meta) -> Meta:
    """Return those facts of ``meta`` that decided the bytes of its set."""
    return {key: meta[key] for key in meta["made_from"]}


def clear(folder: Path, *, keep: Collection[int] | None = None) -> None:
    """Remove a set, or all but its meta.json and the shards to ``keep``; only files of our names.

    The items of each shard go before its vectors, so that a kill leaves no shard that seems whole.
    """
    for path in sorted(folder.glob("*"), key=lambda path: (path.suffix == ".npy", path.name)):
        name = OURS.fullmatch(path.name)
        if name is None or (
            keep is not None and not name["part"] and (not name["shard"] or int(name["shard"]) in keep)
        ):
            continue
        path.unlink()


def refuse_other_making(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise WorkspaceError that names each fact in which two makings differ."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if keys:
        said = "; ".join(f"{key} was {_json(old.get(key))}, now {_json(new.get(key))}" for key in keys)
        raise WorkspaceError(
            f"{folder}: holds a set made otherwise ({said}). Give --name for a second set, or --again to "
            "replace this one."
        )


def _flat(making: Mapping[str, Any]) -> Meta:
    flat: Meta = {}
    for key, value in making.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _shards(folder: Path, identity: str) -> list[int]:
    """Return the numbers of the whole shards of this identity; others count as absent."""
    found = []
    for path in sorted(folder.glob("shard-*.items.parquet")):
        stem = path.name.removesuffix(".items.parquet")
        try:
            written = (pq.read_schema(path).metadata or {}).get(IDENTITY, b"").decode()
        except (pa.ArrowException, OSError):
            continue
        if written == identity and all((folder / f"{stem}.{name}.npy").exists() for name in PARTS):
            found.append(int(stem.removeprefix("shard-")))
    return found


def _vectors(folder: Path, shard: int, name: str) -> NDArray[np.float16]:
    """Map the vectors (rows, d) of one part of one shard; nothing is read yet."""
    path = folder / f"shard-{shard:05d}.{name}.npy"
    try:
        values: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{path}: missing or damaged ({error}). Run `dinotool embed --again`."
        ) from error
    return values


def _half(name: str, values: Float32) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise CheckpointError(
            f"part '{name}': values beyond the range of float16 (largest {np.abs(values).max():.3g}). The "
            "network has diverged or is damaged; give other --weights."
        )
    return half


Means = dict[str, dict[str, list[float]]]  # kind of item -> part -> its mean


def _summary(
    folder: Path, shards: int
) -> tuple[dict[str, int], dict[str, int], Means, list[tuple[str, str]]]:
    """Count rows and units, average each part over the usable items of a kind, name the first failures.

    One shard at a time: a set may be larger than the memory.
    """
    counts = {"images": 0, "regions": 0, "failed": 0}
    totals: dict[tuple[str, str], NDArray[np.float64]] = {}
    usable = {"image": 0, "region": 0}
    units = Counter[str]()
    failures: list[tuple[str, str]] = []
    for shard in range(shards):
        path = folder / f"shard-{shard:05d}.items.parquet"
        rows = pq.read_table(
            path, columns=["image", "kind", "status", "reason", "unit", "prepare"]
        ).to_pandas()
        ok = (rows["status"] == "ok").to_numpy(bool)
        counts["failed"] += int((~ok).sum())
        pictures = rows[ok & (rows["kind"] == "image")]
        units.update(pictures["unit"].where(pictures["prepare"] != COLOUR, COLOUR))
        failures += list(zip(rows["image"][~ok], rows["reason"][~ok], strict=True))[: FIRST - len(failures)]
        for kind, plural in (("image", "images"), ("region", "regions")):
            of_kind = (rows["kind"] == kind).to_numpy(bool)
            counts[plural] += int(of_kind.sum())
            usable[kind] += int((of_kind & ok).sum())
            for name in PARTS:
                total = _vectors(folder, shard, name)[of_kind & ok].sum(axis=0, dtype=np.float64)
                totals[kind, name] = totals.get((kind, name), 0.0) + total
    means = {
        kind: {name: [float(value) for value in totals[kind, name] / n] for name in PARTS}
        for kind, n in usable.items()
        if n
    }
    return counts, dict(sorted(units.items())), means, failures
