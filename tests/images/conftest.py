"""Builders of radiometric files: the variants of which no sample may be shipped."""

import io
import struct
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from PIL import Image

RAW, CAMERA = 0x01, 0x20
E40 = {  # offset in the camera record -> type and value; the example of a FLIR E40
    0x20: ("f", 0.95),  # emissivity
    0x24: ("f", 2.0),  # distance, m
    0x28: ("f", 294.14),  # reflected, K
    0x2C: ("f", 287.14),  # atmosphere, K
    0x30: ("f", 292.14),  # window, K
    0x34: ("f", 0.98),  # its transmission
    0x3C: ("f", 0.49),  # humidity
    0x58: ("f", 14866.514),  # R1
    0x5C: ("f", 1395.7),  # B
    0x60: ("f", 1.0),  # F
    0x70: ("f", 0.006569),
    0x74: ("f", 0.01262),
    0x78: ("f", -0.002276),
    0x7C: ("f", -0.00667),
    0x80: ("f", 1.9),
    0xD4: ("32s", b"FLIR E40"),
    0x104: ("16s", b"49033333"),
    0x170: ("32s", b"FOL18"),
    0x308: ("i", -5859),  # O
    0x30C: ("f", 0.011086479),  # R2
    0x310: ("H", 7783),
    0x312: ("H", 57300),
    0x384: ("I", 1365758641),
    0x388: ("I", 131),
    0x38C: ("h", 60),
}


def counts_of_a_scene(shape: tuple[int, int] = (24, 32), seed: int = 0) -> np.ndarray:
    """Smooth 16-bit counts with a little noise, as a camera gives them."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(seed).integers(0, 5, shape)
    return (17000 + 12 * y + 9 * x + noise + 3 * seed).astype(np.uint16)


def raw_record(
    counts: np.ndarray, payload: str = "bare", order: str = "<", *, size_wh: tuple[int, int] | None = None
) -> bytes:
    """Record 1; payload "bare", "png" (bytes swapped, as most cameras do), "png-unswapped", "jpegls"."""
    height, width = counts.shape
    w, h = size_wh or (width, height)
    fields = (2, w & 0xFFFF, h & 0xFFFF, (w - 1) & 0xFFFF, (h - 1) & 0xFFFF)
    head = struct.pack(order + "HHH6xH2xH14x", *fields)
    if payload == "png":
        return head + imagecodecs.png_encode(counts.byteswap())
    if payload == "png-unswapped":
        return head + imagecodecs.png_encode(counts)
    if payload == "jpegls":
        return head + imagecodecs.jpegls_encode(counts) + bytes(12)
    return head + counts.astype(order + "u2").tobytes()


def camera_record(order: str = "<", changed: dict[int, object] | None = None, length: int = 2108) -> bytes:
    """Record 20 of an E40 with ``changed`` values by their offset."""
    record = bytearray(2108)
    struct.pack_into(order + "HHH", record, 0, 2, 160, 120)
    for offset, (kind, value) in E40.items():
        struct.pack_into(order + kind, record, offset, (changed or {}).get(offset, value))
    return bytes(record[:length])


def fff(
    counts: np.ndarray | None,
    *,
    payload: str = "bare",
    header: str = ">",
    records: str = "<",
    camera: bytes | None = b"",
    size_wh: tuple[int, int] | None = None,
    entries: dict[int, tuple[int, int]] | None = None,
) -> bytes:
    """One FFF frame. ``entries`` replaces (offset, length) of a record type in the directory."""
    bodies = {}
    if counts is not None:
        bodies[RAW] = raw_record(counts, payload, records, size_wh=size_wh)
    if camera is not None:
        bodies[CAMERA] = camera or camera_record(records)
    place = 64 + 32 * 14
    directory, body = b"", b""
    for kind, record in bodies.items():
        offset, length = (entries or {}).get(kind, (place + len(body), len(record)))
        directory += struct.pack(header + "HHIIIIIII", kind, 2, 100, 0, offset, length, 0, 0, 0)
        body += record + bytes(-len(record) % 4)
    head = b"FFF\0" + b"builder".ljust(16, b"\0") + struct.pack(header + "III", 101, 64, 14)
    return head.ljust(64, b"\0") + directory.ljust(32 * 14, b"\0") + body


def flir_jpeg(blob: bytes, *, part: int = 65524, display: tuple[int, int] = (48, 64)) -> bytes:
    """A display JPEG whose APP1 segments carry an FFF blob in parts."""
    stream = io.BytesIO()
    Image.fromarray(np.full(display, 128, np.uint8)).save(stream, "JPEG")
    picture = stream.getvalue()
    parts = [blob[start : start + part] for start in range(0, len(blob), part)]
    segments = b""
    for number, data in enumerate(parts):
        payload = b"FLIR\0\1" + bytes([number, len(parts) - 1]) + data
        segments += b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    return picture[:2] + segments + picture[2:]


@pytest.fixture(scope="session")
def flir() -> SimpleNamespace:
    """The builders: scene, raw_record, camera_record, fff, jpeg."""
    return SimpleNamespace(
        scene=counts_of_a_scene, raw_record=raw_record, camera_record=camera_record, fff=fff, jpeg=flir_jpeg
    )


@pytest.fixture(scope="session")
def flir_containers() -> dict[str, bytes]:
    """Whole files by name, one of each container and coding; each decodes to at least one frame."""
    scene = counts_of_a_scene()
    unequal = [
        fff(counts_of_a_scene(seed=number), camera=camera_record() + bytes(128 * (number % 2)))
        for number in range(3)
    ]
    csq = [fff(counts_of_a_scene(seed=number), payload="jpegls", header="<") for number in range(3)]
    return {
        "bare-be.jpg": flir_jpeg(fff(scene)),
        "bare-le.jpg": flir_jpeg(fff(scene, header="<")),
        "png.jpg": flir_jpeg(fff(scene, payload="png")),
        "png-unswapped.jpg": flir_jpeg(fff(scene, payload="png-unswapped")),
        "jpegls.jpg": flir_jpeg(fff(scene, payload="jpegls")),
        "parts.jpg": flir_jpeg(fff(scene), part=500),
        "header-be.fff": fff(scene),
        "header-le.fff": fff(scene, header="<"),
        "records-be.fff": fff(scene, records=">"),
        "no-camera.fff": fff(scene, camera=None),
        "unequal.seq": b"".join(unequal),
        "jpegls.csq": b"".join(csq),
    }


@pytest.fixture(scope="session")
def flir_damaged() -> dict[str, bytes]:
    """Files by name that must end as a ThermalReadError."""
    scene = counts_of_a_scene()
    whole, size = fff(scene), 32 + 2 * scene.size
    camera = 64 + 32 * 14 + size
    entries = {
        "directory-outside.fff": {RAW: (10_000_000, size)},
        "record-too-long.fff": {RAW: (512, 10_000_000)},
        "directory-at-itself.fff": {RAW: (64, size)},
        "records-overlap.fff": {CAMERA: (600, 2108)},
        "record-in-the-header.fff": {RAW: (0, size)},
        "payload-too-short.fff": {RAW: (512, size - 2)},
        "payload-too-long.fff": {RAW: (512, camera - 512 + 200)},
        "raw-record-of-8-bytes.fff": {RAW: (512, 8)},
    }
    files = {name: fff(scene, entries=changed) for name, changed in entries.items()}
    for payload in ("bare", "png", "jpegls"):
        files[f"huge-{payload}.fff"] = fff(scene, payload=payload, size_wh=(65_535, 65_535))
        files[f"other-size-{payload}.fff"] = fff(scene, payload=payload, size_wh=(33, 24))
        files[f"no-pixels-{payload}.fff"] = fff(scene, payload=payload, size_wh=(0, 24))
    return files | {
        "header-without-data.fff": fff(None),
        "header-alone.fff": whole[:64],
        "header-without-data.jpg": flir_jpeg(fff(None)),
        "part-missing.jpg": flir_jpeg(whole, part=500).replace(b"FLIR\0\1\2", b"NONE\0\1\2"),
        "part-twice.jpg": flir_jpeg(whole, part=500).replace(b"FLIR\0\1\2", b"FLIR\0\1\1"),
        "no-fff.jpg": flir_jpeg(b"XFF\0" + whole[4:]),
        "no-version.fff": whole[:20] + b"\xff" * 4 + whole[24:],
        "entries-without-end.fff": whole[:28] + b"\x7f\xff\xff\xff" + whole[32:],
        "directory-after-the-end.fff": whole[:24] + b"\x7f\xff\xff\xff" + whole[28:],
    }
