"""A server of the review page that is killed has lost nothing that it acknowledged, and doubled nothing.

Two tabs act at once, and ask again under the same name until they are answered, as the page does.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

KILLS = max(20, int(os.environ["DINOTOOL_TORTURE"])) if os.environ.get("DINOTOOL_TORTURE") else 3
ACTS, TABS, PATIENCE = 500, 2, 120.0

# Loads the libraries once; each line that it is given is a port, on which a child of its own serves.
PROGRAM = """
import json, os, sys
from pathlib import Path
from dinonat.pipelines.review import ReviewSettings, run
say = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    child = os.fork()
    if not child:
        def listening(address):
            print(json.dumps([os.getpid(), address]), file=say, flush=True)
        run(ReviewSettings(port=int(line), browser=False), Path(sys.argv[1]), listening=listening)
        os._exit(0)
    os.waitpid(child, 0)
    print(json.dumps(child), file=say, flush=True)
"""


class Servers:
    """Starts a server again and again on one port, and kills it."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-c", PROGRAM, str(root)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port, self.child, self.cookie = 0, 0, ""

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.port}\n")
        self.process.stdin.flush()
        self.child, address = self.heard()
        host, path = address.removeprefix("http://").split("/", 1)
        self.port = int(host.rpartition(":")[2])
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", f"/{path}")
            cookie = connection.getresponse().getheader("set-cookie")
        assert cookie is not None
        self.cookie = cookie.partition(";")[0]

    def kill(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        assert self.heard() == self.child

    def heard(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask until there is an answer, however often the server dies meanwhile."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            headers = {"Cookie": self.cookie, "Origin": f"http://127.0.0.1:{self.port}"}
            content = None if body is None else json.dumps(body).encode()
            connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request(method, path, content, {**headers, "Content-Type": "application/json"})
                response = connection.getresponse()
                answer = response.status, json.loads(response.read())
                if answer[0] != 403:  # the cookie of the server before
                    return answer
            except (OSError, HTTPException, ValueError):
                pass
            finally:
                connection.close()
            time.sleep(0.01)
        raise AssertionError("no answer")


class Tab(threading.Thread):
    """A person who acts as fast as the server answers, and notes what was acknowledged."""

    def __init__(self, servers: Servers, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.servers, self.number, self.choose = servers, number, random.Random(seed)
        self.seen: dict[str, int] = {}
        self.acknowledged: dict[str, list[dict[str, Any]]] = {}
        self.refused: list[str] = []

    def run(self) -> None:
        for count in range(ACTS // TABS):
            name = f"tab {self.number} act {count}"
            path, body = ("/api/undo", {}) if count % 7 == 6 else ("/api/act", {"changes": self.changes()})
            status, answer = self.servers.ask("POST", path, {"act": name, **body})
            assert status in (200, 409), answer
            if status == 200:
                self.acknowledged[name] = answer["changes"]
            else:
                self.refused.append(name)
            self.seen.update({each["id"]: each["seq"] for each in answer.get("changes", ())})

    def changes(self) -> list[dict[str, Any]]:
        """Return what is done next: half of it to labels that the other tab never touches."""
        choose = self.choose
        if choose.random() < 0.2:
            return [{"do": "drawn", "image": choose.randrange(20), "label": "bird", "box": [1, 1, 3, 3]}]
        first = self.number * 100 if choose.random() < 0.8 else 200
        ids = [f"p{first + n}" for n in choose.sample(range(100), choose.choice((1, 1, 20)))]
        do = choose.choice(
            ({"do": "accepted"}, {"do": "rejected"}, {"do": "relabelled", "label": "cat"},
             {"do": "moved", "box": [2, 2, 4, 4]})
        )  # fmt: skip
        return [{"id": name, "seen": self.seen.get(name, 0), **do} for name in ids]


@pytest.fixture
def servers(tmp_path: Path, made: SimpleNamespace) -> Iterator[Servers]:
    names = [f"{n:02}.png" for n in range(20)]
    rows = [{"image": names[n % 20], "label": "car", "x": float(n % 5)} for n in range(300)]
    running = Servers(made.workspace(tmp_path, names=names, proposals=rows))
    yield running
    running.end()


def written(root: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Return the events of each act, and the last event of each label; the database is consistent."""
    with closing(sqlite3.connect(root / "labels.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        events = db.execute("SELECT seq, label_id, action, label, x FROM events ORDER BY seq").fetchall()
        acts = db.execute("SELECT act, first, last FROM acts ORDER BY number").fetchall()
    rows = [dict(zip(("seq", "id", "action", "label", "x"), event, strict=True)) for event in events]
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(last - first + 1 for _, first, last in acts) == len(rows)  # every event is of one act
    return {name: rows[first - 1 : last] for name, first, last in acts}, {row["id"]: row for row in rows}


def test_what_was_acknowledged_survives_a_kill_at_any_moment_and_nothing_is_doubled(
    servers: Servers, tmp_path: Path
) -> None:
    seed = time.time_ns()
    moments, killed = random.Random(seed), 0
    servers.start()
    tabs = [Tab(servers, number, seed + number + 1) for number in range(TABS)]
    for tab in tabs:
        tab.start()
    points = sorted(moments.sample(range(10, ACTS - 20), KILLS))
    for point in points:
        while sum(len(tab.acknowledged) + len(tab.refused) for tab in tabs) < point:
            assert any(tab.is_alive() for tab in tabs)
            time.sleep(0.001)
        time.sleep(moments.random() * 0.03)
        servers.kill()
        killed += 1
        servers.start()
    for tab in tabs:
        tab.join(PATIENCE)
    assert killed == KILLS
    acknowledged = {name: changes for tab in tabs for name, changes in tab.acknowledged.items()}
    refused = {name for tab in tabs for name in tab.refused}
    assert len(acknowledged) + len(refused) == ACTS
    acts, last = written(tmp_path / "w")
    assert set(acts) == set(acknowledged), seed
    for name, changes in acknowledged.items():
        told = [{key: change[key] for key in ("seq", "id", "action", "label", "x")} for change in changes]
        assert told == acts[name], (seed, name)
    _, listed = servers.ask("GET", "/api/list")
    stands = {name: word["seq"] for name, word in listed["state"].items()}
    stands |= {word["id"]: word["seq"] for word in listed["drawn"]}
    gone = {"withdrawn"}, {"withdrawn", "rejected"}
    expected = {
        name: row["seq"] for name, row in last.items() if row["action"] not in gone[not name.startswith("p")]
    }
    assert stands == expected, seed
