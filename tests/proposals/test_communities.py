import io
import subprocess
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from dinonat.neighbors import exact
from dinonat.neighbors.graph import Weights, build, symmetric
from dinonat.neighbors.parts import unit
from dinonat.proposals import communities as module
from dinonat.proposals.clusters import cluster
from dinonat.proposals.communities import communities, members
from dinonat.records import Float32, Int64


def made(sizes: list[int], noise: float = 0.3, seed: int = 0) -> tuple[Float32, Int64]:
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = generator.normal(size=(len(sizes), 24))[truth] + noise * generator.normal(size=(len(truth), 24))
    return unit(rows.astype(np.float32)), truth


def graph_of(vectors: Float32) -> Weights:
    return symmetric(build(vectors, 10, search=exact.search))


def test_separate_groups_are_found_without_being_told_how_many_and_numbered_by_size() -> None:
    vectors, truth = made([60, 45, 30, 20])
    order = np.random.default_rng(1).permutation(len(truth))
    found, sentence = communities(graph_of(vectors[order]), vectors[order], resolution=0.5)
    assert np.array_equal(found, truth[order])
    assert sentence == "4 clusters by Leiden at resolution 0.5."


def test_a_higher_resolution_makes_more_and_a_number_can_be_asked_for() -> None:
    vectors, _ = made([80, 80, 80], noise=1.5)
    graph = graph_of(vectors)
    counts = [communities(graph, vectors, resolution=value)[0].max() for value in (0.2, 1.0, 4.0, 16.0)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    asked = [communities(graph, vectors, clusters=wanted)[0].max() + 1 for wanted in (3, 12)]
    assert asked[0] == 3
    assert 9 <= asked[1] <= 15  # communities split several at once


def test_another_process_finds_the_same_clusters() -> None:
    code = """
import hashlib, numpy as np
from dinonat.neighbors import exact
from dinonat.neighbors.graph import build, symmetric
from dinonat.neighbors.parts import unit
from dinonat.proposals.communities import communities
vectors = unit(np.random.default_rng(3).normal(size=(400, 12)).astype(np.float32))
found = communities(symmetric(build(vectors, 10, search=exact.search)), vectors)[0]
print(len(set(found.tolist())), hashlib.sha256(found.tobytes()).hexdigest())
"""
    words = [sys.executable, "-c", code]
    other = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    with redirect_stdout(io.StringIO()) as here:
        exec(code, {})
    assert other == here.getvalue()
    assert int(other.split()[0]) > 5


def test_many_items_and_a_missing_library_fall_back_to_k_means_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, truth = made([40, 30, 20])
    graph = graph_of(vectors)
    found, sentence = communities(graph, vectors, clusters=3, largest=50)
    assert np.array_equal(found, cluster(vectors, 3))
    assert adjusted_rand_score(found, truth) == 1
    assert "3 clusters by k-means" in sentence
    assert "more than 50 items" in sentence
    monkeypatch.setitem(sys.modules, "sknetwork.clustering", None)
    found, sentence = communities(graph, vectors, clusters=3)
    assert np.array_equal(found, cluster(vectors, 3))
    assert "scikit-network is not installed" in sentence


def test_odd_sets_are_no_error() -> None:
    for rows in (np.zeros((0, 4), np.float32), np.ones((1, 4), np.float32), np.zeros((30, 4), np.float32)):
        found, _ = communities(graph_of(rows), rows)
        assert found.tolist() == [0] * len(rows)
    equal = unit(np.ones((30, 4), np.float32))
    assert len(communities(graph_of(equal), equal)[0]) == 30
    vectors, _ = made([20, 15])
    vectors[:3] = 0  # like nothing: a cluster of their own
    found = communities(graph_of(vectors), vectors, resolution=0.5)[0]
    assert (found[:3] == found[0]).all()
    assert (found[3:] != found[0]).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 5), st.integers(0, 99))
def test_the_medoid_is_the_most_alike_and_the_drawn_are_others_of_the_cluster(numbers, n, seed) -> None:
    clusters = module.by_size(np.array(numbers))
    vectors = unit(np.random.default_rng(seed).normal(size=(len(clusters), 3)).astype(np.float32))
    found = members(clusters, vectors, n=n)
    assert len(found) == clusters.max() + 1
    for number, one in enumerate(found):
        rows = np.flatnonzero(clusters == number)
        means = (vectors[rows] @ vectors[rows].T).astype(np.float64).mean(axis=1)
        assert means[list(rows).index(one.medoid)] >= means.max() - 1e-6
        assert set(one.random) <= set(rows) - {one.medoid}
        assert len(set(one.random)) == len(one.random) == min(n, len(rows) - 1)
        assert one.size == len(rows)
