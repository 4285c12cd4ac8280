import csv
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.errors import ImageError, LabelError, UsageError
from dinonat.images.listing import list_images
from dinonat.neighbors.pairs import split_recordings
from dinonat.pipelines import judges, pairs
from dinonat.pipelines.pairs import (
    Gathered,
    check_pairs,
    common_boxes,
    gather_pairs,
    usual_size,
    without_held_out,
    without_pairs,
)
from dinonat.pipelines.pretrain_pictures import PictureSettings, _two_polarities, asked_for
from dinonat.pretraining.sources import pack_sources
from dinonat.scenes import MadeScenes, write_scenes

COUNT = 20
Make = Callable[[Path, int], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeScenes:
    """Colour pictures 0 to 23 and thermal ones 0 to 19 of the same names, 16 bits, and their recordings."""
    return write_scenes(tmp_path_factory.mktemp("made"), colour=24, thermal=COUNT, labelled=2)


def pictures(folder: Path, *names: str) -> None:
    """Write small pictures that all differ; those with "v" or "rgb" in their name are coloured."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(sum(map(ord, name)))
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        picture = coarse.resize((160, 120), Image.Resampling.BICUBIC)
        picture.convert("RGB" if "v" in name or "rgb" in name else "L").save(path)


def names_of(found: Gathered) -> list[tuple[str, str]]:
    return [(a.name, b.name) for a, b in zip(found.colour, found.thermal, strict=True)]


def test_pairs_by_name_and_what_has_no_partner(made: MadeScenes, tmp_path: Path) -> None:
    found = gather_pairs(made.rgb, made.thermal, workspace=tmp_path)
    assert names_of(found) == [(f"made-{i:04}.png", f"made-{i:04}.png") for i in range(COUNT)]
    assert found.colour[0].root == made.rgb
    assert found.thermal[0].root == made.thermal
    assert found.remarks == (
        "4 colour pictures have no partner (made-0020.png, made-0021.png, made-0022.png, ...).",
    )
    # recordings.csv lies beside the folders and names the thermal pictures
    with (made.labels.with_name("recordings.csv")).open() as stream:
        of = dict(csv.reader(stream))
    assert found.recordings == tuple(of[ref.name] for ref in found.thermal)
    assert "recordings.csv says" in found.by


def test_pictures_of_one_name_are_a_guess_that_is_said(tmp_path: Path) -> None:
    """Of a.jpg and a.png one is taken: which, and that a list decides, is said; a second camera is none."""
    pictures(tmp_path / "rgb", "v1.jpg", "v1.png", "v2.png", "D_0001_V.jpg", "D_0001_W.jpg")
    pictures(tmp_path / "t", "v1.tif", "v2.tif", "v2.png", "D_0001_T.jpg")
    found = gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path)
    pairs = [("D_0001_V.jpg", "D_0001_T.jpg"), ("v1.jpg", "v1.tif"), ("v2.png", "v2.png")]
    assert names_of(found) == pairs
    assert found.remarks[:3] == (
        "2 colour pictures have no partner (D_0001_W.jpg, v1.png).",
        "1 thermal picture has no partner (v2.tif).",
        "Pictures share a name but for its ending, so 2 pairs are guesses "
        "(v1.jpg, not v1.png; v2.png, not v2.tif). Decide by a list (pair_list).",
    )
    (tmp_path / "pairs.csv").write_text("colour,thermal\nv1.png,v1.tif\nv2.png,v2.tif\n")
    listed = gather_pairs(
        tmp_path / "rgb", tmp_path / "t", workspace=tmp_path, list_file=tmp_path / "pairs.csv"
    )
    assert names_of(listed) == [("v1.png", "v1.tif"), ("v2.png", "v2.tif")]
    assert not any("guess" in remark for remark in listed.remarks)


def test_the_words_of_views_make_pairs(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", "D_0001_V.jpg", "D_0002_V.jpg", "sub/D_0003_V.jpg")
    pictures(tmp_path / "t", "D_0001_T.jpg", "D_0003_T.jpg")
    found = gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path)
    assert names_of(found) == [("D_0001_V.jpg", "D_0001_T.jpg"), ("sub/D_0003_V.jpg", "D_0003_T.jpg")]
    assert found.remarks[0] == "1 colour picture has no partner (D_0002_V.jpg)."
    assert found.recordings == ("rec-01", "rec-01")  # numbers 1 and 3
    assert "By the number in the name" in found.by


def test_one_folder_holds_both(tmp_path: Path) -> None:
    pictures(tmp_path / "all", "a_0001_rgb.png", "a_0001_ir.png", "a_0200_rgb.png", "a_0200_ir.png")
    found = gather_pairs(tmp_path / "all", tmp_path / "all", workspace=tmp_path)
    assert names_of(found) == [("a_0001_rgb.png", "a_0001_ir.png"), ("a_0200_rgb.png", "a_0200_ir.png")]
    assert len(set(found.recordings)) == 2  # a jump of the number


def two_cameras(tmp_path: Path) -> None:
    """Write pictures of two cameras with names of their own, half a second apart."""
    for folder, second in (("rgb", ".2"), ("t", ".7")):
        (tmp_path / folder).mkdir()
        for number in range(3):
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = f"2024:05:06 07:08:{10 * number:02}"
            exif.get_ifd(0x8769)[0x9291] = second[1:]
            picture = Image.new("RGB" if folder == "rgb" else "L", (40, 30), 99)
            picture.putpixel((number, 3), 7)
            picture.save(tmp_path / folder / f"{folder}x{number + 5 * (folder == 't')}.jpg", exif=exif)


def test_pairs_by_time(tmp_path: Path) -> None:
    two_cameras(tmp_path)
    found = gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path)
    assert names_of(found) == [(f"rgbx{i}.jpg", f"tx{i + 5}.jpg") for i in range(3)]


def test_a_list_gives_pairs_and_says_what_it_cannot(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", "v1.png", "v2.png", "v3.png")
    pictures(tmp_path / "t", "x.png", "y.png", "z.png")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "thermal,colour\ny.png,v1.png\nx.png,v2.png\ny.png,v3.png\nx.png,v2.png\ngone.png,v3.png\n"
    )
    found = gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path, list_file=table)
    assert names_of(found) == [("v1.png", "y.png"), ("v2.png", "x.png")]
    said = " ".join(found.remarks)
    assert "1 picture of it is not there (gone.png)." in said
    assert "2 rows are left out, because earlier ones have a partner" in said
    assert "(v3.png,y.png, v2.png,x.png)." in said


def test_the_twins_of_an_inspection_are_such_a_list(tmp_path: Path) -> None:
    """Its names are relative to the folder that was inspected."""
    pictures(tmp_path / "set", "visible/0001.png", "lwir/0001.png", "visible/0002.png", "lwir/0002.png")
    (tmp_path / "twins.csv").write_text("thermal,colour\nlwir/0001.png,visible/0001.png\n")
    found = gather_pairs(
        tmp_path / "set/visible", tmp_path / "set/lwir", workspace=tmp_path, list_file=tmp_path / "twins.csv"
    )
    assert names_of(found) == [("0001.png", "0001.png")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected the columns colour,thermal"),
        ("image,label\na,b\n", "its header is 'image,label'"),
        ("colour,thermal\n", "no row names a colour and a thermal picture"),
        ("colour,thermal\nonly.png,\n", "no row names a colour and a thermal picture"),
    ],
)
def test_a_bad_list_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    pictures(tmp_path / "rgb", "v1.png")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(LabelError, match=says):
        gather_pairs(tmp_path / "rgb", tmp_path / "rgb", workspace=tmp_path, list_file=tmp_path / "pairs.csv")


def test_no_pair_at_all_is_a_sentence(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", "v1.png", "v2.png")
    pictures(tmp_path / "t", "x.png")
    with pytest.raises(
        UsageError, match=r"/rgb, .*/t: no two of 2 colour and 1 thermal .*'v1.png' and 'x.png'"
    ):
        gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path)
    with pytest.raises(
        UsageError, match=r"/t: no two of 1 pictures .* Give the folder of the colour pictures"
    ):
        gather_pairs(tmp_path / "t", tmp_path / "t", workspace=tmp_path)
    (tmp_path / "pairs.csv").write_text("colour;thermal\nv9.png;x.png\n")
    with pytest.raises(UsageError, match=r"pairs.csv: names no pair of pictures that are there"):
        gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path, list_file=tmp_path / "pairs.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no image found"):
        gather_pairs(tmp_path / "rgb", tmp_path / "empty", workspace=tmp_path)


def test_folders_in_the_wrong_order_are_told(made: MadeScenes, tmp_path: Path) -> None:
    found = gather_pairs(made.thermal, made.rgb, workspace=tmp_path)
    assert any("give the colour folder first" in remark for remark in found.remarks)


def test_recordings_asked_for_come_first(made: MadeScenes, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = [f"made-{i:04}.png,drive-{i % 2}" for i in range(COUNT - 2)]
    table.write_text("\n".join(["image,recording", *rows, ""]))
    found = gather_pairs(made.rgb, made.thermal, workspace=tmp_path, recordings=table)
    assert found.recordings == (*(f"drive-{i % 2}" for i in range(COUNT - 2)), "", "")
    assert any("no recording for 2 of 20 images" in remark for remark in found.remarks)
    held = split_recordings(found.recordings)
    one, other = found.part(held), found.part(~held)
    assert len(one) + len(other) == COUNT
    assert set(one.recordings).isdisjoint(other.recordings)
    left = without_pairs(list_images(made.rgb).refs, found)
    assert [ref.name for ref in left] == [f"made-{i:04}.png" for i in range(COUNT, 24)]


def three_rates(folder: Path) -> list[int]:
    """Write three recordings of two thermal and six colour pictures of one counter; return its numbers."""
    numbers = [1000 * recording + at for recording in range(3) for at in range(6)]
    pictures(folder / "rgb", *(f"v_{number:05}.png" for number in numbers))
    pictures(folder / "t", *(f"v_{number:05}.png" for number in numbers[::3]))
    pictures(folder / "more", "v_00001.png", "v_00002.png")
    return numbers


def test_other_frames_of_held_out_recordings_are_not_trained_on(tmp_path: Path) -> None:
    """Colour runs at three times the rate: what has no partner may be of a recording that is held out."""
    numbers = three_rates(tmp_path)
    three = (tmp_path / "rgb", tmp_path / "t", tmp_path / "more")
    settings = PictureSettings.checked({"folders": three, "pairs": three[:2], "held_out": 0.3, "workers": 0})
    found = asked_for(settings, tmp_path / "w")
    assert found.held_out is not None
    assert found.pairs is not None
    assert (len(found.pairs), len(found.held_out)) == (4, 2)
    assert [ref.root.name for ref in found.alone] == ["more", "more"]  # nobody knows of the others
    whole = asked_for(settings.model_copy(update={"held_out": 0.0}), tmp_path / "w")
    assert len(whole.alone) == 14  # nothing is held out, nothing can leak
    table = tmp_path / "which.csv"
    rows = [f"v_{number:05}.png,{number // 1000}" for number in numbers if number % 1000 != 5]
    table.write_text("\n".join(["image,recording", *rows]))
    told = asked_for(settings.model_copy(update={"recordings": table}), tmp_path / "w")
    assert told.held_out is not None
    held = {int(name) for name in told.held_out.recordings}
    kept = [int(ref.path[2:7]) for ref in told.alone if ref.root.name == "rgb"]
    assert len(held) == 1
    assert kept == [n for n in numbers if n % 1000 in (1, 2, 4) and n // 1000 not in held]


def test_what_is_left_out_and_why_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = three_rates(tmp_path)
    table = tmp_path / "which.csv"
    rows = [f"v_{number:05}.png,{number // 1000}" for number in numbers if number not in (5, 2003)]
    table.write_text("\n".join(["image,recording", *rows]))
    both = (tmp_path / "rgb", tmp_path / "t")
    told = {"folders": (tmp_path / "rgb",), "pairs": both, "recordings": table, "held_out": 0.3}
    asked = asked_for(PictureSettings.checked(told), tmp_path / "w")
    said = capsys.readouterr().err
    out = 12 - len(asked.alone)
    assert "1 of unknown recordings are trained on, and may be of those" in said
    assert f"{out} images of the folders of the pairs are in no pair and are not trained on: " in said
    assert asked.held_out is not None
    held_first = asked.held_out.recordings[0] == "0"
    assert out == (4 if held_first else 5)
    assert ("3 of held-out" if held_first else "4 of held-out") in said
    assert "1 of unknown recordings, which may be held out (a CSV" in said


def test_a_file_that_means_other_moments_tells_nothing_of_other_frames(tmp_path: Path) -> None:
    """The two cameras count for themselves: colour 0, 3, 6, 9 belongs to thermal 0, 1, 2, 3."""
    pictures(tmp_path / "rgb", *(f"{number:03}v.png" for number in range(12)))
    pictures(tmp_path / "t", *(f"{number:03}v.png" for number in range(4)))
    couples, table = tmp_path / "pairs.csv", tmp_path / "which.csv"
    couples.write_text("colour,thermal\n" + "".join(f"{3 * i:03}v.png,{i:03}v.png\n" for i in range(4)))
    table.write_text("image,recording\n" + "".join(f"{i:03}v.png,{i // 2}\n" for i in range(4)))
    colour, thermal = tmp_path / "rgb", tmp_path / "t"
    found = gather_pairs(colour, thermal, workspace=tmp_path, list_file=couples, recordings=table)
    assert found.recordings == ("0", "0", "1", "1")
    assert {name for _, name in found.others} == {""}  # by its number alone colour 1 would be of 0, 2 of 1
    left = without_pairs(list_images(colour).refs, found)
    assert len(left) == 8
    assert without_held_out(left, found, {"1"})[0] == []
    assert without_held_out(left, found, set()) == (left, "")


def test_a_link_to_a_picture_is_that_picture(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", "a_0001.png", "a_0002.png", "a_0003.png")
    pictures(tmp_path / "t", "a_0001.png")
    (tmp_path / "links").mkdir()
    for number in (1, 2):
        (tmp_path / f"links/l{number}.png").symlink_to(tmp_path / f"rgb/a_000{number}.png")
    found = gather_pairs(tmp_path / "rgb", tmp_path / "t", workspace=tmp_path)
    left = without_pairs(list_images(tmp_path / "links").refs, found)
    assert [ref.name for ref in left] == ["l2.png"]
    assert without_held_out(left, found, {"x"})[0] == []


def test_a_thousand_held_out_pairs_judge_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    three_rates(tmp_path)
    settings = PictureSettings.checked({"pairs": (tmp_path / "rgb", tmp_path / "t"), "held_out": 0.3})
    whole = asked_for(settings, tmp_path / "w")
    assert "2 of whole recordings are not trained on, and judge\n" in capsys.readouterr().err
    monkeypatch.setattr("dinonat.pipelines.pretrain_pictures.JUDGED_BY", 1)
    fewer = asked_for(settings, tmp_path / "w")
    assert (
        "2 of whole recordings are not trained on, and 1 of them, evenly, judge\n" in capsys.readouterr().err
    )
    assert whole.held_out is not None
    assert fewer.held_out is not None
    assert fewer.held_out.thermal == whole.held_out.thermal[:1]
    assert fewer.pairs == whole.pairs  # and what is not judged by is not trained on either


@pytest.mark.parametrize("count", [5, 70])
def test_how_often_held_out_partners_find_each_other(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all cosines sorted; pictures that are all alike find nobody."""
    rng = np.random.default_rng(count)
    colour = rng.normal(3, 1, (count, 6)).astype(np.float32)
    thermal = (colour + rng.normal(0, 0.5, colour.shape) - 5).astype(np.float32)
    monkeypatch.setattr(judges, "vectors", lambda network, pixels, side: pixels)
    monkeypatch.setattr("dinonat.neighbors.pairs.BLOCK", 16)
    one, other = (each - each.mean(0, dtype=np.float64) for each in (colour, thermal))
    near = (one / np.linalg.norm(one, axis=1)[:, None]) @ (other / np.linalg.norm(other, axis=1)[:, None]).T
    hits = [*(near.argmax(0) == np.arange(count)), *(near.argmax(1) == np.arange(count))]
    found = judges._found_first((colour, thermal), None, 32)  # type: ignore[arg-type]
    assert found == pytest.approx(100 * np.mean(hits))
    assert 0 < found < 100 or count == 5
    same = np.ones((count, 6), np.float32)
    assert judges._found_first((same, same), None, 32) == 0.0  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 900), min_size=1, max_size=80))
def test_few_thermal_pictures_tell_the_polarity(lengths: list[int]) -> None:
    recordings = [f"r{number}" for number, length in enumerate(lengths) for _ in range(length)]
    some = pairs._of_all_and_of_some(recordings)
    assert some == sorted(set(some))
    assert len(some) <= 512
    assert some[0] == 0
    assert max(np.diff([*some, len(recordings)])) <= -(-len(recordings) // 128)  # spread over all
    seen = Counter(recordings[place] for place in some)
    alone = [name for name, of in Counter(recordings).items() if seen[name] >= min(of, 8)]
    assert len(alone) >= min(8, len(lengths))  # recordings that can be judged by themselves
    if len(recordings) <= 256:
        assert some == list(range(len(recordings)))


def test_the_polarity_of_a_folder_is_found_without_resolving_paths(
    tmp_path: Path, textures: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = textures(0).astype(np.int16)
    for number in range(20):
        noisy = np.clip(look + np.random.default_rng(number).normal(0, 20, look.shape), 0, 255).astype(
            np.uint8
        )
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "even").mkdir(exist_ok=True)
        Image.fromarray(255 - noisy if number % 3 == 0 else noisy).save(tmp_path / f"t/{number:02}.png")
        Image.fromarray(noisy).save(tmp_path / f"even/{number:02}.png")
    settings = PictureSettings.checked({"folders": (tmp_path / "t", tmp_path / "even"), "workers": 0})
    asked = asked_for(settings, tmp_path / "w")
    sources = pack_sources(asked.alone, (), (), tmp_path / "a.npy", side=64)
    monkeypatch.setattr(Path, "resolve", lambda path, strict=False: pytest.fail("resolves a path"))
    said, nothing = (_two_polarities(sources, asked, folder) for folder in settings.folders)
    assert said.startswith("7 of 20 thermal pictures seem to show hot and cold the other way round")
    assert nothing == ""


@pytest.mark.parametrize("kind", ["two folders", "one folder", "by time"])
def test_pictures_are_decoded_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again, nothing is read; a picture that changed makes it look again."""
    colour, thermal = tmp_path / "rgb", tmp_path / ("rgb" if kind == "one folder" else "t")
    if kind == "by time":
        two_cameras(tmp_path)
    else:
        pictures(colour, "a_0001_rgb.png", "a_0002_rgb.png", "a_0500_rgb.png")
        pictures(thermal, "a_0001_ir.png", "a_0002_ir.png", "a_0500_ir.png")
    work = tmp_path / "w"
    first = gather_pairs(colour, thermal, workspace=work)
    assert len(first) == 3
    with monkeypatch.context() as patched:
        patched.setattr("dinonat.pipelines.partners.survey", lambda *_, **__: pytest.fail("decodes again"))
        assert gather_pairs(colour, thermal, workspace=work) == first
    kept = {path.name: path.read_bytes() for path in (work / "pairs").iterdir()}
    assert {name.rsplit("-", 1)[0] for name in kept} == {
        "two folders": {"recordings"},
        "one folder": {"recordings", "one-folder"},
        "by time": {"recordings", "two-folders"},
    }[kind]
    for name in kept:
        (work / "pairs" / name).write_bytes(b"[")  # no JSON: found again and written again
    assert gather_pairs(colour, thermal, workspace=work) == first
    assert {path.name: path.read_bytes() for path in (work / "pairs").iterdir()} == kept
    changed = first.thermal[0].file
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
    assert gather_pairs(colour, thermal, workspace=work) == first
    assert len(list((work / "pairs").iterdir())) == 2 * len(kept)


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_one_decodes(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks before the processes meet, the others after."""
    three_rates(tmp_path)
    told = list[str]()
    monkeypatch.setattr("dinonat.pretraining.ranks.rank", lambda: rank)
    monkeypatch.setattr("dinonat.pretraining.ranks.wait", lambda: told.append("meets"))
    look = pairs.surveyed
    monkeypatch.setattr(pairs, "surveyed", lambda *given: (told.append("looks"), look(*given))[1])
    asked_for(PictureSettings.checked({"pairs": (tmp_path / "rgb", tmp_path / "t")}), tmp_path / "w")
    assert told == (["looks", "meets"] if rank == 0 else ["meets", "looks"])


def test_the_whole_way_from_folders_to_checked_pairs(made: MadeScenes, tmp_path: Path) -> None:
    """Deep thermal pictures are prepared; an offset cuts both to what they share, and is checked."""
    found = gather_pairs(made.rgb, made.thermal, workspace=tmp_path)
    assert usual_size(found) == (256, 192)
    assert common_boxes(found, (0, 0)) == {}
    packed = pack_sources([], found.colour, found.thermal, tmp_path / "a.npy", side=96)
    said = check_pairs(packed, found)
    assert [line.split(":")[0] for line in said] == ["The pairs are aligned"]
    boxes = common_boxes(found, (16, -12))
    assert boxes[found.colour[0]] == (16 / 256, 0.0, 1.0, 1 - 12 / 192)
    moved = pack_sources([], found.colour, found.thermal, tmp_path / "b.npy", side=96, boxes=boxes)
    assert moved.packed.aspects[0] == np.float32(240 / 180)
    first = check_pairs(moved, found, offset=(16, -12))[0]
    assert "--pair-offset" in first
    x, y = (int(part) for part in first.rsplit("--pair-offset ", 1)[1].rstrip(".").split(","))
    assert abs(x) <= 3  # the scenes are aligned as they are, and that is what it finds out
    assert abs(y) <= 3
    with pytest.raises(UsageError, match="leaves less than half"):
        common_boxes(found, (200, 0))


def test_turned_thermal_pictures_and_wrong_partners_are_told(made: MadeScenes, tmp_path: Path) -> None:
    found = gather_pairs(made.rgb, made.thermal, workspace=tmp_path)
    packed = pack_sources([], found.colour, found.thermal, tmp_path / "a.npy", side=96)
    pixels = np.array(packed.packed.pixels)
    turned = [COUNT + place for place in (1, 4, 7, 11, 13, 16)]
    pixels[turned] = 255 - pixels[turned]
    object.__setattr__(packed.packed, "pixels", pixels)
    said = check_pairs(packed, found)
    assert said[0].startswith("The pairs are aligned")
    assert said[-1].startswith("6 of 20 thermal pictures seem to show hot and cold the other way round")
    pixels[COUNT:] = pixels[COUNT:][::-1].copy()
    assert check_pairs(packed, found)[0].startswith("The pairs are not aligned")


def test_a_pair_of_strangers_is_named(tmp_path: Path, textures: Callable[..., np.ndarray]) -> None:
    """Of four wrong pairs among 24 some fit no better than strangers; none of the right ones does."""
    for folder in ("rgb", "t"):
        (tmp_path / folder).mkdir()
        for number in range(24):
            shown = number if folder == "rgb" or number % 6 else (number + 6) % 24
            Image.fromarray(textures(shown)).save(tmp_path / folder / f"{folder}{number:02}.png")
    rows = [f"rgb{number:02}.png,t{number:02}.png" for number in range(24)]
    (tmp_path / "pairs.csv").write_text("\n".join(["colour,thermal", *rows]))
    found = gather_pairs(
        tmp_path / "rgb", tmp_path / "t", workspace=tmp_path, list_file=tmp_path / "pairs.csv"
    )
    packed = pack_sources([], found.colour, found.thermal, tmp_path / "a.npy", side=96)
    said = check_pairs(packed, found)
    assert said[0].startswith("The pairs are aligned")
    assert "no better than strangers" in said[1]
    named = said[1].split("(")[1].split(")")[0].replace(" and ", ",").replace(" ", "").split(",")
    assert {int(name[-6:-4]) % 6 for name in named} == {0}


def test_pairs_load_no_torch() -> None:
    assert "dinonat.pipelines.pairs" in sys.modules
    import subprocess

    code = "import sys, dinonat.pipelines.pairs; sys.exit('torch' in sys.modules or 'faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_pairs(data: Path, tmp_path: Path) -> None:
    found = gather_pairs(
        data / "paired_road/visible", data / "paired_road/infrared", workspace=tmp_path, workers=2
    )
    assert (len(found), found.remarks) == (82, ())
    assert len(set(found.recordings)) == 16
    held = split_recordings(found.recordings)
    assert 10 <= held.sum() <= 22
    packed = pack_sources([], found.colour, found.thermal, tmp_path / "a.npy", side=96)
    (said,) = check_pairs(packed, found)
    assert said.startswith("The pairs are aligned: edges correlate 0.3")
