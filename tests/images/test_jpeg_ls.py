import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.images.jpeg_ls import Header, decode_jpeg_ls, header_of

COUNTS = np.random.default_rng(0).integers(17000, 17400, (24, 32), dtype=np.uint16)
CODED = imagecodecs.jpegls_encode(COUNTS)


@pytest.mark.parametrize("padding", [0, 1, 64])
def test_every_count_survives(padding: int) -> None:
    np.testing.assert_array_equal(decode_jpeg_ls(CODED + bytes(padding)), COUNTS)
    assert header_of(CODED + bytes(padding)) == Header(16, 24, 32, 1)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_bytes_and_colour_survive(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    coded = imagecodecs.jpegls_encode(pixels)
    np.testing.assert_array_equal(decode_jpeg_ls(coded), pixels)
    assert header_of(coded) == Header(8, 9, 7, 3 if len(shape) == 3 else 1)


def test_other_bytes_have_no_header() -> None:
    assert header_of(imagecodecs.jpeg_encode(np.zeros((8, 8), np.uint8))) is None
    assert header_of(CODED[:40]) is None
    assert header_of(b"") is None


def test_every_cut_is_an_error_and_ends_at_once() -> None:
    """Without a bound of its own the codec needs five seconds for each of most of these."""
    for end in range(len(CODED) - 3):
        with pytest.raises(imagecodecs.JpeglsError):
            decode_jpeg_ls(CODED[:end])


@given(st.integers(60, len(CODED) - 1), st.integers(0, 255), st.integers(0, 40))
def test_damage_is_an_error_or_a_picture_of_the_same_size(place: int, byte: int, lost: int) -> None:
    damaged = CODED[:place] + bytes([byte]) + CODED[place + lost :]
    try:
        pixels = decode_jpeg_ls(damaged)
    except imagecodecs.JpeglsError:
        return
    assert pixels.shape == COUNTS.shape
