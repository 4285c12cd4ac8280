import csv
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinonat.errors import ImageError
from dinonat.images.batches import Shown
from dinonat.images.prepare import Preparation
from dinonat.pages.proxies import COLUMNS, proxy_names, turned_files, write_manifest, write_proxies
from dinonat.records import ImageRef

ROOT = Path("thermal")
SIGNS = st.text(st.sampled_from(list('aAb#%?&:|*<>"\\. \n\u202e-_é1')), min_size=1, max_size=4)
NAMES = st.lists(SIGNS, min_size=1, max_size=3).map("/".join)
REFS = st.lists(st.tuples(NAMES, st.integers(0, 3), st.booleans()), max_size=12, unique=True)


@given(REFS)
def test_every_tool_can_open_every_name_and_no_two_are_one(parts: list[tuple[str, int, bool]]) -> None:
    refs = [ImageRef(ROOT, path, frame, 9 if several else 1) for path, frame, several in parts]
    files = proxy_names(refs)
    folded = [file.casefold() for file in files]
    assert len(set(folded)) == len(refs)
    folders = {str(parent) for file in folded for parent in PurePosixPath(file).parents}
    assert not folders & set(folded)  # no file where a folder must be
    for file in files:
        assert file.endswith(".png")
        assert not set(file) & set('#%?&:|*<>"\\\n\u202e')
    assert proxy_names(refs) == files


def test_names_stay_readable() -> None:
    refs = [
        ImageRef(ROOT, "day 1/FLIR0042.jpg"),
        ImageRef(ROOT, "night/flight.seq", 12, 400),
        ImageRef(ROOT, "A.tif"),
        ImageRef(ROOT, "a.png"),
        ImageRef(ROOT, "A.tif.jpg"),
        ImageRef(ROOT, "x#y.png"),
        ImageRef(ROOT, "x?y.jpg"),
        ImageRef(ROOT, "x%y.jpg"),
        ImageRef(ROOT, "dir.png/z.png"),
        ImageRef(ROOT, "dir.jpg"),
    ]
    assert proxy_names(refs) == [
        "day 1/FLIR0042.png",
        "night/flight.seq.frame-0012.png",
        "A.tif.png",
        "a.png.png",
        "A.tif-2.png",
        "x_y.png.png",
        "x_y.jpg.png",
        "x_y.jpg-2.png",
        "dir.png/z.png",
        "dir-2.png",
    ]


def facts(name: str, digest: str = "") -> pd.DataFrame:
    return pd.DataFrame({"image": [name], "width": [6], "height": [4], "sha256": [digest]})


def test_a_proxy_shows_what_the_set_shows(tmp_path: Path) -> None:
    counts = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
    Image.fromarray(counts).save(tmp_path / "a.png")
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "c.png")
    shown = Shown(Preparation("window", 500, 2000, "yes"), {"a.png": (2000.0, 500.0)})
    table = write_proxies(facts("a.png"), tmp_path / "out", ["a.png"], root=tmp_path, shown=shown)
    assert list(table) == list(COLUMNS)
    assert table.loc[0, ["lo", "hi", "prepare"]].tolist() == [2000, 500, "window"]  # hot is dark
    expected = np.floor(np.clip((2000 - counts.astype(float)) / 1500, 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), expected)
    write_proxies(facts("c.png"), tmp_path / "out", ["c.png"], root=tmp_path, shown=shown)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/c.png")), colour)


def test_limits_come_back_to_the_bit(tmp_path: Path) -> None:
    limits = [float(value) for value in np.float32([17.8759, 1e-8 / 3, 65535.004, -273.15])]
    row = dict.fromkeys(COLUMNS, 'a,b\n"c"') | {"frame": 3}
    write_manifest(pd.DataFrame([{**row, "lo": value, "hi": value} for value in limits]), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as stream:
        back = list(csv.DictReader(stream))
    assert [float(np.float32(each["lo"])) for each in back] == limits
    assert (back[0]["file"], back[0]["frame"]) == ('a,b\n"c"', "3")


def test_a_file_that_changed_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a[.]png: the file has changed"):
        write_proxies(facts("a.png", "0" * 64), tmp_path / "out", ["a.png"], root=tmp_path)
    with pytest.raises(ImageError, match=r"gone[.]png.* embed again"):
        write_proxies(facts("gone.png"), tmp_path / "out", ["gone.png"], root=tmp_path)
    assert turned_files(["a.png", "gone.png"], root=tmp_path) == []
