"""`propose again` from the review page: `dinotool propose-labels` as a child process, and how far it is."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from dinonat.errors import DinonatError
from dinonat.pipelines.propose_settings import NOT_IN_NAME, ProposeSettings

SAID, RESULT = "said", "result"
TAIL = 4000  # bytes of what the child says that are looked at
ENDING = 5.0  # seconds that a child is given to end


class BusyError(DinonatError):
    """A child is at work already."""


class Again:
    """At most one child, and what became of the last one.

    It writes into files of its own, not into pipes: where this process is killed, it goes on to its end.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = Lock()

    def start(self, set_name: str, made: Mapping[str, Any]) -> None:
        """Start the child with the settings that a run was made with, under a new name.

        Raises BusyError where one is running.
        """
        with self._lock:
            if self._child is not None and self._child.poll() is None:
                raise BusyError("Proposals are being made already. Wait for them.")
            self._folder = tempfile.TemporaryDirectory(prefix="dinotool-", ignore_cleanup_errors=True)
            folder = Path(self._folder.name)
            with (folder / SAID).open("wb") as said, (folder / RESULT).open("wb") as result:
                self._child = subprocess.Popen(
                    command(self.workspace, set_name, made),
                    stdin=subprocess.DEVNULL,
                    stdout=result,
                    stderr=said,
                    start_new_session=True,  # Ctrl-C is for the server, which ends the child itself
                )

    def state(self) -> dict[str, Any] | None:
        """Return {running, line, done, failed}: its last line, the new run, or what went wrong."""
        with self._lock:
            if self._child is None or self._folder is None:
                return None
            code = self._child.poll()
            line = _last(Path(self._folder.name) / SAID)
            if code is None:
                return {"running": True, "line": line, "done": None, "failed": None}
            run = ""
            if code == 0:
                with suppress(ValueError, KeyError):
                    run = str(json.loads((Path(self._folder.name) / RESULT).read_bytes())["run"])
            how = line or f"propose-labels ended with {code} and said nothing."
            return {"running": False, "line": line, "done": run or None, "failed": None if run else how}

    def end(self) -> None:
        """End the child, if one is at work: it writes a whole run or none."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                return
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(ENDING)


def command(workspace: Path, set_name: str, made: Mapping[str, Any]) -> list[str]:
    """Return the command that proposes again as the run ``made`` (its meta.json) was proposed."""
    known = set(ProposeSettings.model_fields) - NOT_IN_NAME
    settings = {key: value for key, value in dict(made.get("settings") or {}).items() if key in known}
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None]
    words = [word for pair in pairs for word in ("--set", pair)]
    program = [sys.executable, "-P", "-m", "dinonat.pipelines", "propose-labels", set_name]
    return [*program, *words, "--json", "--workspace", str(workspace)]


def _last(file: Path) -> str:
    """Return the last line of a file that the child may be writing to."""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - TAIL))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
