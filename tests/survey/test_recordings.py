import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinonat.images.listing import list_images
from dinonat.records import ImageRef, ThermalFrame
from dinonat.survey.facts import Facts, facts_of, survey
from dinonat.survey.recordings import find_recordings, rand_index
from dinonat.survey.twins import find_twins

Textures = Callable[..., np.ndarray]


def fact(path: str, *, taken: str = "", camera: str = "", frame: int = 0, frames: int = 1) -> Facts:
    return Facts(
        ImageRef(Path("set"), path, frame, frames), taken=taken, camera=camera, unit="grey", look="grey"
    )


def groups(facts: Sequence[Facts], **options: object) -> list[list[str]]:
    found = find_recordings(facts, **options)  # type: ignore[arg-type]
    own: dict[str, list[str]] = {}
    for name, each in zip(found.of, facts, strict=True):
        own.setdefault(name, []).append(each.image)
    return list(own.values())


def test_a_jump_of_the_number_begins_a_recording() -> None:
    names = [f"FLIR_{number:05}.jpg" for number in (1, 2, 61, 122, 123, 400)]
    assert groups([fact(name) for name in names]) == [names[:3], names[3:5], names[5:]]
    assert groups([fact(name) for name in names], gap=20) == [names[:2], [names[2]], names[3:5], names[5:]]
    assert groups([fact(name) for name in names], gap=500) == [names]


def test_other_folders_prefixes_and_cameras_are_other_recordings() -> None:
    assert len(groups([fact("a/1.jpg"), fact("a/2.jpg"), fact("b/1.jpg"), fact("b/2.jpg")])) == 2
    assert (
        len(groups([fact("left_1.jpg"), fact("left_2.jpg"), fact("right_1.jpg"), fact("right_2.jpg")])) == 2
    )
    assert (
        len(groups([fact("1.jpg", camera="E8"), fact("2.jpg", camera="E8"), fact("3.jpg", camera="M3T")]))
        == 2
    )


def test_one_counter_may_run_on_through_prefixes_but_equal_numbers_are_two_counters() -> None:
    run_on = ["1_60_30_0_00001.jpg", "1_60_50_0_00020.jpg", "1_60_30_0_00040.jpg", "1_60_50_0_00300.jpg"]
    assert groups([fact(name) for name in run_on]) == [run_on[:3], run_on[3:]]
    clips = ["clip1_0001.jpg", "clip1_0002.jpg", "clip2_0001.jpg", "clip2_0002.jpg"]
    assert groups([fact(name) for name in clips]) == [clips[:2], clips[2:]]
    in_turn = ["clip1_0001.jpg", "clip1_0002.jpg", "clip2_0003.jpg", "clip2_0004.jpg"]
    assert groups([fact(name) for name in in_turn]) == [in_turn[:2], in_turn[2:]]


def test_views_of_one_moment_share_a_series() -> None:
    facts = [fact(f"{view}/F_{number:03}.jpg") for view in ("ir", "rgb") for number in (1, 2, 200)]
    assert groups(facts) == [
        ["ir/F_001.jpg", "ir/F_002.jpg", "rgb/F_001.jpg", "rgb/F_002.jpg"],
        ["ir/F_200.jpg", "rgb/F_200.jpg"],
    ]


def test_times_come_before_numbers_and_a_long_pause_begins_a_recording() -> None:
    facts = [
        fact("DJI_0003.jpg", taken="2024-05-06T08:00:00"),
        fact("DJI_0001.jpg", taken="2024-05-06T09:30:00"),
        fact("DJI_0002.jpg", taken="2024-05-06T08:00:59"),
    ]
    found = find_recordings(facts)
    assert found.of == ("rec-01", "rec-02", "rec-01")
    assert found.rule == "time"
    assert "60 s" in found.words
    slow = [fact(f"{i}.jpg", taken=f"2024-05-06T{i:02}:00:00") for i in range(5)]  # one an hour, evenly
    assert len(groups(slow)) == 1
    stamped = [fact("DJI_20240506080000_0007_T.JPG"), fact("DJI_20240506080030_0008_T.JPG")]
    assert find_recordings(stamped).rule == "time"


def test_frames_of_one_file_are_one_recording() -> None:
    facts = [fact("a.seq", frame=i, frames=3) for i in range(3)] + [
        fact("b.seq", frame=i, frames=2) for i in range(2)
    ]
    assert [len(group) for group in groups(facts)] == [3, 2]


def test_what_shows_the_same_is_never_parted() -> None:
    facts = [fact("F_001.jpg"), fact("F_900.jpg"), fact("other.jpg")]
    assert groups(facts, same=[(0, 2)]) == [["F_001.jpg", "other.jpg"], ["F_900.jpg"]]


def test_names_that_say_nothing_leave_each_image_alone() -> None:
    found = find_recordings([fact(f"{name}.jpg") for name in ("cat", "dog", "house")])
    assert found.rule == "none"
    assert found.count == 3
    assert "each counts as its own" in found.words


def test_numbers_that_do_not_follow_time_are_seen_through(textures: Textures) -> None:
    """A drive whose picture changes slowly, numbered in order, and the same pictures numbered at random."""
    ends = [textures(seed, 96, 128).astype(np.float32) for seed in range(7)]
    slow = [
        ends[i // 8] * (1 - i % 8 / 8) + ends[i // 8 + 1] * (i % 8 / 8) for i in range(8 * (len(ends) - 1))
    ]
    order = np.random.default_rng(0).permutation(len(slow))

    def numbered(numbers: Sequence[int]) -> list[Facts]:
        return [
            facts_of(ImageRef(Path("set"), f"F_{n:04}.png"), ThermalFrame(slow[i].round(), "grey"))
            for i, n in enumerate(numbers)
        ]

    in_order, shuffled = (
        find_recordings(numbered(range(len(slow)))),
        find_recordings(numbered(order.tolist())),
    )
    assert (in_order.rule, in_order.count) == ("number", 1)
    assert shuffled.rule == "none"
    assert "do not follow time" in shuffled.words


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=14))
def test_rand_index_by_counting_pairs(labels: list[tuple[int, int]]) -> None:
    agreed = [(a == c) == (b == d) for (a, b), (c, d) in itertools.combinations(labels, 2)]
    one, other = zip(*labels, strict=True)
    assert rand_index(list(map(str, one)), list(map(str, other))) == pytest.approx(np.mean(agreed))


@pytest.mark.parametrize("folder", ["paired_road", "paired_road/infrared", "thermal_aerial"])
def test_the_recordings_of_the_real_sets(data: Path, folder: str) -> None:
    facts = list(survey(list_images(data / folder).refs))
    same = [(twin.thermal, twin.colour) for twin in find_twins(facts)]
    found = find_recordings(facts, same=same)
    with (data / folder.split("/")[0] / "recordings.csv").open(encoding="utf-8") as file:
        true = {row["image"]: row["recording"] for row in csv.DictReader(file)}
    known = [
        (name, true[each.ref.file.name])
        for name, each in zip(found.of, facts, strict=True)
        if each.ref.file.name in true
    ]
    assert rand_index(*zip(*known, strict=True)) == 1


def test_crops_of_solar_modules_have_no_recordings(data: Path) -> None:
    refs = list_images(data / "thermal_modules" / "images").refs
    assert find_recordings(list(survey(refs))).rule == "none"
