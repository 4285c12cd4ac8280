"""The addresses of the review page (Starlette): what is asked, and who answers it.

Whatever touches a disk or a table runs in threads, so that one slow picture delays no other answer. An error
of ours is a sentence in JSON: {"error": ...}.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dinonat.acts import ChangedError, NothingToUndoError
from dinonat.errors import DinonatError, ImageError, LabelError, UsageError, WorkspaceError
from dinonat.pages.review import FIRST, files
from dinonat.pipelines import review_pixels, review_why
from dinonat.pipelines import workspace as places
from dinonat.pipelines.review_again import BusyError
from dinonat.pipelines.review_asked import ActAsked, UndoAsked, asked
from dinonat.pipelines.review_desk import Desk
from dinonat.pipelines.review_doors import App, Receive, Scope, Send
from dinonat.pipelines.review_list import as_json, fixed_part
from dinonat.pipelines.review_writing import act, undo

BODY = 2**22  # bytes of a request
LONG = 2**16  # bytes of an answer that is packed
STATUS: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (ChangedError, 409),
    (NothingToUndoError, 409),
    (BusyError, 409),
    (UsageError, 400),
    (LabelError, 404),
    (ImageError, 404),
    (WorkspaceError, 503),
    (DinonatError, 503),
)


class Page:
    """The application: the routes of the run in hand, which `propose again` may replace by another's."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.inner: App = _routed(self, desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the routes of today."""
        await self.inner(scope, receive, send)

    def take(self, run: str) -> None:
        """Show another run from now on."""
        before = self.desk.pixels
        self.desk.open(run)
        self.inner = _routed(self, self.desk)
        before.close()


def _routed(page: Page, desk: Desk) -> App:
    shown = desk.shown
    routes = [
        Route("/", _page_file),
        Route("/page/{name}", _page_file),
        Route("/api/list", _told(desk, _list)),
        Route("/api/changes", _told(desk, _changes)),
        Route("/api/act", _asked(lambda body: _act(desk, body)), methods=["POST"]),
        Route("/api/undo", _asked(lambda body: _undo(desk, body)), methods=["POST"]),
        Route("/api/again", _asked(lambda _: _again(desk)), methods=["POST"]),
        Route("/api/run", _asked(lambda body: _take(page, body)), methods=["POST"]),
        *review_pixels.routes(shown, desk.pixels),
        *review_why.routes(shown),
    ]
    handlers: Any = {DinonatError: _sentence, HTTPException: _refusal, Exception: _defect}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.desk = desk
    return app


async def _page_file(request: Request) -> Response:
    """Answer with a file of the page, by its name among those that there are."""
    name = request.path_params.get("name", FIRST)
    known = files()
    if name not in known:
        raise HTTPException(404)
    content, media_type = known[name]
    return Response(content, media_type=media_type)


Endpoint = Callable[[Request], Awaitable[Response]]


def _told(desk: Desk, answer: Callable[[Desk, Request], object]) -> Endpoint:
    """Return an address that answers with JSON, made in a thread."""

    async def told(request: Request) -> Response:
        packs = "gzip" in request.headers.get("accept-encoding", "")
        return await run_in_threadpool(lambda: _packed(as_json(answer(desk, request)), packs))

    return told


def _asked(answer: Callable[[Any], object]) -> Endpoint:
    """Return an address that takes JSON and answers with JSON, in a thread.

    What is begun is brought to its end, though whoever asked may be gone: the page asks again under the
    same name.
    """

    async def told(request: Request) -> Response:
        body = await _body(request)
        work = asyncio.ensure_future(run_in_threadpool(lambda: as_json(answer(body))))
        return _json(await asyncio.shield(work))

    return told


def _list(desk: Desk, _: Request) -> dict[str, Any]:
    state = desk.state
    state.refresh()
    shown = state.shown
    return {
        **fixed_part(shown, state.classes, desk.twins),
        **state.moving_part(),
        "audit": desk.audit,
        "newer_run": desk.newer_run(),
    }


def _changes(desk: Desk, request: Request) -> dict[str, Any]:
    since = request.query_params.get("since", "0")
    if not since.isdecimal() or len(since) > 18:
        raise UsageError("since: the number of an event was expected.")
    state = desk.state
    state.refresh()
    return {
        "run": state.shown.run,
        "seq": state.seq,
        "changes": state.changes(int(since)),
        "classes": state.classes,
        "finished": state.finished,
        "undo": state.undo,
        "counts": {**state.counts(), "per_minute": desk.pace.per_minute(), "done_here": desk.pace.total},
        "again": desk.again.state(),
        "newer_run": desk.newer_run(),
    }


def _act(desk: Desk, body: object) -> dict[str, Any]:
    wanted = asked(ActAsked, body)
    with desk.writing:
        before = desk.state.seq
        done = _or_changed(desk, lambda: act(desk.state, wanted, who=desk.who))
        if done["seq"] > before:  # a retry is no more work
            desk.pace.add(len(done["changes"]))
            desk.written += 1
    return done


def _undo(desk: Desk, body: object) -> dict[str, Any]:
    wanted = asked(UndoAsked, body)
    with desk.writing:
        return _or_changed(desk, lambda: undo(desk.state, wanted, who=desk.who))


def _or_changed(desk: Desk, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Write, and where somebody else was first take in what stands, so that the answer holds it."""
    try:
        return write()
    except ChangedError:
        desk.state.refresh()
        raise


def _again(desk: Desk) -> dict[str, Any]:
    desk.again.start(desk.shown.set_name, desk.shown.made)
    return {"again": desk.again.state()}


def _take(page: Page, body: object) -> dict[str, Any]:
    """Show another run of the workspace."""
    name = body.get("run") if isinstance(body, dict) else None
    if not isinstance(name, str) or name not in places.names(page.desk.workspace, "proposals"):
        raise LabelError(f"No run {name!r} in this workspace.")
    with page.desk.writing:
        page.take(name)
    return {"run": name}


async def _body(request: Request) -> object:
    """Return the JSON of a request; no more of it than BODY is ever held."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY:
            raise UsageError(
                f"More than {BODY:,} bytes in one request. Send it in parts; nothing was written."
            )
    try:
        return orjson.loads(bytes(data))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"The request is no JSON ({error}). Nothing was written.") from error


def _packed(body: bytes, packs: bool) -> Response:
    """Answer with JSON, packed where it is long: the page may be looked at through a tunnel."""
    if not packs or len(body) < LONG:
        return _json(body)
    packed = gzip.compress(body, compresslevel=1)
    return Response(packed, headers={"Content-Encoding": "gzip"}, media_type="application/json")


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _error(status: int, sentence: str, **more: object) -> Response:
    return _json(as_json({"error": sentence, **more}), status)


def _sentence(request: Request, error: Exception) -> Response:
    """Answer with what went wrong, and where somebody else was first with what stands."""
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    if isinstance(error, ChangedError):
        desk: Desk = request.app.state.desk
        return _error(status, str(error), changes=desk.state.of_labels(error.label_ids))
    return _error(status, " ".join(str(error).split()))


def _refusal(_: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return _error(code, "Nothing is here." if code == 404 else "That is not answered here.")


def _defect(_: Request, error: Exception) -> Response:
    return _error(500, f"{type(error).__name__}. This is a defect of dinotool: its terminal says more.")
