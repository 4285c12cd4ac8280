import gc
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dinonat.embeddings.store import SetWriter, clear
from dinonat.geometry import mask_to_counts
from dinonat.pipelines import workspace as places
from dinonat.records import ITEM_COLUMNS, PARTS, PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

FINGERPRINT = "0123456789abcdef"  # of the network of a made workspace
NAMES = ["a.png", "night/ü </script>.png", "night/line\nbreak.png", "plain.png", "turned.jpg"]


# Files that take longest, the slowest first: one that begins last would keep one worker busy alone.
SLOW = (
    *("test_pretrain.py", "test_chain.py", "test_pretrain_kill.py", "test_networks.py", "test_health.py"),
    *("test_agreement.py", "test_parts.py", "test_embed.py", "test_propose.py", "test_evaluate_proposals.py"),
    *("test_hygiene.py", "test_export.py", "test_import_labels.py", "test_mapping.py", "test_fuzz.py"),
    *("test_evaluate_regions.py", "test_evaluate_linear.py", "test_inspection.py", "test_packaging.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of `--dist loadfile` take the files in our order, not by their number of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow files first, and skip what needs a GPU, with a reason, where there is none.

    torch loads only if a test of a GPU is asked for.
    """
    order = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: order.get(item.path.name, len(SLOW)))
    needing = [item for item in items if item.get_closest_marker("cuda")]
    if not needing:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needing:
            item.add_marker(
                pytest.mark.skip(reason="no CUDA device: run `make gpu-check` where there is one")
            )


def pytest_sessionstart() -> None:
    """Leave the disk alone: bringing everything to it takes seconds where others write."""
    os.sync, os.fsync = (lambda: None), (lambda _: None)


def pytest_collection_finish() -> None:
    """Leave what all test files have loaded out of later collections, each of which would take a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real images; tests that need it skip where DINOTOOL_DATA is not set."""
    folder = os.environ.get("DINOTOOL_DATA")
    if not folder:
        pytest.skip("DINOTOOL_DATA is not set: no real images here")
    return Path(folder)


@pytest.fixture(scope="session")
def textures() -> Callable[..., np.ndarray]:
    """Made grey pictures (H, W) uint8 that differ from each other all over: smooth patches and boxes."""

    def make(seed: int, height: int = 192, width: int = 256) -> np.ndarray:
        rng = np.random.default_rng(seed)
        picture = np.zeros((height, width))
        for cells in (4, 8, 16, 32):
            coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
            picture += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / np.sqrt(cells)
        for _ in range(4):
            top, left = rng.integers(0, height - 40), rng.integers(0, width - 40)
            picture[top : top + rng.integers(10, 40), left : left + rng.integers(10, 40)] += 0.8
        picture = (picture - picture.min()) / np.ptp(picture)
        return np.clip(30 + 190 * picture + rng.normal(0, 2, picture.shape), 0, 254).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of two shapes, a bright block in each."""
    folder = tmp_path_factory.mktemp("made") / "thermal"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 60, (70 + 26 * (i == 2), 100), dtype=np.uint8)
        pixels[20:50, 10 + 15 * i : 40 + 15 * i] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def reviewing() -> type["Reviewing"]:
    """``with reviewing(workspace, **settings) as server``: what `dinotool review` serves, on a free port."""
    return Reviewing


class Reviewing:
    """A server that answers in a thread, and whoever has opened its ``address`` and got the cookie."""

    def __init__(self, root: Path, **settings: Any) -> None:
        from dinonat.pipelines import review

        asked = review.ReviewSettings(**{"port": 0, "browser": False, "who": "Ada", **settings})
        self.ready = review.prepared(asked, root)
        self.address, self.desk = self.ready.address, self.ready.desk
        self.port = int(self.ready.listener.getsockname()[1])
        self.origin = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.ready.serve, daemon=True)

    def __enter__(self) -> "Reviewing":
        self._thread.start()
        answer = self.ask("GET", self.address.removeprefix(self.origin), {"Cookie": ""})
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.ready.server.should_exit = True
        self._thread.join(20)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> SimpleNamespace:
        """Ask as a browser does that has the cookie; ``headers`` of another value win, of "" are left out."""
        usual = {"Host": f"127.0.0.1:{self.port}", "Cookie": getattr(self, "cookie", "")}
        if method == "POST":
            usual |= {"Origin": self.origin, "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**usual, **(headers or {})}.items():
                if value:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in response.getheaders()}
        return SimpleNamespace(status=response.status, headers=named, body=content)

    def get(self, path: str, status: int = 200) -> Any:
        """Return the JSON that an address answers with, which must be of this status."""
        answer = self.ask("GET", path)
        assert answer.status == status, answer.body[:500]
        return json.loads(answer.body)

    def post(self, path: str, body: object, status: int = 200) -> Any:
        """Send JSON and return the JSON of the answer, which must be of this status."""
        answer = self.ask("POST", path, body=json.dumps(body).encode())
        assert answer.status == status, answer.body[:500]
        return json.loads(answer.body)

    def act(self, *changes: dict[str, Any], status: int = 200, **more: Any) -> Any:
        """Act on labels; each change has id and do, and ``seen`` where anybody has said anything of it."""
        body = {"act": uuid4().hex, "audit": None, "changes": list(changes), **more}
        return self.post("/api/act", body, status)

    def undo(self, status: int = 200) -> Any:
        """Take back the last act."""
        return self.post("/api/undo", {"act": uuid4().hex}, status)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the disk alone: bringing everything to it takes seconds where others write."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """Functions that make a workspace by hand: pictures, a set of their vectors, a run of proposals.

    ``workspace(folder)`` makes all of it; the parts are ``images``, ``image_row``, ``set`` and ``proposals``.
    """
    return SimpleNamespace(
        workspace=make_workspace,
        images=make_images,
        image_row=image_row,
        set=make_set,
        proposals=make_proposals,
        usual=usual_proposals,
        names=NAMES,
        model=FINGERPRINT,
    )


def make_workspace(
    folder: Path,
    *,
    model: str = FINGERPRINT,
    names: Sequence[str] = NAMES,
    size_hw: tuple[int, int] = (8, 10),
    proposals: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """Make the workspace ``folder/w`` over ``folder/images``: set1 with a failed bad.png, and run1."""
    root = places.create(folder / "w")
    make_images(folder / "images", names, size_hw)
    rows = [image_row(name, size_hw) for name in names]
    rows.append(image_row("bad.png", (0, 0), status="failed", reason="cut off", unit=""))
    make_set(places.set_folder(root, "set1"), folder / "images", rows=rows, model=model)
    given = usual_proposals() if proposals is None else proposals
    make_proposals(places.proposals_folder(root, "run1"), given, model=model, size_hw=size_hw)
    places.remember(root, "set", "set1")
    places.remember(root, "proposals", "run1")
    return root


def make_images(root: Path, names: Sequence[str] = NAMES, size_hw: tuple[int, int] = (8, 10)) -> None:
    """Write pictures of 16 bits; turned.jpg is one of 8 bits that EXIF turns."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60000, size_hw).astype(np.uint16)
        if name == "turned.jpg":
            exif = Image.Exif()
            exif[0x0112], exif[0x010F] = 6, "SECRET CAMERA"
            Image.fromarray((pixels.T >> 8).astype(np.uint8)).save(root / name, exif=exif)
        else:
            Image.fromarray(pixels).save(root / name)


def image_row(name: str, size_hw: tuple[int, int] = (8, 10), **more: Any) -> dict[str, Any]:
    """Return the item (ITEM_COLUMNS) of a readable image."""
    numbers = ("x", "y", "w", "h", "objectness", "lo", "hi", *TEMPERATURE_COLUMNS)
    return {
        **dict.fromkeys(ITEM_COLUMNS, ""),
        **dict.fromkeys(numbers, np.nan),
        **{"kind": "image", "height": size_hw[0], "width": size_hw[1], "mask_counts": [], "status": "ok"},
        **{"item": name, "image": name, "prepare": "percentile", "unit": "counts", "lo": 10.0, "hi": 60000.0},
        **more,
    }


def make_set(
    folder: Path,
    root: Path,
    *,
    rows: Sequence[dict[str, Any]],
    model: str = FINGERPRINT,
    again: bool = False,
    vectors: np.ndarray | None = None,
) -> None:
    """Write a set of embeddings; without ``vectors`` (rows, n), the same for each part, all are alike."""
    if again:
        clear(folder)
    making = {"root": str(root), "model": model, "settings": {"prepare": "percentile"}}
    writer = SetWriter(folder, making, notes={"weights": "run0"})
    own = np.ones((len(rows), 2)) if vectors is None else vectors
    writer.write(0, as_table(pd.DataFrame(list(rows)), ITEM_COLUMNS), dict.fromkeys(PARTS, np.float32(own)))
    writer.finish(shards=1)


def make_proposals(
    folder: Path,
    given: Sequence[dict[str, Any]],
    *,
    model: str = FINGERPRINT,
    size_hw: tuple[int, int] = (8, 10),
    set_name: str = "set1",
) -> None:
    """Write a run of proposals p0, p1, ...; each needs image and label, and is a box of 4 x 4 else."""
    default = {
        "run": folder.name, "set": set_name, "kind": "region", "x": 1.0, "y": 2.0, "w": 4.0, "h": 4.0,
        "width": size_hw[1], "height": size_hw[0], "mask_counts": [], "margin": 0.5, "second": "",
        "score": 0.5, "similarity": 0.75, "reason": "near", "objectness": 0.5, "source": "ncut",
        "cluster": -1, "neighbours": ["i9"], "status": "proposed", "model": model, "features": "hog=1",
        "prepare": "percentile", "unit": "counts", "advice": "review", "lo": 10.0, "hi": 60000.0,
        **dict.fromkeys(TEMPERATURE_COLUMNS, np.nan),
    }  # fmt: skip
    rows = [{**default, "proposal": f"p{i}", "item": f"i{i}", **row} for i, row in enumerate(given)]
    folder.mkdir(parents=True)
    as_table(rows, PROPOSAL_COLUMNS).to_parquet(folder / "proposals.parquet")
    (folder / "meta.json").write_text(json.dumps({"set": set_name, "k": 20}))


def usual_proposals() -> list[dict[str, Any]]:
    """Return proposals of every sort: a mask with a hole, accepted, rejected, unknown, of a whole image."""
    ring = np.zeros((8, 10), bool)
    ring[1:6, 3:9] = True
    ring[3, 5:7] = False
    return [
        {"image": "a.png", "label": "person", "score": 0.9},
        {
            **{"image": "a.png", "label": "car", "score": 0.5, "mask_counts": mask_to_counts(ring)},
            **{"x": 3, "y": 1, "w": 6},
        },
        {"image": NAMES[1], "label": "car", "score": 0.7},
        {"image": NAMES[2], "label": "car", "score": 0.6, "status": "accepted"},
        {"image": "turned.jpg", "label": "car", "score": 0.3, "status": "rejected"},
        {"image": "a.png", "label": "tram", "score": 0.2, "advice": "unknown"},
        {"image": NAMES[1], "label": "night", "score": 0.8, "kind": "image", "x": np.nan},
    ]
