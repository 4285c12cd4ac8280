from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dinonat.embeddings.store import EmbeddingSet, SetWriter, open_set
from dinonat.neighbors import index
from dinonat.neighbors.graph import Graph, build
from dinonat.neighbors.parts import unit
from dinonat.pipelines import graphs
from dinonat.records import ITEM_COLUMNS, PARTS, Float32, as_table

N = 40
VECTORS = unit(np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32))
GROUPS = np.arange(N) // 5


def made_set(folder: Path, numbers: list[int]) -> EmbeddingSet:
    """A set of images named by ``numbers``, as if it had been embedded of them."""
    names = [f"{number:03}.png" for number in numbers]
    rows = [
        {"item": name, "image": name, "kind": "image", "status": "ok", "mask_counts": []} for name in names
    ]
    blank = {name: "" if kind == "str" else 0 for name, kind in ITEM_COLUMNS.items()}
    writer = SetWriter(folder / "workspace/embeddings/some", {"model": "m", "images": names})
    items = as_table(pd.DataFrame([{**blank, **row} for row in rows]), ITEM_COLUMNS)
    writer.write(0, items, {name: np.ones((len(names), 1), np.float32) for name in PARTS})
    writer.finish(shards=1)
    return open_set(folder / "workspace/embeddings/some")


def graph_of(known: EmbeddingSet, numbers: list[int], groups=GROUPS, vectors: Float32 = VECTORS) -> Graph:
    asked = np.ones(len(known.items), bool)
    own = None if groups is None else groups[numbers]
    return graphs.graph_of(known, asked, vectors[numbers], kind="image", features="mean=1", k=6, groups=own)


def same(one: Graph, other: Graph) -> bool:
    return np.array_equal(one.index, other.index) and np.array_equal(one.similarity, other.similarity)


def built(numbers: list[int], groups=GROUPS) -> Graph:
    return build(VECTORS[numbers], 6, search=index.search, groups=None if groups is None else groups[numbers])


def files(folder: Path) -> list[Path]:
    return sorted((folder / "workspace/graphs").rglob("*.npz"))


def test_a_graph_is_built_once_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = list(range(30))
    known = made_set(tmp_path, numbers)
    first = graph_of(known, numbers)
    assert capsys.readouterr().err == "Graph of 30 images, 6 neighbours each: exact search\n"
    [file] = files(tmp_path)
    assert file.parent.name == "some"
    before = file.read_bytes()
    again = graph_of(known, numbers, groups=GROUPS + 7)  # other numbers, the same recordings
    assert f"read from {file}" in capsys.readouterr().err
    assert same(first, again)
    assert same(first, built(numbers))
    assert file.read_bytes() == before


@pytest.mark.parametrize("numbers", [list(range(N)), sorted({*range(0, 40, 3), *range(20, 40)})])
def test_where_items_came_it_is_extended_to_what_building_gives(
    numbers: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = numbers[::2]
    graph_of(made_set(tmp_path / "1", old), old)
    (tmp_path / "2/workspace").mkdir(parents=True)
    files(tmp_path / "1")[0].parent.parent.rename(tmp_path / "2/workspace/graphs")
    capsys.readouterr()
    extended = graph_of(made_set(tmp_path / "2", numbers), numbers)
    assert f"{len(numbers) - len(old)} added to that of" in capsys.readouterr().err
    assert same(extended, built(numbers))
    graph_of(made_set(tmp_path / "2", numbers), numbers)
    assert "read from" in capsys.readouterr().err  # what was extended is kept


def test_what_is_not_the_same_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = list(range(30))
    known = made_set(tmp_path, numbers)
    moved = VECTORS.copy()
    moved[3] = moved[4]
    regrouped = np.where(np.arange(N) == 0, 3, GROUPS)
    for groups, vectors in (
        (GROUPS, VECTORS),
        (GROUPS, moved),
        (GROUPS, VECTORS),
        (regrouped, VECTORS),
        (None, VECTORS),
    ):
        graph = graph_of(known, numbers, groups, vectors)
        assert "exact search" in capsys.readouterr().err
        own = None if groups is None else groups[:30]
        assert same(graph, build(vectors[:30], 6, search=index.search, groups=own))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "shape", "rows"])
def test_a_damaged_file_is_made_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = list(range(30))
    known = made_set(tmp_path, numbers)
    first = graph_of(known, numbers)
    [file] = files(tmp_path)
    whole = file.read_bytes()
    held = dict(np.load(file))
    if damage == "pickle":
        np.savez(file, **{**held, "rows": np.array([{}] * 30, object)})
    elif damage == "shape":
        np.savez(file, **{**held, "index": held["index"][:, :3]})
    elif damage == "rows":
        np.savez(file, **{**held, "index": held["index"] + 30})
    else:
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    capsys.readouterr()
    assert same(graph_of(known, numbers), first)
    assert "damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_above_the_limit_an_approximate_search_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = list(range(30))
    known = made_set(tmp_path, numbers)
    how = {"kind": "image", "features": "mean=1", "k": 6, "exact_up_to": 10}
    graphs.graph_of(known, np.ones(30, bool), VECTORS[:30], **how)
    assert "approximate search" in capsys.readouterr().err
