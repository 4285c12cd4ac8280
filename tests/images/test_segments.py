import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.images.segments import MAX_SEGMENTS, Segment, segments


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


payloads = st.lists(st.tuples(st.sampled_from([0xE0, 0xE1, 0xE3, 0xE4, 0xFE, 0xDB]), st.binary(max_size=40)))


@given(payloads, st.integers(0, 3))
def test_what_was_written_is_found(parts: list[tuple[int, bytes]], fill: int) -> None:
    data = b"\xff\xd8" + b"".join(b"\xff" * fill + segment(*part) for part in parts) + b"\xff\xda rest"
    found = [(m, data[start : start + length]) for m, start, length in segments(data)]
    assert found == parts


def test_markers_inside_a_payload_are_not_segments() -> None:
    inner = b"\xff\xd8" + segment(0xE1, b"FLIR\0 not the one") + b"\xff\xd9"
    data = b"\xff\xd8" + segment(0xE1, inner) + b"\xff\xd0\xff\x01" + segment(0xE2, b"x") + b"\xff\xd9"
    assert [s.marker for s in segments(data)] == [0xE1, 0xE2]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG", b"\xff\xd8\xff\xe1\0\1"]
)
def test_other_bytes_end_quietly(data: bytes) -> None:
    assert list(segments(data)) == []


@given(st.binary(max_size=200))
def test_any_bytes_end_and_every_segment_lies_inside(tail: bytes) -> None:
    data = b"\xff\xd8" + tail
    for _, start, length in segments(data):
        assert start + 1 > 4
        assert 0 <= length <= len(data) - start


def test_a_cut_segment_is_left_out() -> None:
    whole = b"\xff\xd8" + segment(0xE0, b"abc") + segment(0xE1, b"defg")
    for end in range(len(whole)):
        assert [s.marker for s in segments(whole[:end])] == ([0xE0] if end >= 9 else [])
    assert list(segments(memoryview(whole)))[1] == Segment(0xE1, 13, 4)


def test_a_million_empty_segments_and_fill_bytes_are_bounded() -> None:
    assert len(list(segments(b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000))) == MAX_SEGMENTS
    assert list(segments(b"\xff\xd8" + b"\xff" * 100_000)) == []


def test_a_picture_that_pillow_wrote() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(stream, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    data = stream.getvalue()
    found = list(segments(data))
    frame = next(s for s in found if s.marker == 0xC0)
    assert data[frame.start + 1 : frame.start + 5] == bytes([0, 9, 0, 7])
    assert data[found[0].start :].startswith(b"JFIF")
