from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from dinonat.agreement import floors
from dinonat.agreement.estimates import Drawn
from dinonat.agreement.maps import pearson, top_overlap
from dinonat.agreement.matches import dense_matches
from dinonat.agreement.rows import (
    CENTRED,
    TOGETHER,
    Figures,
    chance_figures,
    dense_figures,
    hand_made_figures,
    left_out,
    map_figures,
    network_figures,
    retrieval_figures,
    side_of,
    space_figures,
    vector_figures,
    vectors_by_hand,
)
from dinonat.agreement.sights import tokens_of, vectors_of
from dinonat.agreement.spaces import modality_gap
from dinonat.agreement.squares import MOVED, Squares, kept_side
from dinonat.embeddings.framing import shown
from dinonat.models.nat import NAT, NATSettings
from dinonat.models.network import Network

Textures = Callable[..., np.ndarray]
MEASURES = ("pearson", "spearman", "overlap")
WAYS = ("T>V", "V>T", "both")


def nat() -> NAT:
    torch.manual_seed(0)
    return NAT(NATSettings(dim=8, depths=(1, 1, 2, 1), heads=(1, 2, 2, 4))).eval()


class Pixels(Network):
    """Tokens that are the contrasts within their own cell of 16 pixels, and know of nothing beside it."""

    stride, strides, dims, attends = 16, (16.0, float("inf")), (48, 48), False

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def tokens(self, x: torch.Tensor) -> list[torch.Tensor]:
        small = functional.pixel_unshuffle(functional.avg_pool2d(x, 4), 4).permute(0, 2, 3, 1)
        cells = small - small.mean(dim=3, keepdim=True)
        return [cells, cells.mean(dim=(1, 2), keepdim=True)]

    def tokens_and_attention(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list]:
        return self.tokens(x), []


def squares(size: int, pictures: list[np.ndarray]) -> Squares:
    """Pictures (H, H) as squares, resized from the same for both."""
    side = kept_side(size)
    kept, whole = (
        np.stack([np.repeat(shown(each, (s, s))[..., None], 3, axis=-1) for each in pictures])
        for s in (side, size)
    )
    return Squares(whole, kept)


@pytest.fixture(scope="module")
def many(textures: Textures) -> Squares:
    return squares(64, [textures(seed, 256, 256) for seed in range(8)])


def vectors(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def parts(seed: int, n: int, side: int = 14) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, side, side)).astype(np.float32)


def of(figures: Figures, ending: str) -> dict[str, float]:
    found = {name: each.value for name, each in figures.items() if name.endswith(ending)}
    assert found, ending
    return found


# --- Identical sets score 1.


def check_identical(figures: Figures) -> None:
    for name, each in figures.items():
        word = name.split("/")[-1]
        if word in ("paired", "cka"):
            assert each.value == pytest.approx(1, abs=1e-5), name
        elif word == "modality":
            assert each.value == 0, name
        elif word == "gap":
            assert each.value > 0, name
        if "/aligned" in name or name in ("unshifted/hit", "unshifted/mutual"):
            assert each.value == 1, name
            assert each.interval == (1, 1), name


@pytest.mark.parametrize("network", [nat(), Pixels()], ids=["nat", "pixels"])
def test_identical_sets_score_one_by_a_network(network: Network, many: Squares) -> None:
    drawn = Drawn(np.arange(8), resamples=50)
    figures = network_figures(network, side_of(network, many), many, drawn)
    check_identical(figures)
    maps = {"similarity", "component", "cut"} | ({"attention"} if network.attends else set())
    assert set(of(figures, "pearson/paired")) == {f"{name}/pearson/paired" for name in maps}
    names = [f"{name}{suffix}" for name in ("mean", "grid") for suffix in ("", CENTRED)]
    assert set(of(figures, "/aligned/both/1")) == {f"{name}/aligned/both/1" for name in names}
    assert all(value < 1 for value in of(figures, "/cka by lot").values())


def test_identical_sets_score_one_by_hand(many: Squares) -> None:
    rows = hand_made_figures(many, many, Drawn(np.arange(8), resamples=50))
    maps = {"gradient energy", "spectral residual", "intensity"}
    assert set(rows) == maps | {"HOG", "orientations", "thumbnail", "hog", "raw"}
    for name, figures in rows.items():
        check_identical(figures)
        assert len(of(figures, "/pearson/paired" if name in maps else "/cka")) == 1
    assert {"dense/hit", "dense/mutual", "unshifted/hit"} <= set(rows["HOG"])


# --- A permuted pairing scores as mismatched.


def permutations(n: int, count: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield generator.permutation(n)


def test_maps_of_permuted_pairs_agree_as_those_of_strangers() -> None:
    """All favour the middle, which lifts both; of permutations the gap is 0, and its interval says so."""
    n, worlds = 30, 60
    middle = -np.hypot(*(np.indices((14, 14)) - 6.5)) / 3
    maps = (parts(0, n) + middle).astype(np.float32)
    drawn, gaps, held = Drawn(np.arange(n), resamples=300), [], 0
    for order in permutations(n, worlds):
        figures = map_figures("map", maps, maps[order], drawn)
        for measure in MEASURES:
            assert figures[f"map/{measure}/mismatched"].value > 0.2
        gaps.append([figures[f"map/{measure}/gap"].value for measure in MEASURES])
        low, high = figures["map/pearson/gap"].interval
        held += low <= 0 <= high
    np.testing.assert_allclose(np.mean(gaps, axis=0), 0, atol=0.02)
    assert held >= 0.8 * worlds
    right = map_figures("map", maps, maps, drawn)["map/pearson/gap"]
    assert right.interval[0] > 0.3  # while those of partners are far from it


def test_permuted_pairs_are_found_by_chance() -> None:
    """A partner drawn evenly is among the nearest k of n with probability k / n, exactly."""
    n, drawn = 20, Drawn(np.arange(20), resamples=2)
    colour = vectors(n)
    thermal = colour + vectors(n, seed=1)
    sums: dict[str, list[float]] = {}
    for order in permutations(n, 150):
        found = retrieval_figures("v", colour, thermal[order], [thermal[order]], drawn)
        for name, each in found.items():
            sums.setdefault(name, []).append(each.value)
    chance = chance_figures(drawn, cells=14)
    for name, values in sums.items():
        _, protocol, _, k = name.split("/")
        suffix = TOGETHER if protocol.endswith(TOGETHER) else ""
        assert np.mean(values) == pytest.approx(chance[f"cropped{suffix}/{k}"].value, abs=0.02), name
    right = retrieval_figures("v", colour, thermal, [thermal], drawn)
    assert right["v/aligned/both/1"].value > 0.5


def test_a_permuted_set_of_pictures_is_no_better_than_strangers(many: Squares) -> None:
    order = np.roll(np.arange(8), 3)
    turned = Squares(many.whole[order], many.kept[order])
    drawn = Drawn(np.arange(8), resamples=50)
    network = nat()
    rows = hand_made_figures(many, turned, drawn)
    rows["network"] = network_figures(network, side_of(network, many), turned, drawn)
    for name, figures in rows.items():
        for key, each in figures.items():
            if key.endswith("/gap"):
                assert each.value < 0.25, (name, key)
            if "/aligned" in key and key.endswith("/1"):
                assert each.value == 0, (name, key)  # the true partner is there, and is always nearer
            if key.startswith(("dense", "unshifted")):
                assert each.value < 0.75, (name, key)


# --- A known noise gives what arithmetic predicts.


@pytest.mark.parametrize("s", [0.3, 1.0, 2.0])
def test_known_noise_gives_what_arithmetic_predicts(s: float) -> None:
    """Maps m and m + s e of independent normal cells correlate by r = 1 / sqrt(1 + s^2).

    Ranks then by 6 asin(r / 2) / pi (Pearson 1907), and of the top quarters p = P(X > q, Y > q) is shared,
    which makes p / (1/2 - p).
    """
    maps = parts(0, 24, 40)
    noisy = (maps + s * parts(1, 24, 40)).astype(np.float32)
    figures = map_figures("map", maps, noisy, Drawn(np.arange(24), resamples=200))
    r, q = 1 / np.sqrt(1 + s**2), stats.norm.ppf(0.25)
    shared = float(stats.multivariate_normal.cdf([q, q], cov=[[1, r], [r, 1]]))
    predicted = {"pearson": r, "spearman": 6 * np.arcsin(r / 2) / np.pi, "overlap": shared / (0.5 - shared)}
    strangers = {"pearson": 0, "spearman": 0, "overlap": (1 / 16) / (0.5 - 1 / 16)}
    for measure in MEASURES:
        paired, apart, gap = (figures[f"map/{measure}/{kind}"] for kind in ("paired", "mismatched", "gap"))
        assert paired.value == pytest.approx(predicted[measure], abs=0.015)
        assert apart.value == pytest.approx(strangers[measure], abs=0.01)
        assert gap.value == pytest.approx(paired.value - apart.value)
        np.testing.assert_allclose(gap.resampled, paired.resampled - apart.resampled)
        assert gap.interval[0] < predicted[measure] - strangers[measure] < gap.interval[1]


# --- A known shift is found.


def test_a_known_shift_is_found_with_that_shift() -> None:
    """Thermal tokens that lie two cells further on all hit with the shift, and few without it."""
    scene = np.random.default_rng(0).normal(size=(3, 12, 12, 32)).astype(np.float32)
    colour, thermal = scene[:, :10, :10], scene[:, 2:, 2:]
    drawn = Drawn(np.arange(3), resamples=20)
    right = dense_figures("dense", colour, thermal, drawn, shift=2)
    assert (right["dense/hit"].value, right["dense/mutual"].value) == (1, 1)
    assert right["dense/chance"].value == pytest.approx(
        529 / 6400
    )  # counted: 8 x 8 are asked, corners have fewer
    for shift in (0, -2):
        wrong = dense_figures("dense", colour, thermal, drawn, shift=shift)
        assert wrong["dense/hit"].value < 0.15, shift


def test_hits_and_mutual_ones_are_told_apart() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 4, 6, 6, 5)).astype(np.float32)
    colour, thermal = tokens[0], tokens[0] + tokens[1]
    drawn, found = Drawn(np.array([0, 0, 1, 2]), resamples=30), dense_matches(colour, thermal, shift=(1, 1))
    figures = dense_figures("cells", colour, thermal, drawn, shift=1)
    assert figures["cells/hit"].value > figures["cells/mutual"].value > 0
    np.testing.assert_array_equal(figures["cells/hit"].resampled, drawn.mean(found.hit).resampled)
    np.testing.assert_array_equal(figures["cells/mutual"].resampled, drawn.mean(found.mutual).resampled)


def test_cells_of_moved_pictures_find_their_places(textures: Textures) -> None:
    """The same pictures as colour and thermal: what a cell shows is found where it went, and only there."""
    both, drawn = squares(224, [textures(seed, 448, 448) for seed in range(3)]), Drawn(np.arange(3), 20)
    network = Pixels()
    side = side_of(network, both)
    figures = network_figures(network, side, both, drawn)
    assert figures["dense/hit"].value > 0.95
    assert figures["dense/mutual"].value > 0.9
    far = tokens_of(network, both.moved(16, far=True))
    assert dense_figures("dense", side.moved, far, drawn, shift=-MOVED)["dense/hit"].value < 0.3
    assert dense_figures("dense", side.moved, far, drawn)["dense/hit"].value < 0.5


@pytest.mark.parametrize("size", [112, 224, 300])
def test_cells_by_hand_move_by_whole_cells_at_every_size(size: int, textures: Textures) -> None:
    both = squares(size, [textures(seed, 448, 448) for seed in range(2)])
    figures = hand_made_figures(both, both, Drawn(np.arange(2), resamples=20))["HOG"]
    assert figures["dense/hit"].value > 0.8
    assert figures["unshifted/hit"].value == 1


# --- Each side's own mean.


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(1, 20))
def test_centring_takes_a_constant_offset_between_the_lights_off(seed: int, far: float) -> None:
    colour, drawn = vectors(15, seed=seed), Drawn(np.arange(15) // 2, resamples=20)
    noise = 0.8 * vectors(15, seed=seed + 1000)
    thermal = (colour + noise).astype(np.float32)
    offset = (far * vectors(1, seed=seed + 2000)).astype(np.float32)
    some = [thermal, thermal[::-1].copy()]
    plain = vector_figures({"v": colour}, {"v": thermal}, [{"v": each} for each in some], drawn)
    moved = vector_figures(
        {"v": colour}, {"v": thermal + offset}, [{"v": each + offset} for each in some], drawn
    )
    for name, each in plain.items():
        if name.startswith(f"v{CENTRED}/"):
            assert moved[name].value == each.value, name
            np.testing.assert_array_equal(moved[name].resampled, each.resampled)
    assert moved["v/cka"].value == pytest.approx(plain["v/cka"].value, abs=1e-4)
    assert np.isnan(moved["v/cka"].interval).all()


def test_a_constant_offset_alone_is_all_of_the_gap() -> None:
    """Far off, all colour vectors look alike from a thermal one; centred, the sets are identical again."""
    colour, drawn = vectors(30), Drawn(np.arange(30), resamples=50)
    thermal = colour + 20 * np.eye(24, dtype=np.float32)[0] - 10
    found = vector_figures({"v": colour}, {"v": thermal}, [{"v": thermal}], drawn)
    assert found["v/modality"].value == pytest.approx(1, abs=1e-5)
    assert found["v/modality"].interval == pytest.approx((1, 1), abs=1e-5)
    assert found["v/cka"].value == pytest.approx(1, abs=1e-5)
    assert found["v/aligned/T>V/1"].value < 0.5
    for protocol in ("aligned", f"aligned{TOGETHER}", "cropped"):
        for way in WAYS:
            assert found[f"v{CENTRED}/{protocol}/{way}/1"].value == 1


def test_the_gap_of_a_resample_is_that_of_its_pairs() -> None:
    colour, thermal, groups = vectors(9), vectors(9, seed=1) + 0.5, np.repeat(np.arange(3), 3)
    found = space_figures("v", colour, thermal, Drawn(groups, resamples=12, seed=5))["v/modality"]
    assert found.value == pytest.approx(float(modality_gap(colour, thermal)))
    for again, draw in zip(found.resampled, np.random.default_rng(5).integers(0, 3, (12, 3)), strict=True):
        rows = np.concatenate([np.flatnonzero(groups == each) for each in draw])
        assert again == pytest.approx(float(modality_gap(colour[rows], thermal[rows])))
    assert np.ptp(found.resampled) > 0.01


# --- Who is looked for among whom.


def test_a_way_is_who_asks() -> None:
    """Both thermal pictures find their partner, but one colour picture is nearer to the other's."""
    colour = np.float32([[1, 0, 0], [0, 1, 0]])
    thermal = np.float32([[1, 0.9, 0], [0, 0.5, 1]])
    found = retrieval_figures("v", colour, thermal, [thermal], Drawn(np.arange(2), resamples=50))
    for protocol in ("aligned", "cropped", f"aligned{TOGETHER}"):
        assert [found[f"v/{protocol}/{way}/1"].value for way in WAYS] == [1, 0.5, 0.75]
        assert [found[f"v/{protocol}/{way}/5"].value for way in WAYS] == [1, 1, 1]


def test_crops_are_averaged_and_count_for_the_cropped_protocol_alone() -> None:
    colour, drawn = vectors(12), Drawn(np.arange(12), resamples=20)
    found = retrieval_figures("v", colour, colour, [colour, np.roll(colour, 1, axis=0)], drawn)
    for way in WAYS:
        assert found[f"v/aligned/{way}/1"].value == 1
        assert found[f"v/cropped/{way}/1"].value == 0.5
        np.testing.assert_allclose(found[f"v/cropped/{way}/1"].resampled, 0.5)


def test_the_cropped_protocol_shows_five_crops_of_thermal_pictures(many: Squares) -> None:
    """By a network and by hand: the mean over the crops of what each of them alone gives."""
    thermal, drawn, network = many.in_grey().inverted(), Drawn(np.arange(8), resamples=5), nat()
    by_hand = hand_made_figures(many, thermal, drawn)
    by_network = network_figures(network, side_of(network, many), thermal, drawn)
    ways = {
        "grid": (by_network, lambda pictures: vectors_of(network, pictures)["grid"]),
        "orientations": (by_hand["orientations"], lambda pictures: vectors_by_hand(pictures)["orientations"]),
    }
    for name, (figures, seen) in ways.items():
        colour = seen(many.whole)
        crops = [seen(thermal.cropped(seed)) for seed in range(5)]
        alone = [retrieval_figures("v", colour, each, [each], drawn) for each in crops]
        spread = []
        for way in ("T>V/1", "V>T/1", "T>V/5", "V>T/5"):
            expected = [each[f"v/cropped/{way}"].value for each in alone]
            assert figures[f"{name}/cropped/{way}"].value == pytest.approx(np.mean(expected))
            spread.append(np.ptp(expected))
        assert max(spread) > 0, name  # crops that all give the same would tell nothing


def test_maps_by_hand_are_called_what_they_are(many: Squares) -> None:
    thermal = many.in_grey().inverted()
    rows = hand_made_figures(many, thermal, Drawn(np.arange(8), resamples=5))
    for row, key, made in (
        ("gradient energy", "gradient", floors.gradient_energy),
        ("spectral residual", "residual", floors.spectral_residual),
        ("intensity", "intensity", floors.intensity),
    ):
        both = (made(floors.grey(each.whole)) for each in (many, thermal))
        expected = pearson(*both).diagonal().mean()
        assert rows[row][f"{key}/pearson/paired"].value == pytest.approx(expected)
    assert rows["intensity"]["intensity/pearson/paired"].value == pytest.approx(-1, abs=1e-4)  # turned around


@pytest.mark.parametrize(("copies", "five"), [(4, 1.0), (6, 0.0)])
def test_others_of_the_own_recording_are_left_out(copies: int, five: float) -> None:
    """Recordings of equal frames: all tie with the partner and count against it, unless they are left out."""
    scenes, groups = vectors(5), np.repeat(10 * np.arange(5), copies)
    rows = np.repeat(scenes, copies, axis=0)
    found = retrieval_figures("v", rows, rows, [rows], Drawn(groups, resamples=20))
    for way in WAYS:
        for protocol in ("aligned", "cropped"):
            assert found[f"v/{protocol}/{way}/1"].value == 1
            assert found[f"v/{protocol}{TOGETHER}/{way}/1"].value == 0
            assert found[f"v/{protocol}{TOGETHER}/{way}/5"].value == five


def test_near_duplicates_disturb_only_where_they_are_not_left_out() -> None:
    scenes = np.repeat(vectors(6), 4, axis=0)
    colour, thermal = scenes + 0.05 * vectors(24, seed=1), scenes + 0.05 * vectors(24, seed=2)
    found = retrieval_figures("v", colour, thermal, [thermal], Drawn(np.repeat(np.arange(6), 4), 20))
    assert found["v/aligned/both/1"].value == 1
    assert found[f"v/aligned{TOGETHER}/both/1"].value == pytest.approx(0.25, abs=0.2)
    assert found[f"v/aligned{TOGETHER}/both/5"].value == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=10), st.integers(0, 99))
def test_retrieval_is_that_of_a_loop(groups: list[int], seed: int) -> None:
    """In float64: a partner is found where fewer than k others, not of its recording, are nearer."""
    n = len(groups)
    colour, thermal = vectors(n, 3, seed), vectors(n, 3, seed + 500)
    drawn = Drawn(np.array(groups), resamples=4)
    found = retrieval_figures("v", colour, thermal, [thermal], drawn)
    one, other = (each.astype(np.float64) for each in (colour, thermal))
    cosine = (other @ one.T) / np.linalg.norm(other, axis=1)[:, None] / np.linalg.norm(one, axis=1)
    for way, near in (("T>V", cosine), ("V>T", cosine.T)):
        for k in (1, 5):
            hits = []
            for i in range(n):
                among = [j for j in range(n) if groups[j] != groups[i] or len(set(groups)) == 1]
                hits.append(sum(near[i, j] > near[i, i] for j in among) < k)
            assert found[f"v/aligned/{way}/{k}"].value == pytest.approx(np.mean(hits))
            np.testing.assert_allclose(
                found[f"v/aligned/{way}/{k}"].resampled, drawn.mean(np.array(hits)).resampled
            )


# --- Chance.


@pytest.mark.parametrize("sizes", [(1, 3, 5, 7), (9, 3), (12,)])
def test_chance_is_what_lots_give(sizes: tuple[int, ...]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    drawn, sums = Drawn(groups, resamples=2), dict[str, list[float]]()
    for seed in range(150):
        some = [vectors(len(groups), seed=2 * seed + 1)]
        found = retrieval_figures("v", vectors(len(groups), seed=2 * seed), some[0], some, drawn)
        for name, each in found.items():
            sums.setdefault(name, []).append(each.value)
    chance = chance_figures(drawn, cells=14)
    for suffix in ("", TOGETHER):
        for k in (1, 5):
            expected = chance[f"cropped{suffix}/{k}"]
            assert np.mean(sums[f"v/cropped{suffix}/both/{k}"]) == pytest.approx(expected.value, abs=0.03)
            assert np.isnan(expected.interval).all()


def test_chance_of_a_few_is_arithmetic() -> None:
    """Recordings of 1 and 3: the one has 4 candidates, each of the three has 2."""
    chance = chance_figures(Drawn(np.array([4, 9, 9, 9]), resamples=2), cells=4)
    assert chance["cropped/1"].value == pytest.approx((1 / 4 + 3 * 1 / 2) / 4)
    assert chance[f"cropped{TOGETHER}/1"].value == pytest.approx(1 / 4)
    assert chance["cropped/5"].value == chance[f"cropped{TOGETHER}/5"].value == 1
    assert chance["overlap"].value == pytest.approx(1 / 7)  # 4 of 16 each: 1 is shared of 7


@pytest.mark.parametrize("cells", [14, 16, 9])
def test_chance_of_maps_is_what_random_ones_share(cells: int) -> None:
    found = top_overlap(parts(0, 60, cells), parts(1, 60, cells)).mean()
    chance = chance_figures(Drawn(np.arange(3), resamples=2), cells=cells)["overlap"].value
    assert found == pytest.approx(chance, abs=0.006)


# --- Little data.


def test_of_one_recording_nothing_is_left_out_and_nothing_has_an_interval(many: Squares) -> None:
    drawn = Drawn(np.full(8, 3), resamples=20)
    assert left_out(drawn) is None
    assert left_out(Drawn(np.array([3, 3, 4]))) is not None
    network = nat()
    noisy = Squares(255 - many.whole, 255 - many.kept)
    figures = network_figures(network, side_of(network, many), noisy, drawn)
    figures |= chance_figures(drawn, cells=14)
    for name, each in figures.items():
        assert np.isfinite(each.value), name
        assert np.isnan(each.interval).all(), name
        if "/aligned/" in name or "/cropped/" in name:
            protocol = name.split("/")[1]
            assert each.value == figures[name.replace(protocol, protocol + TOGETHER)].value
    assert figures["cropped/1"].value == 1 / 8


@pytest.mark.parametrize("groups", [[0, 1], [5, 5]])
def test_two_pairs_are_enough(groups: list[int], many: Squares) -> None:
    colour = Squares(many.whole[:2], many.kept[:2])
    thermal = Squares(many.whole[2:4], many.kept[2:4])
    drawn, network = Drawn(np.array(groups), resamples=20), nat()
    rows = hand_made_figures(colour, thermal, drawn)
    rows["network"] = network_figures(network, side_of(network, colour), thermal, drawn)
    rows["chance"] = chance_figures(drawn, cells=14)
    for row in rows.values():
        for name, each in row.items():
            assert np.isfinite(each.value), name
            assert -1 <= each.value <= 1 or name.endswith("/gap"), name
