"""Tell what a file is by its content; its name never decides."""

import stat
from pathlib import Path
from typing import BinaryIO

from dinonat.images.faults import fault

UNKNOWN = "unknown"

MAGIC = (  # the first that fits
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)
PICTURES = ("png", "jpeg", "bmp", "webp")  # one picture, for display or with deep pixels
SEVERAL_FRAMES = ("tiff",)
GRID = "csv-grid"  # text, so no first bytes tell it
READ = "Read are PNG, JPEG, TIFF, BMP, WebP, radiometric JPEG, FFF, SEQ, CSQ, IRG, NPY, NPZ and grids in CSV"

MAX_SEGMENTS = 4096  # a radiometric JPEG has a few dozen
MIN_PAYLOAD = 2 * 160 * 120  # bytes of the smallest frame that a DJI camera stores


def sniff(path: Path) -> str:
    """Return the format of a file by its content; "unknown" where it is none that is read.

    Names are those of MAGIC, "webp" and "csv-grid"; radiometric JPEGs are "flir-jpeg" and "dji-jpeg".
    Reads a few kilobytes. Raises ThermalReadError where there is no file or it is empty.
    """
    found = first_guess(path)
    if found == "jpeg":
        return _kind_of_jpeg(path)
    return found


def first_guess(path: Path) -> str:
    """Return the format that the first 16 bytes tell, without telling radiometric JPEGs and text apart."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
            raise fault(path, "not a regular file", advice="")
        if facts.st_size == 0:
            raise fault(path, "an empty file (0 bytes)")
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise fault(path, f"cannot be opened ({error.strerror or error})", advice="") from error
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in MAGIC if head.startswith(magic)), UNKNOWN)


def _kind_of_jpeg(path: Path) -> str:
    with path.open("rb") as stream:
        return _kind_of_stream(stream)


def _kind_of_stream(stream: BinaryIO) -> str:
    """Walk the segments up to the picture data; payloads of other makers' bytes are never searched."""
    from_dji, payload = False, {0xE3: 0, 0xE4: 0}
    stream.seek(2)
    for _ in range(MAX_SEGMENTS):
        marker = _next_marker(stream)
        if marker in {None, 0xDA, 0xD9}:
            break
        length = int.from_bytes(stream.read(2), "big") - 2
        if length < 0:
            break
        start = stream.read(min(length, 4096))
        if marker == 0xE1 and start.startswith(b"FLIR\0"):
            return "flir-jpeg"
        from_dji |= marker == 0xE1 and start.startswith(b"Exif\0") and b"DJI\0" in start
        if marker in payload:
            payload[marker] += length
        stream.seek(length - len(start), 1)
    return "dji-jpeg" if from_dji and max(payload.values()) >= MIN_PAYLOAD else "jpeg"


def _next_marker(stream: BinaryIO) -> int | None:
    """Return the next marker that has a length, or None where the bytes are not a JPEG's."""
    byte = stream.read(1)
    if byte != b"\xff":
        return None
    while byte == b"\xff":  # fill bytes
        byte = stream.read(1)
    return byte[0] if byte else None
