import struct
from pathlib import Path

import numpy as np
import pytest

from dinonat.errors import ThermalReadError
from dinonat.images.irg import decode_irg


def counts(shape: tuple[int, int] = (192, 256)) -> np.ndarray:
    values = np.random.default_rng(0).integers(4784, 5159, shape).astype("<u2")
    values[0, :3] = 4784, 5061, 5158
    return values


def irg(
    values: np.ndarray,
    magic: bytes = b"\xca\xac",
    kind: int = 2,
    length: int = 128,
    planes: list[tuple[int, int, int]] | None = None,
    scene: tuple[int, ...] = (9500, 2730000, 2730000, 12500),
) -> bytes:
    rows, columns = values.shape
    planes = planes or [(values.size, rows, columns), (2 * values.size, rows, columns), (4, 480, 640)]
    kinds = (0, kind, 3)
    head = magic + bytes([length])
    head += b"".join(struct.pack("<BIHH", kind, *plane) for kind, plane in zip(kinds, planes, strict=True))
    head = (head + struct.pack("<4I", *scene)).ljust(126, b"\0") + magic[::-1]
    return head + (values >> 4).astype("u1").tobytes() + values.astype("<u2").tobytes() + b"\xff\xd8\xff\xd9"


def read(tmp_path: Path, content: bytes):
    (tmp_path / "a.irg").write_bytes(content)
    return decode_irg(tmp_path / "a.irg")


def test_temperatures_by_the_published_values(tmp_path: Path) -> None:
    frame = read(tmp_path, irg(counts()))
    assert frame.data[0, :3].tolist() == pytest.approx([25.85, 43.16, 49.23], abs=0.0055)
    np.testing.assert_allclose(frame.data, counts() / 16 - 273.15, atol=1e-5)
    assert (frame.unit, frame.polarity, frame.source_format) == ("celsius", "white_hot", "irg")
    assert frame.meta == {"emissivity": 0.95, "distance": 1.25}
    assert frame.bit_depth_effective == 13


@pytest.mark.parametrize(
    ("magic", "kind", "size", "zero"),
    [
        (b"\xca\xac", 2, 16, 273.15),
        (b"\xca\xac", 1, 10, 273.15),
        (b"\xba\xab", 2, 10, 273.15),
        (b"\x04\xa0", 2, 10, 273.2),
    ],
)
def test_every_variant_has_its_scale(
    tmp_path: Path, magic: bytes, kind: int, size: float, zero: float
) -> None:
    frame = read(tmp_path, irg(counts((4, 5)), magic, kind))
    np.testing.assert_allclose(frame.data, counts((4, 5)) / size - zero, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"length": 20}, "its length is given as 20"),
        ({"length": 255}, "ends|length is given as 255"),
        ({"magic": b"\xca\xad"}, "no header of .irg"),
        ({"planes": [(20, 4, 5), (41, 4, 5), (4, 1, 1)]}, "planes of 20 and 41 bytes for 5 x 4"),
        ({"planes": [(20, 5, 4), (40, 4, 5), (4, 1, 1)]}, "planes of"),
        ({"planes": [(2**32 - 1, 65535, 65535)] * 2 + [(4, 1, 1)]}, "65535 x 65535 pixels"),
        ({"planes": [(0, 0, 0)] * 3}, "no pixels"),
        ({"planes": [(2**24, 4096, 4096), (2**25, 4096, 4096), (4, 1, 1)]}, "needs? .* the file ends"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(ThermalReadError, match=says):
        read(tmp_path, irg(counts((4, 5)), **change))


def test_parameters_that_no_scene_has_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, irg(counts((4, 5)), scene=(0, 0, 0, 2**32 - 1))).meta == {}


def test_cut_anywhere_it_is_the_whole_frame_or_an_error(tmp_path: Path) -> None:
    values = counts((24, 32))
    whole = irg(values)
    for length in range(1, len(whole) - 4, 64):
        with pytest.raises(ThermalReadError) as caught:
            read(tmp_path, whole[:length])
        assert 0 <= caught.value.offset <= length
    np.testing.assert_allclose(read(tmp_path, whole[:-4]).data, values / 16 - 273.15, atol=1e-5)
