"""Which colour and thermal pictures belong together: a CSV with the columns colour,thermal."""

import csv
import io
from pathlib import Path

from dinonat.errors import LabelError
from dinonat.formats.tables import read_text

COLUMNS = ("colour", "thermal")
SPELLINGS = {"color": "colour", "rgb": "colour", "visible": "colour", "infrared": "thermal", "ir": "thermal"}


def read_pair_list(path: Path) -> list[tuple[str, str]]:
    """Return the names (colour, thermal) of each row, in order; rows without both are left out.

    The ``twins.csv`` of `dinotool inspect` is such a list; the order of the columns does not matter.
    Raises LabelError where a column is missing or no row names two pictures.
    """
    text = read_text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise LabelError(f"{path}: not a CSV file ({error}). Expected the columns colour,thermal.") from error
    header = [SPELLINGS.get(cell.strip().lower(), cell.strip().lower()) for cell in (rows[0] if rows else [])]
    if any(column not in header for column in COLUMNS):
        raise LabelError(f"{path}: expected the columns colour,thermal; its header is {first.strip()!r}.")
    at = [header.index(column) for column in COLUMNS]
    named = [tuple(row[place].strip() for place in at) for row in rows[1:] if len(row) > max(at)]
    pairs = [(colour, thermal) for colour, thermal in named if colour and thermal]
    if not pairs:
        raise LabelError(f"{path}: no row names a colour and a thermal picture.")
    return pairs
