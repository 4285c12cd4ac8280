import contextlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.errors import ImageError
from dinonat.images.tiffs import decode_tiff, frame_pages


def counts(shape: tuple[int, ...] = (33, 21), kind: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(6743, 7078, shape).astype(kind)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(None, False), ("packbits", False)]
    + [(codec, predictor) for codec in ("lzw", "zlib", "zstd", "lzma") for predictor in (False, True)],
)
def test_sixteen_bits_survive_every_compression_and_byte_order(
    tmp_path: Path, byteorder: str, predictor: bool, compression: str | None
) -> None:
    file, values = tmp_path / "a.tif", counts()
    tifffile.imwrite(file, values, byteorder=byteorder, compression=compression, predictor=predictor)
    raster = decode_tiff(file)
    assert raster.pixels.dtype == np.uint16
    assert raster.pixels.dtype.isnative
    np.testing.assert_array_equal(raster.pixels, values)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_what_pillow_writes_is_read_and_the_other_way_round(tmp_path: Path, compression: str | None) -> None:
    file, values = tmp_path / "a.tif", counts()
    Image.fromarray(values).save(file, compression=compression)
    np.testing.assert_array_equal(decode_tiff(file).pixels, values)
    for order in "<>":
        tifffile.imwrite(file, values, byteorder=order, compression="lzw", predictor=True)
        with Image.open(file) as picture:
            np.testing.assert_array_equal(np.asarray(picture), decode_tiff(file).pixels)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint32", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_every_type_of_sample_survives(tmp_path: Path, kind: str, tile: tuple[int, int] | None) -> None:
    values = (
        counts(kind="float64").astype(kind) if kind.startswith("float") else counts(kind="int64").astype(kind)
    )
    tifffile.imwrite(tmp_path / "a.tif", values, tile=tile, bigtiff=True)
    raster = decode_tiff(tmp_path / "a.tif")
    assert raster.pixels.dtype == np.dtype(kind)
    np.testing.assert_array_equal(raster.pixels, values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_and_grey_as_colour(tmp_path: Path, planar: str) -> None:
    values = counts((3, 12, 10) if planar == "separate" else (12, 10, 3))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig=planar)
    expected = np.moveaxis(values, 0, -1) if planar == "separate" else values
    np.testing.assert_array_equal(decode_tiff(tmp_path / "a.tif").pixels, expected)
    grey = np.stack([counts((12, 10))] * 3, axis=0 if planar == "separate" else -1)
    tifffile.imwrite(tmp_path / "b.tif", grey, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(decode_tiff(tmp_path / "b.tif").pixels, counts((12, 10)))


def test_alpha_is_dropped_and_further_bands_are_named(tmp_path: Path) -> None:
    values = counts((12, 10, 4))
    tifffile.imwrite(tmp_path / "rgba.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(decode_tiff(tmp_path / "rgba.tif").pixels, values[..., :3])
    tifffile.imwrite(
        tmp_path / "la.tif",
        values[..., :2],
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    la = decode_tiff(tmp_path / "la.tif")
    np.testing.assert_array_equal(la.pixels, values[..., 0])
    assert la.warnings == ()
    tifffile.imwrite(
        tmp_path / "bands.tif", np.moveaxis(values, -1, 0), photometric="minisblack", planarconfig="separate"
    )
    bands = decode_tiff(tmp_path / "bands.tif")
    np.testing.assert_array_equal(bands.pixels, values[..., 0])
    assert bands.warnings == ("4 bands, the first is used",)


def test_palette_cmyk_and_jpeg_pages_become_colour(tmp_path: Path) -> None:
    index = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.random.default_rng(2).integers(0, 256, (3, 256), dtype=np.uint16) * 257
    tifffile.imwrite(tmp_path / "p.tif", index, photometric="palette", colormap=palette)
    expected = np.moveaxis(palette[:, index] // 257, 0, -1)
    np.testing.assert_array_equal(decode_tiff(tmp_path / "p.tif").pixels, expected)
    Image.new("CMYK", (6, 5), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    assert decode_tiff(tmp_path / "c.tif").pixels[0, 0].tolist() == [255, 0, 0]
    Image.new("RGB", (32, 16), (200, 30, 30)).save(tmp_path / "j.tif", compression="jpeg")
    assert np.abs(decode_tiff(tmp_path / "j.tif").pixels.astype(int) - [200, 30, 30]).max() < 6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, compression: str | None) -> None:
    tags = {274: orientation}
    Image.fromarray(counts((16, 32), "uint8")).save(
        tmp_path / "a.tif", compression=compression, tiffinfo=tags, quality=100
    )
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    expected = np.rot90(counts((16, 32), "uint8"), turns).astype(int)
    pixels = decode_tiff(tmp_path / "a.tif").pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (6 if compression else 0)


def test_no_data_and_white_minimum_are_told(tmp_path: Path) -> None:
    values = counts()
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, 2, 0, "-9999", True)])
    assert decode_tiff(tmp_path / "a.tif").no_data == -9999
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="miniswhite")
    assert decode_tiff(tmp_path / "b.tif").min_is_white
    np.testing.assert_array_equal(decode_tiff(tmp_path / "b.tif").pixels, values)


def test_frames_are_the_pages_of_one_shape(tmp_path: Path) -> None:
    values = counts((4, 9, 7))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert frame_pages(tmp_path / "a.tif") == (0, 1, 2, 3)
    for frame in range(4):
        np.testing.assert_array_equal(decode_tiff(tmp_path / "a.tif", frame=frame).pixels, values[frame])
    with pytest.raises(ImageError, match="has 4 frames, frame 4 was asked for"):
        decode_tiff(tmp_path / "a.tif", frame=4)


def test_thumbnails_and_previews_are_no_frames(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((8, 8), np.uint8), subfiletype=1, photometric="minisblack")
        file.write(counts(), photometric="minisblack")
        file.write(counts() + 1, photometric="minisblack")
    assert frame_pages(tmp_path / "a.tif") == (1, 2)
    np.testing.assert_array_equal(decode_tiff(tmp_path / "a.tif", frame=1).pixels, counts() + 1)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb")
        file.write(counts(), photometric="minisblack")
    assert frame_pages(tmp_path / "b.tif") == (1,)
    np.testing.assert_array_equal(decode_tiff(tmp_path / "b.tif").pixels, counts())


def patch(file: Path, code: int, value: int) -> None:
    """Overwrite the value of one tag of a little-endian TIFF in place."""
    with tifffile.TiffFile(file) as tiff:
        tag = tiff.pages.first.tags[code]
        offset = tag.offset
    data = bytearray(file.read_bytes())
    data[offset + 2 : offset + 12] = struct.pack("<HII", 4, 1, value)
    file.write_bytes(data)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize(("code", "value"), [(256, 2**31), (257, 2**31), (256, 60_000), (278, 2**31)])
def test_a_bomb_is_refused_before_its_pixels_are_allocated(
    tmp_path: Path, compression: str | None, code: int, value: int
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6000, 20), np.uint16), compression=compression)
    patch(tmp_path / "a.tif", code, value)
    tracemalloc.start()
    with contextlib.suppress(ImageError, tifffile.TiffFileError, ValueError, RuntimeError):
        decode_tiff(tmp_path / "a.tif")  # a strip may be longer than the picture: cut, not allocated
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_tile_larger_than_any_picture_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", counts((64, 64)), tile=(16, 16), compression="zlib")
    patch(tmp_path / "a.tif", 322, 2**16)
    patch(tmp_path / "a.tif", 323, 2**16)
    with pytest.raises(ImageError, match="more than is read"):
        decode_tiff(tmp_path / "a.tif")


def test_codecs_that_choose_their_own_size_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", counts(kind="uint8"), compression="jpeg2000")
    with pytest.raises(ImageError, match=r"compression 34712 is not read.*LZW or Deflate"):
        decode_tiff(tmp_path / "a.tif")


def test_pages_in_a_circle_end(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", counts((2, 9, 7)), photometric="minisblack")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        first, second = (file.pages[number].aspage() for number in range(2))
        link = second.offset + 2 + 12 * len(second.tags)
    data[link : link + 4] = struct.pack("<I", first.offset)
    (tmp_path / "a.tif").write_bytes(data)
    assert frame_pages(tmp_path / "a.tif") == (0, 1)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg"])
def test_a_cut_file_is_an_error_and_never_half_a_picture(tmp_path: Path, compression: str | None) -> None:
    values = counts((200, 60), "uint8") if compression == "jpeg" else counts((200, 60))
    # tifffile writes the directory first, so a cut takes pixels.
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, rowsperstrip=16)
    data = (tmp_path / "a.tif").read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.tif").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(Exception):  # noqa: B017, PT011 (whatever the decoder raises)
            decode_tiff(tmp_path / "cut.tif")


@pytest.mark.parametrize(
    ("shape", "is_read"), [((10, 20), True), ((10, 21), False), ((10, 10, 3), True), ((10, 11, 3), False)]
)
def test_one_channel_may_have_twice_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], is_read: bool
) -> None:
    monkeypatch.setattr("dinonat.images.rasters.MAX_PIXELS", 100)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if len(shape) == 3 else "minisblack")
    if is_read:
        assert decode_tiff(tmp_path / "a.tif").pixels.shape == shape
    else:
        with pytest.raises(ImageError, match=f"more than the {100 if len(shape) == 3 else 200} that"):
            decode_tiff(tmp_path / "a.tif")
