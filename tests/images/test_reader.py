import contextlib
import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.errors import ImageError, ThermalReadError
from dinonat.images.frames import effective_depth, luminance, to_eight_bits
from dinonat.images.listing import list_images
from dinonat.images.prepare import prepare
from dinonat.images.reader import iter_frames, read_thermal
from dinonat.images.reading import parse_reading
from dinonat.images.sniffing import sniff


def encoded(kind: str, pixels: np.ndarray | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    picture = Image.new("L", (8, 6), 40) if pixels is None else Image.fromarray(pixels)
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def jpeg_with(*segments: bytes) -> bytes:
    whole = encoded("jpeg")
    return whole[:2] + b"".join(segments) + whole[2:]


EXIF_OF_DJI = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0DJI\0\0\0\0\0")
FRAME_OF_DJI = [segment(0xE3, bytes(65532))] * 10


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded("png"), "png"),
        (encoded("jpeg"), "jpeg"),
        (encoded("bmp"), "bmp"),
        (encoded("webp"), "webp"),
        (encoded("tiff"), "tiff"),
        (b"MM\0+\0\x08\0\0", "tiff"),
        (jpeg_with(segment(0xE1, b"FLIR\0\x01\0\0")), "flir-jpeg"),
        (jpeg_with(EXIF_OF_DJI, *FRAME_OF_DJI), "dji-jpeg"),
        (jpeg_with(EXIF_OF_DJI, *FRAME_OF_DJI, segment(0xE1, b"FLIR\0\x01\0\0")), "flir-jpeg"),  # XT2
        (jpeg_with(EXIF_OF_DJI), "jpeg"),  # a colour photograph of a drone
        (jpeg_with(segment(0xE4, b"\xff\xe1\0\x08FLIR\0")), "jpeg"),  # only inside another payload
        (b"\xff\xd8\xff", "jpeg"),
        (b"\xff\xd8\xff\xe1\0", "jpeg"),
        (b"\xff\xd8\xff\xe1\0\0\xff\xff", "jpeg"),
        (encoded("gif"), "unknown"),
        (b"GIF89a", "unknown"),
        (b"text", "unknown"),
    ],
)
def test_content_decides_and_the_name_does_not(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert sniff(tmp_path / "a.txt") == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"an empty file \(0 bytes\)"),
        (b"just text", "not an image by its content"),
        (
            encoded("jpeg", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[:-700],
            "truncated",
        ),
        (
            encoded("png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[:-700],
            "damaged png",
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), r"damaged png file \(its header cannot be read\)"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "damaged jpeg"),
        (b"II*\0" + bytes(40), "TIFF without pages|damaged tiff"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(16), "damaged webp"),
        (b"BM" + bytes(60), "damaged bmp|holds no pixels"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "Wärme\nx.tif"])
def test_a_bad_file_is_one_sentence_with_its_name(
    tmp_path: Path, content: bytes, says: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=says) as caught:
        read_thermal(tmp_path / name)
    assert name.replace("\n", "\\n") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp", "tiff"])
def test_every_damage_is_an_image_error(tmp_path: Path, kind: str) -> None:
    """Cut anywhere or with bytes overwritten, a file gives a picture or an ImageError, never else."""
    whole = encoded(kind, np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    rng = np.random.default_rng(2)
    for attempt in range(120):
        data = bytearray(whole[: rng.integers(1, len(whole))] if attempt % 2 else whole)
        for place in rng.integers(0, min(len(data), 200), 3):
            data[place] = rng.integers(0, 256)
        (tmp_path / "a").write_bytes(data)
        with contextlib.suppress(ImageError):
            assert read_thermal(tmp_path / "a").data.ndim == 2


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_thermal(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_thermal(tmp_path)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    for name, value in (("a.png", np.uint8(7)), ("b.png", np.uint16(7000))):
        Image.fromarray(np.full((1, 1), value)).save(tmp_path / name)
        frame = read_thermal(tmp_path / name)
        assert frame.data.tolist() == [[value]]
        assert frame.rgb is None


def test_units_and_depths(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(6743, 7078, (20, 30), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts)
    frame = read_thermal(tmp_path / "a.tif")
    assert (frame.unit, frame.bit_depth_effective, frame.source_format) == ("counts", 13, "tiff")
    assert frame.data.dtype == np.float32
    np.testing.assert_array_equal(frame.data, counts)
    tifffile.imwrite(tmp_path / "b.tif", counts // 30)
    shallow = read_thermal(tmp_path / "b.tif")  # as about 1000 files of FLIR ADAS v2 are
    assert (shallow.unit, shallow.bit_depth_effective) == ("grey", 8)
    assert "16 bits, but its values need only 8" in shallow.warnings[0]
    Image.fromarray((counts // 30).astype(np.uint8)).save(tmp_path / "c.png")
    assert read_thermal(tmp_path / "c.png").unit == "grey"
    tifffile.imwrite(tmp_path / "d.tif", np.array([[-30, 20]], np.int16))
    assert read_thermal(tmp_path / "d.tif").unit == "counts"


def test_effective_depth_counts_the_bits_in_use() -> None:
    rng = np.random.default_rng(0)
    fourteen = rng.integers(0, 2**14, 5000, dtype=np.uint16)
    assert effective_depth(fourteen) == 14
    assert effective_depth(fourteen << 2) == 14  # two low bits unused, as some cameras leave them
    assert effective_depth(rng.integers(-500, 500, 5000, dtype=np.int16)) == 10
    assert effective_depth(np.zeros((0,), np.uint16)) == 8
    assert effective_depth(np.float32([1.5])) == 32


@pytest.mark.parametrize("no_data", ["-9999", "nan", "-3.4028234663852886e+38"])
def test_float_tiffs_keep_values_and_lose_what_is_no_data(tmp_path: Path, no_data: str) -> None:
    kelvin = np.random.default_rng(0).normal(295, 3, (20, 30)).astype(np.float32)
    kelvin[0, 0], kelvin[1, 1], kelvin[2, 2] = np.nan, float(no_data), np.inf
    tifffile.imwrite(tmp_path / "a.tif", kelvin, extratags=[(42113, 2, 0, no_data, True)])
    frame = read_thermal(tmp_path / "a.tif")
    missing = np.isnan(frame.data)
    assert sorted(zip(*np.nonzero(missing), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    np.testing.assert_array_equal(frame.data[~missing], kelvin[~missing])
    assert frame.unit == "counts"
    assert "may be kelvin" in frame.warnings[0]


@pytest.mark.parametrize(("kind", "value"), [("uint16", 65535), ("int16", -32768), ("uint8", 0)])
def test_integer_no_data_is_missing_and_not_counted_as_depth(tmp_path: Path, kind: str, value: int) -> None:
    counts = np.random.default_rng(0).integers(100, 120, (20, 30)).astype(kind)
    counts[3, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", counts, extratags=[(42113, 2, 0, str(value), True)])
    frame = read_thermal(tmp_path / "a.tif")
    assert np.argwhere(np.isnan(frame.data)).tolist() == [[3, 4]]
    assert frame.bit_depth_effective == 8


def test_no_data_that_the_type_cannot_hold_marks_nothing(tmp_path: Path) -> None:
    counts = np.full((4, 5), 65536 - 9999, np.uint16)  # where -9999 would wrap to
    tifffile.imwrite(tmp_path / "a.tif", counts, extratags=[(42113, 2, 0, "-9999", True)])
    assert np.isfinite(read_thermal(tmp_path / "a.tif").data).all()


def test_white_minimum_is_turned_for_display_images_only(tmp_path: Path) -> None:
    display = np.arange(200, dtype=np.uint8).reshape(10, 20)
    tifffile.imwrite(tmp_path / "a.tif", display, photometric="miniswhite")
    np.testing.assert_array_equal(read_thermal(tmp_path / "a.tif").data, 255 - display)
    with Image.open(tmp_path / "a.tif") as picture:  # two ways
        np.testing.assert_array_equal(np.asarray(picture), 255 - display)
    tifffile.imwrite(tmp_path / "b.tif", display.astype(np.uint16) + 7000, photometric="miniswhite")
    frame = read_thermal(tmp_path / "b.tif")
    np.testing.assert_array_equal(frame.data, display + 7000.0)
    assert "minimum is white" in frame.warnings[0]


def test_colour_keeps_its_channels_and_gives_its_luminance(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    frame = read_thermal(tmp_path / "a.png")
    assert frame.rgb is not None
    np.testing.assert_array_equal(frame.rgb, rgb)
    assert frame.unit == "grey"
    by_pillow = np.asarray(Image.fromarray(rgb).convert("L"))
    assert np.abs(frame.data - by_pillow).max() <= 0.5
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(luminance(np.stack([every] * 3, axis=-1)), every)


def test_deep_colour_comes_to_eight_bits_by_its_own_range() -> None:
    rgb = np.random.default_rng(0).integers(0, 2**12, (8, 9, 3), dtype=np.uint16)
    rgb[0, 0, 0] = 2**12 - 1
    np.testing.assert_array_equal(to_eight_bits(rgb), rgb >> 4)
    assert to_eight_bits(rgb // 4096 + np.float32([[[0, 0.5, 1]]]))[0, 0].tolist() == [0, 128, 255]


def test_frames_of_a_tiff_and_of_files_that_have_one(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(6743, 7078, (3, 8, 9), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    frame = read_thermal(tmp_path / "a.tif", frame=2)
    assert (frame.frame, frame.n_frames) == (2, 3)
    np.testing.assert_array_equal(frame.data, pages[2])
    (tmp_path / "a.png").write_bytes(encoded("png"))
    for name in ("a.tif", "a.png"):
        for asked in (3, -1):
            with pytest.raises(ImageError, match=f"frame {asked} was asked for"):
                read_thermal(tmp_path / name, frame=asked)


def test_the_lazy_name_of_the_package_is_this_function() -> None:
    import dinonat

    assert dinonat.read_thermal is read_thermal


def test_every_container_comes_through_this_door_whatever_its_name(
    flir_containers: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"  # the content decides
    for name, content in flir_containers.items():
        path.write_bytes(content)
        frame = read_thermal(path)
        assert frame.unit == ("counts" if name.startswith("no-camera") else "celsius"), name
        assert frame.source_format.startswith("flir-"), name
    array = np.random.default_rng(0).integers(7000, 8000, (3, 12, 16), dtype=np.uint16)
    np.save(tmp_path / "array.npy", array)
    (tmp_path / "grid.txt").write_text("\n".join(";".join(f"{v / 100:.2f}" for v in row) for row in array[0]))
    assert read_thermal(tmp_path / "grid.txt").source_format == "csv-grid"
    frames = list(iter_frames(tmp_path / "array.npy", step=2))
    assert [frame.frame for frame in frames] == [0, 2]
    np.testing.assert_array_equal(frames[1].data, array[2])


def test_frames_are_counted_and_listed_without_decoding(
    flir_containers: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("unequal.seq", "jpegls.csq", "header-le.fff"):
        (tmp_path / name).write_bytes(flir_containers[name])
    np.save(tmp_path / "stack.npy", np.zeros((4, 9, 9), np.uint16))
    np.savez(tmp_path / "vectors.npz", texts=np.array(["a", "b"]))  # no picture
    (tmp_path / "labels.csv").write_text("image,label\na.png,cat\n" * 9)
    names = [ref.name for ref in list_images(tmp_path).refs]
    assert names == [
        "header-le.fff",
        *(f"jpegls.csq#{i}" for i in range(3)),
        *(f"stack.npy#{i}" for i in range(4)),
        *(f"unequal.seq#{i}" for i in range(3)),
        "vectors.npz",  # reading it says why it is no picture
    ]
    with pytest.raises(ThermalReadError, match=r"vectors\.npz: texts\.npy holds <U1"):
        read_thermal(tmp_path / "vectors.npz")


def test_a_scale_turns_counts_into_degrees_and_nothing_else(
    flir_containers: dict[str, bytes], tmp_path: Path
) -> None:
    counts = np.array([[7000, 7329], [7330, 8000]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts)
    scaled = read_thermal(tmp_path / "a.tif", reading=parse_reading("0.04K"))
    assert scaled.unit == "celsius"
    np.testing.assert_allclose(scaled.data, counts * 0.04 - 273.15, atol=1e-4)
    np.testing.assert_allclose(
        read_thermal(tmp_path / "a.tif", reading=parse_reading("0.1C")).data, counts * 0.1, rtol=1e-6
    )
    kelvin = np.float32([[290.5, 300.0]])
    tifffile.imwrite(tmp_path / "k.tif", kelvin)
    plain, degrees = (read_thermal(tmp_path / "k.tif", reading=parse_reading(text)) for text in ("", "1K"))
    assert (plain.unit, degrees.unit) == ("counts", "celsius")
    assert any("--scale 1K" in note for note in plain.warnings)
    assert not degrees.warnings
    np.testing.assert_allclose(degrees.data, kelvin - 273.15, atol=1e-4)
    (tmp_path / "grey.png").write_bytes(encoded("png"))
    (tmp_path / "flir.jpg").write_bytes(flir_containers["png.jpg"])
    (tmp_path / "uncalibrated.fff").write_bytes(flir_containers["no-camera.fff"])
    for name, unit in (("grey.png", "grey"), ("flir.jpg", "celsius"), ("uncalibrated.fff", "counts")):
        asked = read_thermal(tmp_path / name, reading=parse_reading("0.04K"))
        assert asked.unit == unit
        np.testing.assert_array_equal(asked.data, read_thermal(tmp_path / name).data)


def test_a_scale_does_not_make_degrees_of_the_counts_of_dji(data: Path) -> None:
    frame = read_thermal(
        data / "radiometric/thermal_parser/M3T/DJI_0001_R.JPG", reading=parse_reading("0.02K")
    )
    assert frame.unit == "counts"
    assert any("degrees need the vendor's own tool" in note for note in frame.warnings)


def test_object_parameters_replace_the_cameras(data: Path) -> None:
    file = data / "radiometric/thermal_parser/FLIR_E40.jpg"
    plain, near_black = (
        read_thermal(file, reading=parse_reading("", text)) for text in ("", "emissivity=0.5")
    )
    assert near_black.meta["emissivity"] == 0.5
    assert near_black.data.max() > plain.data.max() + 1  # warmer than its surroundings, so much warmer still


def test_a_black_hot_picture_is_known_by_its_exif_and_turned_around(tmp_path: Path) -> None:
    levels = np.tile(np.arange(200, dtype=np.uint8), (8, 1))
    for name, palette in (("white.png", "WhiteHot"), ("black.png", "BlackHot")):
        exif = Image.Exif()
        exif[0x010E], exif[0x010F], exif[0x0110] = palette, "DJI", "M3T"
        Image.fromarray(levels if name == "white.png" else 255 - levels).save(tmp_path / name, exif=exif)
    white, black = (read_thermal(tmp_path / f"{name}.png") for name in ("white", "black"))
    assert (white.polarity, black.polarity) == ("white_hot", "black_hot")
    assert black.meta["camera"] == "DJI M3T"
    np.testing.assert_allclose(prepare(white).pixels, prepare(black).pixels, atol=1)


def test_false_colours_are_named_and_photographs_are_not(data: Path, tmp_path: Path) -> None:
    with Image.open(data / "radiometric/thermal_parser/FLIR_E40.jpg") as picture:
        picture.convert("RGB").save(tmp_path / "iron.png")  # the display picture without what was measured
    notes = read_thermal(tmp_path / "iron.png").warnings
    assert any("false colours" in note for note in notes)
    assert not read_thermal(min((data / "rgb_objects/images").glob("*.jpg"))).warnings


def test_a_damaged_chunk_of_a_deep_png_is_found(tmp_path: Path) -> None:
    deep = imagecodecs.png_encode(np.random.default_rng(0).integers(0, 65535, (20, 30, 3), dtype=np.uint16))
    (tmp_path / "whole.png").write_bytes(deep)
    assert read_thermal(tmp_path / "whole.png").rgb is not None
    broken = bytearray(deep)
    broken[-20] ^= 1  # in the sum of the last IDAT
    (tmp_path / "broken.png").write_bytes(broken)
    with pytest.raises(ThermalReadError, match=r"broken\.png: a damaged png"):
        read_thermal(tmp_path / "broken.png")


def test_real_radiometric_files_open_with_degrees_or_counts(data: Path) -> None:
    found = {}
    for file in sorted((data / "radiometric").rglob("*")):
        if file.suffix.lower() in {".jpg", ".fff", ".tiff"}:
            frame = read_thermal(file)
            found[file.name] = (frame.source_format, frame.unit, frame.rgb)
    assert found == {
        "DJI_0001_R.JPG": ("dji-jpeg", "counts", None),
        "DJI_XT2.jpg": ("flir-jpeg", "celsius", None),
        "FLIR_AX8.jpg": ("flir-jpeg", "celsius", None),
        "FLIR_B60.jpg": ("flir-jpeg", "celsius", None),
        "FLIR_E40.jpg": ("flir-jpeg", "celsius", None),
        "example_radiometric.tiff": ("tiff", "counts", None),
        "frame_000000.fff": ("flir-fff", "celsius", None),
    }


def test_real_sets_are_read_as_their_cards_say(data: Path) -> None:
    tiff = read_thermal(data / "radiometric/flirpy/example_radiometric.tiff")
    assert (tiff.data.min(), tiff.data.max(), tiff.data.shape) == (6743, 7077, (512, 640))
    assert (tiff.unit, tiff.bit_depth_effective) == ("counts", 13)
    aerial = read_thermal(min((data / "thermal_aerial").rglob("*.jpg")))
    assert (aerial.data.shape, aerial.rgb, aerial.unit) == ((512, 640), None, "grey")
    targets = [read_thermal(file) for file in sorted((data / "thermal_small_targets/images").glob("*.png"))]
    assert targets
    assert all(frame.rgb is None for frame in targets)  # grey stored as RGB and RGBA
    assert read_thermal(min((data / "rgb_objects").rglob("*.jpg"))).rgb is not None
