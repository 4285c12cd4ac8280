"""`dinotool review`: the page on which a person goes through proposals, served on this machine only."""

import errno
import ipaddress
import json
import os
import socket
import sys
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import uvicorn
from pydantic import Field

from dinonat.errors import UsageError
from dinonat.pipelines.people import account
from dinonat.pipelines.progress import duration, say
from dinonat.pipelines.review_app import Page
from dinonat.pipelines.review_desk import Desk
from dinonat.pipelines.review_doors import PORT, Doors, named
from dinonat.pipelines.review_list import audits_of
from dinonat.settings import Settings

PORTS = 20  # that are tried from PORT on, where nobody asks for one
LEAVING = 2  # seconds that open connections are given when the server ends
LOCAL = ("127.0.0.1", "localhost", "::1")


class ReviewSettings(Settings):
    """What `dinotool review` can be told."""

    proposals: str | None = None  # run; the newest where none is named
    audit: str | None = None  # selection to open in audit mode; else the newest audit of the run, if any
    port: int | None = Field(None, ge=0, le=65535)  # None: PORT, or the next free one; 0: any free one
    host: str = "127.0.0.1"  # another address lets others in who have the token
    browser: bool = True  # open it
    who: str | None = None  # who reviews; the name of the account where nobody says


@dataclass(frozen=True)
class ReviewReport:
    """What was done while the page was open."""

    run: str
    set: str
    address: str
    labels: int  # acknowledged, by this server
    acts: int
    seconds: float
    per_minute: float | None

    def lines(self) -> list[str]:
        """Text for people."""
        speed = f", {self.per_minute:.0f} a minute lately" if self.per_minute else ""
        return [
            f"Run {self.run} of set {self.set}: {self.labels} labels in {duration(self.seconds)}{speed}",
            f"All of it is in labels.db. `dinotool propose-labels {self.set}` learns from it.",
        ]


def run(
    settings: ReviewSettings, workspace: Path, *, listening: Callable[[str], None] | None = None
) -> ReviewReport:
    """Serve the page until Ctrl-C; ``listening`` gets the address once it answers.

    Raises UsageError for a port in use or an address that is not of this machine, WorkspaceError where
    there is nothing to review.
    """
    ready = prepared(settings, workspace)
    if settings.host not in LOCAL:
        say(
            f"--host {settings.host}: whoever reaches this port and has the address can read and change "
            "the labels; it travels unencrypted."
        )
    (listening or announce)(ready.address)
    if settings.browser and has_screen():
        opening = Timer(0.3, webbrowser.open, [ready.address])
        opening.daemon = True
        opening.start()
    began = time.monotonic()
    with suppress(KeyboardInterrupt):
        ready.serve()
    pace, shown = ready.desk.pace, ready.desk.shown
    return ReviewReport(
        run=shown.run,
        set=shown.set_name,
        address=ready.address,
        labels=pace.total,
        acts=ready.desk.written,
        seconds=round(time.monotonic() - began, 1),
        per_minute=pace.per_minute(),
    )


@dataclass(frozen=True, eq=False)
class Ready:
    """A server that listens, and has not begun to answer."""

    address: str  # with the token
    desk: Desk
    listener: socket.socket
    server: uvicorn.Server

    def serve(self) -> None:
        """Answer until Ctrl-C, or until ``server.should_exit``."""
        try:
            with self.listener:
                self.server.run(sockets=[self.listener])
        finally:  # Ctrl-C too
            self.desk.close()


def prepared(settings: ReviewSettings, workspace: Path) -> Ready:
    """Return a server for a run of the workspace that listens already; raises as `run` does."""
    desk = Desk(workspace, account() if settings.who is None else settings.who, settings.proposals)
    desk.audit = _audit(desk, settings.audit)
    listener = bound(settings.host, settings.port)
    doors = Doors(Page(desk), port=int(listener.getsockname()[1]), host=settings.host)
    config = uvicorn.Config(
        doors, loop="asyncio", http="h11", ws="none", lifespan="off", log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=LEAVING,
    )  # fmt: skip
    return Ready(doors.address, desk, listener, uvicorn.Server(config))


def has_screen() -> bool:
    """Say whether a browser would have a window: without one some take the terminal."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def announce(address: str) -> None:
    """Say where the page is; the address is a key, so it is said once."""
    print(f"Review page: {address}", flush=True)
    print("Ctrl-C ends it; everything acknowledged is on disk.", flush=True)


def announce_json(address: str) -> None:
    """Say where the page is in one line of JSON."""
    sys.stdout.write(json.dumps({"address": address}) + "\n")
    sys.stdout.flush()


def bound(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens: on ``port``, or where None on the first free one from PORT on.

    Raises UsageError where the port is in use, or the host is none of this machine or all of them.
    """
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            raise UsageError(
                f"--host {host}: give the address under which others reach this machine; the page answers "
                "only under a name that it knows."
            )
    asked = [port] if port is not None else [*range(PORT, PORT + PORTS), 0]
    for number in asked:
        try:
            return _listen(host, number)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                why = error.strerror or error
                raise UsageError(f"--host {named(host)}: cannot be listened on ({why}).") from error
    raise UsageError(f"--port {port}: in use by another program. Leave --port out to take a free one.")


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would share the port with whoever has it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _audit(desk: Desk, asked: str | None) -> str | None:
    """Return the audit to open in its mode; None where none was asked for."""
    known = [str(each["name"]) for each in audits_of(desk.shown)]
    if asked is not None and asked not in known:
        there = ", ".join(known) or "none"
        raise UsageError(f"--audit {asked}: no audit of run {desk.shown.run} (there: {there}).")
    return asked
