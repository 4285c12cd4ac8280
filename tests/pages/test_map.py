import base64
import hashlib
import io
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.measure import points_in_poly

from dinonat.formats.name_lists import read_names
from dinonat.images.listing import list_images
from dinonat.pages.map import GREYS, GROUNDS, PALETTES, RAMPS, MapFacts, binned, colouring, render
from dinonat.pages.map_sheets import chosen, sheets_of, small

HOSTILE = (
    'a, "b" ü.png',
    "</script><img src=x onerror=\"document.title='hacked'\">.png",
    "night/😀 <b>&amp;.png",
    "[list].png",
    "x" * 150 + ".png",
)
SHOWN = "performance.getEntriesByName('points').length"
N = 400

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: linear RGB as each kind of eye sees it.
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                 [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.3039]],
}  # fmt: skip


def linear(hex_: str) -> np.ndarray:
    levels = np.array([int(hex_[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def seen(hex_: str, eye: str) -> np.ndarray:
    light = np.clip(np.asarray(EYES[eye]) @ linear(hex_), 0, 1)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    lab: np.ndarray = rgb2lab(levels.reshape(1, 1, 3))[0, 0]
    return lab


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("eye", EYES)
def test_any_two_colours_can_be_told_apart_by_any_eye(scheme: str, eye: str) -> None:
    colours = [*PALETTES[scheme], GREYS[scheme]]
    apart = {
        (one, other): float(deltaE_ciede2000(seen(one, eye), seen(other, eye)))
        for one, other in itertools.combinations(colours, 2)
    }
    assert min(apart.values()) > 17, min(apart, key=lambda pair: apart[pair])
    assert all(contrast(each, GROUNDS[scheme]) > 1.9 for each in colours)


@pytest.mark.parametrize(("scheme", "way"), [("light", -1), ("dark", 1)])
def test_steps_of_a_quantity_go_from_dull_to_striking(scheme: str, way: int) -> None:
    light = [way * seen(each, "all cones")[0] for each in RAMPS[scheme]]
    assert light == sorted(light)


@given(st.lists(st.sampled_from(["a", "b", "", "?", "ü"]), min_size=1))
def test_a_colouring_gives_every_point_its_own_name_the_frequent_first(values: list[str]) -> None:
    made = colouring("label", values, nothing=["?"])
    assert [made.names[code] for code in np.asarray(made.codes)] == values
    known = [name for name in made.names if name != "?"]
    assert [values.count(name) for name in known] == sorted(map(values.count, known), reverse=True)
    assert [made.names[code] for code in made.grey] == ["?"] * ("?" in values)


@given(st.lists(st.floats(0, 1, width=32) | st.just(float("nan")), min_size=1))
def test_a_bin_holds_the_scores_that_it_says(values: list[float]) -> None:
    made = binned("score", np.float32(values), missing="none")
    for value, code in zip(np.float32(values), np.asarray(made.codes), strict=True):
        name = made.names[code]
        low, high = (float(each) for each in name.split(" to ")) if name != "none" else (np.nan, np.nan)
        assert np.isnan(value) if name == "none" else low - 1e-6 <= value <= high + 1e-6


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(0, 80))
def test_thumbnails_lie_evenly_over_the_groups(groups: list[int], most: int) -> None:
    places = chosen(np.array(groups, np.int64), most).tolist()
    assert places == sorted(set(places))
    assert len(places) == min(most, len(groups))
    if most >= 2 * len(set(groups)):
        assert {groups[place] for place in places} == set(groups)


def test_a_sheet_holds_each_picture_in_its_cell() -> None:
    pictures = [(7 * i, np.full((40 + i % 20, 64, 3), i % 250, np.uint8)) for i in range(1100)]
    sheets = sheets_of(pictures[::-1], side=64)
    assert sheets.points.tolist() == [7 * i for i in range(1100)]
    decoded = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in sheets.jpegs]
    assert [sheet.shape for sheet in decoded] == [(2048, 2048, 3), (192, 2048, 3)]
    for i in (0, 31, 32, 1023, 1024, 1099):
        cell, (width, height) = i % 1024, sheets.sizes[i]
        y, x = cell // 32 * 64, cell % 32 * 64
        middle = decoded[i // 1024][y + int(height) // 2, x + int(width) // 2, 0]
        assert abs(int(middle) - i % 250) <= 2


def test_a_region_is_shown_with_what_is_around_it() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[40:60, 200:240] = 255
    tile = small(pixels, (200.0, 40.0, 40.0, 20.0), side=64)
    assert tile.shape == (52, 52, 3)  # 40 and 15 % on both sides
    assert 0.2 < tile.mean() / 255 < 0.4  # of 52 x 52 pixels 40 x 20 are bright
    assert small(pixels, None, side=64).shape == (21, 64, 3)
    assert small(pixels, (298.0, 98.0, 2.0, 2.0), side=64).max() == 0


def facts(n: int = N, names: Sequence[str] = (), classes: int = 3, **more: Any) -> MapFacts:
    """Points in a ring and its middle; a picture for each tenth."""
    rng = np.random.default_rng(0)
    angle, far = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.1, 1, n)
    xy = np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1).astype(np.float32)
    images = (*names, *(f"image {i:05}.png" for i in range(n)))[:n]
    pictures = [(i, np.full((50, 60, 3), i % 256, np.uint8)) for i in range(0, n, 10)]
    labels = [f"class {i % classes}" if i % 7 else "no label" for i in range(n)]
    known: dict[str, Any] = {
        "title": "Map of </title><script>document.title='hacked'</script>",
        "kind": "image",
        "images": images,
        "layouts": {"UMAP": xy, "PCA": xy[:, ::-1].copy()},
        "colourings": (
            colouring("label", labels, nothing=["no label"]),
            binned("score", far.astype(np.float32), missing="none"),
        ),
        "scores": far.astype(np.float32),
        "reasons": tuple(f"near </script> {i % 3}" for i in range(n)),
        "sheets": sheets_of(pictures, side=64),
        "sentences": ("As <i>network</i> sees them.",),
    }
    return MapFacts(**{**known, **more})


def test_the_page_is_one_file_whose_only_script_is_the_one_it_names() -> None:
    page = render(facts(names=HOSTILE))
    assert page == render(facts(names=HOSTILE))
    assert not re.search(r"https?://", page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)', page))
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json" id="data"', ""]
    digest = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    data = json.loads(scripts[0][1])
    assert tuple(data["names"][: len(HOSTILE)]) == HOSTILE
    assert "<i>network" not in page
    first = np.frombuffer(base64.b64decode(data["layouts"][0]["xy"]["data"]), "<f4")
    assert first.tolist() == facts().layouts["UMAP"].ravel().tolist()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "map # %41.html"
    file.write_text(render(facts(names=HOSTILE)), "utf-8")
    return file


def on_screen(browser: Any, xy: np.ndarray) -> np.ndarray:
    """Return where points of the layout lie in the window, by what the page says of its view."""
    view = browser.run(
        "({...view, left: stage.getBoundingClientRect().left, top: stage.getBoundingClientRect().top})"
    )
    x = (xy[:, 0] - view["x"]) * view["scale"] + view["width"] / 2 + view["left"]
    y = (view["y"] - xy[:, 1]) * view["scale"] + view["height"] / 2 + view["top"]
    return np.stack([x, y], axis=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_paints_its_points_and_asks_for_nothing(
    browser: Any, page: Path, scheme: str, tmp_path: Path
) -> None:
    browser.open(page, scheme=scheme, until=SHOWN)
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    browser.picture(tmp_path / "seen.png")
    pixels = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB"), int)
    palette = [*PALETTES[scheme][:3], GREYS[scheme]]
    colours = [np.array([int(each[i : i + 2], 16) for i in (1, 3, 5)]) for each in palette]
    shown = facts().colourings[0]
    near = 0
    for (x, y), code in zip(
        on_screen(browser, facts().layouts["UMAP"]), np.asarray(shown.codes), strict=True
    ):
        near += int(np.abs(pixels[round(y), round(x)] - colours[code]).max() < 60)
    assert near > 0.85 * N  # a point may lie under another
    assert browser.asked_for() == {page.as_uri()}
    assert browser.said() == []


def test_names_are_text_whatever_they_hold(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    for i in range(len(HOSTILE)):
        browser.run(f"point({i})")
        assert browser.run("document.querySelector('#tip-text b').textContent") == HOSTILE[i]
    browser.run("select(i => i < 5)")
    assert browser.run("[...document.querySelectorAll('#names li')].map(li => li.textContent)") == list(
        HOSTILE
    )
    assert browser.run("document.querySelectorAll('main img, #tip b b').length") == 0
    assert browser.run("document.title") == facts().title
    assert browser.said() == []


def test_a_lasso_selects_the_points_inside_it_that_are_shown(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    places = on_screen(browser, facts().layouts["UMAP"])
    path = [(300.0, 250.0), (700.0, 200.0), (800.0, 500.0), (520.0, 420.0), (350.0, 700.0)]
    inside = points_in_poly(places, path)
    browser.drag(path, shift=True)
    names = facts(names=HOSTILE).images
    expected = [name for name, within in zip(names, inside, strict=True) if within]
    assert 20 < len(expected) < N - 20
    assert browser.run("chosenNames()") == expected
    assert (
        browser.run("document.getElementById('selected').textContent") == f"{len(expected)} images selected"
    )
    browser.run("document.querySelector('#legend button').click()")  # hides the most frequent class
    codes = np.asarray(facts().colourings[0].codes)
    browser.drag(path, shift=True)
    assert browser.run("chosenNames()") == [
        n for n, w, c in zip(names, inside, codes, strict=True) if w and c
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["b.png", "a.png", 'night/ü, "q"; x.png'],
        ["a\nb.png", "c.png"],
        ["a.png", " b.png", "c\r.png"],
        ["[1].png", "b.png"],
        ["image,label.png", "b.png"],
        ["name", "b"],
        ["{", "</script>😀.png"],
        ["\ufeffa.png", "b\u2028c.png", "d\x85.png"],
        ["only\none.png"],
    ],
)
def test_a_saved_list_is_read_as_the_same_names(
    browser: Any, page: Path, names: list[str], tmp_path: Path
) -> None:
    if browser.run("typeof listOf") != "function":
        browser.open(page, until=SHOWN)
    file = tmp_path / "selected.txt"
    file.write_bytes(browser.run(f"listOf({json.dumps(names)})").encode())
    assert read_names(file) == names
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"")
    usual = [name for name in names if name.endswith(".png") and "\r" not in name]
    listed = list_images(tmp_path / "images", list_file=file).refs if usual else ()
    assert {ref.name for ref in listed} >= set(usual)


def test_save_gives_the_list_as_a_file(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    browser.run("select(i => i > 4 && i < 7)")
    browser.run(
        "(window.got = new Promise(done => {"
        " URL.createObjectURL = blob => { blob.text().then(done); return '#'; }; }), 0)"
    )
    browser.run("at('save').click()")
    assert browser.run("window.got") == "image 00000.png\nimage 00001.png\n"


def test_keys_zoom_select_and_clear(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    browser.run("stage.focus()")
    scale = browser.run("view.scale")
    browser.key("+", "+")
    assert browser.run("view.scale") == pytest.approx(1.4 * scale)
    browser.key("ArrowLeft")
    middle = browser.run("[view.x, view.y]")
    nearest = int(((facts().layouts["UMAP"] - middle) ** 2).sum(axis=1).argmin())
    browser.key("Enter", "\r")
    assert browser.run("chosenNames()") == [facts(names=HOSTILE).images[nearest]]
    assert facts(names=HOSTILE).images[nearest] in browser.run("document.getElementById('told').textContent")
    browser.key("Escape")
    browser.key("0", "0")
    assert browser.run("[chosenNames().length, view.scale]") == [0, pytest.approx(scale)]


def test_pictures_stand_apart_and_stay_where_one_moves(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    browser.run("zoom(4)")
    tiles = (
        "(draw(), Object.fromEntries(tiles.map(each => [each.i, [each.x, each.y, each.width, each.height]])))"
    )
    before = browser.run(tiles)
    browser.run("pan(37, 11)")
    after = browser.run(tiles)
    assert len(before) > 3
    assert all(int(i) % 10 == 0 for i in before)
    for one, other in itertools.combinations(before.values(), 2):
        assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 50
    both = set(before) & set(after)
    assert both
    assert all(after[i][0] == pytest.approx(before[i][0] + 37, abs=0.01) for i in both)


def test_the_layouts_are_switched_and_points_go_there(browser: Any, page: Path) -> None:
    browser.open(page, until=SHOWN)
    browser.run("document.querySelectorAll('#layouts input')[1].click()")
    browser.run("new Promise(done => setTimeout(done, 1200))")
    assert browser.run("[...places]") == facts().layouts["PCA"].ravel().tolist()
    assert browser.run("layout.name") == "PCA"


def test_webgl_and_pixels_show_the_same_picture(browser: Any, page: Path, tmp_path: Path) -> None:
    # The page writes pixels itself where WebGL is only software: here it is kept from finding out.
    blind = """const get = WebGL2RenderingContext.prototype.getParameter;
        WebGL2RenderingContext.prototype.getParameter = function (what) {
            return what === 0x9246 ? "a card" : get.call(this, what); }"""
    pictures = []
    for source in ("", blind):
        added = browser.tell("Page.addScriptToEvaluateOnNewDocument", source=source)
        browser.open(page, until=SHOWN)
        pictures.append((browser.run("painter.name"), tmp_path / f"{len(pictures)}.png"))
        browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        browser.picture(pictures[-1][1])
        browser.tell("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    if pictures[0][0] == pictures[1][0]:
        pytest.skip(f"this browser draws in one way only: {pictures[0][0]}")
    one, other = (np.asarray(Image.open(file).convert("RGB"), int)[100:800, 100:1000] for _, file in pictures)
    assert (np.abs(one - 255).max(axis=2) > 60).sum() > 5000  # there are points at all
    assert (np.abs(one - other).max(axis=2) > 100).mean() < 0.02  # edges of points differ


@pytest.mark.parametrize(("n", "classes"), [(1, 1), (2, 1), (300, 200)])
def test_few_points_and_many_classes(browser: Any, tmp_path: Path, n: int, classes: int) -> None:
    file = tmp_path / "map.html"
    same = np.zeros((n, 2), np.float32)
    more = {} if n > 2 else {"layouts": {"PCA": same}, "sheets": None, "scores": None}
    file.write_text(render(facts(n, classes=classes, **more)), "utf-8")
    browser.open(file, until=SHOWN)
    browser.run("(selectView(), draw())")
    assert len(browser.run("chosenNames()")) == n
    entries = browser.run("[...document.querySelectorAll('#legend .entry')].map(each => each.innerText)")
    assert len(entries) == len(set(facts(n, classes=classes).colourings[0].names))
    assert browser.run("document.getElementById('search').hidden") == (classes < 20)
    assert browser.said() == []
