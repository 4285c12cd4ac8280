"""Decode FLIR's raw data record: the counts of the sensor, bare, as PNG or as JPEG-LS."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dinonat.images.faults import printable
from dinonat.images.fff import Blob, Entry, byte_order
from dinonat.images.jpeg_ls import decode_jpeg_ls, header_of
from dinonat.images.rasters import MAX_PIXELS, MAX_SIDE

UInt16 = NDArray[np.uint16]
Notes = tuple[str, ...]

HEAD = 0x20  # bytes before the pixels
PNG = b"\x89PNG\r\n\x1a\n"
CHUNK_FRAME = 12  # bytes of a chunk beside its data: length, name, sum
JPEG = b"\xff\xd8\xff"
PADDING = 16  # bytes that may follow bare pixels
SLACK = 65_536  # bytes that a coded picture may need beside its pixels
SAMPLE_ROWS = 32  # enough rows to tell a picture from its bytes in the wrong order

SWAPPED_WARNING = "the bytes of its PNG are in the standard's order, which is rare: kept as they are"


def decode_counts(blob: Blob, raw: Entry) -> tuple[UInt16, str, Notes]:
    """Return the counts (H, W) of a raw data record, their coding and warnings.

    The coding is "bare", "png" or "jpeg-ls". The record's size bounds what is allocated: it is
    compared with MAX_PIXELS and with the size that the coded picture claims before any pixel is
    decoded. Raises ThermalReadError.
    """
    if raw.length <= HEAD:
        raise blob.fault(f"a raw data record of {raw.length} bytes", raw.start)
    head = blob.read(raw.start, HEAD, "the raw data record")
    order = byte_order(head)
    width, height = struct.unpack_from(order + "HH", head, 2)
    _check_size(blob, raw, height, width)
    wanted = 2 * height * width
    start = raw.start + HEAD
    data = blob.read(start, min(raw.length - HEAD, 2 * wanted + SLACK), "the raw data record")
    if data.startswith(PNG):
        counts, notes = _from_png(blob, start, data, (height, width))
        return counts, "png", notes
    if data.startswith(JPEG):
        return _from_jpeg_ls(blob, start, data, (height, width)), "jpeg-ls", ()
    if not wanted <= len(data) < wanted + PADDING:
        raise blob.fault(
            f"{raw.length - HEAD} bytes of pixels, but {width} x {height} pixels need {wanted}", raw.start
        )
    counts = np.frombuffer(data, order + "u2", count=height * width).reshape(height, width)
    return counts.astype(np.uint16, copy=False), "bare", ()


def _check_size(blob: Blob, raw: Entry, height: int, width: int) -> None:
    if min(height, width) < 1:
        raise blob.fault(f"a raw data record without pixels ({width} x {height})", raw.start)
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise blob.fault(f"{width} x {height} pixels, more than the {MAX_PIXELS} that are read", raw.start)


def _from_png(blob: Blob, start: int, data: bytes, size_hw: tuple[int, int]) -> tuple[UInt16, Notes]:
    """Decode a PNG. Its samples are big-endian by definition; most cameras wrote little-endian ones."""
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise blob.fault("pixels as a PNG without a header", start)
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    _check_same(blob, start, "PNG", (height, width), size_hw)
    if (depth, colour) != (16, 0):
        raise blob.fault(f"pixels as a PNG of {depth} bits, colour type {colour}: not 16-bit grey", start)
    _check_chunks(blob, start, data)
    stored = _decoded(blob, start, "PNG", imagecodecs.png_decode, data)
    if stored.shape != size_hw or stored.dtype != np.uint16:
        raise blob.fault(f"pixels as a PNG that decodes to {stored.shape} {stored.dtype}", start)
    swapped: UInt16 = stored.byteswap()
    if _roughness(stored) < _roughness(swapped):
        return stored, (SWAPPED_WARNING,)
    return swapped, ()


def _check_chunks(blob: Blob, start: int, data: bytes) -> None:
    """Compare the sum of each chunk: the codec stops reading at the last pixel and skips the last one."""
    place = len(PNG)
    while place + CHUNK_FRAME <= len(data):
        end = place + CHUNK_FRAME + int.from_bytes(data[place : place + 4], "big")
        if end > len(data) or zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(
            data[end - 4 : end], "big"
        ):
            break
        if data[place + 4 : place + 8] == b"IEND":
            return
        place = end
    raise blob.fault("a damaged PNG of the pixels (a chunk is cut or its sum is wrong)", start + place)


def _from_jpeg_ls(blob: Blob, start: int, data: bytes, size_hw: tuple[int, int]) -> UInt16:
    own = header_of(data)
    if own is None:
        raise blob.fault("pixels as a JPEG that is no JPEG-LS", start)
    _check_same(blob, start, "JPEG-LS", (own.height, own.width), size_hw)
    if own.channels != 1 or own.bits > 16:
        raise blob.fault(f"pixels as a JPEG-LS of {own.bits} bits and {own.channels} channels", start)
    stored = _decoded(blob, start, "JPEG-LS", decode_jpeg_ls, data)
    if stored.shape != size_hw:
        raise blob.fault(f"pixels as a JPEG-LS that decodes to {stored.shape}", start)
    return stored.astype(np.uint16, copy=False)


def _check_same(blob: Blob, start: int, coding: str, own: tuple[int, int], size_hw: tuple[int, int]) -> None:
    if own != size_hw:
        raise blob.fault(
            f"pixels as a {coding} of {own[1]} x {own[0]} in a record of {size_hw[1]} x {size_hw[0]}", start
        )


def _decoded(
    blob: Blob, start: int, coding: str, decoder: Callable[[bytes], Any], data: bytes
) -> NDArray[Any]:
    try:
        return np.asarray(decoder(data))
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # codecs raise whatever damaged bytes lead them to
        raise blob.fault(f"a damaged {coding} of the pixels ({printable(str(error))})", start) from error


def _roughness(counts: UInt16) -> float:
    """Return the median step between neighbours in a row: 2 to 63 counts, or hundreds in the wrong order."""
    rows = counts[:: max(1, len(counts) // SAMPLE_ROWS)].astype(np.int32)
    return float(np.median(np.abs(np.diff(rows, axis=1)))) if rows.shape[1] > 1 else 0.0
