"""JPEG-LS: its size before anything is decoded, and a decoder that always ends."""

import struct
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dinonat.images.segments import JPEG_LS_FRAME, segments

HEADER = struct.Struct(">BHHB")

# A picture that ends without its end marker sends CharLS through 2**31 bits that are not there:
# five seconds for 500 bytes. After a whole picture a second end marker is never read.
END = b"\xff\xd9"


class Header(NamedTuple):
    """What a JPEG-LS picture says that it holds."""

    bits: int
    height: int
    width: int
    channels: int


def header_of(data: bytes) -> Header | None:
    """Return the header of a JPEG-LS picture, None for any other bytes."""
    frame = next((s for s in segments(data) if s.marker == JPEG_LS_FRAME and s.length >= HEADER.size), None)
    return None if frame is None else Header(*HEADER.unpack_from(data, frame.start))


def decode_jpeg_ls(data: bytes) -> NDArray[Any]:
    """Return the samples of a JPEG-LS picture; raises whatever the codec raises for a damaged one.

    Its header decides what is allocated: compare ``header_of`` with what is allowed first.
    """
    return np.asarray(imagecodecs.jpegls_decode(data + END))
