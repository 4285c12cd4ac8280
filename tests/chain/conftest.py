"""A shell that keeps the libraries loaded, for tests that run many commands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

# Loads libraries once; each line that it is given is a command, which a child of its own runs.
WARM = """
import importlib, json, os, sys
from dinonat.pipelines.cli import main
for name in sys.argv[1:]:
    importlib.import_module("dinonat.pipelines." + name)
os.sync, os.fsync = (lambda: None), (lambda _: None)  # which take seconds where others write
for line in sys.stdin:
    words, *files = json.loads(line)
    child = os.fork()
    if not child:
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = words
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
WITH_TORCH = ("pretrain", "embed")  # commands; torch and faiss are never in one process


class WarmShell:
    """Runs `dinotool WORDS`, each in a process of its own, without loading the libraries each time."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.environment = folder, dict(environment or os.environ)
        self.servers: dict[bool, subprocess.Popen[str]] = {}

    def __call__(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        server = self._server(words[0] in WITH_TORCH)
        assert server.stdin is not None
        assert server.stdout is not None
        files = [self.folder / "said.out", self.folder / "said.err"]
        server.stdin.write(json.dumps([list(words), *map(str, files)]) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, err = (file.read_text("utf-8") for file in files)
        return subprocess.CompletedProcess(list(words), code, out, err)

    def _server(self, torch: bool) -> "subprocess.Popen[str]":
        if torch not in self.servers:
            modules = WITH_TORCH if torch else ("propose", "export")
            pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            command = [sys.executable, "-c", WARM, *modules]
            self.servers[torch] = subprocess.Popen(command, env=self.environment, **pipe)
        return self.servers[torch]

    def close(self) -> None:
        """End the processes."""
        for server in self.servers.values():
            server.communicate()


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., WarmShell]]:
    """Make a WarmShell, in an environment if one is given."""
    made: list[WarmShell] = []

    def make(environment: Mapping[str, str] | None = None) -> WarmShell:
        made.append(WarmShell(tmp_path_factory.mktemp("warm"), environment))
        return made[-1]

    yield make
    for shell in made:
        shell.close()
