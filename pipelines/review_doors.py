"""Who gets in: the browser that was given the address, on this machine, and no other page that it has open.

The address holds a random token. Whoever brings it gets a cookie, another secret, which the browser keeps
from scripts and from every other site (HttpOnly, SameSite=Strict); all else needs the cookie. The names under
which the server may be asked are fixed, because a foreign name may be made to point here (DNS rebinding), and
what changes anything must come from the page itself.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from secrets import compare_digest, token_urlsafe
from typing import Any
from urllib.parse import parse_qs

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PORT = 7878  # taken where nobody asks for another, if it is free
SAFE = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)
NOT_KEPT = ("cache-control", "no-store")  # unless the answer says how long it stays true
# Not a redirect: on one that another site or a file began, browsers do not send a Strict cookie.
WELCOME = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
    b"<title>dinotool review</title><p>Opening the review page ...</p></html>"
)
# Without script, so that whoever comes by a link from elsewhere, and therefore without the cookie, can go on.
WHO = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>dinotool review</title>'
    b'<p>You come from elsewhere: <a href="/">open the review page</a>.</p><p>If that leads here again, open '
    b"the address that <code>dinotool review</code> printed when it started.</p></html>"
)
STRANGER = (
    "This browser has not shown the token of this review page. Open the address that `dinotool review` "
    "printed when it started."
)


class Doors:
    """The middleware (ASGI) before everything else; ``address`` is what the person opens."""

    def __init__(self, app: App, *, port: int, host: str = "127.0.0.1") -> None:
        self.app = app
        self.token, self.secret = token_urlsafe(32), token_urlsafe(32)
        self.cookie = f"dinotool-review-{port}"
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", named(host)))
        self.address = f"http://{named(host)}:{port}/?token={self.token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # nothing here speaks anything else; the server closes the connection
        own = guarded(send)
        refusal = self.refusal(scope)
        if refusal:
            await answer(own, 403, refusal)
        elif self.brings_token(scope):
            cookie = f"{self.cookie}={self.secret}; HttpOnly; SameSite=Strict; Path=/"
            more = [(b"set-cookie", cookie.encode()), (b"content-type", b"text/html; charset=utf-8")]
            await whole(own, 200, b"" if scope["method"] == "HEAD" else WELCOME, more)
        elif not self.known(scope):
            await self.ask_back(scope, own)
        else:
            await self.app(scope, receive, own)

    async def ask_back(self, scope: Scope, send: Send) -> None:
        """Answer without saying anything: in words to a person at the first page, else as to a program."""
        if scope["path"] == "/" and scope["method"] == "GET":
            await whole(send, 403, WHO, [(b"content-type", b"text/html; charset=utf-8")])
        else:
            await answer(send, 403, STRANGER)

    def refusal(self, scope: Scope) -> str:
        """Say why a request is refused whoever sends it; "" where it is not."""
        host = headers(scope, b"host")
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return "This server answers only under the address that `dinotool review` printed."
        foreign = bool(set(headers(scope, b"sec-fetch-site")) - {"same-origin", "none"})
        if scope["method"] in SAFE:  # other pages of this machine may link to the first page, and no more
            return "Only the review page itself may ask that." if foreign and scope["path"] != "/" else ""
        if headers(scope, b"origin") != [f"http://{host[0]}"] or foreign:
            return "Only the review page itself may change anything."
        kind = [each.partition(";")[0].strip().lower() for each in headers(scope, b"content-type")]
        return "" if kind == ["application/json"] else "What changes anything is sent as application/json."

    def brings_token(self, scope: Scope) -> bool:
        """Say whether a request opens the door: the first page, asked for with the token."""
        if scope["path"] != "/" or scope["method"] not in SAFE:
            return False
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        return len(given) == 1 and compare_digest(given[0].encode(), self.token.encode())

    def known(self, scope: Scope) -> bool:
        """Say whether a request brings the cookie."""
        return any(compare_digest(each.encode(), self.secret.encode()) for each in self._cookies(scope))

    def _cookies(self, scope: Scope) -> Iterable[str]:
        for text in headers(scope, b"cookie"):
            for part in text.split(";"):
                name, equals, value = part.strip().partition("=")
                if equals and name == self.cookie:
                    yield value


def named(host: str) -> str:
    """Return a host as an address names it.

    >>> named("::1"), named("127.0.0.1")
    ('[::1]', '127.0.0.1')
    """
    return f"[{host}]" if ":" in host else host.lower()


def headers(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, as often as it was sent."""
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def guarded(send: Send) -> Send:
    """Return ``send`` that puts on every answer what keeps other pages away from it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            there = {key.lower() for key, _ in given}
            own = [*ALWAYS] if b"cache-control" in there else [*ALWAYS, NOT_KEPT]
            message["headers"] = [
                *((key, value) for key, value in given if key.lower().decode() not in dict(ALWAYS)),
                *((key.encode(), value.encode()) for key, value in own),
            ]
        await send(message)

    return sending


async def answer(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence and nothing else."""
    body = orjson.dumps({"error": sentence})
    await whole(send, status, body, [(b"content-type", b"application/json")])


async def whole(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    """Send an answer in one piece."""
    size = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*more, size]})
    await send({"type": "http.response.body", "body": body})
