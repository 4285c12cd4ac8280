import pytest

from dinonat.pretraining.recipe import TrainSettings
from dinonat.pretraining.sizing import LARGE, fitted

DEFAULT = TrainSettings()


def fit(images: int, given=(), **more) -> TrainSettings:
    return fitted(TrainSettings.checked(dict(given)), list(dict(given)), images=images, **more)[0]


@pytest.mark.parametrize("images", [1, 500, 20_000])
def test_the_defaults_are_those_of_up_to_20000_images(images):
    assert fit(images) == DEFAULT


def test_at_the_size_of_imagenet_the_recipe_is_the_published_one():
    large = fit(LARGE)
    assert large.out_dim == 65_536
    assert (large.hidden, large.bottleneck) == (2048, 256)
    assert large.momentum == (0.996, 1.0)
    assert large.teacher_temperature == (0.04, 0.07)
    assert fit(100 * LARGE) == large


def test_what_is_fitted_moves_one_way_with_the_number_of_images():
    fits = [fit(images) for images in (10_000, 30_000, 90_000, 150_000, 400_000, 900_000, LARGE)]
    for of in (
        lambda s: s.out_dim,
        lambda s: s.momentum[0],
        lambda s: s.teacher_temperature[1],
        lambda s: s.freeze_prototypes,
    ):
        values = [of(each) for each in fits]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_what_somebody_gave_stays():
    given = {"out_dim": 99, "momentum": (0.9, 0.95), "learning_rate": 0.5, "head_first": 3}
    recipe, said = fitted(TrainSettings.checked(given), list(given), images=LARGE, from_weights=True)
    assert {name: getattr(recipe, name) for name in given} == given
    assert not any(name in said for name in given)
    assert "teacher_temperature [0.04, 0.07]" in said


def test_the_rate_goes_with_the_root_of_the_batch_and_is_lower_for_weights_that_have_learned():
    assert fit(100, {"batch": 12}).learning_rate == pytest.approx(DEFAULT.learning_rate / 2)
    assert fit(100, {"batch": 4800}).learning_rate == 2e-3  # no more than was ever tried
    assert fit(100, from_weights=True).learning_rate == pytest.approx(0.4 * DEFAULT.learning_rate)


def test_only_a_new_head_learns_alone_at_first():
    assert fit(100).head_first == 0
    assert fit(100, from_weights=True).head_first > 0
    assert fit(100, from_weights=True, with_heads=True).head_first == 0
