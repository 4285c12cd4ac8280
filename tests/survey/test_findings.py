import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.images.listing import list_images
from dinonat.records import ImageRef
from dinonat.survey.facts import FALSE_COLOUR, PHOTOGRAPH, Facts, survey
from dinonat.survey.finding import Finding, Seen, compare
from dinonat.survey.findings import findings_of
from dinonat.survey.inspected import summary, write_tables
from dinonat.survey.levels import Levels

Textures = Callable[..., np.ndarray]
LEVELS = Levels(0.0, 10.0, 100.0, 200.0, 255.0, 0.0, 0.0, 0.0, 256, (1,) * 64)


def fact(path: str = "a.jpg", **values: object) -> Facts:
    plain = Facts(
        ImageRef(Path("set"), path), format="jpeg", unit="grey", look="grey", width=640, height=512, depth=8,
        levels=LEVELS,
    )  # fmt: skip
    return replace(plain, **values)  # type: ignore[arg-type]


def found(*facts: Facts, others: list[Facts] | None = None) -> dict[str, Finding]:
    return {each.key: each for each in findings_of(compare(facts, others=others))}


def folder_seen(folder: Path) -> Seen:
    listing = list_images(folder)
    return compare(list(survey(listing.refs)), skipped=listing.skipped)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, textures: Textures) -> Path:
    """A folder with one of everything that is wrong with real ones."""
    folder = tmp_path_factory.mktemp("bad")
    for i in range(1, 7):
        Image.fromarray(textures(i)).save(folder / f"IMG_{i:04}.jpg", quality=92)
    (folder / "IMG_0011.jpg").write_bytes((folder / "IMG_0001.jpg").read_bytes()[:4000])
    (folder / "IMG_0012.jpg").write_bytes(b"")
    (folder / "IMG_0013.jpg").write_text("not an image\n" * 50)
    (folder / "copy of 2.jpg").write_bytes((folder / "IMG_0002.jpg").read_bytes())
    Image.fromarray(255 - np.asarray(Image.open(folder / "IMG_0003.jpg"))).save(folder / "black.png")
    noise = np.random.default_rng(0).normal(128, 1, (192, 256)).round().astype(np.uint8)
    Image.fromarray(noise).save(folder / "shutter.png")
    ramp = np.linspace(0, 1, 256)[:, None]
    iron = (np.clip(np.hstack([3 * ramp, 3 * ramp - 1, 3 * ramp - 2]), 0, 1) * 255).astype(np.uint8)
    Image.fromarray(iron[textures(20)]).save(folder / "iron.png")
    Image.fromarray(np.stack([textures(seed) for seed in (21, 22, 23)], -1)).save(folder / "visit.png")
    for i in range(2):
        tifffile.imwrite(folder / f"eight {i}.tif", textures(30 + i).astype(np.uint16))
        tifffile.imwrite(folder / f"deep {i}.tif", textures(40 + i).astype(np.uint16) * 4 + 7000)
    for i in range(6):
        hot = textures(50 + i, 100, 120)
        hot[30, 40] = 255
        Image.fromarray(hot).save(folder / f"hot_{i}.png")
    frozen = [textures(60).astype(np.uint16) + 300] * 3 + [textures(61).astype(np.uint16) + 300]
    tifffile.imwrite(folder / "film.tif", np.stack(frozen), photometric="minisblack")
    return folder


def test_a_bad_folder_is_seen_through(bad: Path) -> None:
    findings = {finding.key: finding for finding in findings_of(folder_seen(bad))}
    images = {key: set(finding.images) for key, finding in findings.items()}
    assert images["unreadable"] == {"IMG_0011.jpg", "IMG_0012.jpg", "IMG_0013.jpg"}
    assert findings["mixed-units"].severity == "problem"
    assert images["eight-bits-in-sixteen"] == {"eight 0.tif", "eight 1.tif"}
    assert images["false-colour"] == {"iron.png"}
    assert images["photographs"] == {"visit.png"}
    assert images["opposite-polarity"] == {"IMG_0003.jpg", "black.png"}
    assert images["flat"] == {"shutter.png"}
    assert images["stuck-pixels"] == {f"hot_{i}.png" for i in range(6)}
    assert findings["stuck-pixels"].examples[0][0].circles == ((40, 30),)
    assert images["copies"] == {"copy of 2.jpg"}
    assert images["frozen"] == {"film.tif#1", "film.tif#2"}
    assert not {"overlays", "cut-high", "cut-low"} & set(findings)


def test_the_most_serious_comes_first_and_each_says_what_it_means_and_what_to_do(bad: Path) -> None:
    findings = findings_of(folder_seen(bad))
    ranks = [("problem", "warn", "info").index(finding.severity) for finding in findings]
    assert ranks == sorted(ranks)
    assert len({finding.key for finding in findings}) == len(findings)
    for finding in findings:
        for sentence in (finding.what, finding.means, finding.do):
            assert re.fullmatch(r"[A-Z0-9`-].*\.", sentence, re.DOTALL), sentence
            assert ".." not in sentence
            assert "  " not in sentence
        assert 0 <= finding.count <= max(finding.of, len(finding.images))


def test_nothing_odd_gives_no_warning(textures: Textures, tmp_path: Path) -> None:
    for seed in range(12):
        Image.fromarray(textures(seed)).save(tmp_path / f"F_{seed * 70:04}.png")
    assert {finding.severity for finding in findings_of(folder_seen(tmp_path))} == {"info"}


def test_units_and_counts_of_several_cameras_are_problems() -> None:
    dji = [fact(f"{model}/{i}.jpg", unit="counts", format="dji-jpeg", camera=f"DJI {model}")
           for model in ("M3T", "H20T") for i in (1, 2)]  # fmt: skip
    findings = found(*dji)
    assert findings["counts-of-several-cameras"].severity == "problem"
    assert "DJI H20T (2), DJI M3T (2)" in findings["counts-of-several-cameras"].what
    assert "mixed-units" not in findings
    assert "counts" in found(*dji[:2])
    mixed = found(dji[0], fact("b.jpg", unit="celsius", camera="FLIR E8"), fact("c.jpg"))
    assert mixed["mixed-units"].severity == "problem"
    assert {"mixed-cameras", "mixed-units"} <= set(mixed)


def test_settings_of_cameras_that_differ_are_said_with_their_numbers() -> None:
    one = fact("1.jpg", unit="celsius", object=(("emissivity", 0.95), ("distance", 2.0)))
    other = fact("2.jpg", unit="celsius", object=(("emissivity", 0.8), ("distance", 2.0)))
    said = found(one, other)["object-parameters"].what
    assert "emissivity 0.8 (1), 0.95 (1)" in said
    assert "distance" not in said
    assert "object-parameters" not in found(one, one)


def test_polarity_is_mixed_only_where_files_say_different_things() -> None:
    assert "mixed-polarity" in found(fact("1.jpg", polarity="black_hot"), fact("2.jpg"))
    assert "mixed-polarity" not in found(
        fact("1.jpg", polarity="black_hot"), fact("2.jpg", polarity="black_hot")
    )
    assert "mixed-polarity" not in found(fact("1.jpg", polarity="white_hot"), fact("2.jpg"))


def test_a_few_tinted_photographs_among_photographs_are_no_thermal_images() -> None:
    photographs = [fact(f"{i}.jpg", look=PHOTOGRAPH) for i in range(40)]
    tinted = [fact("red.jpg", look=FALSE_COLOUR), fact("old.jpg")]
    findings = found(*photographs, *tinted)
    assert findings["only-photographs"].count == 42
    assert not {"false-colour", "photographs", "grey-levels"} & set(findings)


def test_a_named_colour_folder_is_no_stranger_but_an_unnamed_photograph_is() -> None:
    thermal = [fact(f"ir/{i}.jpg") for i in range(3)]
    colour = [fact(f"rgb/{i}.jpg", look=PHOTOGRAPH) for i in range(4)]
    findings = found(*thermal, *colour)
    assert "photographs" not in findings
    assert (findings["twins"].count, findings["without-a-twin"].images) == (3, ("rgb/3.jpg",))
    assert found(*thermal, fact("ir2/visit.jpg", look=PHOTOGRAPH))["photographs"].count == 1


def test_cuts_and_pixels_beyond_the_calibration_name_the_worst() -> None:
    cut = fact("hot.jpg", levels=LEVELS._replace(cut_high=0.31), out_of_range=0.2)
    findings = found(cut, *(fact(f"{i}.jpg") for i in range(30)))
    assert "31%, in hot.jpg" in findings["cut-high"].what
    assert findings["cut-high"].severity == "info"
    assert "20%, in hot.jpg" in findings["beyond-calibration"].what
    assert found(cut, fact("b.jpg"))["cut-high"].severity == "warn"


def test_nearly_all_in_one_recording_is_a_warning() -> None:
    assert found(*(fact(f"F_{i:03}.jpg") for i in range(20)))["recordings"].severity == "warn"
    apart = [fact(f"F_{1000 * (i // 5) + i:05}.jpg") for i in range(20)]
    assert found(*apart)["recordings"].severity == "info"
    assert found(*apart)["recordings"].count == 4


def test_names_of_files_cannot_disguise_themselves_in_sentences() -> None:
    evil = "a\u202egnp\n.jpg"
    said = " ".join(each.what for each in found(fact(evil, levels=LEVELS._replace(cut_low=0.5))).values())
    assert "\u202e" not in said
    assert "\n" not in said


def test_the_table_names_findings_and_recordings_of_every_image(bad: Path, tmp_path: Path) -> None:
    import pandas as pd

    seen = folder_seen(bad)
    findings = findings_of(seen)
    write_tables(tmp_path, seen, findings)
    table = pd.read_parquet(tmp_path / "files.parquet").set_index("image")
    assert len(table) == len(seen.facts)
    assert table.loc["IMG_0012.jpg", "status"] == "failed"
    assert "flat" in list(table.loc["shutter.png", "findings"])
    assert (table["status"] == "ok").sum() == summary(seen, findings)["counts"]["readable"]
    kept = (tmp_path / "lists" / "keep.txt").read_text(encoding="utf-8").splitlines()
    assert not {"shutter.png", "IMG_0011.jpg", "copy of 2.jpg", "film.tif#1"} & set(kept)
    assert {"IMG_0002.jpg", "film.tif#0", "film.tif#3"} <= set(kept)
    again = list_images(bad, list_file=tmp_path / "lists" / "keep.txt")
    assert [ref.name for ref in again.refs] == sorted(kept)


@pytest.mark.parametrize(
    ("folder", "serious"),
    [
        ("thermal_aerial", set()),
        ("paired_road", set()),
        ("paired_road/infrared", set()),
        ("thermal_small_targets/images", set()),
        ("radiometric", {"mixed-units", "counts-of-several-cameras", "mixed-cameras"}),
    ],
)
def test_real_sets_are_warned_of_what_is_true_and_of_nothing_else(
    data: Path, folder: str, serious: set[str]
) -> None:
    findings = findings_of(folder_seen(data / folder))
    assert {finding.key for finding in findings if finding.severity != "info"} == serious


def test_masks_are_no_images_and_no_flat_frames(textures: Textures, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for seed in range(4):
        picture = textures(seed)
        Image.fromarray(picture).save(tmp_path / f"{seed}.png")
        Image.fromarray(np.where(picture > 180, 255, 0).astype(np.uint8)).save(tmp_path / f"masks/{seed}.png")
        classes = Image.fromarray((np.indices(picture.shape)[0] // 40).astype(np.uint8))
        classes.putpalette([value for i in range(256) for value in (i * 40 % 256, i * 90 % 256, 255 - i)])
        classes.save(tmp_path / f"masks/classes_{seed}.png")
    seen = folder_seen(tmp_path)
    findings = {finding.key: finding for finding in findings_of(seen)}
    assert findings["masks"].count == 8
    assert not {"flat", "copies", "false-colour", "photographs", "cut-low", "cut-high"} & set(findings)
    assert seen.keep == ["0.png", "1.png", "2.png", "3.png"]
