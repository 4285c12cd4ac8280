import contextlib
import hashlib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import imagecodecs
import numpy as np
import pytest

from dinonat.errors import ThermalReadError
from dinonat.images.flir import counts_of, decode_flir, frame_offsets
from dinonat.images.planck import celsius, read_calibration, seen_as
from dinonat.images.reading import OBJECT_PARAMETERS, Reading


class Known(NamedTuple):
    """What a real file holds, measured with other programs."""

    path: str
    shape: tuple[int, int]
    counts: tuple[float, ...]  # min, median, max, mean
    celsius: tuple[float, ...]
    total: int = 0
    sha256: str = ""
    pixels: tuple[tuple[int, int, int, float], ...] = ()  # row, column, count, degrees


KNOWN = (
    Known(
        "thermal_parser/FLIR_E40.jpg",
        (120, 160),
        (17059, 17604, 18266, 17617.9725),
        (17.8759, 21.0128, 24.7004, 21.0894),
        338265072,
        "09c350ab71a02a29",
        (
            (0, 0, 17947, 22.9395),
            (0, 159, 17424, 19.9873),
            (119, 0, 17734, 21.7472),
            (119, 159, 17401, 19.8556),
            (60, 80, 17587, 20.9164),
        ),
    ),
    Known(
        "thermal_parser/FLIR_AX8.jpg",
        (60, 80),
        (16711, 16811, 16876, 16810.6188),
        (24.3597, 25.0336, 25.4692, 25.0308),
        80690970,
        "deb866526985bf7a",
        (
            (0, 0, 16775, 24.7915),
            (0, 79, 16806, 25.0000),
            (59, 0, 16815, 25.0604),
            (59, 79, 16843, 25.2483),
            (30, 40, 16868, 25.4157),
        ),
    ),
    Known(
        "thermal_parser/FLIR_B60.jpg",
        (180, 180),
        (6953, 12846, 13994, 12614.3727),
        (-68.0794, -7.6885, -0.2281, -9.8841),
        408705676,
        "9cf8008f3ed4a950",
        (
            (0, 0, 7045, -66.3950),
            (0, 179, 11478, -17.5678),
            (179, 0, 12225, -12.0206),
            (179, 179, 12854, -7.6342),
            (90, 90, 12898, -7.3360),
        ),
    ),
    Known("thermal_parser/DJI_XT2.jpg", (512, 640), (3233, 3713, 6859), (21.457, 31.587, 82.924)),
    Known("flirpy/frame_000000.fff", (512, 640), (2623, 2699, 2739), (9.557, 11.550, 12.582)),
)
SAMPLES = [known.path for known in KNOWN]


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def statistics(values: np.ndarray) -> list[float]:
    return [values.min(), np.median(values), values.max(), values.mean(dtype=np.float64)]


@pytest.mark.parametrize("known", KNOWN, ids=SAMPLES)
def test_real_files_hold_what_other_programs_found(data: Path, known: Known) -> None:
    path = data / "radiometric" / known.path
    counts, frame = counts_of(path), decode_flir(path)
    assert (frame.unit, frame.polarity, frame.n_frames) == ("celsius", "white_hot", 1)
    assert counts.shape == frame.data.shape == known.shape
    assert statistics(counts)[: len(known.counts)] == pytest.approx(known.counts, abs=5e-5)
    assert statistics(frame.data)[: len(known.celsius)] == pytest.approx(known.celsius, abs=1e-3)
    for row, column, count, degrees in known.pixels:
        assert counts[row, column] == count
        assert frame.data[row, column] == pytest.approx(degrees, abs=1e-3)
    if known.total:
        assert counts.sum(dtype=np.int64) == known.total
        assert hashlib.sha256(counts.astype("<u2").tobytes()).hexdigest()[:16] == known.sha256


def test_a_sky_colder_than_the_calibration_is_kept_and_said(data: Path) -> None:
    frame = decode_flir(data / "radiometric/thermal_parser/FLIR_B60.jpg")
    assert frame.meta["out_of_range_share"] == pytest.approx(0.028, abs=5e-4)
    assert any("2.81% of the pixels lie outside the calibrated counts 7339 to" in w for w in frame.warnings)
    assert np.isfinite(frame.data).all()


@pytest.mark.parametrize("name", ["FLIR_E40", "FLIR_AX8", "FLIR_B60"])
def test_another_decoder_agrees(data: Path, name: str) -> None:
    flyr = pytest.importorskip("flyr")
    path = data / f"radiometric/thermal_parser/{name}.jpg"
    np.testing.assert_allclose(decode_flir(path).data, flyr.unpack(str(path)).celsius, rtol=0, atol=1e-3)


def test_every_container_and_coding_gives_the_scene(
    tmp_path: Path, flir: SimpleNamespace, flir_containers: dict[str, bytes]
) -> None:
    camera = read_calibration(flir.camera_record())
    assert camera is not None
    for name, content in flir_containers.items():
        path = written(tmp_path, name, content)
        for number in range(len(frame_offsets(path))):
            scene, frame = flir.scene(seed=number), decode_flir(path, frame=number)
            np.testing.assert_array_equal(counts_of(path, frame=number), scene, err_msg=name)
            expected = scene if name == "no-camera.fff" else celsius(scene, camera)
            np.testing.assert_array_equal(frame.data, expected.astype(np.float32), err_msg=name)
            assert (frame.frame, frame.data.dtype) == (number, np.float32)
            assert frame.source_format == "flir-" + path.suffix[1:].replace("jpg", "jpeg")


def test_everything_that_must_fail_says_which_file_and_where(
    tmp_path: Path, flir_damaged: dict[str, bytes]
) -> None:
    for name, content in flir_damaged.items():
        path = written(tmp_path, name, content)
        with pytest.raises(ThermalReadError, match="at byte") as caught:
            decode_flir(path)
        assert caught.value.path == str(path), name
        assert caught.value.offset is not None, name
        assert 0 <= caught.value.offset <= len(content), name
        assert "\n" not in str(caught.value)


def test_the_place_in_a_joined_frame_is_the_place_in_the_file(tmp_path: Path, flir: SimpleNamespace) -> None:
    scene = flir.scene((40, 60))
    blob = flir.fff(scene, size_wh=(61, 40))
    for part in (300, 512, 600, 65524):
        content = flir.jpeg(blob, part=part)
        with pytest.raises(ThermalReadError, match="61 x 40 pixels need 4880") as caught:
            decode_flir(written(tmp_path, f"{part}.jpg", content))
        offset = caught.value.offset
        assert offset is not None
        assert content[offset : offset + 6] == flir.raw_record(scene, size_wh=(61, 40))[:6]


@pytest.mark.parametrize("payload", ["png", "jpegls"])
def test_a_payload_larger_than_its_record_is_not_decoded(
    tmp_path: Path, flir: SimpleNamespace, payload: str
) -> None:
    scene = np.zeros((4000, 4000), np.uint16)
    path = written(tmp_path, "bomb.fff", flir.fff(scene, payload=payload, size_wh=(32, 24)))
    tracemalloc.start()
    with pytest.raises(ThermalReadError, match="of 4000 x 4000 in a record of 32 x 24"):
        decode_flir(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (imagecodecs.png_encode(np.zeros((24, 32), np.uint8)), "PNG of 8 bits"),
        (imagecodecs.png_encode(np.zeros((24, 32, 3), np.uint16)), "colour type 2"),
        (imagecodecs.jpegls_encode(np.zeros((24, 32, 3), np.uint8)), "3 channels"),
        (imagecodecs.jpeg_encode(np.zeros((24, 32), np.uint8)), "no JPEG-LS"),
        (imagecodecs.png_encode(np.zeros((24, 32), np.uint16))[:60], "damaged PNG"),
        (imagecodecs.jpegls_encode(np.arange(768, dtype=np.uint16).reshape(24, 32))[:90], "damaged JPEG-LS"),
        (b"\x89PNG\r\n\x1a\n", "PNG without a header"),
    ],
)
def test_pixels_in_a_coding_that_no_camera_writes(
    tmp_path: Path, flir: SimpleNamespace, pixels: bytes, message: str
) -> None:
    head, scene = flir.raw_record(flir.scene())[:32], flir.scene()
    content = flir.fff(scene, entries={1: (64 + 32 * 14 + 32 + 2 * scene.size + 2108, 32 + len(pixels))})
    with pytest.raises(ThermalReadError, match=message):
        decode_flir(written(tmp_path, "a.fff", content + head + pixels))


def test_frames_of_a_recording_follow_their_records_and_are_never_searched(
    tmp_path: Path, flir: SimpleNamespace
) -> None:
    scenes = [flir.scene(seed=number) for number in range(4)]
    scenes[1].reshape(-1)[100:102] = np.frombuffer(b"FFF\0", np.uint16)  # a frame's first bytes
    lengths = [0, 128, 64, 0]
    frames = [
        flir.fff(scene, header="<>"[number % 2], camera=flir.camera_record() + bytes(length))
        for number, (scene, length) in enumerate(zip(scenes, lengths, strict=True))
    ]
    path = written(tmp_path, "a.seq", b"".join(frames))
    starts = [sum(len(frame) for frame in frames[:number]) for number in range(4)]
    assert list(frame_offsets(path)) == starts
    for number, scene in enumerate(scenes):
        np.testing.assert_array_equal(counts_of(path, frame=number), scene)
    for number in (-1, 4):
        with pytest.raises(ThermalReadError, match=f"has 4 frames, frame {number} was asked for"):
            decode_flir(path, frame=number)


def test_calibration_may_change_within_a_recording(tmp_path: Path, flir: SimpleNamespace) -> None:
    records = [flir.camera_record(changed={0x20: emissivity}) for emissivity in (0.95, 0.5)]
    path = written(tmp_path, "a.seq", b"".join(flir.fff(flir.scene(), camera=record) for record in records))
    assert [decode_flir(path, frame=number).meta["emissivity"] for number in (0, 1)] == [0.95, 0.5]


def test_a_recording_that_is_rewritten_is_walked_again(tmp_path: Path, flir: SimpleNamespace) -> None:
    frame = flir.fff(flir.scene())
    path = written(tmp_path, "a.seq", frame * 3)
    assert len(frame_offsets(path)) == 3
    path.write_bytes(frame * 2)
    assert len(frame_offsets(path)) == 2


def test_the_last_record_may_end_a_few_bytes_after_the_file(tmp_path: Path, flir: SimpleNamespace) -> None:
    """Its padding is cut; pixels never are."""
    pixels_last = flir.raw_record(flir.scene(), "jpegls")
    camera = flir.camera_record()
    start = 64 + 32 * 14 + len(camera)
    content = flir.fff(None, camera=camera)
    entry = (
        (1).to_bytes(2, "big") + bytes(10) + start.to_bytes(4, "big") + len(pixels_last).to_bytes(4, "big")
    )
    content = content[:96] + entry.ljust(32, b"\0") + content[128:] + pixels_last
    for cut in (0, 4, 12):
        path = written(tmp_path, f"{cut}.csq", content[: len(content) - cut])
        np.testing.assert_array_equal(counts_of(path), flir.scene())
    with pytest.raises(ThermalReadError, match="damaged JPEG-LS"):
        counts_of(written(tmp_path, "16.csq", content[:-16]))
    with pytest.raises(ThermalReadError, match="record 1 ends 64 bytes after the data"):
        counts_of(written(tmp_path, "64.csq", content[:-64]))


def test_damage_in_a_recording_costs_its_frame_and_is_said(tmp_path: Path, flir: SimpleNamespace) -> None:
    frame = flir.fff(flir.scene())
    cut = written(tmp_path, "cut.seq", frame * 2 + frame[:1000])
    assert len(frame_offsets(cut)) == 3
    assert decode_flir(cut, frame=1).warnings == ("the file ends inside its last frame",)
    with pytest.raises(ThermalReadError, match="after the data") as caught:
        decode_flir(cut, frame=2)
    assert caught.value.offset is not None
    assert caught.value.offset >= 2 * len(frame)
    lost = written(tmp_path, "lost.seq", frame + frame[:20] + b"\xff" * 4 + frame[24:] + frame)
    assert len(frame_offsets(lost)) == 2
    assert "after the last frame" in decode_flir(lost).warnings[0]
    with pytest.raises(ThermalReadError, match="no known version"):
        decode_flir(lost, frame=1)


def test_frames_that_lead_nowhere_end_the_walk(tmp_path: Path, flir: SimpleNamespace) -> None:
    """A frame whose records end before its header ends would be found again and again."""
    here = flir.fff(flir.scene(), camera=None, entries={1: (0, 8)})
    palette = here[:64] + b"\0\x22" + here[66:]
    assert len(frame_offsets(written(tmp_path, "a.seq", palette * 3))) == 1
    empty = flir.fff(None, camera=None)
    assert len(frame_offsets(written(tmp_path, "b.seq", empty * 1000))) == 1


def cuts(content: bytes, step: int) -> list[int]:
    return sorted({*range(0, len(content), step), *range(0, min(len(content), 1024), 64), len(content) - 1})


def check_cut(path: Path, whole: np.ndarray) -> None:
    """A cut file gives its frame or says where it ends; never half a frame."""
    with contextlib.suppress(ThermalReadError):
        np.testing.assert_array_equal(counts_of(path), whole)
        assert decode_flir(path).unit in {"celsius", "counts"}
        return
    with pytest.raises(ThermalReadError) as caught:
        decode_flir(path)
    assert caught.value.path == str(path)
    assert caught.value.offset is not None
    assert caught.value.offset <= path.stat().st_size


def test_files_cut_at_every_64_bytes(tmp_path: Path, flir_containers: dict[str, bytes]) -> None:
    for name, content in flir_containers.items():
        whole = counts_of(written(tmp_path, name, content))
        for end in cuts(content, 64):
            check_cut(written(tmp_path, name, content[:end]), whole)


@pytest.mark.parametrize("sample", SAMPLES)
def test_real_files_cut_anywhere(data: Path, tmp_path: Path, sample: str) -> None:
    content = (data / "radiometric" / sample).read_bytes()
    whole = counts_of(data / "radiometric" / sample)
    for end in cuts(content, 64 * (len(content) // 64 // 40)):
        check_cut(written(tmp_path, "cut", content[:end]), whole)


def test_what_the_user_says_of_the_scene_replaces_what_the_camera_was_set_to(
    tmp_path: Path, flir: SimpleNamespace
) -> None:
    path = written(tmp_path, "a.fff", flir.fff(flir.scene()))
    camera = read_calibration(flir.camera_record())
    assert camera is not None
    stored = decode_flir(path)
    values = {"emissivity": 0.6, "distance": 80.0, "reflected": -12.0, "atmosphere": 35.0, "humidity": 0.9}
    values |= {"window": 60.0, "transmission": 0.7}
    for changed in [values, *({name: values[name]} for name in OBJECT_PARAMETERS)]:
        frame = decode_flir(path, reading=Reading(object=changed))
        np.testing.assert_array_equal(frame.data, celsius(flir.scene(), seen_as(camera, changed)))
        assert {name: frame.meta[name] for name in changed} == changed
        assert not np.array_equal(frame.data, stored.data)


@pytest.mark.parametrize(
    ("offset", "value", "what"),
    [
        (0x20, 0.0, "emissivity is 0"),
        (0x34, -0.5, "transmission of the window is -0.5"),
        (0x24, 1e12, "transmission of the air"),
        (0x30C, 0.0, "Planck R2 is 0"),
        (0x308, -70_000, "no temperature for any pixel"),
    ],
)
def test_parameters_that_cannot_be_give_counts_and_a_sentence(
    tmp_path: Path, flir: SimpleNamespace, offset: int, value: float, what: str
) -> None:
    record = flir.camera_record(changed={offset: value})
    frame = decode_flir(written(tmp_path, "a.fff", flir.fff(flir.scene(), camera=record)))
    assert frame.unit == "counts"
    assert frame.warnings[0].startswith("counts, not degrees: ")
    assert what in frame.warnings[0]
    np.testing.assert_array_equal(frame.data, flir.scene())
    if offset == 0x20:  # the user knows better than the camera
        again = decode_flir(tmp_path / "a.fff", reading=Reading(object={"emissivity": 0.95}))
        assert again.unit == "celsius"


def test_a_short_or_missing_camera_record_gives_counts(tmp_path: Path, flir: SimpleNamespace) -> None:
    for camera in (None, flir.camera_record(length=700)):
        frame = decode_flir(written(tmp_path, "a.fff", flir.fff(flir.scene(), camera=camera)))
        assert (frame.unit, frame.warnings) == (
            "counts",
            ("counts, not degrees: the file holds no calibration",),
        )


def test_pixels_without_a_temperature_are_no_data(tmp_path: Path, flir: SimpleNamespace) -> None:
    scene = flir.scene()
    scene[3, 5], scene[0, 0] = 5000, 100  # below O, which is -5859
    frame = decode_flir(written(tmp_path, "a.fff", flir.fff(scene)))
    assert np.argwhere(np.isnan(frame.data)).tolist() == [[0, 0], [3, 5]]
    assert "0.26% of the pixels have counts without a temperature" in frame.warnings[0]
    assert "outside the calibrated counts 7783 to 57300" in frame.warnings[1]


def test_the_bytes_of_a_png_are_swapped_unless_that_makes_noise(
    tmp_path: Path, flir: SimpleNamespace
) -> None:
    noisy = np.random.default_rng(0).integers(0, 2**16, (24, 32), dtype=np.uint16)
    flat = np.full((24, 32), 17000, np.uint16)
    column = flir.scene((24, 1))
    for scene in (flir.scene(), flat, column):
        path = written(tmp_path, "a.fff", flir.fff(scene, payload="png"))
        np.testing.assert_array_equal(counts_of(path), scene)
        assert not any("PNG" in warning for warning in decode_flir(path).warnings)
    path = written(tmp_path, "b.fff", flir.fff(flir.scene(), payload="png-unswapped"))
    np.testing.assert_array_equal(counts_of(path), flir.scene())
    assert "kept as they are" in decode_flir(path).warnings[0]
    counts_of(written(tmp_path, "c.fff", flir.fff(noisy, payload="png")))  # either order, but one of them


def test_every_damaged_byte_of_a_png_is_found(tmp_path: Path, flir: SimpleNamespace) -> None:
    content = flir.fff(flir.scene((5, 6)), payload="png", camera=None)
    for place in range(64 + 32 * 14 + 32, len(content.rstrip(b"\0"))):
        damaged = content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        with pytest.raises(ThermalReadError):
            counts_of(written(tmp_path, "a.fff", damaged))


def test_the_orientation_of_the_display_picture_does_not_turn_the_sensor(
    tmp_path: Path, flir: SimpleNamespace
) -> None:
    exif = bytes.fromhex("45786966000049492a0008000000010012010300010000000600000000000000")  # orientation 6
    jpeg = flir.jpeg(flir.fff(flir.scene()))
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert decode_flir(written(tmp_path, "a.jpg", turned)).data.shape == (24, 32)


def test_parts_may_stand_in_any_order(tmp_path: Path, flir: SimpleNamespace) -> None:
    jpeg = flir.jpeg(flir.fff(flir.scene()), part=1000)
    size = 4 + 8 + 1000
    first, second, rest = jpeg[2 : 2 + size], jpeg[2 + size : 2 + 2 * size], jpeg[2 + 2 * size :]
    np.testing.assert_array_equal(
        counts_of(written(tmp_path, "a.jpg", jpeg[:2] + second + first + rest)), flir.scene()
    )


def test_a_file_that_is_not_there_or_no_flir_file(tmp_path: Path) -> None:
    with pytest.raises(ThermalReadError, match="cannot be read"):
        decode_flir(tmp_path / "none.jpg")
    for content in (b"", b"FFF", b"FFF\0", b"\xff\xd8\xff\xd9", b"not an image at all" * 9):
        with pytest.raises(ThermalReadError):
            decode_flir(written(tmp_path, "a", content))
