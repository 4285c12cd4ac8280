"""The one door through which every image comes: its content decides how it is read, its name never does."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import UnidentifiedImageError

from dinonat.errors import ThermalReadError
from dinonat.images.dji import decode_dji
from dinonat.images.faults import COPY_AGAIN, fault, printable
from dinonat.images.flir import decode_flir, frame_offsets
from dinonat.images.frames import in_degrees, to_frame
from dinonat.images.grids import decode_grid, frame_count
from dinonat.images.irg import decode_irg
from dinonat.images.rasters import Raster, decode
from dinonat.images.reading import AS_STORED, Reading
from dinonat.images.sniffing import PICTURES, READ, SEVERAL_FRAMES, UNKNOWN, first_guess, sniff
from dinonat.images.tiffs import decode_tiff, frame_pages
from dinonat.records import ThermalFrame

Decoder = Callable[[Path, int, Reading], ThermalFrame]
SHORTEST = 16  # bytes; fewer hold no image and tell no format
Result = TypeVar("Result")


def read_thermal(path: Path | str, *, frame: int = 0, reading: Reading = AS_STORED) -> ThermalFrame:
    """Read one frame of an image file as it was measured.

    Radiometric files of FLIR give degrees Celsius, by the camera's object parameters or those of
    ``reading``; those of DJI and deep pictures give "counts", which never pretend to be degrees,
    unless ``reading`` tells their scale; 8-bit pictures give "grey". Colour pictures keep their
    ``rgb``. Pictures are upright by their EXIF orientation, measured frames as the sensor saw them.
    Raises ThermalReadError, one sentence with the file, for anything that cannot be read.
    """
    path = Path(path)
    source_format = _known_format(path)
    with_frames = source_format in SEVERAL_FRAMES
    if frame != 0 and not with_frames:
        raise fault(path, f"has one frame, frame {frame} was asked for", advice="")
    found = _guarded(path, source_format, lambda: DECODERS[source_format](path, frame, reading))
    return in_degrees(found, reading)


def iter_frames(path: Path | str, *, step: int = 1, reading: Reading = AS_STORED) -> Iterator[ThermalFrame]:
    """Yield every ``step``-th frame of a file; raises as ``read_thermal`` does, when it comes to it."""
    for frame in range(0, count_frames(Path(path)), step):
        yield read_thermal(path, frame=frame, reading=reading)


def count_frames(path: Path) -> int:
    """Return how many frames a file holds, without decoding one. Raises ThermalReadError."""
    source_format = first_guess(path)
    if source_format not in SEVERAL_FRAMES:
        return 1
    return _guarded(path, source_format, lambda: COUNTERS[source_format](path))


def read_raster(path: Path, *, frame: int = 0, at_least: int | None = None) -> Raster | None:
    """Decode a plain picture, ``at_least`` as in ``rasters.decode``; None for files of other formats.

    Raises ThermalReadError only.
    """
    source_format = _known_format(path)
    if source_format not in RASTERS:
        return None
    return _guarded(path, source_format, lambda: _raster(source_format, path, frame, at_least))


def _known_format(path: Path) -> str:
    source_format = sniff(path)
    if source_format == UNKNOWN and path.stat().st_size < SHORTEST:
        raise fault(path, f"not an image by its content: only {path.stat().st_size} bytes, perhaps cut")
    if source_format == UNKNOWN:
        raise fault(path, "not an image by its content, whatever its name", advice=f"{READ}.")
    return source_format


def _guarded(path: Path, source_format: str, work: Callable[[], Result]) -> Result:
    """Do ``work``; whatever a damaged file makes a decoder raise becomes a sentence with its name."""
    try:
        return work()
    except ThermalReadError:
        raise
    except MemoryError as error:  # of a large image, or of a damaged header that claims to be one
        raise fault(path, "needs more memory than there is", advice="Make it smaller or cut it.") from error
    except Exception as error:
        # Pillow's own sentence for an unreadable header names an object, not a cause.
        unreadable = isinstance(error, UnidentifiedImageError)
        cause = "its header cannot be read" if unreadable else str(error) or type(error).__name__
        raise fault(
            path, f"a damaged {source_format} file ({printable(cause)})", advice=COPY_AGAIN
        ) from error


def _raster(source_format: str, path: Path, frame: int, at_least: int | None = None) -> Raster:
    if source_format == "tiff":
        return decode_tiff(path, frame=frame)
    return decode(path, source_format, at_least=at_least)


def _picture(source_format: str, path: Path, frame: int, reading: Reading) -> ThermalFrame:
    return to_frame(_raster(source_format, path, frame), frame=frame)


def _flir(path: Path, frame: int, reading: Reading) -> ThermalFrame:
    return decode_flir(path, frame=frame, reading=reading)


RASTERS = (*PICTURES, "tiff")
DECODERS: dict[str, Decoder] = {
    **{name: partial(_picture, name) for name in RASTERS},
    **dict.fromkeys(("flir-jpeg", "flir-fff"), _flir),
    "dji-jpeg": lambda path, frame, reading: decode_dji(path),
    "irg": lambda path, frame, reading: decode_irg(path),
    "npy": lambda path, frame, reading: decode_grid(path, "npy", frame=frame),
    "npz": lambda path, frame, reading: decode_grid(path, "npz", frame=frame),
    "csv-grid": lambda path, frame, reading: decode_grid(path, "csv-grid", frame=frame),
}
COUNTERS: dict[str, Callable[[Path], int]] = {
    "tiff": lambda path: len(frame_pages(path)),
    "flir-fff": lambda path: len(frame_offsets(path)),
    "npy": frame_count,
    "npz": frame_count,
}
