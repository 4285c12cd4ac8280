"""Tell what a file is by its content; its name never decides."""

import mmap
import stat
from pathlib import Path

from dinonat.images.dji import may_hold_a_frame
from dinonat.images.faults import fault
from dinonat.images.grids import looks_like_a_grid
from dinonat.images.segments import JPEG_LS_FRAME, segments

UNKNOWN = "unknown"

MAGIC = (  # the first that fits
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),  # BigTIFF
    (b"MM\x00+", "tiff"),
    (b"FFF\x00", "flir-fff"),  # one frame or many: SEQ and CSQ begin alike
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"),
    (b"\xca\xac", "irg"),
    (b"\xba\xab", "irg"),
    (b"\x04\xa0", "irg"),
    (b"BM", "bmp"),
)
PICTURES = ("png", "jpeg", "jpeg-ls", "bmp", "webp")  # one picture, for display or with deep pixels
SEVERAL_FRAMES = ("tiff", "flir-fff", "npy", "npz")
GRID = "csv-grid"  # text, so no first bytes tell it
READ = "Read are PNG, JPEG, TIFF, BMP, WebP, radiometric JPEG, FFF, SEQ, CSQ, IRG, NPY, NPZ and grids in CSV"

APP1, FLIR = 0xE1, b"FLIR\0"


def sniff(path: Path) -> str:
    """Return the format of a file by its content; "unknown" where it is none that is read.

    Names are those of MAGIC, "webp" and "csv-grid"; radiometric JPEGs are "flir-jpeg" and "dji-jpeg".
    Reads a few kilobytes. Raises ThermalReadError where there is no file or it is empty.
    """
    found = first_guess(path)
    if found == "jpeg":
        return _kind_of_jpeg(path)
    if found == UNKNOWN and looks_like_a_grid(path):
        return GRID
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
    """Look into the segments before the picture data; payloads of other makers' bytes are never searched."""
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        walked = tuple(segments(data))
        if any(one.marker == JPEG_LS_FRAME for one in walked):
            return "jpeg-ls"
        # DJI's XT and XT2 hold FLIR's camera: their files carry both marks.
        if any(one.marker == APP1 and bytes(data[one.start : one.start + 5]) == FLIR for one in walked):
            return "flir-jpeg"
        return "dji-jpeg" if may_hold_a_frame(data, walked) else "jpeg"
