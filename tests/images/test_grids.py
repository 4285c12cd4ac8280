import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from dinonat.errors import ThermalReadError
from dinonat.images.grids import decode_grid, frame_count, looks_like_a_grid
from dinonat.images.rasters import MAX_PIXELS


def celsius(shape: tuple[int, ...] = (12, 10)) -> np.ndarray:
    return np.random.default_rng(0).normal(21, 4, shape).round(2)


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text) + 1)
    return b"\x93NUMPY" + version + size + text.encode() + b"\n"


def promise(shape: object, kind: str = "<u2", fortran: bool = False) -> bytes:
    return header(f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


# NumPy's own arrays


@settings(max_examples=60, deadline=None)
@given(data=st.data(), order=st.sampled_from("CF"))
def test_every_number_comes_back_from_npy_and_npz(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, order: str
) -> None:
    kind = data.draw(scalar_dtypes().filter(lambda kind: kind.kind in "uifb" and kind.itemsize <= 8))
    values = data.draw(arrays(kind, array_shapes(min_dims=2, max_dims=2, max_side=9)))
    values = np.asarray(values, order=order)
    folder = tmp_path_factory.mktemp("a")
    np.save(folder / "a.npy", values)
    np.savez(folder / "b.npz", values)
    np.savez_compressed(folder / "c.npz", values)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float32)
    expected[~np.isfinite(expected)] = np.nan
    for name in ("a.npy", "b.npz", "c.npz"):
        frame = decode_grid(folder / name, name[2:])
        np.testing.assert_array_equal(frame.data, expected)
        assert frame.data.dtype == np.float32
        assert frame.data.dtype.isnative
        assert frame.unit == ("counts" if kind.kind == "f" else frame.unit)
        assert frame.unit == ("grey" if kind.kind == "b" or kind == np.uint8 else frame.unit)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<u2", ">u2", ">f4", "<f8", "i4"])
def test_a_stack_is_as_many_frames(tmp_path: Path, kind: str, order: str) -> None:
    values = np.asarray(np.random.default_rng(1).integers(256, 7000, (5, 6, 8)), kind, order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", frames=values)
    for name in ("npy", "npz"):
        path = tmp_path / f"a.{name}"
        assert frame_count(path) == 5
        for frame in range(5):
            read = decode_grid(path, name, frame=frame)
            np.testing.assert_array_equal(read.data, values[frame].astype(np.float32))
            assert (read.frame, read.n_frames, read.unit) == (frame, 5, "counts")
        for frame in (-1, 5):
            with pytest.raises(ThermalReadError, match=f"has 5 frames, frame {frame} was asked for"):
                decode_grid(path, name, frame=frame)


def test_colour_is_colour_and_grey_in_three_channels_is_grey(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 256, (6, 8, 4), np.uint8)
    np.save(tmp_path / "a.npy", values)
    frame = decode_grid(tmp_path / "a.npy", "npy")
    np.testing.assert_array_equal(frame.rgb, values[..., :3])
    np.save(tmp_path / "b.npy", np.repeat(values[..., :1], 3, axis=2))
    grey = decode_grid(tmp_path / "b.npy", "npy")
    assert (grey.rgb, grey.unit, grey.n_frames) == (None, "grey", 1)
    np.testing.assert_array_equal(grey.data, values[..., 0])
    np.save(tmp_path / "c.npy", values[..., :1].astype(np.uint16) + 300)
    np.testing.assert_array_equal(decode_grid(tmp_path / "c.npy", "npy").data, values[..., 0] + 300.0)


def test_the_unit_of_floats_is_guessed_in_words_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", celsius())
    np.save(tmp_path / "b.npy", celsius() + 273.15)
    for name, looks in (("a.npy", "degrees Celsius"), ("b.npy", "kelvin")):
        frame = decode_grid(tmp_path / name, "npy")
        assert frame.unit == "counts"
        assert looks in frame.warnings[0]
    np.testing.assert_array_equal(
        decode_grid(tmp_path / "b.npy", "npy").data, (celsius() + 273.15).astype(np.float32)
    )


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0, 1e300])
def test_frames_of_one_value_only_and_of_none(tmp_path: Path, fill: float) -> None:
    np.save(tmp_path / "a.npy", np.full((9, 8), fill))
    np.savez_compressed(tmp_path / "a.npz", np.full((9, 8), fill))
    text = "\n".join([",".join([repr(fill)] * 8)] * 9)
    (tmp_path / "a.csv").write_text(",".join("12345678") + "\n" + text)
    for name, kind in (("a.npy", "npy"), ("a.npz", "npz"), ("a.csv", "csv-grid")):
        data = decode_grid(tmp_path / name, kind).data[-9:]
        assert (data == 0).all() if fill == 0 else np.isnan(data).all()


def test_the_largest_measured_array_of_an_archive_is_read(tmp_path: Path) -> None:
    small, large = celsius((4, 5)), celsius((7, 9))
    colour = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    pose, names = np.eye(4)[0], np.array(["a", "b"])
    np.savez(tmp_path / "a.npz", pose=pose, names=names, rgb=colour, small=small, T=large, again=large + 1)
    frame = decode_grid(tmp_path / "a.npz", "npz")
    np.testing.assert_array_equal(frame.data, large.astype(np.float32))
    assert frame.warnings[0] == "its array 'T' is shown"
    np.savez(tmp_path / "c.npz", large.astype(np.uint16) + 300)
    assert decode_grid(tmp_path / "c.npz", "npz").warnings == ()
    np.savez(tmp_path / "b.npz", pose=pose)
    with pytest.raises(ThermalReadError, match=r"pose\.npy holds float64, 4"):
        decode_grid(tmp_path / "b.npz", "npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}, {}]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", np.array([[{}, {}]], dtype=object))
    for name in ("npy", "npz"):
        with pytest.raises(ThermalReadError, match="holds Python objects, which are never loaded"):
            decode_grid(tmp_path / f"a.{name}", name)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (promise((100_000, 100_000)), "100000 x 100000 pixels"),
        (promise((2**62, 2**62)), "pixels"),
        (promise((10**9, 4, 4)), "1000000000 frames"),
        (promise((4, 2**61, 2**61)), "pixels"),
        (promise((40, 40)), r"needs \d+ bytes.*at byte 128"),
        (promise((0, 4)), "holds uint16, 0 x 4"),
        (promise((4,)), "holds uint16, 4"),
        (promise((2, 2, 2, 2)), "holds uint16, 2 x 2 x 2 x 2"),
        (promise((2, 2), "<c8"), "holds complex64"),
        (promise((2, 2), "<U9"), "holds <U9"),
        (promise((2, 2), "O"), "Python objects"),
        (promise((-4, -4)), "holds uint16, -4 x -4"),
        (promise("(True, 4.0)"), "no array's"),
        (promise("__import__('os')"), "no array's"),
        (header("-" * 9000 + "1"), "no array's"),
        (header("(" * 9000), "no array's"),
        (header("{'descr'" + " " * 60000, b"\x02\x00"), "no array's"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "no array's"),
        (b"\x93NUMPY\x09\x00\x10\x00{}", "no array's"),
        (b"\x93NUMPY", "no array's"),
    ],
)
def test_a_header_is_judged_before_anything_is_allocated(tmp_path: Path, head: bytes, says: str) -> None:
    (tmp_path / "a.npy").write_bytes(head.ljust(128, b"\n"))
    tracemalloc.start()
    with pytest.raises(ThermalReadError, match=says) as caught:
        decode_grid(tmp_path / "a.npy", "npy")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert caught.value.path == str(tmp_path / "a.npy")


def member(path: Path, name: str, size: int, start: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Write an archive whose member holds ``start`` and then zeros up to ``size`` bytes."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open(name, "w", force_zip64=True) as stream:
        stream.write(start)
        for _ in range((size - len(start)) // 2**20):
            stream.write(bytes(2**20))
        stream.write(bytes((size - len(start)) % 2**20))


def test_bombs_are_refused_before_they_go_off(tmp_path: Path) -> None:
    bombs = {
        "wide": (promise((100_000, 100_000)), 2**24, "100000 x 100000 pixels"),
        "long": (promise((2**20, 8, 8)), 2**24, "1048576 frames"),
        "behind": (promise((4, 4)), 2**24, r"needs \d+ bytes, has 16777216"),
        "interleaved": (promise((520, 512, 512), "<u2", fortran=True), None, "interleaves 520 frames"),
    }
    for name, (head, size, says) in bombs.items():
        size = len(head) + 520 * 512 * 512 * 2 if size is None else size
        member(tmp_path / "a.npz", "a.npy", size, head)
        tracemalloc.start()
        with pytest.raises(ThermalReadError, match=says):
            decode_grid(tmp_path / "a.npz", "npz")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000, name
        tracemalloc.stop()


def test_sizes_that_lie_and_packing_that_no_one_bounds_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", np.zeros((64, 64), np.uint16))
    whole = (tmp_path / "a.npz").read_bytes()
    at = whole.rindex(b"PK\x01\x02")
    for size in (2**31 + 1, 2**32 - 2, 5_000_000, 64):
        (tmp_path / "b.npz").write_bytes(whole[: at + 24] + struct.pack("<I", size) + whole[at + 28 :])
        with pytest.raises(ThermalReadError, match=r"would unpack|needs|damaged"):
            decode_grid(tmp_path / "b.npz", "npz")
    (tmp_path / "b.npz").write_bytes(whole[: at + 42] + struct.pack("<I", 2**31) + whole[at + 46 :])
    with pytest.raises(ThermalReadError, match="would lie outside the archive"):
        decode_grid(tmp_path / "b.npz", "npz")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        member(tmp_path / "c.npz", "a.npy", 2**20, promise((8, 8)), method)
        with pytest.raises(ThermalReadError, match="packed as NumPy never packs"):
            decode_grid(tmp_path / "c.npz", "npz")


def test_archives_in_archives_and_long_lists_of_members_are_not_followed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("../../inner.npz", b"PK\x03\x04")
    with pytest.raises(ThermalReadError, match="without arrays"):
        decode_grid(tmp_path / "a.npz", "npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("../../up\n.npy", saved(celsius()))
        archive.writestr("readme", b"")
    assert decode_grid(tmp_path / "b.npz", "npz").warnings[0] == "its array '../../up\\n' is shown"
    assert (
        list(tmp_path.iterdir()) == [tmp_path / "a.npz", tmp_path / "b.npz"]
        or len(list(tmp_path.iterdir())) == 2
    )
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        for number in range(13_000):
            archive.writestr(f"{number:040d}.npy", b"")
    with pytest.raises(ThermalReadError, match="more members"):
        decode_grid(tmp_path / "c.npz", "npz")


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_a_cut_array_is_an_error_at_every_place(tmp_path: Path, save: object) -> None:
    name = "npy" if save is np.save else "npz"
    save(tmp_path / f"a.{name}", celsius((20, 16)))  # type: ignore[operator]
    whole = (tmp_path / f"a.{name}").read_bytes()
    for length in [*range(1, len(whole), 64), len(whole) - 1]:
        (tmp_path / "b").write_bytes(whole[:length])
        with pytest.raises(ThermalReadError):
            decode_grid(tmp_path / "b", name)


# Grids in text


def written(values: np.ndarray, separator: str = ",", decimal: str = ".", end: str = "\n") -> str:
    rows = ([f"{value:g}".replace(".", decimal) for value in row] for row in values)
    return "".join(separator.join(row) + end for row in rows)


FLIR_TOOLS = "File:;FLIR0001.jpg\nMax;34,5 °C\nMin;12,1\nEmissivity;0,95\n;;;\n\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize(
    ("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "{separator}\r\n", "{separator}{separator}\n"])
@pytest.mark.parametrize("head", ["", FLIR_TOOLS])
def test_a_grid_is_read_however_it_was_exported(
    tmp_path: Path, head: str, end: str, separator: str, decimal: str, encoding: str
) -> None:
    head = head.replace(";", separator).replace("34,5", f"34{decimal}5").replace("0,95", f"0{decimal}95")
    if encoding in {"utf-16-le", "utf-16-be"}:
        head = head.replace("°", "")
    text = head + written(celsius(), separator, decimal, end.format(separator=separator))
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert looks_like_a_grid(tmp_path / "a.csv")
    frame = decode_grid(tmp_path / "a.csv", "csv-grid")
    np.testing.assert_array_equal(frame.data, celsius().astype(np.float32))
    assert (frame.unit, frame.source_format, frame.n_frames) == ("counts", "csv-grid", 1)
    assert any("they may be degrees Celsius" in note for note in frame.warnings)
    assert ("its commas were read as decimal signs" in frame.warnings) == (decimal == ",")


def test_quoted_cells_blank_cells_and_numbers_in_powers(tmp_path: Path) -> None:
    rows = ['"20,5","1e3","-3","NaN","","inf"," 7 ","0"', '1,2,3,4,5,6,"7,5",']
    (tmp_path / "a.csv").write_text("\n".join(rows))
    nan = np.nan
    expected = np.float32([[20.5, 1e3, -3, nan, nan, nan, 7, 0], [1, 2, 3, 4, 5, 6, 7.5, nan]])
    np.testing.assert_array_equal(decode_grid(tmp_path / "a.csv", "csv-grid").data, expected)


def test_what_pandas_and_numpy_write_is_read(tmp_path: Path) -> None:
    pd.DataFrame(celsius()).to_csv(tmp_path / "a.csv")
    pd.DataFrame(celsius()).to_csv(tmp_path / "b.csv", index=False, header=False, sep=";", decimal=",")
    np.savetxt(tmp_path / "c.csv", celsius(), delimiter=",")
    pd.DataFrame(celsius()).to_csv(tmp_path / "d.csv", index=False, sep="\t")
    for name in "abcd":
        assert looks_like_a_grid(tmp_path / f"{name}.csv")
        frame = decode_grid(tmp_path / f"{name}.csv", "csv-grid")
        np.testing.assert_array_equal(frame.data, celsius().astype(np.float32))
        left_out = "its numbers of rows and columns were left out" in frame.warnings
        assert left_out == (name in "ad")


def test_a_ramp_is_no_numbering_of_columns(tmp_path: Path) -> None:
    ramp = np.arange(96).reshape(8, 12)
    np.savetxt(tmp_path / "a.csv", ramp, delimiter=",", fmt="%d")
    np.testing.assert_array_equal(decode_grid(tmp_path / "a.csv", "csv-grid").data, ramp)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda rows: [*rows[:5], rows[5].rsplit(",", 1)[0], *rows[6:]],
            "line 6 has 9 numbers.*first row 10",
        ),
        (lambda rows: [*rows[:5], rows[5] + ",3", *rows[6:]], "line 6 has 11 numbers"),
        (lambda rows: [*rows[:11], rows[11].replace(rows[11][:4], "20 °C", 1)], "line 12 holds '20 °C"),
        (lambda rows: [*rows[:11], "1_0" + rows[11][rows[11].index(",") :]], "line 12 holds '1_0'"),
        (lambda rows: [*rows[:4], "", *rows[4:]], "line 5 is blank and line 6 is not"),
        (lambda rows: [*rows[:4], "," * 9, *rows[4:]], "line 5 is blank"),
        (lambda rows: [*rows, "Max,34.5"], "line 13 has 2 numbers"),
        (lambda rows: [*rows[:4], "\0" + rows[4]], "line 5|neither text"),
        (lambda rows: ["a,b,c"] * 300, "no row of at least 8 numbers"),
        (lambda rows: [rows[0], '"' + "1" * 200_000], "line 2 is no row of a table"),
        (lambda rows: [rows[0], "1," * 2_500_000], "line 2 is longer than"),
        (lambda rows: [rows[0], "1," * 140_000], "line 2 has 140001 cells"),
    ],
)
def test_a_fault_in_a_text_is_named_by_its_line(tmp_path: Path, change: object, says: str) -> None:
    rows = written(celsius()).splitlines()
    (tmp_path / "a.csv").write_text("\n".join(change(rows)), newline="")  # type: ignore[operator]
    with pytest.raises(ThermalReadError, match=says):
        decode_grid(tmp_path / "a.csv", "csv-grid")


def test_more_pixels_than_are_read_end_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS >= 2**26
    monkeypatch.setattr("dinonat.images.rasters.MAX_PIXELS", 100)
    (tmp_path / "a.csv").write_text(written(celsius()))
    with pytest.raises(ThermalReadError, match="10 x 11 pixels"):
        decode_grid(tmp_path / "a.csv", "csv-grid")


BOXES = "image,label,x,y,w,h,score,margin,lo,hi\n" + "a.png,cat,1,2,3,4,5,6,7,8\n" * 3


@pytest.mark.parametrize(
    "content",
    [
        BOXES.encode(),
        ",".join(f"feature{n}" for n in range(12)).encode() + b"\n" + (b"1," * 11 + b"2\n") * 5,
        b"image,recording\na.png,r1\n" * 9,
        b"0 0.5 0.5 0.1 0.1\n" * 5,
        b"1,2,3\n" * 20,
        b"1,2,3,4,5,6,7,8\n",
        b"1,2,3,4,5,6,7,8\n1,2\n",
        b"only words",
        b"{" + b'"a": [1,2,3,4,5,6,7,8,9],' * 50 + b"}",
        b"\xff\xfe",
        b"\xff\xfe\x00",
        bytes(range(256)) * 9,
        b"1" * 10_000_000,
    ],
)
def test_tables_of_labels_and_other_files_are_no_grids(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert not looks_like_a_grid(tmp_path / "a.csv")
