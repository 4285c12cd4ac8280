"""Read many images in worker processes, in order; a damaged one costs only itself."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from dinonat.errors import ImageError
from dinonat.files import short_hash, write_json, write_whole
from dinonat.images.faults import printable
from dinonat.images.frames import to_eight_bits, to_frame
from dinonat.images.prepare import DEFAULT, Limits, Preparation, prepare
from dinonat.images.reader import read_raster, read_thermal
from dinonat.images.reading import AS_STORED, Reading
from dinonat.images.workers import run_in_workers
from dinonat.records import Float32, ImageRef, Loaded, UInt8

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of a picture's sides
Cut = tuple[ImageRef, Box | None]  # a picture, and what of it is kept
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

PACK_FORMAT = 1  # rises when packed pixels change, so that old packs are made again


@dataclass(frozen=True, eq=False)
class Packed:
    """Many pictures of one size, on disk."""

    pixels: UInt8  # (N, side, side, 3), a read-only memory map
    aspects: Float32  # (N,), width / height before squashing
    names: tuple[str, ...]
    failures: tuple[tuple[str, str], ...]  # name, reason
    places: tuple[int, ...]  # (N,), which of the asked references each picture is


@dataclass(frozen=True)
class Shown:
    """How the images of a set are read and prepared, so that whoever shows one shows the same pixels.

    ``limits`` maps image names to the two values that become 0 and 255, where they are known already.
    """

    preparation: Preparation = DEFAULT
    limits: Mapping[str, Limits] = field(default_factory=dict)
    reading: Reading = AS_STORED


BY_DEFAULT = Shown()


def read_prepared(
    refs: Sequence[ImageRef], *, workers: int = 0, shown: Shown = BY_DEFAULT
) -> Iterator[Loaded]:
    """Yield each image, read and prepared, in the order of ``refs``.

    With ``workers`` > 0 decoders run in that many processes (which import no torch), and one that
    dies costs its file only; with 0 they run here. Failures have a ``reason`` instead of pixels.
    """
    load = partial(_load, preparation=shown.preparation, reading=shown.reading)
    asked = ((ref, shown.limits.get(ref.name)) for ref in refs)
    return run_in_workers(load, asked, workers=workers, on_death=_lost, belongs_to=_file)


Asked = tuple[ImageRef, Limits | None]


def _load(asked: Asked, *, preparation: Preparation, reading: Reading) -> Loaded:
    ref, limits = asked
    try:
        frame = read_thermal(ref.file, frame=ref.frame, reading=reading)
        prepared = prepare(frame, preparation, limits=limits)
        measured = frame.data if frame.rgb is None else None
        notes = frame.warnings
        if preparation.mode == "window" and frame.rgb is None and np.ptp(prepared.pixels) == 0:
            notes = (*notes, "one grey level only: none of its values lies inside the window")
        return Loaded(ref, prepared, "", measured, sha256(ref.file), notes)
    except (ImageError, OSError, MemoryError) as error:
        return Loaded(ref, None, sentence(ref, error))


def _file(asked: Asked) -> Path:
    return asked[0].file


def _lost(asked: Asked, reason: str) -> Loaded:
    ref, _ = asked
    return Loaded(ref, None, sentence(ref, ImageError(f"Lost: {reason}.")))


def sentence(ref: ImageRef, error: Exception) -> str:
    """Say in one sentence what is wrong with an image, by its name in the set.

    Not by its whole path: the same set in another folder gives the same tables.
    """
    return sentence_about(ref.name, ref.file, error)


def sentence_about(image: str, file: Path, error: Exception) -> str:
    """Say the same of an image that lies in a file of another name, as behind a link."""
    name, whole = printable(image), printable(file)
    if isinstance(error, MemoryError):
        return f"{name}: needs more memory than there is. Make it smaller or cut it into tiles."
    if isinstance(error, OSError):
        return f"{name}: cannot be read ({error.strerror or type(error).__name__})."
    text = str(error).replace(whole, name)
    return text if name in text else f"{name}: {text}"


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file's bytes; frames of one file are hashed once."""
    facts = path.stat()
    return _sha256(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pack_pictures(
    refs: Sequence[ImageRef],
    path: Path,
    *,
    side: int = 176,
    boxes: Mapping[ImageRef, Box] | None = None,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Packed:
    """Decode every picture once and keep it squashed to ``side`` x ``side`` in one file.

    Where ``boxes`` names a picture only that part of it is kept; values are prepared by all of it.
    Writes ``path`` (.npy, uint8 (N, side, side, 3)) and beside it ``.json`` with names, aspects and
    failures, each whole or not at all; where both are there for the same files, they are reused.
    Colour stays colour; grey and thermal pictures are prepared by percentiles to three channels.
    ``progress(done, total)`` is called after each picture.
    Raises ImageError where not one picture could be read.
    """
    asked = [(ref, (boxes or {}).get(ref)) for ref in refs]
    key = _pack_key(asked, side)
    facts_path = path.with_suffix(".json")
    if not _is_packed(path, facts_path, key):
        facts: dict[str, object] = {}

        def write(stream: IO[bytes]) -> None:
            facts.update(_write_pack(stream, asked, side, workers, progress))

        facts_path.unlink(missing_ok=True)  # never new pixels beside old facts
        write_whole(path, write)
        write_json(facts_path, facts | {"key": key, "side": side})
    return _open_pack(path, facts_path)


def _pack_key(asked: Sequence[Cut], side: int) -> str:
    """Name the list by what can be known without reading it: names, sizes, times of change and boxes."""
    files: list[tuple[object, ...]] = []
    for ref, _ in asked:
        try:
            facts = ref.file.stat()
            files.append((ref.name, facts.st_size, facts.st_mtime_ns))
        except OSError:
            files.append((ref.name, -1, -1))
    boxes = {place: box for place, (_, box) in enumerate(asked) if box is not None}
    return short_hash("pack", PACK_FORMAT, side, files, *([boxes] if boxes else []))


def _is_packed(path: Path, facts_path: Path, key: str) -> bool:
    try:
        known = json.loads(facts_path.read_bytes())
        return path.is_file() and known.get("key") == key and "places" in known
    except (OSError, ValueError, AttributeError):
        return False


def _open_pack(path: Path, facts_path: Path) -> Packed:
    facts = json.loads(facts_path.read_bytes())
    return Packed(
        np.load(path, mmap_mode="r", allow_pickle=False),
        np.asarray(facts["aspects"], np.float32),
        tuple(facts["names"]),
        tuple((name, reason) for name, reason in facts["failures"]),
        tuple(facts["places"]),
    )


def _write_pack(
    stream: IO[bytes],
    asked: Sequence[Cut],
    side: int,
    workers: int,
    progress: Callable[[int, int], object] | None,
) -> dict[str, object]:
    names, aspects, places, failures = list[str](), list[float](), list[int](), list[tuple[str, str]]()
    header_length = _write_header(stream, len(asked), side)
    squash = partial(_squash, side=side)
    results = run_in_workers(
        squash, asked, workers=workers, on_death=_lost_squash, belongs_to=lambda cut: cut[0].file
    )
    for place, ((ref, _), (pixels, aspect, reason)) in enumerate(zip(asked, results, strict=True)):
        if pixels is None:
            failures.append((ref.name, reason))
        else:
            stream.write(pixels.tobytes())
            names.append(ref.name)
            aspects.append(aspect)
            places.append(place)
        if progress is not None:
            progress(place + 1, len(asked))
    if not names:
        first = f" The first: {failures[0][1]}" if failures else ""
        raise ImageError(f"Not one of {len(asked)} pictures could be read.{first}")
    # numpy leaves room in the header for the first axis to change, so its length stays.
    stream.seek(0)
    written = _write_header(stream, len(names), side)
    assert written == header_length
    return {"names": names, "aspects": aspects, "failures": failures, "places": places}


def _write_header(stream: IO[bytes], count: int, side: int) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


Squashed = tuple[UInt8 | None, float, str]  # pixels (side, side, 3), aspect, reason


def _squash(cut: Cut, *, side: int) -> Squashed:
    ref, box = cut
    left, top, right, low = box or WHOLE
    try:
        smallest = min(right - left, low - top)
        pixels, (height, width) = decoded(ref, at_least=int(np.ceil(2 * side / smallest)))
        return _resized(pixels, side, box), width * (right - left) / (height * (low - top)), ""
    except (ImageError, OSError, MemoryError) as error:
        return None, 0.0, sentence(ref, error)


def decoded(ref: ImageRef, *, at_least: int) -> tuple[UInt8, tuple[int, int]]:
    """Return colour, perhaps smaller, or prepared grey levels, and the image's whole (height, width)."""
    raster = read_raster(ref.file, frame=ref.frame, at_least=at_least)
    if raster is not None and raster.pixels.ndim == 3:
        return to_eight_bits(raster.pixels), raster.full_hw
    if raster is not None and raster.pixels.shape == raster.full_hw:
        frame = to_frame(raster)
    else:
        frame = read_thermal(ref.file, frame=ref.frame)  # percentiles need all its pixels
    grey = prepare(frame).pixels[..., 0]
    return grey, (grey.shape[0], grey.shape[1])


def _lost_squash(cut: Cut, reason: str) -> Squashed:
    return None, 0.0, sentence(cut[0], ImageError(f"Lost: {reason}."))


def _resized(pixels: UInt8, side: int, box: Box | None) -> UInt8:
    """Squash (H, W) or (H, W, 3), or a box of it, to (side, side, 3), bicubic with antialiasing."""
    height, width = pixels.shape[:2]
    part = box and (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, part, reducing_gap=3.0)
    array = np.asarray(small)
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
