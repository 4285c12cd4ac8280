"""What EXIF says of a thermal image: which way is up, which camera, when, which palette; never where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from dinonat.records import Polarity

ORIENTATION, MAKE, MODEL, DESCRIPTION, CHANGED, EXIF_IFD, TAKEN, FRACTION = (
    0x0112, 0x010F, 0x0110, 0x010E, 0x0132, 0x8769, 0x9003, 0x9291,
)  # fmt: skip
POLARITIES: dict[str, Polarity] = {"whitehot": "white_hot", "blackhot": "black_hot"}
LONGEST = 100  # characters of a text that is kept
DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


@dataclass(frozen=True)
class ExifFacts:
    """Facts of a picture; empty where EXIF has none or is damaged."""

    orientation: int = 1
    description: str = ""  # cameras of DJI write their palette here
    meta: Mapping[str, Any] = field(default_factory=dict)  # "camera" and "taken" (ISO 8601), where known


def exif_facts(exif: Image.Exif) -> ExifFacts:
    """Return the facts that EXIF holds. Damage in it costs the facts, never the picture.

    >>> exif = Image.Exif(); exif[MAKE], exif[MODEL], exif[CHANGED] = "DJI", "M3T", "2024:05:06 07:08:09"
    >>> exif_facts(exif).meta
    {'camera': 'DJI M3T', 'taken': '2024-05-06T07:08:09'}
    """
    try:
        own = dict(exif.get_ifd(EXIF_IFD))
    except Exception:  # whatever the damage is, the other block may be whole
        own = {}
    orientation = exif.get(ORIENTATION, 1)
    make, model = _text(exif.get(MAKE)), _text(exif.get(MODEL))
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    taken = _iso(_text(own.get(TAKEN)) or _text(exif.get(CHANGED)), _text(own.get(FRACTION)))
    meta = {"camera": camera.strip(), "taken": taken}
    return ExifFacts(
        orientation if isinstance(orientation, int) else 1,
        _text(exif.get(DESCRIPTION)),
        {key: value for key, value in meta.items() if value},
    )


def facts_of(picture: Image.Image) -> ExifFacts:
    """Return the facts of an open picture."""
    try:
        return exif_facts(picture.getexif())
    except Exception:  # the pixels are whole, so a broken note beside them costs nothing
        return ExifFacts()


def polarity_of(description: str) -> Polarity:
    """Return the polarity that a palette's name says (EXIF ImageDescription of DJI's cameras).

    >>> polarity_of("BlackHot"), polarity_of("IronRed")
    ('black_hot', 'unknown')
    """
    name = "".join(letter for letter in description.lower() if letter.isalnum())
    return POLARITIES.get(name, "unknown")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    text = value if isinstance(value, str) else ""
    return "".join(c for c in text.replace("\0", " ") if c.isprintable()).strip()[:LONGEST]


def _iso(text: str, fraction: str) -> str:
    found = DATE.match(text)
    if found is None:
        return ""
    year, month, day, clock = found.groups()
    return f"{year}-{month}-{day}T{clock}" + (f".{fraction}" if fraction.isdecimal() else "")
