"""Damage files of every container, thousands of times, and read them: a frame or a sentence, nothing else.

The reading goes on in a process of its own, so that a crash in a library is a failure with the number of
the damage, by which it can be made again, and not the end of the tests. `make fuzz` does more rounds.
"""

import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

ROUNDS = int(os.environ.get("DINOTOOL_FUZZ", "100"))
CPU_SECONDS = 1.0  # of one file; not of the clock, which other work on the machine moves on
CPU_SECONDS_PER_PIXEL = 1e-7  # more for large frames: a progressive JPEG of 16 million pixels takes a second
HANGS = 20  # seconds of the clock
BYTES_PER_PIXEL = 64
SLACK = 48 * 2**20  # bytes that allocators and caches keep between files
MOST = 3 * 2**30  # bytes of address space for whatever a header declares

FLIR = ["bare-be.jpg", "bare-le.jpg", "png.jpg", "png-unswapped.jpg", "jpegls.jpg", "parts.jpg"]
FLIR += ["header-be.fff", "header-le.fff", "records-be.fff", "no-camera.fff", "unequal.seq", "jpegls.csq"]
DJI = ["app3.jpg", "app4.jpg"]
TIFF = ["le.tif", "be.tif", "pages.tif", "lzw.tif", "lzw-be.tif", "float-deflate.tif", "big.tif", "tiles.tif"]
TIFF += ["colour.tif", "jpeg.tif"]
PICTURES = [
    "grey.jpg",
    "colour.jpg",
    "grey16.png",
    "colour16.png",
    "colour.png",
    "bare.jls",
    "a.webp",
    "a.bmp",
]
GRIDS = ["a.npy", "frames.npy", "stored.npz", "packed.npz", "a.csv", "semicolons.csv", "a.irg"]
CONTAINERS = [*FLIR, *DJI, *TIFF, *PICTURES, *GRIDS]


# What is damaged


def grey(shape: tuple[int, ...] = (24, 32), kind: str = "uint16") -> np.ndarray:
    y, x = np.indices(shape)[-2:]
    return (200 + 3 * y + 2 * x + np.random.default_rng(0).integers(0, 9, shape)).astype(kind)


def by_pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def by_tifffile(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def by_numpy(save: object, *arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, *arrays)  # type: ignore[operator]
    return stream.getvalue()


def dji(marker: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "DJI", "M3T"
    counts, picture = grey((120, 160), "<u2").tobytes(), by_pillow(grey(kind="uint8"), "jpeg", exif=exif)
    parts = [counts[start : start + 9000] for start in range(0, len(counts), 9000)]
    segments = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(part) + 2) + part for part in parts)
    end = 4 + int.from_bytes(picture[4:6], "big")
    assert picture[2:4] == b"\xff\xe1" or picture[2:4] == b"\xff\xe0"
    return picture[:end] + segments + picture[end:]


def irg() -> bytes:
    size, (rows, columns) = 24 * 32, (24, 32)
    planes = [(0, size, rows, columns), (2, 2 * size, rows, columns), (3, 4, 1, 1)]
    head = b"\xca\xac\x80" + b"".join(struct.pack("<BIHH", *plane) for plane in planes)
    head = (head + struct.pack("<4I", 9500, 0, 0, 12500)).ljust(126, b"\0") + b"\xac\xca"
    return head + bytes(size) + grey().tobytes() + b"\xff\xd8\xff\xd9"


def text(separator: str, decimal: str) -> bytes:
    rows = (separator.join(f"{value / 10:.1f}".replace(".", decimal) for value in row) for row in grey())
    return ("Max;34\n" + "\n".join(rows)).encode()


@pytest.fixture(scope="module")
def whole(flir_containers: dict[str, bytes]) -> dict[str, bytes]:
    colour = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    eight = grey(kind="uint8")
    return flir_containers | {
        "app3.jpg": dji(0xE3),
        "app4.jpg": dji(0xE4),
        "le.tif": by_tifffile(grey()),
        "be.tif": by_tifffile(grey(), byteorder=">"),
        "pages.tif": by_tifffile(grey((4, 24, 32)), photometric="minisblack"),
        "lzw.tif": by_tifffile(grey(), compression="lzw", predictor=True),
        "lzw-be.tif": by_tifffile(grey(), compression="lzw", byteorder=">", rowsperstrip=5),
        "float-deflate.tif": by_tifffile(grey(kind="float32"), compression="zlib", predictor=True),
        "big.tif": by_tifffile(grey(), bigtiff=True, compression="packbits"),
        "tiles.tif": by_tifffile(grey(), tile=(16, 16), compression="zlib"),
        "colour.tif": by_tifffile(colour, photometric="rgb", planarconfig="contig", compression="lzw"),
        "jpeg.tif": by_pillow(colour, "tiff", compression="jpeg"),
        "grey.jpg": by_pillow(eight, "jpeg"),
        "colour.jpg": by_pillow(colour, "jpeg", progressive=True),
        "grey16.png": by_pillow(grey(), "png"),
        "colour16.png": imagecodecs.png_encode(colour.astype(np.uint16) * 257),
        "colour.png": by_pillow(colour, "png"),
        "bare.jls": imagecodecs.jpegls_encode(grey()),
        "a.webp": by_pillow(colour, "webp"),
        "a.bmp": by_pillow(colour, "bmp"),
        "a.npy": by_numpy(np.save, grey()),
        "frames.npy": by_numpy(np.save, np.asfortranarray(grey((3, 24, 32), ">f4"))),
        "stored.npz": by_numpy(np.savez, grey(), colour, np.array("a name")),
        "packed.npz": by_numpy(np.savez_compressed, grey((3, 24, 32))),
        "a.csv": text(",", "."),
        "semicolons.csv": text(";", ","),
        "a.irg": irg(),
    }


# How it is damaged

EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1]


def damaged(content: bytes, name: str, number: int) -> bytes:
    """Return the file after damage ``number``; the same number gives the same damage."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4)) if number % 3 == 0 else 1):
        KINDS[int(rng.integers(len(KINDS)))](data, rng)
    return bytes(data)


def place(data: bytearray, rng: np.random.Generator) -> int:
    """Choose a byte: half of them among the first, where headers are, some among the last."""
    where = rng.integers(8)
    if where < 4:
        return int(rng.integers(min(len(data), 600)) if data else 0)
    if where == 4:
        return int(rng.integers(max(0, len(data) - 200), max(1, len(data))))
    return int(rng.integers(max(1, len(data))))


def flip(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        at = place(data, rng)
        data[at : at + 1] = bytes(byte ^ (1 << int(rng.integers(8))) for byte in data[at : at + 1])


def overwrite(data: bytearray, rng: np.random.Generator) -> None:
    at, length = place(data, rng), int(2 ** rng.uniform(0, 7))
    run = (bytes(length), b"\xff" * length, rng.bytes(length))[int(rng.integers(3))]
    data[at : at + length] = run[: len(data) - at]


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[max(1, place(data, rng)) :]


def remove(data: bytearray, rng: np.random.Generator) -> None:
    at = place(data, rng) + 1
    del data[at : at + int(2 ** rng.uniform(0, 10))]


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    at, length = place(data, rng), int(2 ** rng.uniform(0, 10))
    data[at:at] = data[at : at + length] * int(rng.integers(1, 4))


def move(data: bytearray, rng: np.random.Generator) -> None:
    one, other, length = place(data, rng), place(data, rng), int(2 ** rng.uniform(0, 6))
    data[one : one + length] = data[other : other + length]


def lie(data: bytearray, rng: np.random.Generator) -> None:
    """Put an extreme where a length, offset, width or count may stand."""
    for _ in range(int(rng.integers(1, 4))):
        width, order = int(rng.choice([1, 2, 4, 8])), ("little", "big")[int(rng.integers(2))]
        near = len(data) + int(rng.integers(-2, 3))
        value = int(rng.choice([*EXTREMES, near, int(rng.integers(1000))])) % 256**width
        at = place(data, rng) & ~1 if rng.integers(2) else place(data, rng)
        data[at : at + width] = value.to_bytes(width, order)[: len(data) - at]


KINDS = (flip, flip, overwrite, cut, remove, repeat, move, lie, lie, lie)


# What must hold: this runs in the child


def outcome(path: Path) -> tuple[str, int]:
    """Read the first and the last frame; return "frame", "error", or what is wrong, and the pixels."""
    from dinonat.errors import ThermalReadError
    from dinonat.images.reader import count_frames, read_thermal

    pixels = 0
    try:
        for frame in {0, count_frames(path) - 1}:
            found = read_thermal(path, frame=frame)
            pixels = max(pixels, found.data.size)
            if found.data.ndim != 2 or found.data.dtype != np.float32 or found.data.size == 0:
                return f"a frame {found.data.shape} of {found.data.dtype}", pixels
    except ThermalReadError as error:
        if error.path != str(path) or path.name not in str(error) or "\n" in str(error):
            return f"an error that names no file or is no sentence: {error!r}", pixels
        if error.offset is not None and not 0 <= error.offset <= path.stat().st_size:
            return f"an error that names a byte {error.offset} outside the file: {error}", pixels
        return "error", pixels
    except BaseException as error:
        return f"{type(error).__name__}: {error}", pixels
    return "frame", pixels


def grown(before: int | None) -> int | None:
    """Return the largest number of bytes in memory since the last call, less ``before`` (Linux only)."""
    try:
        status = Path("/proc/self/status").read_text()
        if before is None:
            Path("/proc/self/clear_refs").write_text("5")
            return int(status.split("VmRSS:")[1].split()[0]) * 1024
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 - before
    except (OSError, IndexError):
        return None


def read_damaged(folder: Path, name: str, rounds: int) -> dict[str, object]:
    content, counted, problems = (folder / name).read_bytes(), {"frame": 0, "error": 0}, list[str]()
    slowest, largest = 0.0, 0
    for number in range(rounds):
        path = folder / f"{number}-{name}"
        path.write_bytes(damaged(content, name, number) or b"\0")
        (folder / "now").write_text(path.name)
        signal.setitimer(signal.ITIMER_REAL, HANGS)  # nobody waits for it: the process ends
        start, before = time.process_time(), grown(None)
        what, pixels = outcome(path)
        seconds, more = time.process_time() - start, 0 if before is None else grown(before) or 0
        if what in counted:
            counted[what] += 1
            if seconds > CPU_SECONDS + CPU_SECONDS_PER_PIXEL * pixels:
                what = f"{seconds:.1f} s for {what}"
            elif more > SLACK + BYTES_PER_PIXEL * pixels and what == "frame":
                what = f"{more} bytes for {pixels} pixels"
        slowest, largest = max(slowest, seconds), max(largest, more)
        if what in counted:
            path.unlink()
        else:
            problems.append(f"{path}: {what}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return counted | {"problems": problems, "slowest": slowest, "largest": largest}


def child(folder: Path, rounds: int, names: list[str]) -> None:
    from dinonat.images import reader  # loaded before memory is counted

    del reader
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST, used + MOST))
    for name in names:
        print(json.dumps([name, read_damaged(folder, name, rounds)]), flush=True)


# The tests


def results_of(folder: Path, names: list[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Run children until every container has its result; one that kills its child has that for a result."""
    while names:
        script = [sys.executable, "-P", __file__, str(folder), str(ROUNDS), *names]
        done = subprocess.run(script, capture_output=True, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        yield from lines
        names = names[len(lines) :]
        if names:
            now = folder / (folder / "now").read_text() if (folder / "now").exists() else folder
            how = f"the process ended with {done.returncode}: {done.stderr[-500:]}"
            yield names[0], {"frame": 0, "error": 0, "problems": [f"{now}: {how}"]}
            names = names[1:]


@pytest.fixture(scope="module")
def results(
    whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is limited and measured as Linux does it")
    folder = tmp_path_factory.mktemp("fuzz")
    for name in CONTAINERS:
        (folder / name).write_bytes(whole[name])
    return dict(results_of(folder, CONTAINERS))


def test_every_builder_is_damaged(flir_containers: dict[str, bytes]) -> None:
    assert set(FLIR) == set(flir_containers)


@pytest.mark.parametrize("name", CONTAINERS)
def test_whole_files_are_frames(whole: dict[str, bytes], name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(whole[name])
    assert outcome(tmp_path / name)[0] == "frame"


@pytest.mark.parametrize("name", CONTAINERS)
def test_damaged_files_are_frames_or_sentences(results: dict[str, dict[str, object]], name: str) -> None:
    result = results[name]
    print(f"{name}: {result}")
    assert result["problems"] == []
    assert result["frame"] + result["error"] == ROUNDS  # type: ignore[operator]


def test_the_same_number_is_the_same_damage(whole: dict[str, bytes]) -> None:
    for name in CONTAINERS:
        assert damaged(whole[name], name, 7) == damaged(whole[name], name, 7)
    assert len({damaged(whole["le.tif"], "le.tif", number) for number in range(50)}) > 45


if __name__ == "__main__":
    child(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
