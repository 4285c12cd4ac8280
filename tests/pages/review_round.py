"""Play a person who reviews proposals on the page, with true boxes as the judge, and count what it takes.

    python tests/pages/review_round.py TRUTH.json --labels ten.csv [--label 10]      # labels to begin with
    python tests/pages/review_round.py TRUTH.json -w WORKSPACE --proposals RUN [--count 100]

TRUTH.json are boxes in COCO's form. The first line writes the boxes of a few images, for `propose-labels`.
The second serves the run and goes through its first proposals in headless Chromium, by real keys and drags:
Enter for a box that is right (IoU of 0.7 and the class), the number of its class for another class, pulled
corners for a box in its place (IoU of 0.3), X for all others. Every key and every drag counts as one act.
What is in labels.db afterwards is compared with the truth.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from conftest import Browser  # beside this file
from review_speed import chromium, enter_single, serving

from dinonat.evaluation.clicks import Prices, box_bill, box_fates
from dinonat.formats.catalog import read_labels
from dinonat.geometry import iou_xywh
from dinonat.pipelines.people import said
from dinonat.pipelines.review_list import Shown

PRICES = Prices()
BOX = ["x", "y", "w", "h"]
CORNERS = {"top left": (0, 1), "top right": (2, 1), "bottom left": (0, 3), "bottom right": (2, 3)}
WHERE = """
(async () => {
  const { view } = await import("/page/stage.js");
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame); // nobody is quicker
  const pane = document.getElementById("pane-main").getBoundingClientRect();
  return { ...view, left: pane.left, top: pane.top, width: pane.width, height: pane.height };
})()
"""
IN_HAND = 'import("/page/stage.js").then(stage => stage.scene.editing)'
SCREEN = {"width": 1700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
TRIES = 4
QUIET = 'import("/page/queue.js").then(queue => queue.waitingActs().length === 0)'


def true_boxes(file: Path) -> pd.DataFrame:
    """Return the boxes of a COCO file: image, label, x, y, w, h."""
    table = read_labels(file)
    return table[table["x"].notna()].reset_index(drop=True)


def corners(box: np.ndarray) -> np.ndarray:
    """Return left, top, right, bottom."""
    return np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])


def sides(edges: np.ndarray) -> np.ndarray:
    """Return x, y, width, height."""
    return np.array([edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1]])


def pulled(box: np.ndarray, true: np.ndarray, corner: str) -> np.ndarray:
    """Return the box with one corner where that of the true box is."""
    edges, own = corners(box), list(CORNERS[corner])
    edges[own] = corners(true)[own]
    return sides(edges)


def pulls(box: np.ndarray, true: np.ndarray) -> list[str]:
    """Return the corners to pull: one where that is enough, else two."""
    enough = [
        name for name in CORNERS if iou_xywh([pulled(box, true, name)], [true])[0, 0] >= PRICES.keep + 0.1
    ]
    return enough[:1] or ["top left", "bottom right"]


class Person:
    """Somebody who knows the true boxes, at the keys of a page."""

    def __init__(self, browser: Browser, shown: Shown, truth: pd.DataFrame, classes: list[str]) -> None:
        self.browser, self.shown, self.classes = browser, shown, classes
        self.truth = truth.assign(found=False)
        self.acts, self.did = Counter[str](), Counter[str]()

    def key(self, name: str, text: str, **more: Any) -> None:
        """Press one key."""
        self.acts["keys"] += 1
        self.browser.key(name, text, **more)

    def enter(self) -> None:
        """Press Enter."""
        self.key("Enter", "\r", code="Enter", windowsVirtualKeyCode=13)

    def class_key(self, label: str) -> None:
        """Press the number of a class."""
        digit = str(self.classes.index(label) + 1)
        self.key(digit, digit, code=f"Digit{digit}")

    def review(self) -> str:
        """Decide about the proposal that is shown, and return its id once another one is."""
        name = str(self.browser.run("document.documentElement.dataset.shown"))
        row = self.shown.table.iloc[self.shown.place_of[name]]
        box = row[BOX].to_numpy(np.float64)
        open_ = self.truth[(self.truth["image"] == row["image"]) & ~self.truth["found"]]
        overlap = iou_xywh([box], open_[BOX])[0] if len(open_) else np.zeros(0)
        best = int(overlap.argmax()) if len(overlap) else -1
        if best < 0 or overlap[best] < PRICES.place:
            self.did["rejected"] += 1
            self.key("x", "x", code="KeyX")
        else:
            true = open_.iloc[best]
            self.truth.loc[open_.index[best], "found"] = True
            self._take(row, box, true, float(overlap[best]))
        self.browser.wait(f"document.documentElement.dataset.shown !== {json.dumps(name)}")
        return name

    def _take(self, row: pd.Series, box: np.ndarray, true: pd.Series, overlap: float) -> None:
        same = row["label"] == true["label"]
        if overlap >= PRICES.keep and same:
            self.did["accepted"] += 1
            self.enter()
        elif overlap >= PRICES.keep:
            self.did["relabelled"] += 1
            self.class_key(true["label"])
        else:
            self.did["moved"] += 1
            self._pull(box, true[BOX].to_numpy(np.float64))
            self.enter() if same else self.class_key(true["label"])

    def _pull(self, box: np.ndarray, true: np.ndarray) -> None:
        """Drag corners of the box in hand to where they belong; what sits already stays."""
        for name in pulls(box, true):
            after = pulled(box, true, name)
            for _ in range(TRIES):  # the page may have moved under the hand: it sees that, and pulls again
                if np.allclose(box, after, atol=1.0):
                    break
                view, own = self.browser.run(WHERE), list(CORNERS[name])
                start, end = (np.array(_on_screen(view, corners(at)[own])) for at in (box, after))
                self._drag(start, end)
                box = np.array(self.browser.run(IN_HAND) or box, np.float64)

    def _drag(self, start: np.ndarray, end: np.ndarray) -> None:
        """Drag from one point of the window to another, no faster than the page is painted."""
        self.acts["drags"] += 1
        held = {"button": "left"}
        self.browser.mouse("mousePressed", *start, clickCount=1, **held)
        for point in ((start + end) / 2 + 6, end):
            self.browser.mouse("mouseMoved", *point, buttons=1, **held)
            self.browser.run("new Promise(requestAnimationFrame).then(() => true)")
        self.browser.mouse("mouseReleased", *end, clickCount=1, **held)


def _on_screen(view: dict[str, float], point: np.ndarray) -> tuple[float, float]:
    """Return where a point of the image lies in the window; the mouse stays inside the picture's pane."""
    found = []
    for axis, start, side, value in zip("xy", ("left", "top"), ("width", "height"), point, strict=True):
        at = (float(value) - view[axis]) * view["scale"] + view[side] / 2
        found.append(view[start] + min(max(at, 2.0), view[side] - 2))
    return found[0], found[1]


def checked(person: Person, names: list[str], workspace: Path) -> tuple[int, int]:
    """Return how many of the labels that stand have a true box (IoU of 0.7 and class), and how many stand."""
    assert len(set(names)) == len(names), "a proposal was reviewed twice"
    events = said(workspace, person.shown.set_name).set_index("label_id")
    own = events.loc[[name for name in names if name in events.index]]
    assert len(own) == len(names), f"{len(names)} were reviewed, {len(own)} are in labels.db"
    stands = own[own["action"] != "rejected"]
    right = 0
    for _, event in stands.iterrows():
        same = person.truth[
            (person.truth["image"] == event["image"]) & (person.truth["label"] == event["label"])
        ]
        overlap = iou_xywh([event[BOX].to_numpy(np.float64)], same[BOX])
        right += bool(overlap.size and overlap.max() >= PRICES.keep)
    return right, len(stands)


def play(truth: pd.DataFrame, workspace: Path, run: str, count: int) -> None:
    """Review and say what it took."""
    shown = Shown(workspace, run)
    with serving(workspace, run) as served, chromium() as browser:
        browser.tell("Emulation.setDeviceMetricsOverride", **SCREEN)
        enter_single(browser, served.address)
        classes = browser.run('import("/page/state.js").then(state => [...state.classes])')
        person, began = Person(browser, shown, truth, classes), time.perf_counter()
        names = [person.review() for _ in range(count)]
        while not browser.run(QUIET):
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        faults = browser.said()
    right, stand = checked(person, names, workspace)
    report(person, shown, names, right, stand, seconds)
    if faults:
        print("The page said:", *faults, sep="\n  ")


def report(person: Person, shown: Shown, names: list[str], right: int, stand: int, seconds: float) -> None:
    """Say what was done, what it cost, and what drawing the same from nothing would."""
    rows = shown.table.iloc[[shown.place_of[name] for name in names]]
    images = sorted(set(rows["image"].astype("str")))
    truth = person.truth[person.truth["image"].isin(images)]
    acts = sum(person.acts.values())
    missing = len(truth) - stand
    did = ", ".join(f"{n} {what}" for what, n in person.did.most_common())
    advice = ", ".join(f"{n} {what}" for what, n in rows["advice"].astype("str").value_counts().items())
    print(f"{len(names)} proposals ({advice}) in {len(images)} images: {did}")
    keys, drags = person.acts["keys"], person.acts["drags"]
    print(f"{acts} acts ({keys} keys, {drags} drags), {seconds:.0f} s of the script")
    print(f"{stand} boxes stand, {right} of them with a true box (IoU of 0.7 and the class)")
    print(
        f"the same {stand} boxes from nothing: {PRICES.draw * stand:.0f} acts (two corners and a class each)"
    )
    whole, nothing = acts + PRICES.draw * missing, PRICES.draw * len(truth)
    print(
        f"all {len(truth)} boxes of these images: {whole:.0f} acts with {missing} drawn after the review, "
        f"{nothing:.0f} from nothing: {round(100 * (1 - whole / nothing))} % saved"
    )
    found = rows.assign(image=rows["image"].astype("str"), label=rows["label"].astype("str"))
    bill = box_bill(box_fates(found, truth, images, PRICES), PRICES)
    print(f"as evaluate proposals prices it: {bill.clicks:.0f} clicks against {bill.from_nothing:.0f}")


def write_labels(truth: pd.DataFrame, count: int, file: Path) -> None:
    """Write the boxes of ``count`` images, evenly taken, as a table for `propose-labels`."""
    names = sorted(truth["image"].unique())
    taken = [names[int(place)] for place in np.linspace(0, len(names) - 1, count)]
    truth[truth["image"].isin(taken)].to_csv(file, index=False)
    print(f"{truth['image'].isin(taken).sum()} boxes of {count} images -> {file}")


def main() -> None:
    """Write labels to begin with, or play a round."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("truth", type=Path)
    options.add_argument("--labels", type=Path, help="write the boxes of --label images there")
    options.add_argument("--label", type=int, default=10)
    options.add_argument("-w", "--workspace", type=Path)
    options.add_argument("--proposals")
    options.add_argument("--count", type=int, default=100)
    asked = options.parse_args()
    truth = true_boxes(asked.truth)
    if asked.labels:
        write_labels(truth, asked.label, asked.labels)
        return
    with tempfile.TemporaryDirectory() as folder:  # the workspace itself stays as it is
        copy = shutil.copytree(asked.workspace, Path(folder) / "workspace")
        play(truth, copy, asked.proposals, asked.count)


if __name__ == "__main__":
    main()
