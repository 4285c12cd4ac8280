import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.errors import ImageError, WorkspaceError
from dinonat.images import batches
from dinonat.images.batches import Shown, pack_pictures, read_prepared
from dinonat.images.listing import list_images
from dinonat.images.prepare import parse_preparation, prepare
from dinonat.images.reader import read_thermal
from dinonat.images.workers import run_in_workers
from dinonat.records import ImageRef

BAD = {
    "0-bytes.tif": b"",
    "text.png": b"just text",
    "sub/text</script>\n.jpg": b"more text",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good images of every kind and bad ones between them."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    (root / "sub").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (30, 50, 3), dtype=np.uint8)).save(root / "colour.jpg")
    Image.fromarray(rng.integers(0, 255, (40, 20), dtype=np.uint8)).save(root / "sub" / "colour.jpg")
    counts = rng.integers(6743, 7078, (2, 24, 32), dtype=np.uint16)
    counts[0, 3, 4] = 65535
    tifffile.imwrite(root / "counts.tif", counts, photometric="minisblack")
    Image.fromarray(np.uint8([[9]])).save(root / "Wärme eins.png")
    tifffile.imwrite(root / "nothing.tif", np.full((5, 5), np.nan, np.float32))
    for name, content in BAD.items():
        (root / name).parent.mkdir(exist_ok=True)  # "</script>" makes one
        (root / name).write_bytes(content)
    whole = (root / "colour.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return root


GOOD = {"Wärme eins.png", "colour.jpg", "counts.tif#0", "counts.tif#1", "sub/colour.jpg"}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_cost_themselves_and_order_is_kept(folder: Path, workers: int) -> None:
    refs = list_images(folder).refs
    loaded = list(read_prepared(refs, workers=workers))
    assert [one.ref for one in loaded] == list(refs)
    assert {one.ref.name for one in loaded if one.prepared is not None} == GOOD
    for one in loaded:
        assert (one.reason == "") == (one.prepared is not None)
        assert "\n" not in one.reason
        assert str(folder) not in one.reason
    reasons = {one.ref.name: one.reason for one in loaded if one.reason}
    assert reasons["0-bytes.tif"].startswith("0-bytes.tif: an empty file (0 bytes)")
    assert reasons["sub/text</script>\n.jpg"].startswith(
        "sub/text</script>\\n.jpg: not an image by its content"
    )
    assert reasons["nothing.tif"] == "nothing.tif: No pixel holds data: every value is missing."
    assert "truncated" in reasons["cut.jpg"]


def test_worker_processes_give_the_same_bytes_as_this_process(folder: Path) -> None:
    refs = list_images(folder).refs
    for here, there in zip(read_prepared(refs), read_prepared(refs, workers=2), strict=True):
        assert (here.sha256, here.reason, here.warnings) == (there.sha256, there.reason, there.warnings)
        if here.prepared is not None and there.prepared is not None:
            np.testing.assert_array_equal(here.prepared.pixels, there.prepared.pixels)
            assert (here.prepared.lo, here.prepared.hi) == (there.prepared.lo, there.prepared.hi)


def test_what_is_loaded_is_the_prepared_frame_of_the_file(folder: Path) -> None:
    refs = [ref for ref in list_images(folder).refs if ref.name in GOOD]
    preparation = parse_preparation("percentile=5:90")
    for one in read_prepared(refs, shown=Shown(preparation)):
        assert one.prepared is not None
        frame = read_thermal(one.ref.file, frame=one.ref.frame)
        expected = prepare(frame, preparation)
        if frame.rgb is None:
            np.testing.assert_array_equal(one.measured, frame.data)
        else:
            assert one.measured is None
        np.testing.assert_array_equal(one.prepared.pixels, expected.pixels)
        assert one.sha256 == hashlib.sha256(one.ref.file.read_bytes()).hexdigest()


def test_known_limits_give_the_same_pixels_again(folder: Path) -> None:
    refs = [ref for ref in list_images(folder).refs if ref.name in GOOD]
    first = list(read_prepared(refs))
    limits = {one.ref.name: (one.prepared.lo, one.prepared.hi) for one in first if one.prepared}
    for mode in ("percentile", "dataset", "window=0:1"):
        again = read_prepared(refs, shown=Shown(parse_preparation(mode), limits))
        for one, other in zip(first, again, strict=True):
            assert one.prepared
            assert other.prepared
            np.testing.assert_array_equal(one.prepared.pixels, other.prepared.pixels)


def test_a_file_that_kills_its_decoder_costs_only_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The decoder of the children ends its process at one file, as a crash in a C library does."""
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from dinonat.images import batches\n"
        "read_thermal = batches.read_thermal\n"
        "def read(path, *, frame, reading):\n"
        "    if path.name == 'counts.tif' and frame == 0:\n"
        "        os._exit(3)\n"
        "    return read_thermal(path, frame=frame)\n"
        "def load(asked):\n"
        "    batches.read_thermal = read\n"
        "    return batches._load(asked, preparation=batches.DEFAULT, reading=batches.AS_STORED)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    import deadly

    refs = list_images(folder).refs
    asked = [(ref, None) for ref in refs]
    loaded = list(
        run_in_workers(deadly.load, asked, workers=1, on_death=batches._lost, belongs_to=batches._file)
    )
    del sys.modules["deadly"]
    assert [one.ref for one in loaded] == list(refs)
    assert {one.ref.name for one in loaded if one.prepared is not None} == GOOD - {
        "counts.tif#0",
        "counts.tif#1",
    }
    for dead in (one for one in loaded if one.ref.path == "counts.tif"):  # its file is in quarantine
        assert dead.reason == f"{dead.ref.name}: Lost: the process that read it ended with code 3."


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_pictures_are_the_squashed_pictures(folder: Path, tmp_path: Path, workers: int) -> None:
    refs = list_images(folder).refs
    seen: list[tuple[int, int]] = []
    packed = pack_pictures(
        refs, tmp_path / "pack.npy", side=16, workers=workers, progress=lambda *count: seen.append(count)
    )
    assert set(packed.names) == GOOD
    assert seen == [(number + 1, len(refs)) for number in range(len(refs))]
    assert packed.pixels.shape == (5, 16, 16, 3)
    assert not packed.pixels.flags.writeable
    assert len(packed.failures) + len(packed.names) == len(refs)
    aspects = dict(zip(packed.names, packed.aspects.tolist(), strict=True))
    assert aspects["sub/colour.jpg"] == 0.5
    assert aspects["colour.jpg"] == np.float32(50 / 30)
    for name, pixels in zip(packed.names, packed.pixels, strict=True):
        ref = next(ref for ref in refs if ref.name == name)
        whole = prepare(read_thermal(ref.file, frame=ref.frame)).pixels
        expected = np.asarray(Image.fromarray(whole).resize((16, 16), Image.Resampling.BICUBIC))
        assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_a_large_jpeg_packed_from_a_smaller_decoding_looks_the_same(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 6, 900), np.linspace(0, 5, 700))
    waves = np.stack([np.sin(x * y), np.cos(3 * x), np.sin(2 * y + x)], axis=-1) * 100 + 128
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    packed = pack_pictures([ImageRef(tmp_path, "a.jpg")], tmp_path / "p.npy", side=64)
    with Image.open(tmp_path / "a.jpg") as picture:
        expected = np.asarray(picture.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(packed.pixels[0] - expected).mean() < 1.5
    assert packed.aspects[0] == np.float32(900 / 700)


def test_a_pack_is_reused_for_the_same_files_and_made_again_for_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs, path = list_images(folder).refs, tmp_path / "pack.npy"
    first = pack_pictures(refs, path, side=16)
    pixels = np.array(first.pixels)
    monkeypatch.setattr(batches, "_squash", None)  # calling it would fail
    again = pack_pictures(refs, path, side=16)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.names, again.failures) == (first.names, first.failures)
    monkeypatch.undo()
    assert pack_pictures(refs, path, side=8).pixels.shape[1] == 8
    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(folder / "colour.jpg")
    assert (pack_pictures(refs, path, side=8).pixels[1] == 128).all()  # flat: mid grey


def test_the_same_files_give_the_same_pack(folder: Path, tmp_path: Path) -> None:
    refs = list_images(folder).refs
    for name, workers in (("a", 0), ("b", 2)):
        pack_pictures(refs, tmp_path / f"{name}.npy", side=16, workers=workers)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_pack_that_was_interrupted_is_never_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs, path = list_images(folder).refs, tmp_path / "pack.npy"
    pack_pictures(refs, path, side=16)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_pictures(refs, path, side=8, progress=stop)
    assert not path.with_suffix(".json").exists()
    assert pack_pictures(refs, path, side=8).pixels.shape == (5, 8, 8, 3)


def test_a_full_disk_is_a_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkspaceError, match="No space left on device"):
        pack_pictures(list_images(folder).refs, tmp_path / "pack.npy", side=16)


def test_nothing_to_pack_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    bad = [ref for ref in list_images(folder).refs if ref.path in BAD]
    with pytest.raises(ImageError, match=r"Not one of 3 pictures could be read\. The first: 0-bytes"):
        pack_pictures(bad, tmp_path / "pack.npy")
    with pytest.raises(ImageError, match="Not one of 0 pictures"):
        pack_pictures([], tmp_path / "pack.npy")


def test_reading_is_lazy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million images are not decoded before the first is used."""
    asked: list[str] = []

    def refs() -> Iterator[ImageRef]:
        for number in range(1000):
            asked.append(str(number))
            yield ImageRef(folder, "Wärme eins.png")

    next(read_prepared(refs(), workers=2))  # type: ignore[arg-type]
    assert len(asked) <= 8


def test_facts_of_a_pack_are_json(folder: Path, tmp_path: Path) -> None:
    pack_pictures(list_images(folder).refs, tmp_path / "pack.npy", side=16)
    facts = json.loads((tmp_path / "pack.json").read_bytes())
    assert facts["side"] == 16
    assert len(facts["names"]) == len(facts["aspects"]) == 5


def test_real_pictures_of_every_set_are_read(data: Path) -> None:
    for name in ("paired_road", "thermal_aerial", "rgb_objects", "radiometric"):
        refs = list_images(data / name).refs[:12]
        loaded = list(read_prepared(refs))
        assert [one.reason for one in loaded] == [""] * len(refs)
        assert all(one.prepared is not None and one.prepared.pixels.ndim == 3 for one in loaded)


@pytest.mark.parametrize("name", ["colour.png", "grey.png"])
def test_a_box_keeps_that_part_and_its_shape(tmp_path: Path, name: str) -> None:
    """As if the picture had been cut before, but prepared by the values of all of it."""
    rng = np.random.default_rng(0)
    shape = (40, 80, 3) if name == "colour.png" else (40, 80)
    whole = np.kron(
        rng.integers(0, 255, [5, 10, *shape[2:]], dtype=np.uint8), np.ones((8, 8, *[1] * len(shape[2:])))
    )
    Image.fromarray(whole.astype(np.uint8).reshape(shape)).save(tmp_path / name)
    ref, path = ImageRef(tmp_path, name), tmp_path / "pack.npy"
    packed = pack_pictures([ref], path, side=16, boxes={ref: (0.1, 0.0, 0.9, 0.5)})
    assert packed.aspects[0] == np.float32(64 / 20)
    pixels = prepare(read_thermal(ref.file)).pixels[:20, 8:72]
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
    inner = (slice(2, -2), slice(2, -2))  # at its edges a cut picture knows nothing beyond them
    assert np.abs(packed.pixels[0][inner] - expected[inner]).max() <= 1
    again = np.array(pack_pictures([ref], path, side=16).pixels)
    np.testing.assert_array_equal(again, pack_pictures([ref], path, side=16, boxes={}).pixels)
    full = pack_pictures([ref], path, side=16, boxes={ref: (0.0, 0.0, 1.0, 1.0)})
    np.testing.assert_array_equal(again, full.pixels)


def test_a_box_of_a_large_jpeg_is_decoded_large_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1600, 1600), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    ref, box = ImageRef(tmp_path, "a.jpg"), (0.25, 0.5, 0.75, 1.0)
    packed = pack_pictures([ref], tmp_path / "p.npy", side=100, boxes={ref: box})
    with Image.open(tmp_path / "a.jpg") as picture:
        cut = picture.crop((400, 800, 1200, 1600)).resize((100, 100), Image.Resampling.BICUBIC)
    assert np.abs(packed.pixels[0] - np.asarray(cut).astype(int)).mean() < 1.5


def test_the_places_of_a_pack_tell_which_pictures_are_missing(folder: Path, tmp_path: Path) -> None:
    refs = list_images(folder).refs
    packed = pack_pictures([*refs, *refs], tmp_path / "pack.npy", side=16)
    assert [(refs * 2)[place].name for place in packed.places] == list(packed.names)
    failed = sorted(set(range(2 * len(refs))) - set(packed.places))
    assert [(refs * 2)[place].name for place in failed] == [name for name, _ in packed.failures]
