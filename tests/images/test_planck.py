from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.images.planck import (
    Air,
    Calibration,
    Planck,
    Scene,
    air_transmission,
    celsius,
    described,
    object_signal,
    read_calibration,
    seen_as,
    signal,
    temperature,
    water_vapour,
    why_not,
)
from dinonat.images.reading import OBJECT_PARAMETERS

E40 = Calibration(
    Planck(14866.514, 1395.7, 1.0, -5859, 0.011086479),
    Air(0.006569, 0.012620, -0.002276, -0.006670, 1.9),
    Scene(0.95, 2.0, 20.99, 13.99, 0.49, 18.99, 0.98),
)
scenes = st.builds(
    Scene,
    emissivity=st.floats(0.1, 1),
    distance=st.floats(0, 500),
    reflected=st.floats(-40, 100),
    atmosphere=st.floats(-20, 50),
    humidity=st.floats(0, 1),
    window=st.floats(-20, 80),
    transmission=st.floats(0.2, 1),
)


def test_the_worked_example_of_an_e40(flir: SimpleNamespace) -> None:
    camera = read_calibration(flir.camera_record())
    assert camera is not None
    scene, planck = camera.scene, camera.planck
    assert water_vapour(scene) == pytest.approx(5.833108, abs=5e-7)
    assert air_transmission(scene, camera.air) == pytest.approx(0.994818, abs=5e-7)
    assert signal(scene.reflected, planck) == pytest.approx(17620.768, abs=5e-4)
    assert signal(scene.atmosphere, planck) == pytest.approx(16325.931, abs=5e-4)
    assert signal(scene.window, planck) == pytest.approx(17241.640, abs=5e-4)
    assert celsius(np.uint16([[17587]]), camera)[0, 0] == pytest.approx(20.9164, abs=5e-5)


@given(st.floats(-60, 1500))
def test_temperature_undoes_signal(degrees: float) -> None:
    assert temperature(signal(degrees, E40.planck), E40.planck) == pytest.approx(degrees, abs=1e-7)


@given(scenes, st.floats(-30, 500))
def test_an_object_seen_through_air_and_window_has_its_own_temperature(scene: Scene, degrees: float) -> None:
    """Follow the radiation from the object to the camera; the decoder must undo every step."""
    camera = replace(E40, scene=scene)
    t = air_transmission(scene, E40.air)

    def black(at: float) -> float:
        return float(signal(at, E40.planck))

    leaving = scene.emissivity * black(degrees) + (1 - scene.emissivity) * black(scene.reflected)
    at_window = t * leaving + (1 - t) * black(scene.atmosphere)
    behind_window = scene.transmission * at_window + (1 - scene.transmission) * black(scene.window)
    arriving = t * behind_window + (1 - t) * black(scene.atmosphere)
    assert object_signal(np.float64(arriving), camera) == pytest.approx(black(degrees), rel=1e-9)
    assert temperature(object_signal(np.float64(arriving), camera), E40.planck) == pytest.approx(
        degrees, abs=1e-5
    )


def test_a_black_body_before_the_lens_is_seen_as_it_is() -> None:
    near = replace(E40, scene=Scene(distance=0.0))
    levels = np.arange(7000, 60000, dtype=np.float64)
    assert air_transmission(near.scene, near.air) == 1.0
    np.testing.assert_array_equal(object_signal(levels, near), levels)


@given(scenes)
def test_hotter_gives_more_counts_and_the_table_is_the_formula(scene: Scene) -> None:
    camera = replace(E40, scene=scene)
    counts = np.random.default_rng(0).integers(0, 2**16, (30, 40), dtype=np.uint16)
    degrees = celsius(counts, camera)
    direct = temperature(object_signal(counts.astype(np.float64), camera), camera.planck).astype(np.float32)
    np.testing.assert_array_equal(degrees, direct)
    rising = celsius(np.arange(2**16, dtype=np.uint16).reshape(1, -1), camera)[0]
    assert (np.diff(rising[np.isfinite(rising)]) >= 0).all()


def test_counts_without_a_solution_are_no_data() -> None:
    camera = replace(E40, scene=Scene(distance=0.0))
    degrees = celsius(np.uint16([[0, 5858, 5859, 5860, 17000]]), camera)  # O is -5859
    assert np.isnan(degrees[0]).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("ends", [(0, 65535), (65535, 65535), (0, 0)])
def test_the_ends_of_sixteen_bits_are_looked_up(ends: tuple[int, int]) -> None:
    camera = replace(E40, planck=replace(E40.planck, o=100))
    expected = temperature(object_signal(np.float64(ends), camera), camera.planck).astype(np.float32)
    np.testing.assert_array_equal(celsius(np.uint16([ends]), camera)[0], expected)


@pytest.mark.parametrize(
    ("scene", "planck", "what"),
    [
        ({"emissivity": 0.0}, {}, "emissivity is 0"),
        ({"emissivity": float("nan")}, {}, "emissivity is nan"),
        ({"transmission": -1.0}, {}, "transmission of the window is -1"),
        ({"distance": 1e9}, {}, "transmission of the air"),
        ({"distance": -3.0}, {}, "transmission of the air is nan"),
        ({"reflected": float("inf")}, {}, "not numbers"),
        ({}, {"r2": 0.0}, "Planck R2 is 0"),
        ({}, {"r1": -5.0}, "Planck R1"),
        ({}, {"f": float("nan")}, "not numbers"),
    ],
)
def test_what_cannot_be_is_named(scene: dict[str, float], planck: dict[str, float], what: str) -> None:
    camera = replace(E40, scene=replace(E40.scene, **scene), planck=replace(E40.planck, **planck))
    assert what in why_not(camera)
    assert why_not(E40) == ""


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_record_is_read_in_either_byte_order(flir: SimpleNamespace, order: str) -> None:
    camera = read_calibration(flir.camera_record(order))
    assert camera is not None
    for part, wanted in ((camera.planck, E40.planck), (camera.air, E40.air), (camera.scene, E40.scene)):
        for name, value in vars(wanted).items():
            assert getattr(part, name) == pytest.approx(value, rel=1e-6, abs=2e-5), name
    assert camera.counts == (7783, 57300)
    assert camera.about == {
        "camera": "FLIR E40",
        "serial": "49033333",
        "lens": "FOL18",
        "taken": "2013-04-12T08:24:01.131-01:00",
    }


def test_humidity_in_per_cent_is_the_same_as_a_fraction(flir: SimpleNamespace) -> None:
    camera = read_calibration(flir.camera_record(changed={0x3C: 49.0}))
    assert camera is not None
    assert camera.scene.humidity == pytest.approx(0.49)


def test_a_record_of_any_length_gives_what_it_holds_or_nothing(flir: SimpleNamespace) -> None:
    whole = read_calibration(flir.camera_record())
    assert whole is not None
    for length in range(2108):
        camera = read_calibration(flir.camera_record(length=length))
        assert (camera is None) == (length < 0x310)
        if camera is not None:
            assert camera.planck == whole.planck
            assert camera.counts in {None, whole.counts}


@given(st.binary(min_size=0x310, max_size=0x310 + 200))
def test_any_bytes_make_a_calibration_that_is_refused_or_works(flir_record: bytes) -> None:
    camera = read_calibration(flir_record)
    assert camera is not None
    described(camera)
    why_not(camera)
    degrees = celsius(np.uint16([[0, 17000, 65535]]), camera)
    assert np.isfinite(degrees[~np.isnan(degrees)]).all()


@pytest.mark.parametrize(
    ("clock", "taken"),
    [
        ((0, 0, 0), None),  # never set
        ((1, 999, -1439), "1970-01-01T23:59:01.999+23:59"),
        ((2**32 - 1, 0, 0), "2106-02-07T06:28:15.000+00:00"),
        ((1000, 1000, 0), None),
        ((1000, 0, 1440), None),
    ],
)
def test_the_time_has_the_zone_of_the_camera(
    flir: SimpleNamespace, clock: tuple[int, int, int], taken: str | None
) -> None:
    camera = read_calibration(
        flir.camera_record(changed=dict(zip((0x384, 0x388, 0x38C), clock, strict=True)))
    )
    assert camera is not None
    assert camera.about is not None
    assert camera.about.get("taken") == taken


def test_every_parameter_that_a_user_may_give_replaces_the_cameras() -> None:
    assert set(vars(Scene())) == set(OBJECT_PARAMETERS)
    for name in OBJECT_PARAMETERS:
        changed = seen_as(E40, {name: 0.5})
        assert getattr(changed.scene, name) == 0.5
        assert described(changed)[name] == 0.5
        assert replace(changed, scene=E40.scene) == E40


@pytest.mark.parametrize("name", ["FLIR_E40", "FLIR_AX8", "FLIR_B60", "DJI_XT2"])
def test_what_exiftool_says_of_real_cameras(data: Path, name: str) -> None:
    from dinonat.images.flir import decode_flir

    folder = data / "radiometric" / "thermal_parser"
    lines = (folder / f"{name}.txt").read_text("utf-16").splitlines()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    meta = decode_flir(folder / f"{name}.jpg").meta
    fields = {
        "Emissivity": (meta["emissivity"], 0.005),
        "Object Distance": (meta["distance"], 0.005),
        "Reflected Apparent Temperature": (meta["reflected"], 0.05),
        "Atmospheric Temperature": (meta["atmosphere"], 0.05),
        "IR Window Temperature": (meta["window"], 0.05),
        "IR Window Transmission": (meta["transmission"], 0.005),
        "Relative Humidity": (100 * meta["humidity"], 0.05),
        "Planck R1": (meta["planck"]["r1"], 5e-4),
        "Planck B": (meta["planck"]["b"], 0.05),
        "Planck F": (meta["planck"]["f"], 0.05),
        "Planck O": (meta["planck"]["o"], 0),
        "Planck R2": (meta["planck"]["r2"], 5e-10),
        "Raw Value Range Min": (meta["calibrated_counts"][0], 0),
        "Raw Value Range Max": (meta["calibrated_counts"][1], 0),
    }
    for field, (value, within) in fields.items():
        assert value == pytest.approx(float(said[field].split()[0]), abs=within * 1.01), field
    assert meta.get("camera", "") == said["Camera Model"]
    assert meta.get("serial", "") == said["Camera Serial Number"]
    assert meta.get("lens", "") == said["Lens Model"]
