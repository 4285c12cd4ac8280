"""What a run leaves to be looked at first, beside its proposals: outliers, repeats, labels in doubt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dinonat.files import write_whole
from dinonat.neighbors.index import search
from dinonat.pipelines.propose_graph import Place
from dinonat.proposals.deciding import Decided
from dinonat.proposals.doubts import (
    DUPLICATE,
    LABEL,
    OUTLIER,
    Doubts,
    label_errors,
    near_duplicates,
    outliers,
    together,
    vote_shares,
)

DOUBTS = "doubts.parquet"


class Looked(NamedTuple):
    """The lists of one run, and what they say: kind of doubt -> sentence."""

    lists: tuple[Doubts, ...]
    sentences: Mapping[str, str]


def looked_at(place: Place | None, about: Decided | None) -> Looked:
    """Look through the items of a ``place``, and the labels that decided ``about`` others."""
    found: dict[str, Doubts] = {}
    if place is not None:
        found[OUTLIER] = outliers(place.items, place.graph)
        found[DUPLICATE] = near_duplicates(place.items, place.graph, place.vectors)
    if about is not None and len(about.bank.names) > 1:
        bank = about.bank
        shares = vote_shares(
            about.vectors, bank.classes, bank.groups[0], n_classes=len(bank.names), search=search
        )
        found[LABEL] = label_errors(bank.items, bank.classes, bank.names, shares)
    return Looked(tuple(found.values()), {kind: each.sentence for kind, each in found.items()})


def write_doubts(folder: Path, looked: Sequence[Looked]) -> dict[str, str]:
    """Write the lists of a run into its folder; return what they say, kind of doubt -> sentence."""
    table = together([each for one in looked for each in one.lists])
    rows = pa.Table.from_pandas(_ordered(table), preserve_index=False).replace_schema_metadata(None)
    write_whole(folder / DOUBTS, lambda stream: pq.write_table(rows, stream, compression="zstd"))
    said: dict[str, str] = {}
    for one in looked:
        for kind, sentence in one.sentences.items():
            said[kind] = f"{said[kind]} {sentence}" if kind in said else sentence
    return said


def read_doubts(folder: Path) -> pd.DataFrame:
    """Return the lists of the run in ``folder`` (DOUBT_COLUMNS), empty where it has none."""
    path = folder / DOUBTS
    return pd.read_parquet(path) if path.exists() else together(())


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put lists of one kind together: images and regions may each have made one."""
    return table.sort_values("doubt", kind="stable", ignore_index=True)
