import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.errors import ImageError, ThermalReadError
from dinonat.images.faults import printable
from dinonat.images.rasters import decode, one_channel_if_grey, turned, upright
from dinonat.images.reader import read_thermal


def deep(shape: tuple[int, ...] = (11, 13), *, seed: int = 0) -> np.ndarray:
    """16-bit counts in a narrow band, as a camera gives them: "L" would make them all white."""
    return np.random.default_rng(seed).integers(6743, 7078, shape, dtype=np.uint16)


def test_sixteen_bits_of_a_png_survive(tmp_path: Path) -> None:
    counts = deep()
    Image.fromarray(counts).save(tmp_path / "a.png")
    raster = decode(tmp_path / "a.png", "png")
    assert raster.pixels.dtype == np.uint16
    np.testing.assert_array_equal(raster.pixels, counts)
    # Two ways: libpng through imagecodecs.
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "a.png").read_bytes()), counts)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_in_several_channels_survive(tmp_path: Path, channels: int) -> None:
    """Pillow opens these as 8-bit pictures without a word."""
    counts = deep((7, 9, channels))
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(counts))
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).dtype == np.uint8
    expected = counts[..., 0] if channels == 2 else counts[..., :3]
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "png").pixels, expected)


def test_deep_grey_stored_as_three_channels_becomes_one(tmp_path: Path) -> None:
    counts = deep()
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.stack([counts] * 3, axis=-1)))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "png").pixels, counts)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_a_png_span_black_to_white(tmp_path: Path, bits: int) -> None:
    """PNG 13.12: a grey sample of n bits is scaled by 255 / (2^n - 1)."""
    levels = np.arange(2**bits, dtype=np.uint8)
    packed = np.packbits(((levels[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel())
    (tmp_path / "a.png").write_bytes(png(len(levels), 1, bits, 0, bytes([0]) + packed.tobytes()))
    expected = levels.astype(int) * 255 // (2**bits - 1)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "png").pixels[0], expected)


def test_alpha_is_dropped_and_never_blended(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    Image.fromarray(colour, "RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(colour[..., :2], "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(decode(tmp_path / "rgba.png", "png").pixels, colour[..., :3])
    np.testing.assert_array_equal(decode(tmp_path / "la.png", "png").pixels, colour[..., 0])


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    index = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "colour.png", transparency=3)
    np.testing.assert_array_equal(decode(tmp_path / "colour.png", "png").pixels, palette[index])
    picture.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    picture.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(decode(tmp_path / "grey.png", "png").pixels, 255 - index)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_grey_as_three_channels_becomes_one_in_every_format(tmp_path: Path, kind: str) -> None:
    grey = np.linspace(0, 255, 24 * 40).astype(np.uint8).reshape(24, 40)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a", format=kind, quality=90)
    pixels = decode(tmp_path / "a", kind.lower()).pixels
    assert pixels.shape == (24, 40)
    assert np.abs(pixels.astype(int) - grey).max() <= (0 if kind in {"PNG", "BMP"} else 12)


def test_a_tinted_grey_is_grey_and_a_coloured_scale_beside_it_is_not() -> None:
    grey = np.random.default_rng(4).integers(0, 240, (100, 100), dtype=np.uint8)
    tinted = np.stack([grey, grey + 4, grey + 12], axis=-1)
    tinted[17, 23] = (200, 90, 90)
    one = one_channel_if_grey(tinted)
    np.testing.assert_array_equal(one, np.asarray(Image.fromarray(tinted).convert("L")))
    tinted[30:50, 95:97] = (250, 90, 10)
    assert one_channel_if_grey(tinted) is tinted


def test_equal_channels_keep_their_value() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(one_channel_if_grey(np.stack([every] * 3, axis=-1)), every)


def test_deep_colour_stays_even_where_one_pixel_alone_has_it() -> None:
    deep_pixels = np.full((40, 40, 3), 9000, np.uint16)
    deep_pixels[1, 1, 2] += 1
    assert one_channel_if_grey(deep_pixels) is deep_pixels


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    pixels = decode(tmp_path / "a.jpg", "jpeg").pixels
    assert pixels.shape == (8, 16, 3)
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    assert red > 200
    assert max(green, blue) < 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.random.default_rng(3).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    raster = decode(tmp_path / "a.png", "png")
    np.testing.assert_array_equal(raster.pixels, expected)
    assert raster.full_hw == expected.shape[:2]


@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 5))
def test_turning_keeps_every_pixel(orientation: int, height: int, width: int) -> None:
    pixels = np.arange(height * width).reshape(height, width)
    turned_pixels = upright(pixels, orientation)
    assert turned_pixels.shape == turned((height, width), orientation)
    assert sorted(turned_pixels.ravel()) == sorted(pixels.ravel())
    back = {6: 8, 8: 6}.get(orientation, orientation)  # the other six are their own inverse
    np.testing.assert_array_equal(upright(turned_pixels, back), pixels)


def test_a_damaged_exif_block_costs_nothing_but_the_orientation(tmp_path: Path) -> None:
    Image.new("L", (8, 4), 9).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decode(tmp_path / "a.jpg", "jpeg").pixels.shape == (4, 8)


def test_a_colour_jpeg_may_be_decoded_smaller_but_never_below_what_was_asked(tmp_path: Path) -> None:
    x = np.linspace(0, 255, 640).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(x[None, :], x[:480, None], 255 - x[None, :]), axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    whole, half = decode(tmp_path / "a.jpg", "jpeg"), decode(tmp_path / "a.jpg", "jpeg", at_least=200)
    assert half.pixels.shape == (240, 320, 3)
    assert half.full_hw == whole.full_hw == (480, 640)
    means = whole.pixels.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.abs(means - half.pixels).max() < 4
    assert decode(tmp_path / "a.jpg", "jpeg", at_least=300).pixels.shape == (480, 640, 3)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def claims(kind: str, width: int, height: int) -> bytes:
    """Return a small file whose header says that it holds width x height pixels."""
    if kind == "png":
        return png(width, height, 16, 2, bytes(100))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format=kind)
    data = bytearray(stream.getvalue())
    if kind == "jpeg":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    else:  # bmp
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [
        ("png", 2**30, 2**30),
        ("png", 10_000, 10_000),
        ("jpeg", 65_500, 65_500),
        ("bmp", 9000, 9000),
        ("png", 2**18, 1),
    ],
)
def test_a_bomb_is_refused_before_its_pixels_are_allocated(
    tmp_path: Path, kind: str, width: int, height: int
) -> None:
    (tmp_path / "bomb").write_bytes(claims(kind, width, height))
    tracemalloc.start()
    with pytest.raises(ImageError, match="tiles") as caught:
        decode(tmp_path / "bomb", kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert str(caught.value).count("\n") == 0


def test_a_path_in_a_message_is_one_line() -> None:
    assert printable("Wärme a\nb\udcff</script>.png") == "Wärme a\\nb\\udcff</script>.png"


def test_jpeg_ls_keeps_every_count_and_its_header_is_checked_first(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(6743, 7078, (24, 32), dtype=np.uint16)
    whole = imagecodecs.jpegls_encode(counts)
    (tmp_path / "a.jls").write_bytes(whole)
    np.testing.assert_array_equal(read_thermal(tmp_path / "a.jls").data, counts)
    place = whole.index(b"\xff\xf7") + 5
    (tmp_path / "b.jls").write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
    with pytest.raises(ThermalReadError, match="65535 x 65535 pixels, more than"):
        read_thermal(tmp_path / "b.jls")
