import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import SetWriter, clear, making_of, open_set, read_meta
from dinonat.errors import CheckpointError, WorkspaceError
from dinonat.records import ITEM_COLUMNS, PARTS, TEMPERATURE_COLUMNS

MAKING = {"model": "abc", "settings": {"size": 224, "square": False}}
DIMS = {"mean": 6, "grid": 9, "hog": 5, "raw": 4}


def rows(shard: int, *, failed: bool = False) -> pd.DataFrame:
    """One image and two regions, or one failed image."""
    numbers = ("x", "y", "w", "h", "objectness", "lo", "hi", *TEMPERATURE_COLUMNS)
    row = dict.fromkeys(ITEM_COLUMNS, "") | dict.fromkeys(numbers, 1.5)
    row |= {
        "image": f"{shard}.png",
        "width": 8,
        "height": 9,
        "mask_counts": [],
        "status": "ok",
        "kind": "image",
    }
    if failed:
        return pd.DataFrame([row | {"item": f"{shard}", "status": "failed", "reason": "no"}])
    region = row | {"kind": "region", "mask_counts": [3, 4, 65]}
    return pd.DataFrame(
        [row | {"item": f"{shard}"}, region | {"item": f"{shard}a"}, region | {"item": f"{shard}b"}]
    )


def vectors(shard: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(shard)
    return {
        name: rng.normal(size=(count, d)).astype(np.float16).astype(np.float32) for name, d in DIMS.items()
    }


def write_all(folder: Path, *, shards: int = 3) -> SetWriter:
    writer = SetWriter(folder, MAKING)
    for shard in range(shards):
        if shard not in writer.done:
            writer.write(shard, rows(shard), vectors(shard, 3))
    writer.finish(shards=shards)
    return writer


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    write_all(tmp_path / "set")
    stored = open_set(tmp_path / "set")
    expected = pd.concat([rows(0), rows(1), rows(2)], ignore_index=True)
    assert stored.items["item"].tolist() == expected["item"].tolist()
    assert stored.items["mask_counts"].tolist() == expected["mask_counts"].tolist()
    assert list(stored.items.columns) == list(ITEM_COLUMNS)
    regions = (stored.items["kind"] == "region").to_numpy()
    for name in PARTS:
        together = np.concatenate([vectors(shard, 3)[name] for shard in range(3)])
        np.testing.assert_array_equal(stored.part(name), together)
        np.testing.assert_array_equal(stored.part(name, regions), together[regions])
        np.testing.assert_allclose(stored.mean(name, "region"), together[regions].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(stored.mean(name, "image"), together[~regions].mean(axis=0), atol=1e-6)
    assert stored.meta["counts"] == {"images": 3, "regions": 6, "failed": 0}


def test_failed_rows_count_but_stay_out_of_the_mean(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, MAKING)
    writer.write(0, rows(0, failed=True), {name: np.zeros((1, d), np.float32) for name, d in DIMS.items()})
    writer.write(1, rows(1), vectors(1, 3))
    writer.finish(shards=2)
    stored = open_set(tmp_path)
    assert stored.meta["counts"] == {"images": 2, "regions": 2, "failed": 1}
    assert stored.meta["failures"] == [["0.png", "no"]]
    np.testing.assert_allclose(stored.mean("raw", "image"), vectors(1, 3)["raw"][0], atol=1e-6)


def test_a_set_of_failures_alone_opens(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, MAKING)
    writer.write(0, rows(0, failed=True), {name: np.zeros((1, d), np.float32) for name, d in DIMS.items()})
    writer.finish(shards=1)
    assert not open_set(tmp_path).mean("hog", "image").any()


def test_resumed_at_any_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """Take away, from the end, one more file each time, as kills at each moment would have left it."""
    write_all(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    order = [
        f"shard-{n:05d}.{part}" for n in range(3) for part in (*(f"{p}.npy" for p in PARTS), "items.parquet")
    ]
    assert sorted(order) == sorted(set(whole) - {"meta.json"})
    for kept in range(len(order)):
        folder = tmp_path / f"kept-{kept}"
        SetWriter(folder, MAKING)
        for name in order[:kept]:
            (folder / name).write_bytes(whole[name])
        (folder / f".{order[kept]}.4711.part").write_bytes(whole[order[kept]][:20])
        with pytest.raises(WorkspaceError, match="unfinished"):
            open_set(folder)
        assert SetWriter(folder, MAKING).done == set(range(kept // 5))
        write_all(folder)
        assert contents(folder) == whole


def test_a_finished_set_is_left_alone(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = contents(tmp_path)
    assert SetWriter(tmp_path, MAKING).complete
    assert contents(tmp_path) == before


def test_another_making_is_refused_by_name(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(WorkspaceError, match=r"size was 224, now 512.*--name.*--again"):
        SetWriter(tmp_path, {"model": "abc", "settings": {"size": 512, "square": False}})
    assert contents(tmp_path) == before


def test_shards_of_another_making_never_count(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "meta.json").unlink()  # even where nothing says any more what the shards are
    other = SetWriter(tmp_path, MAKING | {"model": "other"})
    assert not other.done
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]


def test_a_missing_shard_is_said_and_filled(tmp_path: Path) -> None:
    write_all(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "shard-00001.hog.npy").unlink()
    with pytest.raises(WorkspaceError, match="shard 1 is missing"):
        open_set(tmp_path)
    assert not SetWriter(tmp_path, MAKING).complete
    write_all(tmp_path)
    assert contents(tmp_path) == before


def test_damaged_vectors_are_a_sentence(tmp_path: Path) -> None:
    write_all(tmp_path)
    np.save(tmp_path / "shard-00001.raw.npy", np.zeros((2, 4), np.float16))
    (tmp_path / "shard-00002.hog.npy").write_bytes(b"rotten")
    stored = open_set(tmp_path)
    with pytest.raises(WorkspaceError, match="2 vectors for the 3 rows of shard 1"):
        stored.part("raw")
    with pytest.raises(WorkspaceError, match="damaged"):
        stored.part("hog")
    first = np.arange(9) < 3  # what is not asked for is not read
    assert stored.part("hog", first).shape == (3, 5)
    with pytest.raises(WorkspaceError, match="no part 'colour'"):
        stored.part("colour")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"complete": true}', "\x00\xff"])
def test_a_damaged_meta_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "meta.json").write_text(text, encoding="latin-1")
    with pytest.raises(WorkspaceError, match="damaged"):
        open_set(tmp_path)


def test_a_folder_without_a_set_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="dinotool embed"):
        open_set(tmp_path / "nowhere")


def test_a_full_disk_loses_nothing_done_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path / "whole")
    writer = SetWriter(tmp_path / "set", MAKING)
    writer.write(0, rows(0), vectors(0, 3))
    left = [3]  # files that still fit
    real = os.fsync

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkspaceError, match="No space left"):
            writer.write(1, rows(1), vectors(1, 3))
    assert SetWriter(tmp_path / "set", MAKING).done == {0}
    write_all(tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


@pytest.mark.parametrize("bad", [1e5, np.nan, np.inf])
def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path, bad: float) -> None:
    values = vectors(0, 3)
    values["grid"][1, 2] = bad
    with pytest.raises(CheckpointError, match="'grid'"):
        SetWriter(tmp_path, MAKING).write(0, rows(0), values)
    assert not list(tmp_path.glob("*.parquet"))


def test_clear_takes_only_our_files(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "shard-of-glass.npy").write_text("mine too")
    clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "shard-of-glass.npy"]


def test_meta_can_be_read_by_people(tmp_path: Path) -> None:
    write_all(tmp_path)
    lines = (tmp_path / "meta.json").read_text().splitlines()
    assert ' "complete": true,' in lines
    assert making_of(read_meta(tmp_path)) == MAKING
