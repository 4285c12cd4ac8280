"""Read the counts in a radiometric JPEG of DJI: larger is hotter, but how much hotter it does not say.

The frame lies in the APP3 segments, in files of the Zenmuse XT S in APP4: joined in the order of the
file they are little-endian 16-bit counts, row after row, without a header. Which count is which
temperature is the maker's secret; the straight line between them differs from model to model.
"""

import mmap
import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dinonat.images.exif import EXIF_IFD, MAKE, ExifFacts, exif_facts
from dinonat.images.faults import fault
from dinonat.images.frames import effective_depth
from dinonat.images.reading import OBJECT_PARAMETERS
from dinonat.images.segments import Segment, segments
from dinonat.records import ThermalFrame

Data = bytes | bytearray | memoryview

APP1, APP3, APP4, APP7 = 0xE1, 0xE3, 0xE4, 0xE7
SHAPES = {  # bytes of a frame -> rows and columns of the sensors that DJI builds in
    2 * height * width: (height, width)
    for height, width in ((512, 640), (1024, 1280), (256, 320), (256, 336), (120, 160))
}
COUNTS_ONLY = (
    "DJI's counts: hotter is larger, but they cannot be compared between models, gain modes and scenes; "
    "degrees need the vendor's own tool"
)
SERIAL = 0xA431
SENSOR = re.compile(rb"DJI-DBG\0\[sensor_id:(\w{6,32})")
NO_PALETTE = {"", "default"}

# Object parameters in APP4, by its first bytes or its length: where they are, how, and in which order.
MARK = b"\xff\xd2\xd1\xffiirp"
OF_M2EA, OF_H20T = 224, 2560
FIVE_FLOATS, FIVE_INTEGERS = struct.Struct("<5f"), struct.Struct("<HHHhh")


class Payload(NamedTuple):
    """Where a frame lies in a file: its pieces joined are (rows, columns) little-endian counts."""

    marker: int
    pieces: tuple[Segment, ...]
    shape: tuple[int, int]


def payload(data: Data, walked: Sequence[Segment]) -> Payload | None:
    """Return where the frame lies in a JPEG whose segments are ``walked``; None where it holds none.

    A frame is there where EXIF names DJI as the maker and all APP3 payloads together, else all APP4
    payloads, have the length of a frame of a sensor in SHAPES.
    """
    for marker in (APP3, APP4):
        pieces = tuple(segment for segment in walked if segment.marker == marker)
        shape = SHAPES.get(sum(piece.length for piece in pieces))
        if shape is not None and _from_dji(_exif(data, walked)):
            return Payload(marker, pieces, shape)
    return None


def may_hold_a_frame(data: Data, walked: Sequence[Segment]) -> bool:
    """Tell whether a JPEG is one to be read by ``decode_dji``: it holds a frame, or what is left of one.

    Only thermal cameras of DJI fill APP3; where its length fits no sensor, the display picture must
    not stand in for the frame unnoticed.
    """
    in_app3 = sum(segment.length for segment in walked if segment.marker == APP3)
    remains = in_app3 >= min(SHAPES) and _from_dji(_exif(data, walked))
    return remains or payload(data, walked) is not None


def decode_dji(path: Path) -> ThermalFrame:
    """Return the counts of a radiometric JPEG of DJI, as the sensor lies; its display picture is not read.

    Raises ThermalReadError where it holds no whole frame of a known size.
    """
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        walked = tuple(segments(data))
        found = payload(data, walked)
        if found is None:
            raise _no_frame(path, walked)
        whole = b"".join(_bytes(data, piece) for piece in found.pieces)
        meta = _meta(data, walked, found)
    counts = np.frombuffer(whole, "<u2").reshape(found.shape)
    return ThermalFrame(
        counts.astype(np.float32),
        "counts",
        "white_hot",
        source_format="dji-jpeg",
        bit_depth_effective=effective_depth(counts),
        meta=meta,
        warnings=(COUNTS_ONLY,),
    )


def _no_frame(path: Path, walked: Sequence[Segment]) -> Exception:
    lengths = {3: APP3, 4: APP4}
    found = " and ".join(
        f"{sum(segment.length for segment in walked if segment.marker == marker)} bytes in APP{number}"
        for number, marker in lengths.items()
    )
    known = ", ".join(f"{width} x {height}" for height, width in sorted(SHAPES.values()))
    end = max((segment.start + segment.length for segment in walked), default=0)
    what = f"no frame of DJI ({found} are not 16-bit counts of {known})"
    return fault(path, what, offset=end, advice="It may be cut: copy it again from its source.")


def _bytes(data: Data, segment: Segment) -> bytes:
    return bytes(data[segment.start : segment.start + segment.length])


def _exif(data: Data, walked: Sequence[Segment]) -> Image.Exif:
    """Return the EXIF block, empty where there is none or it is damaged."""
    exif = Image.Exif()
    for segment in walked:
        if segment.marker == APP1 and _bytes(data, segment).startswith(b"Exif\0\0"):
            try:
                with warnings.catch_warnings(action="ignore"):
                    exif.load(_bytes(data, segment))
            except Exception:  # whatever the damage leads Pillow's parser to
                return Image.Exif()
            break
    return exif


def _from_dji(exif: Image.Exif) -> bool:
    try:
        return str(exif.get(MAKE, "")).strip(" \0") == "DJI"
    except Exception:
        return False


def _meta(data: Data, walked: Sequence[Segment], found: Payload) -> dict[str, Any]:
    """Return what the file says of camera, time, palette and scene; never where it was."""
    exif = _exif(data, walked)
    facts = _facts(exif)
    meta = dict(facts.meta)
    serial = _serial(exif, data, walked)
    if serial:
        meta["serial"] = serial
    if facts.description.lower() not in NO_PALETTE:
        meta["palette"] = facts.description
    if found.marker != APP4:  # where it is, it holds the frame
        meta |= _scene(next((_bytes(data, part) for part in walked if part.marker == APP4), b""))
    return meta


def _facts(exif: Image.Exif) -> ExifFacts:
    try:
        with warnings.catch_warnings(action="ignore"):
            return exif_facts(exif)
    except Exception:
        return ExifFacts()


def _serial(exif: Image.Exif, data: Data, walked: Sequence[Segment]) -> str:
    """Return the serial number of the camera: EXIF's, where it is more than "0", else the sensor's."""
    try:
        serial = str(exif.get_ifd(EXIF_IFD).get(SERIAL, "")).strip(" \0")
    except Exception:
        serial = ""
    if serial.isalnum() and serial.strip("0"):
        return serial[:32]
    sensors = (SENSOR.match(_bytes(data, part)) for part in walked if part.marker == APP7)
    return next((found[1].decode("ascii") for found in sensors if found), "")


def _scene(block: bytes) -> dict[str, float | str]:
    """Return the object parameters that the camera noted; empty where a value makes no sense.

    They are the file's, by the name of each quantity as in ``reading.OBJECT_PARAMETERS``, and were not
    used: counts need none.
    """
    if block.startswith(MARK) and len(block) >= 0x20 + FIVE_FLOATS.size:
        air, distance, emissivity, humidity, reflected = FIVE_FLOATS.unpack_from(block, 0x20)
    elif len(block) == OF_M2EA:
        air, distance, emissivity, humidity, reflected = FIVE_FLOATS.unpack_from(block, 0)
    elif len(block) == OF_H20T:
        distance, percent, hundredths, tenths, air = FIVE_INTEGERS.unpack_from(block, 0x44)
        emissivity, humidity, reflected = hundredths / 100, percent / 100, tenths / 10
    else:
        return {}
    values = {"atmosphere": air, "distance": distance, "emissivity": emissivity}
    values |= {"humidity": humidity, "reflected": reflected}
    for name, value in values.items():
        _, least, most = OBJECT_PARAMETERS[name]
        if not least <= value <= most:
            return {}
    kept = {name: round(float(value), 4) for name, value in values.items()}
    return kept | {"scene_from": "file, not used"}
