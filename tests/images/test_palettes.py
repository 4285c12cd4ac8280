import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from dinonat.images.exif import polarity_of
from dinonat.images.palettes import kind_of_colour

KINDS = {"grey", "grey with colour", "false colour", "photograph"}
PALETTES = {  # shares of the scale; red, green and blue there
    "ironbow": (
        [0, 0.15, 0.35, 0.55, 0.7, 0.88, 1],
        [0, 35, 140, 220, 245, 255, 255],
        [0, 0, 0, 60, 130, 215, 255],
        [15, 125, 155, 80, 15, 50, 235],
    ),
    "rainbow": (
        [0, 0.2, 0.4, 0.55, 0.7, 0.85, 1],
        [0, 0, 0, 0, 250, 255, 200],
        [0, 60, 220, 200, 240, 100, 0],
        [120, 255, 220, 40, 0, 0, 0],
    ),
    "arctic": (
        [0, 0.3, 0.5, 0.65, 0.8, 1],
        [5, 0, 60, 130, 220, 255],
        [5, 90, 200, 130, 150, 240],
        [60, 220, 240, 140, 40, 170],
    ),
}


def table(name: str) -> np.ndarray:
    shares, *channels = PALETTES[name]
    channels = [np.interp(np.linspace(0, 1, 256), shares, levels) for levels in channels]
    return np.stack(channels, 1).round().astype(np.uint8)


def scene(shape: tuple[int, int] = (256, 320), seed: int = 0) -> np.ndarray:
    """Smooth grey levels over the whole range, with some noise."""
    rng = np.random.default_rng(seed)
    small = rng.random((8, 10))
    smooth = Image.fromarray((small * 255).astype(np.uint8)).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth) + rng.normal(0, 2, shape), 0, 255).astype(np.uint8)


def as_jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "jpeg", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("name", PALETTES)
def test_a_palette_is_false_colour_however_it_was_saved(name: str, quality: int) -> None:
    for seed in range(3):
        assert kind_of_colour(as_jpeg(table(name)[scene(seed=seed)], quality)) == "false colour"
        assert kind_of_colour(as_jpeg(table(name)[::-1][scene(seed=seed)], quality)) == "false colour"


@pytest.mark.parametrize("quality", [60, 95])
def test_grey_is_grey_and_colour_on_it_is_told(quality: int) -> None:
    picture = three(scene())
    assert kind_of_colour(as_jpeg(picture, quality)) == "grey"
    for where in (np.s_[20:30, 20:200], np.s_[60:200, 60:220]):  # a scale; a window
        mixed = picture.copy()
        mixed[where] = table("ironbow")[picture[where][..., 0]]
        assert kind_of_colour(as_jpeg(mixed, quality)) == "grey with colour"


def test_colours_that_vary_with_light_are_a_photograph() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.integers(0, 256, (64, 64, 3), np.uint8)
    shaded = (table("rainbow")[scene()] * scene(seed=5)[..., None].astype(float) / 255).astype(np.uint8)
    one_hue = (three(scene()) * [0.2, 0.5, 1]).astype(np.uint8)
    sky = np.full((64, 64, 3), (40, 120, 230), np.uint8)
    for picture in (cloud, shaded, one_hue, sky):
        assert kind_of_colour(picture) == "photograph"


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40).map(lambda shape: (*shape, 3))))
def test_every_picture_is_of_some_kind(rgb: np.ndarray) -> None:
    assert kind_of_colour(rgb) in KINDS


@given(st.sampled_from([1, 2, 3, 5000]), st.sampled_from([1, 2, 3, 5000]))
def test_every_shape_has_samples(height: int, width: int) -> None:
    assert kind_of_colour(np.zeros((height, width, 3), np.uint8)) == "grey"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("FLIR_E40.jpg", "false colour"),
        ("FLIR_AX8.jpg", "false colour"),
        ("FLIR_B60.jpg", "grey with colour"),  # a window in false colour on a visible picture in grey
        ("DJI_XT2.jpg", "grey"),
        ("M3T/DJI_0001_R.JPG", "grey"),
    ],
)
def test_display_pictures_of_cameras(data: Path, file: str, kind: str) -> None:
    with Image.open(data / "radiometric/thermal_parser" / file) as picture:
        assert kind_of_colour(np.asarray(picture.convert("RGB"))) == kind


def test_thermal_frames_in_palettes_and_photographs(data: Path) -> None:
    frames = sorted((data / "thermal_aerial/infrared").glob("*.jpg"))[::5]
    found = 0
    for number, file in enumerate(frames):
        with Image.open(file) as picture:
            grey = np.asarray(picture.convert("L")).astype(float)
        low, high = np.percentile(grey, [1, 99])
        levels = (np.clip((grey - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        name = list(PALETTES)[number % 3]
        found += kind_of_colour(as_jpeg(table(name)[levels], 60 + number % 8 * 5)) == "false colour"
    assert found >= 0.95 * len(frames)
    wrong, photographs = 0, sorted((data / "rgb_objects/images").glob("*.jpg"))[::4]
    for file in photographs:
        with Image.open(file) as picture:
            wrong += kind_of_colour(np.asarray(picture.convert("RGB"))) == "false colour"
    assert wrong <= 0.03 * len(photographs)


@pytest.mark.parametrize(
    ("text", "polarity"),
    [
        ("WhiteHot", "white_hot"),
        ("BlackHot", "black_hot"),
        ("black hot\0", "black_hot"),
        ("White-Hot", "white_hot"),
    ]
    + [
        (text, "unknown")
        for text in ("", "default", "IronRed", "HotIron", "Rainbow2", "Tint", "not BlackHot")
    ],
)
def test_only_a_name_that_says_it_gives_a_polarity(text: str, polarity: str) -> None:
    assert polarity_of(text) == polarity
