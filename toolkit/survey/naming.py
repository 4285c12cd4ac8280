"""What the name of an image says: which series it belongs to, its number, its view, when it was taken."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath

THERMAL, COLOUR = "thermal", "colour"
VIEWS = {
    **dict.fromkeys(("ir", "infrared", "thermal", "therm", "tir", "lwir", "mwir", "t"), THERMAL),
    **dict.fromkeys(
        ("vi", "vis", "visible", "visual", "rgb", "color", "colour", "wide", "zoom", "v", "w", "z"), COLOUR
    ),
}
SINGLE = {"t", "v", "w", "z"}  # a letter is a view only as a whole folder name or at the end of a file name
# Words that tell how the same moments are stored, not which moments they are.
STORAGE = {
    *("image", "images", "img", "imgs", "data", "full", "crop", "crops", "cropped", "aligned", "registered"),
    *(
        "raw",
        "original",
        "8",
        "14",
        "16",
        "bit",
        "8bit",
        "14bit",
        "16bit",
        "jpg",
        "jpeg",
        "png",
        "tif",
        "tiff",
    ),
}
COLOUR_RANK = ("v", "vis", "visible", "visual", "vi", "rgb", "color", "colour", "w", "wide", "z", "zoom")
WORDS = re.compile(r"[_\-. ]+")
STAMP = re.compile(
    r"(?<!\d)(20\d\d)-?([01]\d)-?([0-3]\d)[-_T ]?([0-2]\d)[-_:]?([0-5]\d)[-_:]?([0-5]\d)(?!\d)"
)
COUNTED = re.compile(r"(?i)(?:frame|img|image|pic)[-_ ]*(\d{1,9})(?!\d)")
LAST_NUMBER = re.compile(r"(\d{1,9})(?!.*\d)")


@dataclass(frozen=True)
class Named:
    """The parts of an image's name."""

    folder: str  # without the words of views and storage
    stem: str  # without the word of a view
    prefix: str  # what stands before the number in ``stem``, without a date
    number: int | None
    view: str  # "thermal", "colour", or "" where no word says so
    word: str  # the word that said it
    taken: str  # ISO 8601 from a date and time in the name, else ""

    @property
    def form(self) -> str:
        """The prefix with its own numbers left open: alike where only those differ."""
        return re.sub(r"\d+", "#", self.prefix)


@lru_cache(maxsize=2**16)  # asked several times for each image
def named(path: str) -> Named:
    """Take a relative POSIX path apart.

    >>> named("flight/lwir/DJI_20240506070809_0012_T.JPG")
    Named(folder='flight', stem='DJI_20240506070809_0012', prefix='DJI__', number=12, view='thermal', \
word='t', taken='2024-05-06T07:08:09')
    """
    place = PurePosixPath(path)
    folder, of_folder = _folder(place.parent.parts)
    stem, of_stem = _stem(place.stem)
    plain = STAMP.sub("", stem)
    found = COUNTED.search(plain) or LAST_NUMBER.search(plain)
    word = of_stem or of_folder
    return Named(
        folder,
        stem,
        plain[: found.start(1)] if found else plain,
        int(found[1]) if found else None,
        VIEWS.get(word, ""),
        word,
        _taken(stem),
    )


def _folder(parts: tuple[str, ...]) -> tuple[str, str]:
    """Return the folders without the words of views and storage, and the last word of a view."""
    kept, word = [], ""
    for part in parts:
        words = [each for each in WORDS.split(part.lower()) if each]
        views = [each for each in words if each in VIEWS and (each not in SINGLE or words == [each])]
        word = views[-1] if views else word
        left = [each for each in words if each not in views and each not in STORAGE]
        if left == words:
            kept.append(part)
        elif left:
            kept.append("_".join(left))
    return "/".join(kept), word


def _stem(stem: str) -> tuple[str, str]:
    """Return a file name without the word of a view at its end or start, and that word."""
    words = WORDS.split(stem)
    if len(words) > 1 and words[-1].lower() in VIEWS:
        return stem[: len(stem) - len(words[-1])].rstrip("_-. "), words[-1].lower()
    if len(words) > 1 and words[0].lower() in VIEWS.keys() - SINGLE:
        return stem[len(words[0]) :].lstrip("_-. "), words[0].lower()
    return stem, ""


def _taken(stem: str) -> str:
    found = STAMP.search(stem)
    if found is None:
        return ""
    try:
        return datetime(*map(int, found.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:  # 99 hours: a number that only looks like a date
        return ""


def seconds(taken: str) -> float | None:
    """Return a time in ISO 8601 as seconds since 1970 (as if in UTC: only differences count), else None.

    >>> seconds("2024-05-06T07:08:09.5") - seconds("2024-05-06T07:08:00")
    9.5
    >>> seconds("0000:00:00 00:00:00") is None
    True
    """
    try:
        moment = datetime.fromisoformat(taken)
    except ValueError:
        return None
    plain = moment.replace(tzinfo=None)
    return (plain - datetime(1970, 1, 1)).total_seconds() if plain.year >= 1990 else None
