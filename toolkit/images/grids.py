"""Read grids of numbers: arrays that NumPy saved, and tables in text (.csv) whose cells are pixels."""

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from dinonat.errors import ThermalReadError
from dinonat.images.arrays import npy_header, npz_header, read_npy, read_npz
from dinonat.images.faults import fault, printable
from dinonat.images.frames import to_frame
from dinonat.images.rasters import MAX_SIDE, Pixels, Raster, check_bounds, one_channel_if_grey
from dinonat.records import Float32, ThermalFrame

SAMPLE_BYTES = 2**17  # two rows of the widest sensor, every number with 25 digits
MAX_LINE = 2**22  # characters
MAX_BYTES = 2**29  # of a whole text
MAX_HEADER = 200  # rows before the numbers
MIN_COLUMNS, MIN_ROWS = 8, 2  # fewer are a table of labels or of places
SEPARATORS = "\t;,"  # the first that is there; where it is not the comma, that is the decimal sign
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SAVE_AGAIN = "Save one number in each cell, without units, and every row as long as the first."


def frame_count(path: Path) -> int:
    """Return how many frames a .npy or .npz file holds; other grids hold one."""
    with path.open("rb") as stream:
        head = stream.read(6)
    if head == np.lib.format.MAGIC_PREFIX:
        return npy_header(path).frames
    return npz_header(path).frames if head.startswith(b"PK") else 1


def decode_grid(path: Path, source_format: str, *, frame: int = 0) -> ThermalFrame:
    """Return one frame of a grid; ``source_format`` is "npy", "npz" or "csv-grid".

    An array (N, H, W) is N frames, (H, W, 3) in uint8 a colour picture. Numbers that are not uint8
    are counts, since no grid says its unit; a hint says what floats look like. Not a number and
    infinite are no data. Raises ThermalReadError for what cannot be read.
    """
    if source_format == "csv-grid":
        if frame != 0:
            raise fault(path, f"has 1 frame, frame {frame} was asked for", advice="")
        return to_frame(_raster(*read_csv(path), "csv-grid", 1))
    if source_format == "npy":
        pixels, notes, n_frames = read_npy(path, frame), tuple[str, ...](), npy_header(path).frames
    else:
        pixels, name = read_npz(path, frame)
        notes = (f"its array '{printable(name)}' is shown",) if name else ()
        n_frames = npz_header(path).frames
    return to_frame(_raster(pixels, notes, source_format, n_frames), frame=frame)


def _raster(pixels: Pixels, notes: tuple[str, ...], source_format: str, n_frames: int) -> Raster:
    pixels = one_channel_if_grey(pixels)
    return Raster(pixels, source_format, (pixels.shape[0], pixels.shape[1]), n_frames, warnings=notes)


def looks_like_a_grid(path: Path) -> bool:
    """Tell whether a text is a matrix of pixels, by its first kilobytes.

    That is at least MIN_ROWS rows of at least MIN_COLUMNS numbers, equally long. A table whose
    columns have names (labels, boxes, recordings, features) is none.
    """
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_BYTES)
    if _encoding(sample) is None:
        return False
    try:
        form = _form(path, sample)
        with _opened(path, form.encoding) as text:
            rows = islice(_rows(path, text, form), form.first, form.first + MIN_ROWS)
            return sum(_numbers(path, form, *row).size == form.width for row in rows) == MIN_ROWS
    except ThermalReadError:
        return False


@dataclass(frozen=True)
class Form:
    """How a text holds its grid: where the numbers begin and how they are written."""

    encoding: str
    separator: str
    first: int = 0  # rows before the numbers
    width: int = 0  # numbers in a row
    numbered: bool = False  # the row above only numbers the columns
    indexed: bool = False  # and the first column the rows
    decimal_comma: bool = False


Row = tuple[int, list[str]]  # line of the text, counted from 1; cells


def read_csv(path: Path) -> tuple[Float32, tuple[str, ...]]:
    """Return the grid in a text (H, W), blank cells as NaN, and what was left out.

    Cells are separated by tabs, semicolons or commas, numbers may have a decimal comma (where cells
    are separated by something else or quoted), and rows of text may stand above them. Raises
    ThermalReadError, which names the line, where a row is shorter or longer than the first or a
    cell is no number.
    """
    if path.stat().st_size > MAX_BYTES:
        raise fault(path, f"a text of more than {MAX_BYTES} bytes", advice="Save it as .npy.")
    with path.open("rb") as stream:
        form = _form(path, stream.read(SAMPLE_BYTES))
    grid: list[Float32] = []
    blank = 0
    with _opened(path, form.encoding) as text:
        for line, cells in islice(_rows(path, text, form), form.first, None):
            if not any(cells):
                blank = line
                continue
            if blank:
                raise fault(path, f"line {blank} is blank and line {line} is not", advice=SAVE_AGAIN)
            grid.append(_numbers(path, form, line, cells))
            check_bounds(path, (len(grid), form.width))
    if not grid:
        raise fault(path, "a text without rows of numbers", advice=SAVE_AGAIN)
    notes = {"its numbers of rows and columns were left out": form.numbered}
    notes["its commas were read as decimal signs"] = form.decimal_comma
    return np.stack(grid), tuple(note for note, holds in notes.items() if holds)


def _encoding(sample: bytes) -> str | None:
    """Return how a text is encoded by its first bytes; None where they are no text."""
    for mark, encoding in MARKS:
        if sample.startswith(mark):
            return encoding
    if b"\0" not in sample:
        return "utf-8"
    for encoding, high in (("utf-16-le", 1), ("utf-16-be", 0)):  # plain letters have a high byte of zero
        if not sample[high::2].strip(b"\0") and b"\0" not in sample[1 - high :: 2]:
            return encoding
    return None


def _opened(path: Path, encoding: str) -> IO[str]:
    """Open a text; bytes that its encoding does not have can only stand in words."""
    return path.open(encoding=encoding, errors="replace", newline="")


def _form(path: Path, sample: bytes) -> Form:
    """Find where the numbers begin: the first row of enough numbers that no row of names is above."""
    encoding = _encoding(sample)
    if encoding is None:
        raise fault(path, "neither text nor a known format", advice=SAVE_AGAIN)
    nothing = f"no row of at least {MIN_COLUMNS} numbers among its first rows"
    problem = fault(path, nothing, advice=SAVE_AGAIN)
    for separator in SEPARATORS:
        try:
            form = _form_with(path, encoding, separator)
        except ThermalReadError as error:  # with another separator it may be a table
            problem = error
            continue
        if form is not None:
            return form
    raise problem


def _form_with(path: Path, encoding: str, separator: str) -> Form | None:
    form, above = Form(encoding, separator), list[str]()
    with _opened(path, encoding) as text:
        rows = _rows(path, text, form)
        for number, (_, cells) in enumerate(islice(rows, MAX_HEADER + 1)):
            cells = _without_trailing_blanks(cells)
            if len(cells) >= MIN_COLUMNS and _are_numbers(cells, separator):
                if sum(map(bool, above)) >= len(cells) - 1:  # names of columns
                    return None
                return _form_from(form, number, cells, next(rows, (0, []))[1])
            above = cells
    return None


def _form_from(form: Form, number: int, cells: list[str], below: list[str]) -> Form:
    """Return how a grid is held whose first row has these cells, by that and by the row below."""
    indexed = cells[0] == ""
    numbered = _is_count(cells[indexed:]) and (indexed or not _is_count(below, from_anywhere=True))
    indexed &= numbered
    return replace(
        form,
        first=number + numbered,
        width=len(cells) - indexed,
        numbered=numbered,
        indexed=indexed,
        decimal_comma=any("," in cell for cell in cells + below),
    )


def _rows(path: Path, text: IO[str], form: Form) -> Iterator[Row]:
    """Yield the rows of a text with their line numbers; lines and cells are bounded."""
    line = 0

    def lines() -> Iterator[str]:
        nonlocal line
        while part := text.readline(MAX_LINE):
            line += 1
            if len(part) >= MAX_LINE:
                raise fault(path, f"line {line} is longer than {MAX_LINE} characters", advice=SAVE_AGAIN)
            yield part

    try:
        for cells in csv.reader(lines(), delimiter=form.separator):
            if len(cells) > MAX_SIDE:
                raise fault(path, f"line {line} has {len(cells)} cells", advice=SAVE_AGAIN)
            yield line, list(map(str.strip, cells))
    except csv.Error as error:
        raise fault(path, f"line {line} is no row of a table ({error})", advice=SAVE_AGAIN) from error


def _numbers(path: Path, form: Form, line: int, cells: list[str]) -> Float32:
    """Return the numbers of one row, NaN for blank cells; the line is named where they are none."""
    cells = cells[form.indexed :]
    if len(cells) < form.width or any(cells[form.width :]):
        got = len(_without_trailing_blanks(cells))
        raise fault(path, f"line {line} has {got} numbers, the first row {form.width}", advice=SAVE_AGAIN)
    try:
        values = [_number(cell, form.separator) for cell in cells[: form.width]]
    except ValueError as error:
        raise fault(path, f"line {line} holds '{printable(str(error)[:40])}'", advice=SAVE_AGAIN) from None
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


def _number(cell: str, separator: str) -> float:
    """Return a cell's value; ValueError with the cell for text, and for what only Python calls a number."""
    if not cell:
        return float("nan")
    plain = cell.replace(",", ".") if separator != "," or cell.count(",") == 1 else cell
    try:
        if "_" not in plain:
            return float(plain)
    except ValueError:
        pass
    raise ValueError(cell)


def _are_numbers(cells: list[str], separator: str) -> bool:
    """Tell whether no cell is text and half of them are filled."""
    try:
        return bool([_number(cell, separator) for cell in cells]) and 2 * sum(map(bool, cells)) >= len(cells)
    except ValueError:
        return False


def _is_count(cells: list[str], *, from_anywhere: bool = False) -> bool:
    """Tell whether cells only count on: 0, 1, 2 or 1, 2, 3 and so on, as columns are numbered."""
    if not cells or not cells[0].isdecimal() or not (from_anywhere or cells[0] in {"0", "1"}):
        return False
    return all(cell == str(number) for number, cell in enumerate(cells, start=int(cells[0])))


def _without_trailing_blanks(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells
