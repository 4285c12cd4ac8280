"""Measure the review page: time from a key to the next picture on the screen, and the memory of its server.

    python tests/pages/review_speed.py [--images 20000] [--size 160x120] [--steps 200]

Makes a workspace of 16-bit images with a proposal each (kept in --folder for the next time), serves it as
`dinotool review` does, and accepts one proposal after the other in headless Chromium: first at the pace of a
fast person (--pause), then each as soon as the last picture is there. A time begins where the browser
receives the key and ends after the frame with the next picture is painted.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from conftest import NAMES, Browser  # beside this file

from dinonat.embeddings.store import SetWriter
from dinonat.files import short_hash
from dinonat.pipelines import workspace as places
from dinonat.records import ITEM_COLUMNS, PARTS, PROPOSAL_COLUMNS, TEMPERATURE_COLUMNS, as_table

FILES = 500  # different pictures; all others are links to them
SHARD = 64  # images of a shard, as `dinotool embed` writes them
SIZES = {"mean": 384, "grid": 1152, "hog": 1764, "raw": 1024}  # of the vectors of the starter weights
CLASSES = ("car", "person", "bicycle", "dog")
ALL = """
(async () => {
  for (const [name, any] of [["label", "0"], ["advice", ""]]) {
    const choice = document.getElementById(name);
    choice.value = any;
    choice.dispatchEvent(new Event("change"));
  }
  document.activeElement.blur();
  return (await import("/page/desk.js")).desk.places.length;
})()
"""
LISTEN = """
(() => {
  window.measured = [];
  let began = null;
  addEventListener("keydown", event => { began = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (began === null) return;
    const drawn = performance.now() - began, mine = began;
    began = null;
    const painted = () => window.measured.push([performance.now() - mine, drawn]);
    requestAnimationFrame(() => setTimeout(painted, 0));
  }).observe(document.documentElement, { attributeFilter: ["data-shown"] });
  return true;
})()
"""


def make_workspace(folder: Path, count: int, width: int, height: int) -> Path:
    """Return a workspace over ``count`` made images with a box proposed in each; made once."""
    root, images = folder / "workspace", folder / "images"
    if (root / "ready-2").exists():
        return root
    shutil.rmtree(folder, ignore_errors=True)
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = np.arange(height)[:, None] + 3 * np.arange(width)[None]
    names = [f"flight {i // 500:03}/frame_{i:06}.tif" for i in range(count)]
    for i, name in enumerate(names):
        (images / name).parent.mkdir(exist_ok=True)
        if i < FILES:
            noise = rng.normal(0, 12, (height, width))
            tifffile.imwrite(images / name, (7000 + rows * (i % 7 + 1) / 4 + noise).astype(np.uint16))
        else:
            os.link(images / names[i % FILES], images / name)
    places.create(root)
    _write_set(places.set_folder(root, "speed"), images, names, width, height)
    _write_run(places.proposals_folder(root, "speed"), names, width, height)
    places.remember(root, "set", "speed")
    places.remember(root, "proposals", "speed")
    (root / "ready-2").touch()
    return root


def _write_set(folder: Path, images: Path, names: list[str], width: int, height: int) -> None:
    making = {"root": str(images), "model": "made", "settings": {"prepare": "percentile"}}
    writer = SetWriter(folder, making, notes={"weights": "made"})
    numbers = ("x", "y", "w", "h", "objectness", *TEMPERATURE_COLUMNS)
    plain = {
        **dict.fromkeys(ITEM_COLUMNS, ""), **dict.fromkeys(numbers, np.nan), "kind": "image", "status": "ok",
        "width": width, "height": height, "mask_counts": [], "unit": "counts", "prepare": "percentile",
        "lo": 7000.0, "hi": 7400.0,
    }  # fmt: skip
    rng = np.random.default_rng(1)
    starts = range(0, len(names), SHARD)
    for shard, start in enumerate(starts):
        rows = [
            {**plain, "item": short_hash(name), "image": name, "recording": name.partition("/")[0]}
            for name in names[start : start + SHARD]
        ]
        vectors = {part: rng.random((len(rows), SIZES[part]), np.float32) for part in PARTS}
        writer.write(shard, as_table(rows, ITEM_COLUMNS), vectors)
    writer.finish(shards=len(starts))


def _write_run(folder: Path, names: list[str], width: int, height: int) -> None:
    rng = np.random.default_rng(2)
    n, scores = len(names), np.sort(rng.random(len(names)))[::-1]
    order = rng.permutation(n)
    neighbours = [[short_hash(names[j]) for j in rng.integers(0, 200, 20)] for _ in range(n)]
    table = pd.DataFrame(
        {
            **dict.fromkeys(PROPOSAL_COLUMNS, ""), **dict.fromkeys(TEMPERATURE_COLUMNS, np.nan),
            "proposal": [short_hash("speed", name) for name in names], "run": "speed", "set": "speed",
            "item": [short_hash(name) for name in names], "image": names, "kind": "region",
            "x": rng.integers(0, width // 2, n), "y": rng.integers(0, height // 2, n), "w": width / 4,
            "h": height / 4, "width": width, "height": height, "mask_counts": [[]] * n,
            "label": [CLASSES[i % 4] for i in range(n)], "second": "dog", "score": scores[order],
            "margin": 0.2, "similarity": 0.7, "advice": "review", "reason": "0.70 alike to 3 examples",
            "objectness": 0.5, "cluster": -1, "neighbours": neighbours, "method": "vote",
            "agree": "vote", "probability": np.nan, "status": "proposed", "features": "grid=0.7,hog=1",
            "lo": 7000.0, "hi": 7400.0, "unit": "counts", "prepare": "percentile",
        }
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    as_table(table, PROPOSAL_COLUMNS).to_parquet(folder / "proposals.parquet")
    settings = {"k": 20, "temperature": 0.07}
    (folder / "meta.json").write_text(json.dumps({"set": "speed", "method": "vote", "settings": settings}))


@dataclass
class Served:
    """A server of the page, as a user starts it."""

    process: "subprocess.Popen[str]"
    address: str

    def memory(self) -> tuple[int, int]:
        """Return the most memory (MB) that the server held, and its reading processes together."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += (thread / "children").read_text().split()
        return _peak(pid), sum(_peak(int(child)) for child in set(children))


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


@contextlib.contextmanager
def serving(workspace: Path, run: str) -> Iterator[Served]:
    """Serve a run of a workspace until the end of the block."""
    command = [sys.executable, "-m", "dinonat.pipelines", "review", "--proposals", run, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--json", "-w", str(workspace)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Served(process, json.loads(process.stdout.readline())["address"])
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Open a headless Chromium until the end of the block."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise SystemExit(f"no browser here ({', '.join(NAMES)})")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, Path(profile))
        try:
            yield browser
        finally:
            browser.close()


def enter_single(browser: Browser, address: str) -> tuple[float, int]:
    """Open the page, one after the other of all classes.

    Returns the seconds until it is ready, and how many proposals are in its list.
    """
    began = time.perf_counter()
    browser.open(address, until="document.body.classList.contains('ready')")
    seconds = time.perf_counter() - began
    browser.key("s", "s")
    browser.wait("document.documentElement.dataset.shown")
    listed = int(browser.run(ALL))
    return seconds, listed


def steps(browser: Browser, count: int, pause: float) -> list[list[float]]:
    """Accept ``count`` proposals; return the milliseconds from each key to the next picture.

    They end when it is painted, and when it was drawn.
    """
    browser.run("window.measured.length = 0")
    for step in range(count):
        browser.key("Enter", "\r", code="Enter", windowsVirtualKeyCode=13)
        browser.wait(f"window.measured.length > {step}")
        time.sleep(pause)
    found: list[list[float]] = browser.run("window.measured")
    return found


def reasons(browser: Browser, count: int) -> tuple[float, list[float]]:
    """Return the milliseconds that the reasons of a first proposal and of ``count`` others take."""
    ids = "(await import('/page/state.js')).list.rows.id"
    code = (
        f"(async () => {{ const ids = {ids}, times = []; for (let i = 0; i <= {count}; i++) {{"
        " const began = performance.now(), id = ids[(i * 7919) % ids.length];"
        " const answer = await fetch(`/api/why/${id}`); await answer.json();"
        " if (!answer.ok) throw new Error(answer.status); times.push(performance.now() - began); }"
        " return times; })()"
    )
    first, *others = browser.run(code)
    return first, others


def summary(measured: list[list[float]]) -> str:
    """Return median, 95th percentile and the longest until it is painted, and what drawing takes of it."""
    times, drawn = zip(*measured, strict=True)
    middle, most, longest = statistics.median(times), statistics.quantiles(times, n=20)[-1], max(times)
    words = f"median {middle:.0f} ms, 95th percentile {most:.0f} ms, longest {longest:.0f} ms"
    return f"{words} (drawn after {statistics.median(drawn):.0f} ms)"


def main() -> None:
    """Make, serve, press keys, and say what was measured."""
    options: Any = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--images", type=int, default=20_000)
    options.add_argument("--size", default="160x120", help="width x height of an image")
    options.add_argument("--steps", type=int, default=200)
    options.add_argument(
        "--pause", type=float, default=0.25, help="seconds between a picture and the next key"
    )
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dinotool-review-speed")
    asked = options.parse_args()
    width, height = map(int, asked.size.split("x"))
    workspace = make_workspace(asked.folder / f"{asked.images}-{asked.size}", asked.images, width, height)
    (workspace / "labels.db").unlink(missing_ok=True)
    with serving(workspace, "speed") as served, chromium() as browser:
        ready, listed = enter_single(browser, served.address)
        assert listed == asked.images, f"{listed} proposals are listed"
        browser.run(LISTEN)
        paced, unpaced = steps(browser, asked.steps, asked.pause), steps(browser, asked.steps, 0.0)
        browser.wait("!document.body.dataset.waiting || document.body.dataset.waiting === '0'")
        first, others = reasons(browser, 100)
        own, readers = served.memory()
        load = os.getloadavg()[0]  # of whatever else this machine does: more than 1 makes it slower
        said = browser.said()
    print(f"{asked.images} images of {asked.size}, 16 bits; page ready after {ready:.1f} s; load {load:.1f}")
    print(f"{asked.steps} steps, {asked.pause:g} s to look at each: {summary(paced)}")
    print(f"{asked.steps} steps without a pause: {summary(unpaced)}")
    middle, most = statistics.median(others), statistics.quantiles(others, n=20)[-1]
    print(f"why: the first {first:.0f} ms, 100 others median {middle:.0f} ms, 95th percentile {most:.0f} ms")
    print(f"server {own} MB, its reading processes {readers} MB together" + (f"; {said}" if said else ""))


if __name__ == "__main__":
    main()
