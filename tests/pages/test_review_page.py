"""The review page in a browser, by its keys, over a real server: what is pressed, shown, and written down."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinonat.images.reader import read_thermal
from dinonat.pages.review import files
from dinonat.pipelines import workspace as places

HOSTILE_CLASS = "</script><img src=x onerror=\"document.title='hacked'\">'"
HOSTILE_NAME = "<b>\"'/script><img src=x onerror=\"document.title='hacked'\">.tif"
NAMES = ("a.tif", "b.tif", HOSTILE_NAME, "many.tif")
SIZE = (48, 64)
SHIFT, ALT, CTRL = 8, 1, 2
SIGNS = {"[": "BracketLeft", "]": "BracketRight", "{": "BracketLeft", "}": "BracketRight", " ": "Space"}
# What is run in the page.
ON_SCREEN = """(async () => { // where a pixel of the image lies in the window, and the box in hand
  const { scene, view, toImage } = await import('/page/stage.js');
  const { x, y } = document.getElementById('pane-main').getBoundingClientRect(), [a, b] = toImage(0, 0);
  return [x, y, a, b, view.scale, ...scene.current.box]; })()"""
DEAF = """(() => { const own = fetch; // hears nothing of what others do
  window.fetch = (at, how) => String(at).includes('changes') ? new Promise(() => {}) : own(at, how); })()"""
X_AND_U = """for (const key of 'xu') document.getElementById('stage').dispatchEvent(
  new KeyboardEvent('keydown', { key, code: `Key${key.toUpperCase()}`, bubbles: true }))"""
LOSES = """(() => { const own = fetch; let lost = false; // the first answer to an act is lost on its way
  window.fetch = async (at, how) => { const answer = await own(at, how);
    if (at === '/api/act' && !lost) { lost = true; throw new TypeError('lost'); }
    return answer; }; })()"""
BACK = """(async () => { // takes back all that was done, by the page's own address
  const headers = { 'Content-Type': 'application/json' };
  for (let i = 0; i < 40; i++) {
    const body = JSON.stringify({ act: `back ${performance.now()} ${i}` });
    const answer = await fetch('/api/undo', { method: 'POST', headers, body });
    if (!answer.ok) return;
  } })()"""
PIXELS = """(() => { const canvas = document.querySelector('#pane-main canvas');
  const x = canvas.width / 2 - 20, y = canvas.height / 2 - 20;
  return [...canvas.getContext('2d').getImageData(x, y, 40, 40).data].filter((_, i) => i % 4 < 3); })()"""
TWIN = """(() => { // a pixel of the twin; left, right and bottom of what has the colour of the box, on both
  const [pixels, over] = document.querySelectorAll('#pane-twin canvas');
  const at = (canvas, ...place) => [...canvas.getContext('2d').getImageData(...place).data];
  const amber = canvas => { const data = at(canvas, 0, 0, canvas.width, canvas.height), xs = [], ys = [];
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] !== 255 || data[i + 1] !== 176 || data[i + 2] || data[i + 3] !== 255) continue;
      xs.push(i / 4 % canvas.width);
      ys.push(Math.floor(i / 4 / canvas.width));
    }
    return [Math.min(...xs), Math.max(...xs) + 1, Math.max(...ys) + 1]; };
  return [at(pixels, pixels.width / 2, pixels.height / 2, 1, 1).slice(0, 3),
    amber(document.querySelectorAll('#pane-main canvas')[1]), amber(over)]; })()"""
FOCUS = """(() => { const now = document.activeElement, box = now.getBoundingClientRect();
  const seen = box.width > 0 && box.right <= innerWidth + 1;
  return [now.id, now.tagName, getComputedStyle(now).outlineStyle, seen]; })()"""
CUT_OFF = """[...document.querySelectorAll('header button, .actions button, .strip select')].filter(each => {
  const box = each.getBoundingClientRect();
  return each.offsetParent && (box.right > innerWidth || box.bottom > innerHeight);
}).map(each => each.outerHTML)"""
CHOOSE = """(box => {{ box.value = '{1}'; box.dispatchEvent(new Event('change')); }})(
  document.getElementById('{0}'))"""
READY = "document.body.classList.contains('ready') && document.querySelector('.tile img[src]')"


def text(browser: Any, id_: str) -> str:
    return str(browser.run(f"document.getElementById({json.dumps(id_)}).textContent"))


def press(browser: Any, *keys: str) -> None:
    """Press keys as a hand does: `Shift+ArrowLeft`, `x`, `Enter`."""
    for each in keys:
        *marks, name = each.split("+") if len(each) > 1 else (each,)
        held = sum({"Shift": SHIFT, "Alt": ALT, "Ctrl": CTRL}[mark] for mark in marks)
        code = SIGNS.get(name) or (f"Digit{name}" if name.isdigit() else f"Key{name.upper()}")
        typed = "\r" if name == "Enter" else name if len(name) == 1 else ""
        browser.key(name, typed, code=code if len(name) == 1 else name, modifiers=held)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, made: SimpleNamespace) -> Path:
    """A workspace: images of 16 bits, a hostile name, very many boxes on one; clusters, an audit."""
    folder = tmp_path_factory.mktemp("page")
    images, root = folder / "images", places.create(folder / "w")
    rng = np.random.default_rng(3)
    for name in NAMES:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(images / name, rng.integers(20_000, 30_000, SIZE).astype(np.uint16))
    colour = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(colour).save(images / "c.png")
    limits = {"lo": 21_000.0, "hi": 29_000.0}
    rows = [made.image_row(name, SIZE, recording="drive 1", **limits) for name in NAMES]
    rows.append(made.image_row("c.png", SIZE, prepare="colour", unit="colour", recording="drive 2"))
    rows.append(made.image_row("gone.tif", SIZE, **limits))  # nobody made it
    (images / "thermal").mkdir()
    (images / "rgb").mkdir()
    for i in range(3):
        tifffile.imwrite(images / f"thermal/d{i}.tif", np.full(SIZE, 25_000 + i, np.uint16))
        Image.fromarray(np.full((96, 128, 3), (20, 40, 200), np.uint8)).save(images / f"rgb/d{i}.png")
        rows.append(made.image_row(f"thermal/d{i}.tif", SIZE, recording="drive 3", **limits))
        rows.append(made.image_row(f"rgb/d{i}.png", (96, 128), prepare="colour", unit="colour"))
    made.set(places.set_folder(root, "set1"), images, rows=rows)
    made.proposals(places.proposals_folder(root, "run1"), proposals(), size_hw=SIZE)
    places.remember(root, "set", "set1")
    places.remember(root, "proposals", "run1")
    sheet = places.selections_folder(root, "check") / "audit.csv"
    sheet.parent.mkdir(parents=True)
    with sheet.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["label_id"], *([f"p{i}"] for i in range(10, 14))])
    return root


def proposals() -> list[dict[str, Any]]:
    """p0-5 cars, p6-9 persons, p10-13 trams to audit, p14-19 in two clusters, p20-319 a crowd, two gone.

    p322 is on an image with a twin, p323-325 were left unknown.
    """
    mask = [500, 6, 42, 6, SIZE[0] * SIZE[1] - 554]
    cars = [
        {"image": NAMES[i % 3], "label": "car", "score": 0.9 - i / 100, "x": 5.0 + 9 * i} for i in range(6)
    ]
    people = [
        {"image": NAMES[i % 2], "label": "person", "score": 0.8 - i / 100, "y": 9.0 * i} for i in range(4)
    ]
    trams = [{"image": NAMES[i % 3], "label": "tram", "score": 0.6123, "x": 11.0 * i} for i in range(4)]
    alike = [
        {"image": "c.png", "label": "object", "cluster": i // 4, "x": 10.0 * i, "score": 0.3}
        for i in range(6)
    ]
    crowd = [
        {"image": "many.tif", "label": "seat", "score": i / 1000, "x": i % 60, "y": i % 44}
        for i in range(300)
    ]
    cars[0] |= {"mask_counts": mask, "x": 10.0, "y": 20.0, "w": 2.0, "h": 6.0}
    gone = [{"image": "gone.tif", "label": "wreck", "score": 0.2, "x": 5.0 * i} for i in range(2)]
    gone += [{"image": "thermal/d1.tif", "label": "zebra", "x": 20.0, "y": 12.0, "w": 16.0, "h": 24.0}]
    unsure = [
        {"image": "thermal/d2.tif", "label": "zebra", "advice": "unknown", "x": 9.0 * i} for i in range(3)
    ]
    return [*cars, *people, *trams, *alike, *crowd, *gone, *unsure]


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """Where the server listens, started once."""
    command = [sys.executable, "-m", "dinonat.pipelines", "review", "--no-browser", "--json", "--who", "eve"]
    child = subprocess.Popen(
        [*command, "-w", str(place)], stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert child.stdout is not None
    yield json.loads(child.stdout.readline())["address"]
    child.send_signal(signal.SIGINT)
    child.wait(20)


@pytest.fixture(scope="module")
def origin(browser: Any, address: str) -> str:
    """The address of the page for a browser that has shown its token."""
    browser.open(address, until=READY)
    assert browser.run("location.href") in (f"{address.split('?')[0]}#grid", address.split("?")[0])
    return address.split("?")[0]


@pytest.fixture
def page(browser: Any, origin: str, place: Path) -> Iterator[SimpleNamespace]:
    """The page, freshly opened; everything that a test did is taken back after it by the page's own key."""
    browser.open(origin, until=READY)

    def wait(until: str) -> None:
        browser.wait(until)

    def settled() -> None:
        wait("document.getElementById('saved').textContent === 'all on disk'")

    def keys(*names: str) -> None:
        press(browser, *names)

    def mode(key: str) -> None:
        press(browser, key)
        wait("document.activeElement.hasAttribute('data-home')")
        if key in "sa":
            wait("document.documentElement.dataset.shown")

    def said(*labels: str) -> list[tuple[str, str]]:
        settled()
        found = {name: (action, label) for name, action, label in rows(place)}
        return [found.get(name, ("", "")) for name in labels]

    yield SimpleNamespace(
        browser=browser, wait=wait, settled=settled, keys=keys, mode=mode, said=said, run=browser.run,
        text=lambda id_: text(browser, id_), place=place,
    )  # fmt: skip
    assert browser.said() == []
    browser.run(BACK)


def rows(place: Path) -> list[tuple[str, str, str]]:
    """The last event of each label that was not taken back."""
    with sqlite3.connect(f"file:{place / 'labels.db'}?mode=ro", uri=True) as db:
        events = db.execute("SELECT label_id, action, label FROM events ORDER BY seq").fetchall()
    return [each for each in {name: (name, action, label) for name, action, label in events}.values()
            if each[1] != "withdrawn"]  # fmt: skip


def query(place: Path, what: str, *facts: Any) -> list[Any]:
    with sqlite3.connect(f"file:{place / 'labels.db'}?mode=ro", uri=True) as db:
        return db.execute(what, facts).fetchall()


# --- what the files are ---------------------------------------------------------------------------------


def test_the_files_need_nothing_else_and_make_no_markup_of_data() -> None:
    there = files()
    assert {"index.html", "main.js", "review.css", "old.js"} <= set(there)
    for name, (content, kind) in there.items():
        source = content.decode()
        if name.endswith(".js"):
            assert kind.startswith("text/javascript")
            for used in re.findall(r'from "\./([^"]+)"', source):
                assert used in there, (name, used)
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", source
            )
            assert source.startswith(("//", "/*")), f"{name} does not say what it knows"
        assert not re.search(r"https?://", source), name
    markup = there["index.html"][0].decode()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! [^>]*src=)", markup)
    assert set(re.findall(r'(?:src|href)="/page/([^"]+)"', markup)) <= set(there)
    ids = re.findall(r'\sid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))
    scripts = " ".join(content.decode() for name, (content, _) in there.items() if name.endswith(".js"))
    assert set(re.findall(r'\bat\("([^"]+)"\)', scripts)) - {"values", "values-term"} <= set(ids)


def test_the_page_asks_nobody_else_and_hides_its_token(page: SimpleNamespace, origin: str) -> None:
    for key in "scag":
        page.mode(key)
    asked = page.browser.asked_for()
    assert all(each.startswith((origin, f"blob:{origin}")) for each in asked), asked
    assert "token" not in page.run("location.href")
    assert page.run("document.title") == "run1 · dinotool review"


# --- the modes by keys ------------------------------------------------------------------------------------


def test_grid_marks_the_wrong_accepts_the_rest_and_undo_brings_the_page_back(page: SimpleNamespace) -> None:
    page.wait("document.querySelectorAll('#grid-tiles .tile').length")
    choose(page, "car")
    assert page.text("grid-title") == "car"
    page.keys("ArrowRight", " ", "ArrowRight", "ArrowRight", " ")
    assert "Accept 4, reject 2" in page.text("grid-actions")
    page.keys("Enter")
    assert page.text("grid-title") != "car"  # at once: nothing waits for the server
    assert page.said(*(f"p{i}" for i in range(6))) == [
        ("accepted", "car"), ("rejected", "car"), ("accepted", "car"),
        ("rejected", "car"), ("accepted", "car"), ("accepted", "car"),
    ]  # fmt: skip
    assert page.text("done") == "6"
    page.keys("u")
    page.wait("document.getElementById('grid-title').textContent === 'car'")
    assert page.said("p0", "p1") == [("", ""), ("", "")]
    marked = "[...document.querySelectorAll('#grid-tiles [aria-selected=true]')].map(each => each.id)"
    assert page.run(marked) == ["grid-tiles-1", "grid-tiles-3"]
    page.keys("i", "x")  # the others instead, and these are rejected at once
    assert [each[0] for each in page.said(*(f"p{i}" for i in range(6)))] == [
        "rejected", "", "rejected", "", "rejected", "rejected",
    ]  # fmt: skip
    page.keys("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight", "1")
    assert page.said("p1") == [("accepted", "car")]  # the class that was proposed


def test_a_click_marks_and_a_click_on_a_button_leaves_enter_to_the_work(page: SimpleNamespace) -> None:
    at = middle(page, "grid-tiles-2")
    for kind in ("mousePressed", "mouseReleased"):
        page.browser.mouse(kind, *at, button="left", clickCount=1)
    assert page.run("document.getElementById('grid-tiles-2').ariaSelected") == "true"
    at = middle(page, "palette")
    for kind in ("mousePressed", "mouseReleased"):
        page.browser.mouse(kind, *at, button="left", clickCount=1)
    assert page.text("told") == "Palette: black hot"
    assert page.run("document.activeElement.id") == "grid-tiles"
    page.keys("Shift+p")


def middle(page: SimpleNamespace, id_: str) -> list[float]:
    """Where a thing is in the window."""
    found: list[float] = page.run(
        f"(() => {{ const box = document.getElementById({json.dumps(id_)}).getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    return found


def test_marks_outlast_a_close_look(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.keys("ArrowRight", " ", "ArrowRight")
    page.mode("s")
    page.wait("document.documentElement.dataset.shown === 'p2'")
    page.keys("ArrowRight")
    page.mode("g")
    assert page.run("document.getElementById('grid-tiles-1').ariaSelected") == "true"
    assert page.run("document.querySelector('.tile.active').id") == "grid-tiles-3"


def test_single_accepts_rejects_relabels_and_makes_classes(page: SimpleNamespace) -> None:
    choose(page, "person")
    page.mode("s")
    first = page.run("document.documentElement.dataset.shown")
    assert first == "p6"
    page.keys("Enter")
    assert page.text("where").startswith("2 of 4")
    page.keys("x")
    page.wait("document.documentElement.dataset.shown === 'p8'")
    page.keys("1", "/")
    page.browser.type(HOSTILE_CLASS)
    page.keys("Enter")
    assert page.said("p6", "p7", "p8", "p9") == [
        ("accepted", "person"), ("rejected", "person"), ("relabelled", "car"), ("relabelled", HOSTILE_CLASS),
    ]  # fmt: skip
    page.keys("ArrowLeft", "ArrowRight")
    assert page.text("panel-title") == HOSTILE_CLASS
    assert page.run("document.title") != "hacked"
    assert page.run("document.querySelectorAll('main img[src=x], footer img').length") == 0
    assert "Taken back" not in page.text("told")
    page.keys("Ctrl+z")
    page.wait("document.getElementById('told').textContent.startsWith('Taken back')")
    assert page.said("p9") == [("", "")]


def choose(page: SimpleNamespace, name: str) -> None:
    """Choose a class in the box above the work."""
    page.run(f"""(() => {{ const box = document.getElementById('label'), asked = {json.dumps(name)};
      box.value = [...box.options].findIndex(each => each.textContent.startsWith(asked));
      box.dispatchEvent(new Event('change')); }})()""")


def test_the_reasons_of_the_next_label_are_shown_though_the_last_one_is_still_being_written(
    page: SimpleNamespace,
) -> None:
    choose(page, "car")
    page.mode("s")
    for _ in range(3):
        page.keys("Enter")
        page.wait("document.getElementById('why-word').textContent")
    assert len(page.said("p0", "p1", "p2")) == 3


def test_boxes_are_moved_and_drawn_without_a_mouse(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.mode("s")
    page.wait("document.documentElement.dataset.shown === 'p0'")
    page.keys(
        "b", "ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowUp", "Alt+ArrowLeft"
    )
    page.keys("Enter")
    assert page.said("p0") == [("moved", "car")]
    box = query(
        page.place, "SELECT x, y, w, h, mask FROM events WHERE label_id = 'p0' ORDER BY seq DESC LIMIT 1"
    )
    assert box == [
        (11.0, 21.0, 2.0, 7.0, "")
    ]  # moved by 1, 2; widened right and up; the right side pulled back
    page.keys("n", "Enter", "2")
    page.settled()
    drawn = query(
        page.place, "SELECT image, label, w, h FROM events WHERE action = 'drawn' ORDER BY seq DESC LIMIT 1"
    )
    assert drawn == [("b.tif", "person", 8.0, 8.0)]
    page.keys("b", "ArrowLeft", "x", "u", "Escape", "f")  # neither rejects nor undoes with a box in hand
    page.settled()
    assert query(page.place, "SELECT finished FROM acts ORDER BY number DESC LIMIT 1") == [("b.tif",)]
    assert page.said("p1") == [("", "")]


def test_boxes_are_drawn_and_pulled_with_a_mouse(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.mode("s")
    left, top, ax, ay, scale, x, y, w, h = page.run(ON_SCREEN)
    to_screen = lambda px, py: (left + (px - ax) * scale, top + (py - ay) * scale)  # noqa: E731
    page.browser.drag(
        [to_screen(x + w, y + h / 2), to_screen(x + w + 2, y + h / 2), to_screen(x + w + 5, y + h / 2)]
    )
    page.keys("Enter")
    assert page.said("p0") == [("moved", "car")]
    assert query(
        page.place, "SELECT x, y, w, h FROM events WHERE label_id = 'p0' ORDER BY seq DESC LIMIT 1"
    ) == [(x, y, w + 5, h)]
    page.keys("n")
    page.browser.drag([to_screen(30, 30), to_screen(35, 33), to_screen(50, 40)])
    page.keys("1")
    page.settled()
    assert query(page.place, "SELECT label, x, y, w, h FROM events ORDER BY seq DESC LIMIT 1") == [
        ("car", 30.0, 30.0, 20.0, 10.0)
    ]


@pytest.mark.parametrize("mode", ["g", "c"])
def test_another_size_of_the_window_leaves_the_tile_in_hand(page: SimpleNamespace, mode: str) -> None:
    page.mode(mode)
    page.keys("ArrowRight", "ArrowRight")
    active = "document.querySelector('.tiles:not([hidden] *) .tile.active')?.id"
    before = page.run(active)
    assert before.endswith("-2")
    sides = "`${document.querySelector('main').clientWidth}`"
    wide = page.run(sides)
    page.browser.tell(
        "Emulation.setDeviceMetricsOverride", width=1000, height=800, deviceScaleFactor=1, mobile=False
    )
    try:
        page.wait(f"{sides} !== '{wide}'")
        page.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")  # it is laid out
        assert page.run(active) == before
    finally:
        page.browser.tell("Emulation.clearDeviceMetricsOverride")


def test_a_cluster_is_named_at_once_and_undo_takes_it_back(page: SimpleNamespace) -> None:
    page.mode("c")
    page.keys("ArrowRight", " ", "Enter")
    page.wait("document.activeElement.id === 'class-text'")
    page.keys("Enter")  # pressed once too often, it names nothing
    assert page.run("document.getElementById('class-dialog').open")
    page.browser.type("bench")
    page.keys("Enter")
    assert page.said("p14", "p15", "p16", "p17", "p18") == [
        ("relabelled", "bench"), ("", ""), ("relabelled", "bench"), ("relabelled", "bench"), ("", ""),
    ]  # fmt: skip
    assert page.text("cluster-title") == "Cluster 1"
    page.keys("x")
    assert [each[0] for each in page.said("p18", "p19")] == ["rejected", "rejected"]
    page.keys("u", "u")
    page.wait("document.getElementById('done').textContent === '0'")
    assert page.said("p14", "p18") == [("", ""), ("", "")]
    assert page.text("cluster-title") == "Cluster 0"


def test_the_audit_shows_no_score_and_writes_verdicts(page: SimpleNamespace) -> None:
    page.mode("a")
    page.wait("document.documentElement.dataset.shown === 'p10'")
    assert page.text("audit-question") == "Is this “tram”, with the box on it?"
    seen = page.run("document.body.innerText")
    assert "0.61" not in seen
    assert "near" not in seen
    page.keys("y", "n", "1")
    assert page.said("p10", "p11", "p12", "p13") == [
        ("accepted", "tram"), ("rejected", "tram"), ("relabelled", "car"), ("", ""),
    ]  # fmt: skip
    origins = query(
        page.place, "SELECT DISTINCT origin FROM events WHERE label_id = 'p10' AND action = 'accepted'"
    )
    assert [origin.split(":")[:2] for (origin,) in origins] == [["audit", "check"]]
    assert page.text("audit-sum") == "3 of 4 answered"


def test_what_was_said_elsewhere_is_no_verdict_of_an_audit(page: SimpleNamespace) -> None:
    choose(page, "tram")
    page.keys("1")
    assert page.said("p10") == [("relabelled", "car")]
    page.mode("a")
    page.wait("document.documentElement.dataset.shown === 'p10'")
    assert page.text("audit-sum") == "0 of 4 answered"
    assert page.text("audit-question") == "Is this “tram”, with the box on it?"
    assert "car" not in page.text("list")
    page.keys("y")
    assert page.said("p10") == [("relabelled", "tram")]  # as it was proposed
    assert page.text("audit-sum") == "1 of 4 answered"
    page.keys("u")
    page.settled()
    assert page.text("audit-sum") == "0 of 4 answered"


def test_what_was_left_unknown_is_counted_apart_and_shown_where_it_is_asked_for(
    page: SimpleNamespace,
) -> None:
    listed = "import('/page/desk.js').then(({ desk }) => desk.places.length)"
    page.mode("s")
    choose(page, "zebra")
    told = page.text("left")
    assert told == "of 323 · 323 left · 3 unknown"
    assert page.run(listed) == 1
    page.run(CHOOSE.format("advice", "unknown"))
    page.wait("document.documentElement.dataset.shown === 'p323'")
    assert page.run(listed) == 3
    page.keys("x")
    page.settled()
    assert page.text("left") == told.replace("3 unknown", "2 unknown")
    assert page.text("done") == "0"


def test_a_class_goes_to_each_label_as_it_is_now(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.run(CHOOSE.format("state", "all"))
    page.keys("2")
    ((_, other),) = page.said("p0")
    assert other != "car"
    page.keys("ArrowLeft", "1")  # the class that was proposed, though it has another now
    assert page.said("p0") == [("relabelled", "car")]


def test_the_help_lists_every_key_of_the_mode(page: SimpleNamespace) -> None:
    page.mode("s")
    page.keys("?")
    assert page.run("document.getElementById('help').open")
    told = page.text("help-body")
    for words in ("Accept, and the next", "Undo", "Draw a new box", "Lock the window", "Grid"):
        assert words in told
    page.keys("Escape")
    page.wait("document.activeElement.id === 'stage'")


# --- thermal ----------------------------------------------------------------------------------------------


def test_window_level_and_palette_change_the_pixels_of_16_bits(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.mode("s")
    frames = [page.run(PIXELS)]

    def changed(does: Callable[[], None]) -> np.ndarray:
        does()
        page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        frames.append(page.run(PIXELS))
        assert frames[-1] != frames[-2]
        return np.array(frames[-1], float) - np.array(frames[-2], float)

    assert (changed(lambda: page.keys("[", "[")) >= 0).all()  # a lower level is nowhere darker
    narrow = np.array(frames[-1], float).std()
    changed(lambda: page.keys("Shift+}"))
    assert np.array(frames[-1], float).std() < narrow  # a wider window has less contrast
    changed(lambda: page.keys("0"))
    assert frames[-1] == frames[0]
    changed(lambda: right_drag(page, 60, -40))
    changed(lambda: page.keys("l", "p"))
    assert "iron" not in page.text("window-told")
    assert "locked for the recording" in page.text("window-told")
    locked = page.text("window-told")
    page.keys("ArrowRight")
    page.wait("document.documentElement.dataset.shown === 'p1'")
    assert page.text("window-told") == locked  # another image of the recording, the same window
    page.keys("l", "0", "Shift+p")


def right_drag(page: SimpleNamespace, dx: float, dy: float) -> None:
    x, y = 600, 400
    page.browser.mouse("mousePressed", x, y, button="right", buttons=2, clickCount=1)
    for step in (1, 2, 3):
        page.browser.mouse("mouseMoved", x + dx * step / 3, y + dy * step / 3, button="right", buttons=2)
    page.browser.mouse("mouseReleased", x + dx, y + dy, button="right", clickCount=1)


def test_the_read_out_is_what_the_reader_reads(page: SimpleNamespace) -> None:
    choose(page, "car")
    page.mode("s")
    values = read_thermal(page.place.parent / "images" / "a.tif").data
    left, top, ax, ay, scale, *_ = page.run(ON_SCREEN)
    for x, y in ((0, 0), (63, 47), (17, 30)):
        page.browser.mouse("mouseMoved", left + (x + 0.5 - ax) * scale, top + (y + 0.5 - ay) * scale)
        assert page.text("readout") == f"{values[y, x]:.0f} counts · x {x}, y {y}"
    page.keys("k", "ArrowRight", "Shift+ArrowDown")  # by keys, from the middle of the box
    assert page.text("readout") == f"{values[33, 12]:.0f} counts · x 12, y 33"
    assert page.text("told") == page.text("readout")
    page.keys("Escape")
    low, high = values[20:26, 10:12].min(), values[20:26, 10:12].max()
    assert page.text("values").startswith(f"{low:.0f} counts to {high:.0f} counts")


def test_the_colour_twin_stands_beside_with_the_same_box(page: SimpleNamespace) -> None:
    choose(page, "zebra")
    page.mode("s")
    page.wait("document.documentElement.dataset.twin")
    assert not page.run("document.getElementById('pane-twin').hidden")
    blue, own, other = page.run(TWIN)
    assert blue == [20, 40, 200]  # a palette is for values, not for colours
    assert own == other
    left, top, scale = page.run(ON_SCREEN)[2:5]
    edges = np.array(own) / scale + (left, left, top)
    assert np.allclose(edges, (20, 36, 36), atol=2 / scale)
    page.keys("t")
    assert page.run("document.getElementById('pane-twin').hidden")


# --- nothing is lost, nothing is stale ----------------------------------------------------------------------


def test_two_pages_show_the_same_and_the_slower_one_is_told(page: SimpleNamespace, origin: str) -> None:
    browser = page.browser
    choose(page, "person")
    page.mode("s")
    with browser.tab():
        browser.open(origin, until=READY)
        choose(page, "person")
        page.mode("s")
        page.keys("x")
        assert page.said("p6") == [("rejected", "person")]
    page.wait("document.getElementById('panel-state').textContent === 'rejected'")  # without a key
    # Deaf to what others do, it decides by what it saw: refused, and shown what stands.
    page.run(DEAF)
    page.run("new Promise(done => setTimeout(done, 1700))")
    with browser.tab():
        browser.open(origin, until=READY)
        choose(page, "person")
        page.mode("s")
        page.keys("2")
        page.said()
    page.keys("ArrowRight")
    page.run(X_AND_U)  # the undo was meant for what is refused, not for what the other page did
    page.wait("document.getElementById('told').classList.contains('wrong')")
    assert "changed meanwhile" in page.text("told")
    assert page.said("p7") == [("accepted", "person")]
    browser.events = [each for each in browser.events if "409" not in json.dumps(each)]


def test_what_was_pressed_while_the_server_was_away_is_written_once(page: SimpleNamespace) -> None:
    tell = page.browser.tell
    away = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    choose(page, "person")
    page.mode("s")
    tell("Network.emulateNetworkConditions", offline=True, **away)
    page.keys("Enter", "x")
    page.wait("!document.getElementById('trouble').hidden")
    assert "2 actions wait here" in page.text("trouble-word")
    assert page.text("done") == "2"  # shown, and said not to be written
    assert page.text("saved") == "2 waiting"
    tell("Network.emulateNetworkConditions", offline=False, **away)
    page.run("document.getElementById('try').click()")
    assert page.said("p6", "p7") == [("accepted", "person"), ("rejected", "person")]
    page.wait("document.getElementById('trouble').hidden")
    page.browser.events = [each for each in page.browser.events if "DISCONNECTED" not in json.dumps(each)]


def test_a_box_that_waits_to_be_written_is_seen(page: SimpleNamespace) -> None:
    tell = page.browser.tell
    away = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    others = """import('/page/stage.js').then(({ scene }) =>
      scene.others.filter(each => each.label === 'person').length)"""
    choose(page, "person")
    page.mode("s")
    before = page.run(others)
    tell("Network.emulateNetworkConditions", offline=True, **away)
    page.keys("n", "Enter", "Enter")
    page.wait("!document.getElementById('trouble').hidden")
    assert page.run(others) == before + 1
    tell("Network.emulateNetworkConditions", offline=False, **away)
    page.run("document.getElementById('try').click()")
    page.settled()
    page.run(
        "new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then(() => true)"
    )
    assert page.run(others) == before + 1
    page.browser.events = [each for each in page.browser.events if "DISCONNECTED" not in json.dumps(each)]


def test_the_same_act_sent_twice_is_one_event(page: SimpleNamespace) -> None:
    choose(page, "person")
    page.run(LOSES)
    before = query(page.place, "SELECT count(*) FROM events")[0][0]
    page.keys("Enter")
    page.wait("document.getElementById('trouble').hidden")
    page.settled()
    assert query(page.place, "SELECT count(*) FROM events")[0][0] == before + 4


def test_a_long_list_has_only_the_lines_that_are_seen(page: SimpleNamespace) -> None:
    choose(page, "seat")
    page.mode("s")
    page.keys("End")
    page.wait("document.documentElement.dataset.shown === 'p20'")
    assert page.text("where").startswith("300 of 300")
    assert page.run("document.querySelectorAll('#list .line').length") < 60
    assert page.run("document.querySelector('#list [aria-selected=true]').ariaPosInSet") == "300"


def test_an_image_that_vanished_costs_its_picture_only(page: SimpleNamespace) -> None:
    choose(page, "wreck")
    page.keys("s")
    page.wait("!document.getElementById('pane-word').hidden")
    assert "gone.tif" in page.text("pane-word")
    page.keys("x", "Enter")
    assert page.said("p320", "p321") == [("rejected", "wreck"), ("accepted", "wreck")]
    page.browser.events = [each for each in page.browser.events if "404" not in json.dumps(each)]


# --- for everybody ------------------------------------------------------------------------------------------

ROLES = {
    "button",
    "combobox",
    "listbox",
    "option",
    "textbox",
    "application",
    "toolbar",
    "progressbar",
    "dialog",
}


def nameless(browser: Any) -> list[dict[str, Any]]:
    nodes = browser.tell("Accessibility.getFullAXTree")["nodes"]
    seen = [each for each in nodes if not each.get("ignored")]
    assert len(seen) > 20
    return [
        each
        for each in seen
        if each["role"]["value"] in ROLES and not each.get("name", {}).get("value", "").strip()
    ]


def test_everything_that_can_be_used_has_a_name(page: SimpleNamespace) -> None:
    for key in "gsca":
        page.mode(key)
        assert nameless(page.browser) == [], key
    for key, dialog in (("?", "help"), ("/", "class-dialog")):
        page.keys(key)
        assert page.run(f"document.getElementById('{dialog}').open")
        assert nameless(page.browser) == [], dialog
        page.keys("Escape")
        page.wait("!document.querySelector('dialog[open]')")


def test_the_focus_is_seen_wherever_tab_leads(page: SimpleNamespace) -> None:
    reached = set()
    for key in "gs":
        page.mode(key)
        for _ in range(40):
            page.keys("Tab")
            id_, tag, outline, seen = page.run(FOCUS)
            reached.add(id_)
            if tag not in ("BODY", "HTML"):
                assert outline not in ("none", ""), id_
                assert seen, id_
    assert {"label", "order", "keys", "grid-tiles", "stage", "mode-audit"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_twice_the_size_nothing_is_cut_off(page: SimpleNamespace, scheme: str, origin: str) -> None:
    tell = page.browser.tell
    tell("Emulation.setDeviceMetricsOverride", width=700, height=450, deviceScaleFactor=2, mobile=False)
    try:
        page.browser.open(origin, scheme=scheme, until=READY)
        for key in "gsca":
            page.mode(key)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), key
            cut = page.run(CUT_OFF)
            assert cut == [], key
        assert page.run("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
    finally:
        tell("Emulation.clearDeviceMetricsOverride")
