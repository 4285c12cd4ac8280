"""Libraries that write labels too, each in a Python of its own, on the set that it was handed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from PIL import Image

from dinonat.errors import UsageError
from dinonat.formats.handover import LABEL_ID, NUMBERS, TEXTS, Outgoing
from dinonat.pipelines import formats_peer

PEERS = ("datumaro", "supervision")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class PeerError(Exception):
    """A library could not do what it was asked for."""


@dataclass(frozen=True)
class Peer:
    """A library in a Python of its own, which has read the labels."""

    by: str  # its name and version
    library: str
    formats: tuple[str, ...]
    ask: Callable[[Mapping[str, Any]], dict[str, Any]]  # raises PeerError
    folder: Path  # where it may write


@contextmanager
def peer_in(python: Path | None, library: str, folder: Path, warnings: list[str]) -> Iterator[Peer | None]:
    """Start a library and wait until it has read what `hand_over` left in ``folder``; None without one.

    What it cannot do is said in ``warnings``. Raises UsageError where ``python`` is none.
    """
    if python is None:
        yield None
        return
    words = [python, "-I", formats_peer.__file__, library, folder / "set.json", folder / "pictures"]
    try:
        process = subprocess.Popen(
            list(map(str, words)),
            text=True,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise UsageError(f"bench formats: {python}: {error.strerror}. Name a Python.") from error
    try:
        yield _ready(process, library, folder, warnings)
    finally:
        process.communicate()  # closes its standard input, at which it ends


def hand_over(asked: Outgoing, folder: Path) -> None:
    """Write the set for the others: a file of labels, and a picture for each image, which some open."""
    images = list(_columns(asked.images, ("file_name", "width", "height")))
    facts = [name for name in (*TEXTS, *NUMBERS) if name in asked.labels]
    said = (
        dict(zip((LABEL_ID, *facts), row, strict=True))
        for row in _columns(asked.labels, ("proposal", *facts))
    )
    boxes = _columns(asked.labels, ("at", *"xywh", "number"))
    labels = [(*box, fact) for box, fact in zip(boxes, said, strict=True)]
    made = {"classes": asked.classes, "images": images, "labels": labels}
    (folder / "set.json").write_bytes(orjson.dumps(made))
    picture = folder / "picture.png"
    width, height = images[0][1:]
    Image.fromarray(np.zeros((height, width), np.uint8)).save(picture)
    for name, _, _ in images:
        file = folder / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(picture, file)
        except OSError:  # a file system without links, or too many of them
            shutil.copyfile(picture, file)


def _columns(table: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of some columns."""
    yield from zip(*(table[name].tolist() for name in names), strict=True)


def _ready(process: subprocess.Popen[str], library: str, folder: Path, warnings: list[str]) -> Peer | None:
    """Return the library once it has read the labels."""
    assert process.stdin is not None
    assert process.stdout is not None
    to_it, from_it = process.stdin, process.stdout

    def answer() -> dict[str, Any]:
        line = from_it.readline()
        if not line:
            raise PeerError(f"its process ended with exit code {process.wait()}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise PeerError(said["error"])
        return said

    def ask(request: Mapping[str, Any]) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # then there is no answer either
            print(json.dumps(request), file=to_it, flush=True)
        return answer()

    try:
        said = answer()
    except PeerError as error:
        warnings.append(f"{library} is left out: {error}")
        return None
    return Peer(f"{library} {said['version']}", library, tuple(said["formats"]), ask, folder)
