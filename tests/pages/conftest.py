"""A browser that tests drive: headless Chromium, spoken to by its DevTools protocol over a pipe."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = ["review_*.py"]  # scripts that measure the review page (make bench-review), no tests
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
    "--window-size=1400,1000", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
NUMBERS = {"Tab": 9, "Enter": 13, "Escape": 27}  # by which the browser itself knows keys
# The browser reads from its file 3 and writes to its file 4.
AS_THREE_AND_FOUR = """
import fcntl, os, sys
hear, say = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(hear, 3)
os.dup2(say, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a browser; `tell` sends a command of the protocol and returns its answer."""

    def __init__(self, program: str, profile: Path, *more: str) -> None:
        hear, self._say = os.pipe()
        self._hear, say = os.pipe()
        command = [sys.executable, "-c", AS_THREE_AND_FOUR, str(hear), str(say), program, *QUIET, *more]
        self.child = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(hear, say),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(hear)
        os.close(say)
        self._numbers, self._rest = itertools.count(1), b""
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        pages = self.tell("Target.getTargets")["targetInfos"]
        self._attach(next(each["targetId"] for each in pages if each["type"] == "page"))

    def _attach(self, target: str) -> None:
        self.session = None
        self.session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    @contextlib.contextmanager
    def tab(self) -> Iterator[None]:
        """Open a second page and speak to it for a while; ``session`` says which one is spoken to."""
        first, self.session = self.session, None
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._attach(target)
        yield
        self.session = None
        self.tell("Target.closeTarget", targetId=target)
        self.session = first

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._hear, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, page: Path | str, *, scheme: str = "light", until: str = "true") -> None:
        """Show a file or an address in light or dark and wait until it is loaded and ``until`` is true."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.tell("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.tell("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.wait(f"document.readyState === 'complete' && Boolean({until})")

    def wait(self, until: str) -> None:
        """Wait until an expression is true in the page."""
        for _ in range(600):
            try:
                if self.run(f"Boolean({until})"):
                    return
            except AssertionError as error:
                if "navigated" not in str(error):  # one page goes on to another
                    raise
            time.sleep(0.02)
        raise AssertionError(f"never true: {until}; {self.said()}")

    def run(self, code: str) -> Any:
        """Return the value of an expression in the page; a promise is waited for."""
        answer = self.tell("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Move, press or release the mouse as a hand does."""
        self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, path: list[tuple[float, float]], *, shift: bool = False) -> None:
        """Drag the mouse along a path of points of the window."""
        held = {"button": "left", "modifiers": 8 if shift else 0}
        self.mouse("mousePressed", *path[0], clickCount=1, **held)
        for place in path[1:]:
            self.mouse("mouseMoved", *place, buttons=1, **held)
        self.mouse("mouseReleased", *path[-1], clickCount=1, **held)

    def key(self, name: str, text: str = "", **more: Any) -> None:
        """Press and release one key; ``more`` has its code and modifiers (1 Alt, 2 Ctrl, 8 Shift)."""
        facts = {"key": name, **({"text": text} if text else {}), **more}
        if name in NUMBERS:
            facts["windowsVirtualKeyCode"] = NUMBERS[name]
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, **facts)

    def type(self, text: str) -> None:
        """Put a text where the focus is."""
        self.tell("Input.insertText", text=text)

    def picture(self, file: Path) -> None:
        """Write what is seen as a PNG."""
        file.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def said(self) -> list[str]:
        """Return what went wrong in the page: errors, refusals of its policy."""
        entries = [each.get("params", {}) for each in self.events]
        errors = [each["entry"]["text"] for each in entries if each.get("entry", {}).get("level") == "error"]
        return errors + [str(each["exceptionDetails"]) for each in entries if "exceptionDetails" in each]

    def asked_for(self) -> set[str]:
        """Return which addresses the page has asked for, without what it holds itself."""
        requests = [each["params"] for each in self.events if each["method"] == "Network.requestWillBeSent"]
        return {each["request"]["url"] for each in requests if not each["request"]["url"].startswith("data:")}

    def close(self) -> None:
        """End the browser."""
        os.close(self._say)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5)
        self.child.kill()
        self.child.wait()
        os.close(self._hear)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a headless Chromium; skip where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here ({', '.join(NAMES)})")
    started = Browser(program, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()
