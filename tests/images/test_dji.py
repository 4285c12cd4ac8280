import contextlib
import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinonat.errors import ThermalReadError
from dinonat.images.dji import COUNTS_ONLY, decode_dji, payload
from dinonat.images.segments import segments

M3T = "radiometric/thermal_parser/M3T/DJI_0001_R.JPG"


def exif(make: str = "DJI", **more: object) -> bytes:
    block = Image.Exif()
    block[0x010F], block[0x0110], block[0x0132] = make, "M3T", "2024:05:06 07:08:09"
    if "palette" in more:
        block[0x010E] = more["palette"]
    if "serial" in more:
        block.get_ifd(0x8769)[0xA431] = more["serial"]
    block.get_ifd(0x8825).update({1: "N", 2: (22.0, 41.0, 38.37)})
    data = block.tobytes()
    return data if data.startswith(b"Exif") else b"Exif\0\0" + data


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*parts: tuple[int, bytes], cut: int = 65532) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 48), 40).save(stream, "jpeg")
    whole = stream.getvalue()
    inserted = b"".join(
        segment(marker, content[start : start + cut])
        for marker, content in parts
        for start in range(0, len(content), cut)
    )
    return whole[:2] + inserted + whole[2:]


def counts(shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    return np.random.default_rng(0).integers(3600, 6100, shape).astype("<u2")


def read(tmp_path: Path, content: bytes):
    (tmp_path / "a.jpg").write_bytes(content)
    return decode_dji(tmp_path / "a.jpg")


def test_the_sample_of_a_mavic_3_thermal(data: Path) -> None:
    frame = decode_dji(data / M3T)
    assert frame.data.shape == (512, 640)
    assert (frame.data.min(), np.median(frame.data), frame.data.max()) == (19112, 19444, 20364)
    assert frame.data.mean(dtype=np.float64) == pytest.approx(19441.6412, abs=1e-4)
    places = {(0, 0): 19124, (0, 639): 19192, (511, 0): 19528, (511, 639): 19456, (256, 320): 19420}
    assert {place: frame.data[place] for place in places} == places
    assert frame.data.sum(dtype=np.float64) == 6370636992
    digest = hashlib.sha256(frame.data.astype("<u2").tobytes()).hexdigest()
    assert digest[:16] == "1080c06158187c68"
    assert (frame.unit, frame.polarity, frame.warnings) == ("counts", "white_hot", (COUNTS_ONLY,))
    assert frame.bit_depth_effective == 13  # 15 bits, of which the lowest two are never set
    assert frame.meta == {
        "camera": "DJI M3T",
        "taken": "2022-07-23T15:12:19",
        "serial": "5L4SK6A02AA064",
        "palette": "WhiteHot",
        "atmosphere": 25.0,
        "distance": 5.0,
        "emissivity": 0.95,
        "humidity": 0.5,
        "reflected": 25.0,
        "scene_from": "file, not used",
    }


def test_the_sample_needs_its_frame_and_not_its_picture(data: Path, tmp_path: Path) -> None:
    whole = (data / M3T).read_bytes()
    expected = decode_dji(data / M3T).data
    frame_end, picture = 670_082, 696_721
    assert [piece.start + piece.length for piece in payload(whole, tuple(segments(whole))).pieces][
        -1
    ] == frame_end
    for length in (frame_end, picture, picture + 5000, len(whole) - 1):
        np.testing.assert_array_equal(read(tmp_path, whole[:length]).data, expected)
    for length in (frame_end - 1, 400_000, 15_000, 100):
        with pytest.raises(ThermalReadError, match="no frame of DJI"):
            read(tmp_path, whole[:length])


@pytest.mark.parametrize("shape", [(512, 640), (1024, 1280), (256, 320), (256, 336), (120, 160)])
@pytest.mark.parametrize("marker", [0xE3, 0xE4])
def test_counts_come_back_from_either_marker(tmp_path: Path, marker: int, shape: tuple[int, int]) -> None:
    values = counts(shape)
    others = [(0xE2, b"Plug" + bytes(99)), (0xE3, bytes(32768))] if marker == 0xE4 else [(0xE4, bytes(224))]
    content = jpeg((0xE1, exif()), *others, (marker, values.tobytes()), (0xE5, bytes(4000)))
    frame = read(tmp_path, content)
    np.testing.assert_array_equal(frame.data, values)
    assert frame.meta == {"camera": "DJI M3T", "taken": "2024-05-06T07:08:09"}


def test_segments_of_any_length_in_any_company_are_joined_in_order(tmp_path: Path) -> None:
    values = counts()
    parts = [(0xE3, values.tobytes()[start : start + 997]) for start in range(0, values.nbytes, 997)]
    mixed = [part for piece in parts for part in (piece, (0xE7, b"PADDING"), (0xFE, b"comment"))]
    np.testing.assert_array_equal(read(tmp_path, jpeg(*mixed, (0xE1, exif()))).data, values)


@pytest.mark.parametrize("marker", [0xE3, 0xE4])
@pytest.mark.parametrize("change", [-38400, -38399, -2, -1, 1, 2, 38400])
def test_other_lengths_are_no_frame(tmp_path: Path, change: int, marker: int) -> None:
    content = (counts().tobytes() * 2)[: 38400 + change]
    with pytest.raises(ThermalReadError, match=rf"{len(content)} bytes in APP{marker & 15}.* at byte \d+"):
        read(tmp_path, jpeg((0xE1, exif()), (marker, content)))


@pytest.mark.parametrize("make", ["", "DJI2", "FLIR", "Hasselblad, but DJI\0"])
def test_only_dji_is_dji(tmp_path: Path, make: str) -> None:
    with pytest.raises(ThermalReadError):
        read(tmp_path, jpeg((0xE1, exif(make)), (0xE3, counts().tobytes())))
    with pytest.raises(ThermalReadError):  # its name elsewhere in the file proves nothing
        read(tmp_path, jpeg((0xE1, b"Exif\0\0DJI\0"), (0xFE, exif()), (0xE3, counts().tobytes())))


def test_cut_anywhere_it_is_the_whole_frame_or_an_error(tmp_path: Path) -> None:
    values = counts()
    whole = jpeg((0xE1, exif()), (0xE3, values.tobytes()))
    end, read_whole = 2 + len(segment(0xE1, exif())) + 4 + values.nbytes, 0
    for length in range(1, len(whole), 64):
        if length >= end:
            np.testing.assert_array_equal(read(tmp_path, whole[:length]).data, values)
            read_whole += 1
            continue
        with pytest.raises(ThermalReadError) as caught:
            read(tmp_path, whole[:length])
        assert caught.value.path == str(tmp_path / "a.jpg")
        assert 0 <= caught.value.offset <= length
    assert read_whole > 0


def block(kind: str, values: tuple[float, ...]) -> bytes:
    if kind == "H20T":
        return (bytes(0x44) + struct.pack("<HHHhh", *map(int, values))).ljust(2560, b"\0")
    start = b"" if kind == "M2EA" else (b"\xff\xd2\xd1\xff" + kind.encode()).ljust(0x20, b"\0")
    return (start + struct.pack("<5f", *values)).ljust(224 if kind == "M2EA" else 256, b"\0")


IN_ORDER = ("atmosphere", "distance", "emissivity", "humidity", "reflected")


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("iirp", (25, 5, 0.95, 0.5, 23), (25, 5, 0.95, 0.5, 23)),
        ("M2EA", (-7.5, 40, 1, 0.7, -12), (-7.5, 40, 1, 0.7, -12)),
        ("H20T", (5, 70, 95, -123, -8), (-8, 5, 0.95, 0.7, -12.3)),
        ("hirp", (25, 5, 0.95, 0.5, 23), None),  # another order, which no one has read
        ("iirp", (25, 5, 9.5, 0.5, 23), None),
        ("iirp", (float("nan"), 5, 0.95, 0.5, 23), None),
        ("M2EA", (0, 0, 0, 0, 0), None),
    ],
)
def test_what_the_camera_assumed_is_told_where_it_makes_sense(
    tmp_path: Path, kind: str, values: tuple[float, ...], expected: tuple[float, ...] | None
) -> None:
    content = jpeg((0xE1, exif()), (0xE3, counts().tobytes()), (0xE4, block(kind, values)))
    meta = read(tmp_path, content).meta
    got = tuple(meta[name] for name in IN_ORDER) if "emissivity" in meta else None
    assert got == (None if expected is None else pytest.approx(expected, abs=1e-4))
    assert meta.get("scene_from") == ("file, not used" if expected else None)


def test_palette_and_serial_are_told_and_the_place_is_not(tmp_path: Path) -> None:
    for palette, told in (("BlackHot", "BlackHot"), ("default", None)):
        content = jpeg((0xE1, exif(palette=palette, serial="ABC123")), (0xE3, counts().tobytes()))
        frame = read(tmp_path, content)
        assert frame.meta.get("palette") == told
        assert frame.meta["serial"] == "ABC123"
        assert frame.polarity == "white_hot"  # of the counts, whatever the picture shows
        assert not {"gps", "latitude", "longitude"} & {key.lower() for key in frame.meta}
        assert "38.37" not in str(frame.meta)


def test_damaged_exif_is_not_dji_or_costs_its_facts_only(tmp_path: Path) -> None:
    whole, rng = jpeg((0xE1, exif()), (0xE3, counts().tobytes())), np.random.default_rng(3)
    length = len(exif())
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(12, 6 + length, 4):
            damaged[place] = rng.integers(0, 256)
        with contextlib.suppress(ThermalReadError):
            np.testing.assert_array_equal(read(tmp_path, bytes(damaged)).data, counts())
