from pathlib import Path

import pytest

from dinonat.images.listing import list_images
from dinonat.records import ImageRef
from dinonat.survey.facts import PHOTOGRAPH, Facts, survey
from dinonat.survey.naming import named, seconds
from dinonat.survey.twins import Twin, find_twins


def fact(path: str, look: str = "grey", *, size: tuple[int, int] = (640, 512), taken: str = "") -> Facts:
    return Facts(
        ImageRef(Path("set"), path), look=look, width=size[0], height=size[1], taken=taken, unit="grey"
    )


def paired(*paths: str) -> list[tuple[str, str]]:
    facts = [fact(path) for path in paths]
    return [(facts[twin.thermal].image, facts[twin.colour].image) for twin in find_twins(facts)]


@pytest.mark.parametrize(
    ("thermal", "colour"),
    [
        ("lwir/I00001.jpg", "visible/I00001.jpg"),  # KAIST
        ("set00/V000/lwir/I00001.jpg", "set00/V000/visible/I00001.jpg"),
        ("infrared/train/010001.jpg", "visible/train/010001.jpg"),  # LLVIP
        ("ir/00001.png", "vi/00001.png"),  # M3FD
        ("T/1.jpg", "RGB/1.jpg"),  # VT5000
        ("thermal_8_bit/FLIR_00001.jpeg", "RGB/FLIR_00001.jpg"),  # FLIR ADAS v1
        ("DJI_0001_T.JPG", "DJI_0001_V.JPG"),
        ("flight/DJI_0001_T.JPG", "flight/DJI_0001_W.JPG"),
        ("IR_0001.jpg", "RGB_0001.jpg"),
        ("0001_ir.png", "0001_rgb.png"),
        ("a-thermal.tif", "a-visible.jpg"),
    ],
)
def test_names_that_say_which_is_which(thermal: str, colour: str) -> None:
    assert paired(colour, thermal) == [(thermal, colour)]


@pytest.mark.parametrize(
    "paths",
    [
        ("a/DJI_0001_T.JPG", "b/DJI_0001_V.JPG"),  # other flights
        ("lwir/1.jpg", "visible/2.jpg"),
        ("a.jpg", "b.jpg"),
        ("portrait.jpg", "invisible.jpg"),  # words inside words say nothing
        ("train/1.jpg", "test/1.jpg"),
    ],
)
def test_names_that_do_not(paths: tuple[str, str]) -> None:
    assert paired(*paths) == []


def test_of_several_cameras_in_one_housing_the_one_framed_like_the_thermal_one_is_taken() -> None:
    assert paired("D_0001_Z.JPG", "D_0001_W.JPG", "D_0001_V.JPG", "D_0001_T.JPG") == [
        ("D_0001_T.JPG", "D_0001_V.JPG")
    ]
    assert paired("D_0001_Z.JPG", "D_0001_W.JPG", "D_0001_T.JPG") == [("D_0001_T.JPG", "D_0001_W.JPG")]


def test_the_thermal_image_of_the_colour_images_size_is_its_twin() -> None:
    facts = [
        fact("infrared_full/1.png"),
        fact("infrared/1.jpg", size=(500, 300)),
        fact("visible/1.jpg", PHOTOGRAPH, size=(500, 300)),
    ]
    assert find_twins(facts) == (Twin(1, 2, "name"),)


def test_a_folder_of_colour_images_elsewhere() -> None:
    thermal = [fact("x/1.tif"), fact("x/2.tif"), fact("y/2.tif")]
    colour = [fact("2.jpg", PHOTOGRAPH), fact("1.jpg", PHOTOGRAPH)]
    assert find_twins(thermal, colour) == (Twin(0, 1, "name"),)  # 2 is there twice: no guess


def test_times_pair_what_names_do_not_and_each_only_once() -> None:
    moment = "2024-05-06T07:08:0"
    thermal = [fact(f"t{i}.tif", taken=f"{moment}{i}.0") for i in (0, 4, 8)]
    colour = [fact(f"c{i}.jpg", PHOTOGRAPH, taken=f"{moment}{i}.4") for i in (0, 1, 8)]
    assert find_twins(thermal, colour) == (Twin(0, 0, "time"), Twin(2, 2, "time"))
    both = find_twins([*thermal, *colour])
    assert both == (Twin(0, 3, "time"), Twin(2, 5, "time"))


def test_unreadable_images_are_no_twins() -> None:
    lost = Facts(ImageRef(Path("set"), "visible/1.jpg"), "visible/1.jpg: empty.")
    assert find_twins([fact("infrared/1.jpg"), lost]) == ()


def test_the_parts_of_a_name() -> None:
    name = named("video-9aXbYc-frame-000123-4dEf77.jpg")
    assert (name.prefix, name.number) == ("video-9aXbYc-frame-", 123)
    name = named("1_60_30_0_00022.jpg")
    assert (name.prefix, name.number, name.form) == ("1_60_30_0_", 22, "#_#_#_#_")
    name = named("20240506_070809_T.jpg")
    assert (name.taken, name.number, name.view) == ("2024-05-06T07:08:09", None, "thermal")
    assert named("20249906_990809.jpg").taken == ""
    assert seconds("2024-05-06T07:08:09+02:00") == seconds("2024-05-06T07:08:09")


def test_the_real_road_images_pair_by_folder(data: Path) -> None:
    facts = list(survey(list_images(data / "paired_road").refs))
    twins = find_twins(facts)
    names = [(facts[twin.thermal].image, facts[twin.colour].image) for twin in twins]
    assert names == [(name, name.replace("infrared/", "visible/")) for name, _ in names]
    assert len(names) == 82
    separate = list(survey(list_images(data / "paired_road/infrared").refs))
    colour = list(survey(list_images(data / "paired_road/visible").refs))
    assert len(find_twins(separate, colour)) == 82
