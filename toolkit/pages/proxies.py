"""Proxies: 8-bit pictures for tools that cannot show what was measured, with the way back to it.

A proxy lies on the pixel grid of the boxes and shows what the network saw. The files it stands for are
only read. `proxies.csv` names the file and the frame behind each, and the two values that became black
and white.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dinonat.errors import ImageError
from dinonat.files import write_bytes
from dinonat.images.batches import BY_DEFAULT, Shown, read_prepared
from dinonat.images.exif import facts_of
from dinonat.pages.gather import reference
from dinonat.records import ImageRef, Loaded, Prepared, UInt8

COLUMNS = (
    "proxy", "image", "file", "frame", "sha256", "width", "height", "prepare", "lo", "hi", "unit",
)  # fmt: skip
READERS = 1  # processes that decode, so that a decoder that dies takes no export with it
FAST = 1  # of 9: half the time of the default, and files an eighth larger
# Signs that some file system refuses, that cut an address short, or that cannot be seen.
AWKWARD = re.compile(r'[<>:"\\|?*#%&\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')


def write_proxies(
    images: pd.DataFrame, folder: Path, files: Sequence[str], *, root: Path, shown: Shown = BY_DEFAULT
) -> pd.DataFrame:
    """Write images (columns image, width, height, sha256) below ``root`` as PNG; return the manifest.

    ``files`` is where each goes below ``folder``; `proxy_names` gives names that every tool can open.

    Pixels are those that the network saw (``shown``), turned as EXIF asks, and carry no tag of the
    original: no position, no camera. The table has COLUMNS: the file below ``folder``, the image's
    name in the set, the raw file below ``root`` with its frame (the first is 0) and the SHA-256 of its
    bytes, the size of the picture, how it was prepared, and the values that became black and white, in
    ``unit`` (``lo`` above ``hi``: large values are dark). A colour picture stays as it was.
    Raises ImageError where an image cannot be read any more, or has changed since the boxes were made.
    """
    refs = [reference(root, str(name)) for name in images["image"]]
    rows = []
    loaded_all = read_prepared(refs, workers=READERS, shown=shown)
    for file, expected, loaded in zip(files, images.itertuples(), loaded_all, strict=True):
        prepared = _unchanged(loaded, expected)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(_png(prepared.pixels))
        ref, (height, width) = loaded.ref, prepared.pixels.shape[:2]
        rows.append(
            (file, ref.name, ref.path, ref.frame, loaded.sha256, width, height, prepared.mode, prepared.lo,
             prepared.hi, prepared.unit)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_manifest(proxies: pd.DataFrame, path: Path) -> None:
    """Write the manifest as CSV; limits with the digits that give back the same float32."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in proxies[list(COLUMNS)].itertuples(index=False):
        writer.writerow([f"{value:.9g}" if isinstance(value, float) else value for value in row])
    write_bytes(path, stream.getvalue().encode())


def proxy_names(refs: Sequence[ImageRef]) -> list[str]:
    """Return a file for each image that every tool can open: same folder and stem, ``.png``.

    A frame is called after its file and its number; ``#`` and other signs that break addresses or
    file systems become ``_``. Where two would clash, they keep their old suffix; if that is not
    enough, the later one gets a number.

    >>> root = Path("thermal")
    >>> proxy_names([ImageRef(root, "x/a.jpg"), ImageRef(root, "b.jpg"), ImageRef(root, "b.tif")])
    ['x/a.png', 'b.jpg.png', 'b.tif.png']
    >>> proxy_names([ImageRef(root, "c.tif", 3, 9), ImageRef(root, "50% #2.png")])
    ['c.tif.frame-0003.png', '50_ _2.png']
    """
    whole = [_spelled(ref) for ref in refs]
    stems = [name if ref.n_frames > 1 else _stem(name) for ref, name in zip(refs, whole, strict=True)]
    often = Counter(stem.casefold() for stem in stems)  # some file systems do not tell A from a
    taken = {parent for name in whole for parent in _folders(name)}
    files = []
    for name, stem in zip(whole, stems, strict=True):
        wish = stem if often[stem.casefold()] == 1 else name
        file, number = f"{wish}.png", 1
        while file.casefold() in taken:
            number += 1
            file = f"{wish}-{number}.png"
        taken.add(file.casefold())
        files.append(file)
    return files


def turned_files(names: Iterable[str], *, root: Path) -> list[str]:
    """Return the images whose file asks to be turned: readers that ignore EXIF see other pixels."""
    return [name for name in names if _orientation(reference(root, name).file) not in (0, 1)]


def _spelled(ref: ImageRef) -> str:
    """Write the name of an image, its frame included, without signs that some tool stumbles over."""
    name = AWKWARD.sub("_", ref.path)
    return f"{name}.frame-{ref.frame:04}" if ref.n_frames > 1 else name


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _folders(name: str) -> list[str]:
    """Return the folders on the way to a file: no proxy can be called like one of them."""
    parts = name.casefold().split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _unchanged(loaded: Loaded, expected: object) -> Prepared:
    """Return the picture if it is still the one that the boxes were made for; ImageError if not."""
    name, size = loaded.ref.name, (expected.height, expected.width)  # type: ignore[attr-defined]
    if loaded.prepared is None:
        raise ImageError(f"{loaded.reason} It could be read when the set was made; embed again.")
    now = loaded.prepared.pixels.shape[:2]
    if now != size:
        raise ImageError(
            f"{name}: {now[1]}x{now[0]} pixels now, {size[1]}x{size[0]} when the set was made; embed again."
        )
    if expected.sha256 not in ("", loaded.sha256):  # type: ignore[attr-defined]
        raise ImageError(f"{name}: the file has changed since the set was made; embed again.")
    return loaded.prepared


def _orientation(path: Path) -> int:
    """Return EXIF's orientation from the head of a file; 1 where there is none or it cannot be read."""
    try:
        with Image.open(path) as picture:
            return facts_of(picture).orientation
    except Exception:  # a damaged head is no turn, and whoever reads the pixels will say what is wrong
        return 1


def _png(pixels: UInt8) -> bytes:
    """Encode (H, W, 3) as PNG, with one channel where the three are equal."""
    grey = bool(
        np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])
    )
    stream = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if grey else pixels)
    picture.save(stream, "PNG", compress_level=FAST)
    return stream.getvalue()
