"""The list of what a run leaves to be looked at first, as a file beside its proposals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dinonat.files import write_whole
from dinonat.proposals.doubts import Doubts, together

DOUBTS = "doubts.parquet"


class Looked(NamedTuple):
    """The lists of one run, and what they say: kind of doubt -> sentence."""

    lists: tuple[Doubts, ...]
    sentences: Mapping[str, str]


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
