import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from dinonat.records import ImageRef, ThermalFrame
from dinonat.survey.facts import FALSE_COLOUR, PHOTOGRAPH, Facts, facts_of, survey, view_of
from dinonat.survey.levels import levels_of, stored
from dinonat.survey.traces import shrunk, unit_vector

Textures = Callable[..., np.ndarray]


def look(folder: Path, *names: str, workers: int = 0) -> list[Facts]:
    return list(survey([ImageRef(folder, name) for name in names], workers=workers))


def frame(data: np.ndarray, unit: str = "counts") -> ThermalFrame:
    return ThermalFrame(np.asarray(data, np.float32), unit)  # type: ignore[arg-type]


@given(arrays.arrays(np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24)))
@settings(max_examples=60, deadline=None)
def test_levels_counted_and_levels_ranked_are_those_of_the_sorted_pixels(pixels: np.ndarray) -> None:
    ranked = np.sort(pixels, axis=None).astype(np.float64)
    wanted = [ranked[int(rank * (ranked.size - 1) + 0.5)] for rank in (0.0, 0.01, 0.5, 0.99, 1.0)]
    whole = levels_of(stored(frame(pixels)), grey=False)
    assert list(whole[:5]) == wanted
    shifted = levels_of(stored(frame(pixels + np.float32(0.5))), grey=False)  # no whole numbers any more
    assert list(shifted[:5]) == pytest.approx([value + 0.5 for value in wanted])
    assert sum(whole.histogram) == sum(shifted.histogram) == pixels.size


def test_a_plateau_at_an_end_is_a_cut_and_a_tail_is_none(textures: Textures) -> None:
    picture = textures(1).astype(np.float32)
    top = float(np.quantile(picture, 0.8))
    assert levels_of(stored(frame(picture, "grey")), grey=True)[5:7] == (0.0, 0.0)
    for unit, values in (("counts", picture * 20 + 3000), ("celsius", picture / 7 - 12.345)):
        limit = float(np.quantile(values, 0.8))
        cut = levels_of(stored(frame(np.minimum(values, limit), unit)), grey=False)
        assert cut.cut_high == pytest.approx(0.2, abs=0.03)
        assert cut.cut_low == 0
    grey = np.where(picture > top, 255, picture)
    assert levels_of(stored(frame(grey, "grey")), grey=True).cut_high == pytest.approx(
        np.mean(picture > top), abs=1e-5
    )
    below_the_end = np.minimum(picture, top)  # the plateau of a grey picture counts at 255 only
    assert levels_of(stored(frame(below_the_end, "grey")), grey=True).cut_high == 0


def test_missing_pixels_are_counted_and_left_out() -> None:
    data = np.arange(200.0).reshape(10, 20)
    data[0, :10] = np.nan
    levels = levels_of(stored(frame(data)), grey=False)
    assert (levels.least, levels.most, round(levels.missing, 9)) == (10, 199, 0.05)
    assert levels_of(stored(frame(np.full((4, 4), np.nan))), grey=False).missing == 1


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.sampled_from(["counts", "celsius"]),
)
@example(np.array([[1e-45, 0.0]], np.float32), "counts")  # a range whose parts are nothing
@settings(max_examples=60, deadline=None)
def test_no_values_whatever_make_it_fail(data: np.ndarray, unit: str) -> None:
    with np.errstate(all="ignore"):
        fact = facts_of(ImageRef(Path("nowhere"), "a"), frame(data, unit))
    assert bool(fact.reason) == (not np.isfinite(data).any())
    assert 0 <= fact.levels.missing <= 1


def test_facts_of_each_format(tmp_path: Path, textures: Textures) -> None:
    picture = textures(2)
    Image.fromarray(picture).save(tmp_path / "grey.jpg", quality=95)
    tifffile.imwrite(tmp_path / "eight.tif", picture.astype(np.uint16))
    tifffile.imwrite(tmp_path / "deep.tif", picture.astype(np.uint16) * 16 + 5000)
    grey, eight, deep = look(tmp_path, "grey.jpg", "eight.tif", "deep.tif")
    assert [(fact.format, fact.unit, fact.size) for fact in (grey, eight, deep)] == [
        ("jpeg", "grey", "256 x 192"),
        ("tiff", "grey", "256 x 192"),
        ("tiff", "counts", "256 x 192"),
    ]
    assert grey.depth == eight.depth == 8 < deep.depth
    assert "need only 8" in eight.warnings[0]
    assert not any(fact.flat or fact.reason for fact in (grey, eight, deep))
    assert deep.levels.median == 16 * int(np.sort(picture, axis=None)[picture.size // 2]) + 5000


def test_exif_gives_camera_and_time_and_never_a_position(tmp_path: Path, textures: Textures) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "FLIR", "FLIR E8", "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.3456)
    Image.fromarray(textures(3)).save(tmp_path / "a.jpg", exif=exif)
    (fact,) = look(tmp_path, "a.jpg")
    assert (fact.camera, fact.taken) == ("FLIR E8", "2024-05-06T07:08:09")
    assert "12.3456" not in repr(fact)


def test_false_colour_and_photographs_are_told_from_grey(tmp_path: Path, textures: Textures) -> None:
    ramp = np.linspace(0, 1, 256)[:, None]
    iron = (np.clip(np.hstack([3 * ramp, 3 * ramp - 1, 3 * ramp - 2]), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(iron[textures(4)]).save(tmp_path / "hot.png")
    photograph = np.stack([textures(seed) for seed in (5, 6, 7)], axis=-1)
    Image.fromarray(photograph).save(tmp_path / "visit.png")
    hot, visit = look(tmp_path, "hot.png", "visit.png")
    assert (hot.look, visit.look) == (FALSE_COLOUR, PHOTOGRAPH)
    assert (view_of(hot), view_of(visit)) == ("thermal", "colour")


@pytest.mark.parametrize("noise", [0.3, 20.0])
def test_a_frame_without_structure_is_flat_and_a_faint_scene_is_not(noise: float, textures: Textures) -> None:
    rng = np.random.default_rng(0)
    shutter = 7000 + rng.normal(0, noise, (192, 256)).round()
    scene = shutter + textures(8) * (0.2 + noise / 20)
    ref = ImageRef(Path("nowhere"), "a")
    assert facts_of(ref, frame(shutter)).flat
    assert not facts_of(ref, frame(scene.round())).flat


def test_a_small_frame_of_noise_is_not_called_flat() -> None:
    noise = np.random.default_rng(0).normal(120, 40, (40, 24)).clip(0, 255).round()
    assert not facts_of(ImageRef(Path("nowhere"), "a"), frame(noise, "grey")).flat


def test_bad_files_cost_themselves_and_are_named(tmp_path: Path, textures: Textures) -> None:
    Image.fromarray(textures(9)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("not an image\n" * 40)
    facts = look(tmp_path, "whole.jpg", "half.jpg", "empty.jpg", "words.jpg", "gone.jpg", workers=1)
    assert [bool(fact.reason) for fact in facts] == [False, True, True, True, True]
    assert all(fact.reason.startswith(fact.image) and str(tmp_path) not in fact.reason for fact in facts[1:])


def test_a_file_that_kills_its_decoder_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, dinonat.survey.facts as survey\n"
        "read = survey.read_thermal\n"
        "survey.read_thermal = lambda path, **k: os.abort() if path.stem == 'bomb' else read(path, **k)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    for name in ("a", "bomb", "b"):
        Image.fromarray(np.arange(4800, dtype=np.uint8).reshape(60, 80)).save(tmp_path / f"{name}.png")
    facts = look(tmp_path, "a.png", "bomb.png", "b.png", workers=2)
    assert [fact.image for fact in facts if fact.reason] == ["bomb.png"]
    assert "ended with code" in facts[1].reason


def test_the_look_ignores_gain_offset_and_the_sign_tells_polarity(textures: Textures) -> None:
    data = textures(10).astype(np.float32)
    own = unit_vector(shrunk(data))
    assert own is not None
    for gain, offset in ((3.0, 10.0), (0.2, -40.0), (-1.5, 255.0)):
        other = unit_vector(shrunk(gain * data + offset))
        assert other is not None
        assert float(own @ other) == pytest.approx(np.sign(gain), abs=1e-4)
    assert unit_vector(shrunk(np.full((50, 60), 3.0, np.float32))) is None


def test_the_real_radiometric_files(data: Path) -> None:
    folder = data / "radiometric"
    names = (
        "thermal_parser/FLIR_E40.jpg",
        "thermal_parser/FLIR_B60.jpg",
        "thermal_parser/M3T/DJI_0001_R.JPG",
    )
    e40, b60, m3t = look(folder, *names)
    assert (e40.unit, e40.camera, m3t.unit, m3t.camera) == ("celsius", "FLIR E40", "counts", "DJI M3T")
    assert (e40.levels.least, e40.levels.most) == pytest.approx((17.8759, 24.7004), abs=1e-3)
    assert b60.out_of_range == pytest.approx(0.028, abs=0.002)  # a clear winter sky
    assert (m3t.levels.least, m3t.levels.median, m3t.levels.most) == (19112, 19444, 20364)
