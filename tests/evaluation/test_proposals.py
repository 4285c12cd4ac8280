import contextlib
import io
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from dinonat.evaluation import rates
from dinonat.evaluation.audits import oracle_coverage, try_audits
from dinonat.evaluation.average_precision import _coco, average_precision, hits_of
from dinonat.evaluation.boxes import judge_boxes
from dinonat.evaluation.clicks import KINDS, Prices, box_bill, box_fates, image_bill, image_fates
from dinonat.evaluation.detection import recall
from dinonat.evaluation.intervals import resampled
from dinonat.evaluation.located import located, nearest_true, rank_of_first, ranks
from dinonat.evaluation.proposals import judge_labels
from dinonat.geometry import iou_xywh
from dinonat.proposals import calibration
from dinonat.proposals.abstain import BACKGROUND

CLASSES = ("bicycle", "car", "person")
BOX = ["x", "y", "w", "h"]


def labels(n: int, seed: int, *, groups: int = 7, skill: float = 0.6) -> pd.DataFrame:
    """Proposals of images: right more often where their score is high."""
    generator = np.random.default_rng(seed)
    score = generator.uniform(0.2, 1, n).round(1)
    truth = generator.choice(CLASSES, n)
    right = generator.uniform(size=n) < skill + 0.4 * (score - 0.6)
    return pd.DataFrame(
        {
            "image": [f"{i:03}.png" for i in range(n)],
            "label": np.where(right, truth, generator.choice(CLASSES, n)),
            "truth": truth,
            "score": score.astype(np.float32),
            "probability": np.float32(np.nan),
            "advice": np.where(generator.uniform(size=n) < 0.2, "unknown", "review"),
            "recording": [f"drive {i}" for i in generator.integers(0, groups, n)],
        }
    )


def boxes(n: int, seed: int, *, images: int = 12, scored: bool = False) -> pd.DataFrame:
    """Boxes of things that often overlap."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "image": [f"{i:02}.png" for i in generator.integers(0, images, n)],
            "label": generator.choice(CLASSES, n),
            **{side: generator.integers(0, 4, n) * 10.0 for side in "xy"},
            **{side: generator.integers(2, 5, n) * 8.0 for side in "wh"},
        }
    )
    if scored:
        table["score"] = generator.uniform(0, 1, n).round(1)  # many are equal
        table["objectness"] = generator.uniform(0, 1, n)
        table["advice"] = "review"
    return table


def shots(images: int = 12, groups: int = 4) -> pd.DataFrame:
    names = [f"{i:02}.png" for i in range(images)]
    facts = {"height": 80, "width": 100, "word": "recording"}
    return pd.DataFrame({"image": names, "group": [i % groups for i in range(images)]}).assign(**facts)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(3, 60), seed=st.integers(0, 999))
def test_figures_of_labels_are_those_of_scikit_learn(n: int, seed: int) -> None:
    rows = labels(n, seed)
    of = judge_labels(rows, "image", resamples=0).figures
    assert of["accuracy"].value == pytest.approx(accuracy_score(rows["truth"], rows["label"]))
    present = sorted(set(rows["truth"]))
    per_class = recall_score(rows["truth"], rows["label"], labels=present, average=None, zero_division=0)
    assert of["balanced"].value == pytest.approx(np.mean(per_class))
    if set(rows["label"]) <= set(present):
        assert of["balanced"].value == pytest.approx(balanced_accuracy_score(rows["truth"], rows["label"]))
    shown = rows[rows["advice"] != "unknown"]
    assert of["coverage"].value == len(shown) / n
    if len(shown):
        assert of["precision"].value == pytest.approx(accuracy_score(shown["truth"], shown["label"]))
    assert np.isnan(of["error_probability"].value)
    assert of["accepted"].value == 0


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 999), share=st.sampled_from([0.25, 0.5, 1.0]))
def test_accuracy_at_a_coverage_is_the_mean_over_all_orders_of_equal_items(
    n: int, seed: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    confidence, right = generator.integers(0, 3, n) / 2.0, generator.uniform(size=n) < 0.5
    wanted, taken = share * n, []
    for order in permutations(range(n)):
        ranked = right[sorted(order, key=lambda i: -confidence[i])]  # stable: equal ones as they come
        whole = int(wanted)
        part = (wanted - whole) * ranked[whole] if whole < n else 0.0
        taken.append((ranked[:whole].sum() + part) / wanted)
    found = rates.at_coverage(right, rates.blocks_of(confidence), np.ones(n), share)
    assert found == pytest.approx(np.mean(taken))


def test_the_calibration_error_is_that_of_the_audits_and_of_closed_forms() -> None:
    generator = np.random.default_rng(0)
    said = generator.uniform(size=500)
    right = generator.uniform(size=500) < said**2
    once = np.ones(500)
    assert calibration.expected_error(said, right, once) == pytest.approx(
        calibration.expected_error(said, right), abs=1e-9
    )
    assert calibration.expected_error(np.full(10, 0.7), np.arange(10) < 7, np.ones(10)) == pytest.approx(0)
    assert calibration.expected_error(np.full(10, 1.0), np.arange(10) < 7, np.ones(10)) == pytest.approx(0.3)
    assert np.isnan(calibration.expected_error(np.array([np.nan]), np.array([True]), np.ones(1)))


def test_intervals_are_those_of_the_accuracies_and_of_repeated_items() -> None:
    rows = labels(90, 3)
    right = (rows["label"] == rows["truth"]).to_numpy()
    classes = pd.factorize(rows["truth"], sort=True)[0].astype(np.int64)
    groups = pd.factorize("recording " + rows["recording"], sort=True)[0].astype(np.int64)
    judged = judge_labels(rows, "image", resamples=300)
    assert (judged.word, judged.groups) == ("recording", 7)
    known = resampled(right[None], classes, groups, 300, 0)[0] / 100
    for name, values in zip(("accuracy", "balanced"), known, strict=True):
        expected = rates.interval(values, 7)
        assert judged.figures[name].interval == pytest.approx(expected)
    # An item that counts three times is three items.
    times = np.random.default_rng(1).integers(0, 4, 90)
    weighted, repeated = times.astype(float), np.repeat(np.arange(90), times)
    score = rows["score"].to_numpy(np.float64)
    blocks, one = rates.blocks_of(score), np.ones(len(repeated))
    for figure in (
        lambda r, s, b, t: rates.at_coverage(r, b, t, 0.5),
        lambda r, s, b, t: calibration.expected_error(s, r, t),
        lambda r, s, b, t: rates.share(r, s > 0.5, t),
    ):
        there = figure(right[repeated], score[repeated], blocks[repeated], one)
        assert figure(right, score, blocks, weighted) == pytest.approx(there)


def test_a_figure_that_is_always_all_has_the_exact_bound_and_one_group_none() -> None:
    rows = labels(40, 5).assign(advice="review")
    rows["label"] = rows["truth"]
    low, high = judge_labels(rows, "image", resamples=50).figures["accuracy"].interval
    assert (low, high) == pytest.approx((0.025 ** (1 / 7), 1.0))
    alone = judge_labels(rows.assign(recording="one"), "image", resamples=50)
    assert np.isnan(alone.figures["accuracy"].interval[0])


def test_accept_is_judged_by_itself_and_unknown_stands_last() -> None:
    rows = labels(6, 1).assign(
        truth="car",
        label=["car", "car", "person", "car", "person", "car"],
        advice=["accept", "accept", "accept", "review", "unknown", "review"],
        score=[0.9, 0.8, 0.7, 0.6, 1.0, 0.5],
    )
    judged = judge_labels(rows, "image", resamples=0)
    assert judged.figures["accepted"].value == 0.5
    assert judged.figures["accepted_right"].value == pytest.approx(2 / 3)
    assert dict(judged.curve)[1.0] == pytest.approx(4 / 6)
    assert judged.figures["at_50"].value == pytest.approx(2 / 3)  # not the unknown one of score 1
    (car,) = judged.by_class
    assert (car.label, car.true, car.proposed, car.right, car.precision) == ("car", 6, 4, 4, 1.0)


def test_regions_that_meet_nothing_are_a_class_of_their_own() -> None:
    rows = labels(4, 2).assign(
        truth=["car", BACKGROUND, "person", BACKGROUND], label=["car", "", "car", "car"], advice="review"
    )
    of = judge_labels(rows, "region", resamples=0).figures
    assert of["accuracy"].value == 0.5
    assert of["things"].value == 0.5
    assert of["balanced"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert of["balanced_things"].value == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize(("seed", "many"), [(0, 5), (1, 40), (347, 400)])
def test_average_precision_is_that_of_pycocotools_and_of_our_own_hits(seed: int, many: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = boxes(60, seed), boxes(many, seed + 1, scored=True)
    images, names = list(shots()["image"]), sorted(set(truth["label"]))
    ours = average_precision(found, truth, images)
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = _coco(truth, images, names, scored=False)
        real.createIndex()
        peer = COCOeval(real, real.loadRes(_coco(found, images, names, scored=True)["annotations"]), "bbox")
        peer.params.maxDets = [1, 10, 1000]
        peer.evaluate()
        peer.accumulate()
    theirs = peer.eval["precision"][0, :, :, 0, -1].mean(axis=0)
    assert list(ours) == names
    assert list(ours.values()) == pytest.approx(theirs, abs=1e-9)
    group = {image: i % 4 for i, image in enumerate(images)}
    hits = {name: own.average_precision(np.ones(4)) for name, own in hits_of(found, truth, group).items()}
    assert hits == pytest.approx(ours, abs=1e-9)


def test_average_precision_of_drawn_groups_is_that_of_their_images() -> None:
    truth, found = boxes(60, 8), boxes(200, 9, scored=True)
    found["score"] = np.random.default_rng(0).permutation(200) / 200  # none are equal: their order is open
    group = dict(zip(shots()["image"], shots()["group"], strict=True))
    own = hits_of(found, truth, group)["car"]
    drawn = [image for image in group for _ in range([2, 0, 1, 1][group[image]])]
    copies = {f"{i}": image for i, image in enumerate(drawn)}
    twice = [
        pd.concat([table[table["image"] == image].assign(image=name) for name, image in copies.items()])
        for table in (found, truth)
    ]
    expected = average_precision(twice[0], twice[1], list(copies))["car"]
    assert own.average_precision(np.array([2.0, 0, 1, 1])) == pytest.approx(expected, abs=1e-9)


def test_no_boxes_at_all_are_worth_nothing_and_break_nothing() -> None:
    truth, none = boxes(9, 0), boxes(0, 1, scored=True)
    judged = judge_boxes(none, truth, shots(), resamples=20)
    assert judged.by_class == dict.fromkeys(sorted(set(truth["label"])), 0.0)
    of = {name: one.value for name, one in judged.figures.items()}
    assert (of["ap"], of["corloc"], of["found_30"], of["saved"]) == (0.0, 0.0, 0.0, 0.0)
    assert np.isnan(of["right"])
    assert judged.bill.missed == 9


def test_the_truth_itself_is_worth_everything() -> None:
    truth = boxes(20, 4).drop_duplicates(["image", *BOX], ignore_index=True)
    perfect = truth.assign(score=1.0, objectness=0.5, advice="review")
    judged = judge_boxes(perfect, truth, shots(), resamples=20)
    of = {name: one.value for name, one in judged.figures.items()}
    assert {of[name] for name in ("ap", "ap_agnostic", "ap_all", "found", "found_30", "corloc", "right")} == {
        1
    }
    assert judged.bill.unchanged == len(truth)
    assert judged.bill.saved == pytest.approx(1 - 1 / 3)  # one click instead of three
    junk = perfect.assign(
        x=perfect["x"] + 500, score=0.1
    )  # as many that are nowhere, and known to be doubtful
    both = judge_boxes(pd.concat([perfect, junk], ignore_index=True), truth, shots(), resamples=0)
    cuts = dict(both.cuts)
    assert cuts[len(truth)] == pytest.approx(1 - 1 / 3)
    assert cuts[2 * len(truth)] == pytest.approx(1 - 2 / 3) == both.bill.saved


def test_recall_by_candidates_corloc_and_nearest_are_those_of_a_loop() -> None:
    truth, found = boxes(40, 2), boxes(150, 3, scored=True)
    best = ranks(found, ["objectness"])
    places = rank_of_first(best, truth)
    for k in (1, 3, 30):
        first = {str(i): rows[BOX].to_numpy()[:k] for i, rows in best.groupby("image")}
        true = {str(i): rows[BOX].to_numpy() for i, rows in truth.groupby("image")}
        assert (places <= k).mean() == pytest.approx(recall(first, true))
    images = sorted(set(truth["image"]))
    by_hand = [
        bool((iou_xywh(best[best["image"] == image][BOX].to_numpy()[:1], true[image]) >= 0.5).any())
        for image in images
    ]
    assert located(best, truth, images).tolist() == by_hand
    overlap, label = nearest_true(found, truth)
    for i in range(0, 150, 10):
        own = truth[truth["image"] == found["image"][i]]
        each = iou_xywh(found[BOX].to_numpy()[[i]], own[BOX].to_numpy())[0]
        assert overlap[i] == pytest.approx(each.max(initial=0))
        assert label[i] == (own["label"].iloc[int(each.argmax())] if len(own) else "")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(0, 4), m=st.integers(0, 4))
def test_clicks_are_the_fewest_of_all_pairings(seed: int, n: int, m: int) -> None:
    prices = Prices()
    found, truth = boxes(n, seed, images=1, scored=True), boxes(m, seed + 1, images=1)
    overlaps = iou_xywh(found[BOX].to_numpy(), truth[BOX].to_numpy())

    def cost(pairs: list[tuple[int, int]]) -> float:
        paid = prices.reject * (n - len(pairs)) + prices.draw * (m - len(pairs))
        for i, j in pairs:
            if overlaps[i, j] < prices.place:
                return np.inf
            wrong_label = found["label"][i] != truth["label"][j]
            wrong_box = overlaps[i, j] < prices.keep
            acts = prices.relabel * wrong_label + prices.adjust * wrong_box
            paid += acts or prices.accept
        return paid

    least = np.inf
    for order in permutations(range(max(n, m))):
        pairs = [(i, j) for i, j in enumerate(order[:n]) if j < m]
        for mask in range(2 ** len(pairs)):
            least = min(least, cost([pair for k, pair in enumerate(pairs) if mask >> k & 1]))
    fates = box_fates(found, truth, ["00.png"], prices)
    bill = box_bill(fates, prices)
    assert bill.clicks == pytest.approx(least)
    assert bill.from_nothing == 3 * m
    assert (bill.shown, bill.shown - bill.rejected + bill.missed) == (n, m)


def test_a_box_of_every_fate_is_counted_as_it() -> None:
    def row(label: str, x: float, w: float = 10) -> dict[str, object]:
        return {"image": "a", "label": label, "x": x, "y": 0.0, "w": w, "h": 10.0}

    truth = pd.DataFrame([row("car", x) for x in (0, 100, 200, 300, 400)])
    found = pd.DataFrame(
        [row("car", 0), row("person", 100), row("car", 200, 5), row("person", 300, 5), row("car", 900)]
    )
    fates = box_fates(found, truth, ["a"], Prices(reject=1.5))
    assert dict(zip(KINDS, fates[0], strict=True)) == dict.fromkeys(KINDS, 1.0)
    bill = box_bill(fates, Prices(reject=1.5))
    assert (bill.clicks, bill.from_nothing) == (1 + 2 + 2 + 4 + 1.5 + 3, 15)
    # Where relabelling and adjusting cost as much as rejecting and drawing, nothing is gained by a pair.
    assert box_fates(found[3:4], truth, ["a"], Prices())[0].tolist() == [0, 0, 0, 0, 1, 5]


def test_images_cost_a_click_a_choice_or_both() -> None:
    fates = image_fates(np.array([True, True, False, False]), np.array([True, False, True, False]))
    bill = image_bill(fates, Prices())
    assert (bill.unchanged, bill.label, bill.missed) == (1, 1, 2)
    assert (bill.clicks, bill.from_nothing) == (1 + 2 + 2 * 2, 8)


def test_audits_hold_what_calibrated_scores_promise() -> None:
    generator = np.random.default_rng(0)
    score = generator.uniform(0.5, 1, 1500)
    right = generator.uniform(size=1500) < score
    tried = try_audits(score, right, np.arange(1500), size=150, precisions=(0.8,), times=20)
    assert tried is not None
    (promise,) = tried.promises
    assert tried.error < 0.06
    assert promise.held >= 0.85  # 0.95 is promised
    assert 0 < promise.coverage < promise.oracle
    assert try_audits(score[:120], right[:120], np.arange(120)) is None  # too few to judge by
    shuffled = try_audits(score, generator.permutation(right), np.arange(1500), size=150, times=20)
    assert shuffled is not None
    assert shuffled.promises[1].none > 0.9  # a score that says nothing is not accepted


def test_the_oracle_takes_all_that_a_threshold_can() -> None:
    score = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    right = np.array([True, True, False, True, False])
    assert oracle_coverage(score, right, 0.75) == 0.8
    assert oracle_coverage(score, right, 0.9) == 0.2  # the second cannot be parted from the third
    assert oracle_coverage(score, ~right, 0.99) == 0.0
