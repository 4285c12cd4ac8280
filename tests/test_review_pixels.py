"""The pictures of the review page, asked for as a browser does, of worker processes that read them."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette

from dinonat.images import served
from dinonat.images.batches import BY_DEFAULT
from dinonat.images.prepare import prepare
from dinonat.images.reader import read_thermal
from dinonat.images.served import Served, Wanted, serve
from dinonat.pipelines import review_reading
from dinonat.pipelines import workspace as places
from dinonat.pipelines.review_list import Shown
from dinonat.pipelines.review_pixels import routes
from dinonat.pipelines.review_reading import Answers, Pixels
from dinonat.pipelines.review_twins import twins_of

REAL = ("FLIR_E40.jpg", "FLIR_AX8.jpg", "FLIR_B60.jpg", "DJI_XT2.jpg", "M3T/DJI_0001_R.JPG")


class Told(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def values(self) -> np.ndarray:
        """The values as the page computes them."""
        shape = int(self.headers["x-height"]), int(self.headers["x-width"])
        levels = np.frombuffer(self.body, "<u2").reshape(shape)
        offset, step = float(self.headers["x-offset"]), float(self.headers["x-step"])
        return np.where(levels == 65535, np.nan, offset + step * levels.astype(np.float64))

    @property
    def picture(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.body)))

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


async def ask(app: Any, address: str) -> Told:
    """Ask an application for an address without a server between."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "headers": [],
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(asked, None)
        return message if message is not None else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Told(sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent[1:]))


def get(app: Any, address: str) -> Told:
    return asyncio.run(ask(app, address))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, made: SimpleNamespace) -> Path:
    """A workspace whose images are of every sort, proposals p0, p1, ... beside them."""
    folder = tmp_path_factory.mktemp("review")
    images, names = folder / "images", {}
    images.mkdir()
    rng = np.random.default_rng(0)
    names["counts.tif"] = rng.integers(20_000, 60_000, (60, 100)).astype(np.uint16)
    names["floats.tif"] = rng.normal(25, 9, (40, 50)).astype(np.float32)
    names["grey.png"] = rng.integers(0, 256, (30, 20)).astype(np.uint8)
    names["colour.png"] = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    names["one.tif"] = np.full((1, 1), 4711, np.uint16)
    names["gone.png"] = names["grey.png"]
    names["out.png"] = names["grey.png"]
    names["in.png"] = names["grey.png"]
    for name, pixels in names.items():
        if name.endswith(".tif"):
            tifffile.imwrite(images / name, pixels)
        else:
            Image.fromarray(pixels).save(images / name)
    (images / "broken.png").write_bytes((images / "grey.png").read_bytes()[:60])
    secret = folder / "secret.png"
    (images / "out.png").rename(secret)
    (images / "out.png").symlink_to(secret)
    (images / "in.png").unlink()
    (images / "in.png").symlink_to(images / "grey.png")
    (images / "gone.png").unlink()
    rows = [
        made.image_row(name, pixels.shape[:2], **({"prepare": "colour"} if pixels.ndim == 3 else {}))
        for name, pixels in [*names.items(), ("broken.png", names["grey.png"])]
    ]
    for row in rows:
        row |= {"lo": 20_000.0, "hi": 60_000.0} if row["image"] == "counts.tif" else {"lo": 0.0, "hi": 50.0}
    root = places.create(folder / "w")
    made.set(places.set_folder(root, "set1"), images, rows=rows)
    ring = [100, 5, 55, 5, 6000 - 165]
    boxes = [
        {"image": "counts.tif", "label": "car", "x": 30, "y": 10, "w": 20, "h": 12, "mask_counts": ring},
        {"image": "counts.tif", "label": "car", "x": 95, "y": 0, "w": 5, "h": 5},
        {
            "image": "grey.png",
            "label": "car",
            "kind": "image",
            "x": np.nan,
            "y": np.nan,
            "w": np.nan,
            "h": np.nan,
        },
    ]
    sizes = {"height": 60, "width": 100}
    made.proposals(places.proposals_folder(root, "run1"), [{**box, **sizes} for box in boxes])
    places.remember(root, "proposals", "run1")
    return root


@pytest.fixture(scope="module")
def shown(place: Path) -> Shown:
    return Shown(place)


@pytest.fixture(scope="module")
def app(shown: Shown) -> Starlette:
    return Starlette(routes=routes(shown))


def number(shown: Shown, name: str) -> int:
    return shown.image_at[name]


@pytest.mark.parametrize("name", ["counts.tif", "floats.tif", "grey.png", "one.tif", "in.png"])
def test_values_are_those_that_were_measured(app: Starlette, shown: Shown, name: str) -> None:
    told = get(app, f"/pixels/{number(shown, name)}")
    frame = read_thermal(shown.root / name)
    step = float(told.headers["x-step"])
    assert told.headers["x-unit"] == frame.unit
    assert np.abs(told.values - frame.data).max() <= (step / 2 * (1 + 1e-9) if name == "floats.tif" else 0)
    assert told.headers["cache-control"] == "private, max-age=3600"
    lo, hi = (20_000, 60_000) if name == "counts.tif" else (0, 50)
    assert (float(told.headers["x-lo"]), float(told.headers["x-hi"])) == (lo, hi)


def test_real_radiometric_files(data: Path, tmp_path: Path, made: SimpleNamespace) -> None:
    """Degrees of FLIR and counts of DJI arrive as read_thermal gives them."""
    root = data / "radiometric/thermal_parser"
    workspace = places.create(tmp_path / "w")
    rows = [made.image_row(name, read_thermal(root / name).data.shape, lo=0.0, hi=30.0) for name in REAL]
    made.set(places.set_folder(workspace, "set1"), root, rows=rows)
    made.proposals(places.proposals_folder(workspace, "run1"), [{"image": REAL[0], "label": "x"}])
    shown = Shown(workspace, "run1")
    app = Starlette(routes=routes(shown))
    for name in REAL:
        told, frame = get(app, f"/pixels/{number(shown, name)}"), read_thermal(root / name)
        step = float(told.headers["x-step"])
        assert np.nanmax(np.abs(told.values - frame.data)) <= step / 2 * (1 + 1e-9)
        assert told.headers["x-unit"] == frame.unit
        assert step <= 0.01 if frame.unit == "celsius" else step == 1


def test_a_part_comes_from_its_place(app: Starlette, shown: Shown) -> None:
    place = number(shown, "counts.tif")
    whole = get(app, f"/pixels/{place}").values
    part = get(app, f"/pixels/{place}?x=90.5&y=-3&w=50&h=10")
    assert np.array_equal(part.values, whole[:7, 90:])
    assert (part.headers["x-left"], part.headers["x-top"]) == ("90", "0")
    assert get(app, f"/pixels/{place}?x=100&y=0&w=5&h=5").status == 400


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("gone.png", 404, "gone.png: cannot be read (No such file or directory)."),
        ("broken.png", 404, "broken.png: a damaged png file"),
        ("out.png", 404, "out.png: leads out of"),
        ("colour.png", 415, "colour.png: a colour picture"),
    ],
)
def test_what_has_no_values_is_a_sentence(
    app: Starlette, shown: Shown, name: str, status: int, words: str
) -> None:
    told = get(app, f"/pixels/{number(shown, name)}")
    assert told.status == status
    assert told.error.startswith(words)
    assert "max-age" not in told.headers.get("cache-control", "")
    assert str(shown.root) not in told.error or name == "out.png"
    if name != "colour.png":
        assert get(app, f"/shown/{number(shown, name)}").status == 404


@pytest.mark.parametrize(
    "address",
    ["/pixels/999", "/pixels/-1", "/pixels/..%2fsecret.png", "/pixels/../secret.png", "/crop/p99", "/twin/0"],
)
def test_there_is_nothing_else(app: Starlette, address: str) -> None:
    assert get(app, address).status == 404


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "x=a&y=0&w=1&h=1",
        "x=nan&y=0&w=1&h=1",
        "x=0&y=0&w=0&h=1",
        "x=1e308&y=0&w=1e308&h=1",
        "side=0",
        "side=" + "9" * 5000,
    ],
)
def test_questions_without_sense(app: Starlette, query: str) -> None:
    assert get(app, f"/crop-of/0?{query}").status == 400


def test_eight_bits_are_those_that_the_network_saw(app: Starlette, shown: Shown) -> None:
    told = get(app, f"/shown/{number(shown, 'counts.tif')}")
    expected = prepare(read_thermal(shown.root / "counts.tif"), limits=(20_000, 60_000)).pixels[..., 0]
    assert told.headers["content-type"] == "image/png"
    assert np.array_equal(told.picture, expected)
    colour = get(app, f"/shown/{number(shown, 'colour.png')}").picture
    assert np.array_equal(colour, np.asarray(Image.open(shown.root / "colour.png")))
    assert max(get(app, f"/shown/{number(shown, 'counts.tif')}?side=50").picture.shape) == 50


@pytest.mark.parametrize("label", ["p0", "p1"])
def test_a_crop_says_where_its_box_lies(app: Starlette, shown: Shown, label: str) -> None:
    """What lies in the outline of the crop is what lies in the box of the image."""
    told = get(app, f"/crop/{label}")
    whole = prepare(read_thermal(shown.root / "counts.tif"), limits=(20_000, 60_000)).pixels[..., 0]
    x, y, w, h = (int(shown.table[side][shown.place_of[label]]) for side in "xywh")
    height, width = told.picture.shape
    shares = np.array(told.headers["x-box"].split(), float)
    left, top, across, down = np.rint(shares * [width, height, width, height]).astype(int)
    assert (across, down) == (w, h)
    assert np.array_equal(told.picture[top : top + down, left : left + across], whole[y : y + h, x : x + w])
    moved = get(app, f"/crop/{label}?x=0&y=0&w=4&h=4")
    assert moved.headers["x-box"].startswith("0.00000 0.00000")
    assert moved.body == get(app, f"/crop-of/{number(shown, 'counts.tif')}?x=0&y=0&w=4&h=4").body


def test_the_crop_of_an_image_is_the_image(app: Starlette) -> None:
    assert get(app, "/crop/p2").picture.shape == (30, 20)


def test_masks_are_run_lengths(app: Starlette) -> None:
    told = json.loads(get(app, "/mask/p0").body)
    assert told == {"size": [60, 100], "counts": [100, 5, 55, 5, 5835]}
    assert get(app, "/mask/p1").status == 404


def test_clahe_is_equalised_over_the_whole_image(tmp_path: Path) -> None:
    """Its crop is cut from the whole picture: equalised alone it would be another one."""
    pixels = np.random.default_rng(1).integers(0, 9000, (96, 96)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    from dinonat.images.batches import Shown as As
    from dinonat.images.prepare import Preparation

    how = As(Preparation("clahe"))
    asked = Wanted("crop", "a", tmp_path / "a.tif", limits=(0.0, 9000.0), box=(0, 0, 20, 20))
    got = np.asarray(Image.open(io.BytesIO(serve(asked, shown=how).body)))
    whole = prepare(read_thermal(tmp_path / "a.tif"), how.preparation, limits=(0.0, 9000.0)).pixels[..., 0]
    assert np.array_equal(got, whole[: got.shape[0], : got.shape[1]])


def test_long_sides_are_shrunk_and_parts_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MOST_SIDE", 32)
    pixels = np.random.default_rng(1).integers(0, 9000, (70, 100)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    asked = Wanted("values", "a", tmp_path / "a.tif")
    told = serve(asked, shown=BY_DEFAULT)
    assert (told.facts["Scale"], told.facts["Width"], told.facts["Height"]) == ("4", "25", "18")
    means = pixels[:68].reshape(17, 4, 25, 4).mean(axis=(1, 3))
    got = float(told.facts["Offset"]) + float(told.facts["Step"]) * np.frombuffer(told.body, "<u2")
    assert np.allclose(got.reshape(18, 25)[:17], means, atol=float(told.facts["Step"]))
    part = serve(Wanted("values", "a", tmp_path / "a.tif", box=(10, 20, 30, 30)), shown=BY_DEFAULT)
    assert part.facts["Scale"] == "1"
    assert np.array_equal(np.frombuffer(part.body, "<u2").reshape(30, 30), pixels[20:50, 10:40])


def test_a_file_that_changes_is_read_again(tmp_path: Path, made: SimpleNamespace) -> None:
    workspace = made.workspace(tmp_path)
    shown = Shown(workspace)
    app = Starlette(routes=routes(shown))
    before = get(app, "/pixels/0")
    assert get(app, "/pixels/0").body == before.body
    Image.fromarray(np.full((8, 10), 77, np.uint16)).save(shown.ref(0).file)
    os.utime(shown.ref(0).file, ns=(1, 1))
    assert (get(app, "/pixels/0").values == 77).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=40))
def test_answers_are_kept_up_to_so_many_bytes(asked: list[tuple[int, int]]) -> None:
    """The last ones that fit, those that were not asked for the longest go first."""
    answers, order = Answers(100), dict[int, int]()
    for name, size in asked:
        wanted = Wanted("whole", str(name), Path())
        known = answers.get(wanted)
        assert (known is not None) == (name in order)
        if known is not None:
            order[name] = order.pop(name)
            continue
        answers.put(wanted, Served(bytes(size)))
        order[name] = size
        while sum(order.values()) > 100:
            del order[next(iter(order))]
        assert answers.bytes == sum(order.values())


SLOW = """
import os, time
from pathlib import Path
from dinonat.images.served import Served

def serve(wanted, *, shown):
    if wanted.name == "a.png":
        os.abort()
    for _ in range(1000):
        if (wanted.file.parent / "go").exists():
            return Served(wanted.name.encode())
        time.sleep(0.01)
    return Served(b"nobody went on")
"""


@pytest.fixture
def slow(tmp_path: Path, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pixels]:
    """Pixels whose decoder dies of a.png, and for others waits until somebody lets it go on."""
    (tmp_path / "made_reader.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "made_reader", raising=False)
    import made_reader  # type: ignore[import-not-found]

    monkeypatch.setattr(review_reading, "serve", made_reader.serve)
    pixels = Pixels(Shown(made.workspace(tmp_path / "x")))
    yield pixels
    pixels.close()


class Waiting:
    """A request whose page still waits, or has turned away."""

    def __init__(self, there: bool = True) -> None:
        self.there = there

    async def is_disconnected(self) -> bool:
        return not self.there


def test_a_decoder_that_dies_costs_its_image(slow: Pixels) -> None:
    (slow.shown.root / "go").touch()
    images = [slow.shown.images.index(name) for name in ("a.png", "plain.png")]

    async def both() -> list[Served | None]:
        return [await slow.of_image(Waiting(), image, "whole") for image in images]  # type: ignore[arg-type]

    dead, alive = asyncio.run(both())
    assert dead is not None
    assert alive is not None
    assert dead.reason.startswith("a.png: lost, the process that read it ended with code -6")
    assert alive.body == b"plain.png"


def test_the_server_goes_on_while_a_picture_is_read(slow: Pixels) -> None:
    """The decoder waits for a file that only the event loop makes: were it blocked, nobody would."""
    image = slow.shown.images.index("turned.jpg")

    async def ask_and_go_on() -> Served | None:
        asked = asyncio.create_task(slow.of_image(Waiting(), image, "whole"))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        (slow.shown.root / "go").touch()
        return await asked

    told = asyncio.run(ask_and_go_on())
    assert told is not None
    assert (told.reason, told.body) == ("", b"turned.jpg")


def test_what_nobody_waits_for_is_not_read(slow: Pixels) -> None:
    assert asyncio.run(slow.of_image(Waiting(there=False), 0, "whole")) is None  # type: ignore[arg-type]
    assert slow._processes._pool._children == []


def inspection(workspace: Path, shown: Shown, rgb: Path | None, pairs: list[tuple[str, str]]) -> None:
    folder = places.inspections_folder(workspace, "found")
    folder.mkdir(parents=True, exist_ok=True)
    known = {"root": str(shown.real_root), "rgb": str(rgb) if rgb else None}
    (folder / "findings.json").write_text(json.dumps(known))
    lines = ["thermal,colour", *(f"{own},{other}" for own, other in pairs)]
    (folder / "twins.csv").write_text("\n".join(lines) + "\n")


def test_the_colour_twin_of_an_inspection(place: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("same.jpg", (600, 1000)), ("wide.jpg", (500, 1000))):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / name)
    (tmp_path / "out.jpg").symlink_to(Path(place).parent / "secret.png")
    pairs = [
        ("counts.tif", "same.jpg"),
        ("floats.tif", "wide.jpg"),
        ("grey.png", "out.jpg"),
        ("x.png", "y.png"),
    ]
    shown = Shown(place)
    inspection(place, shown, tmp_path, pairs)
    app = Starlette(routes=routes(shown))
    try:
        told = get(app, f"/twin/{number(shown, 'counts.tif')}")
        assert told.picture.shape == (600, 1000, 3)
        assert "x-note" not in told.headers
        wide = get(app, f"/twin/{number(shown, 'floats.tif')}")
        assert wide.headers["x-note"].startswith("The colour image has other proportions (2.00 : 1, not 1.25")
        out = get(app, f"/twin/{number(shown, 'grey.png')}")
        assert (out.status, "leads out of its folder" in out.error) == (404, True)
        none = get(app, f"/twin/{number(shown, 'one.tif')}")
        assert (none.status, "no colour twin" in none.error) == (404, True)
    finally:
        (places.inspections_folder(place, "found") / "twins.csv").unlink()


def test_twins_of_one_folder_by_their_names(tmp_path: Path, made: SimpleNamespace) -> None:
    workspace = places.create(tmp_path / "w")
    rows = [
        made.image_row(f"DJI_{i:04}_{letter}.jpg", prepare="colour" if letter == "V" else "percentile")
        for i in range(3)
        for letter in "TV"
        if (i, letter) != (2, "V")
    ]
    made.set(places.set_folder(workspace, "set1"), tmp_path, rows=rows)
    made.proposals(places.proposals_folder(workspace, "run1"), [{"image": "DJI_0000_T.jpg", "label": "x"}])
    shown = Shown(workspace, "run1")
    found = {shown.images[own]: ref.name for own, ref in twins_of(shown).items()}
    assert found == {f"DJI_{i:04}_T.jpg": f"DJI_{i:04}_V.jpg" for i in range(2)}
