"""Who gets in to the review page, and who does not; asked over real sockets."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinonat import labels
from dinonat.errors import UsageError
from dinonat.pipelines import review
from dinonat.pipelines import workspace as places
from dinonat.pipelines.people import database
from dinonat.pipelines.review_app import files
from dinonat.pipelines.review_doors import WHO

pytestmark = pytest.mark.usefixtures("no_sync")
SECRET = b"nobody may read this"
ADDRESSES = (
    "/",
    "/page/index.html",
    "/api/list",
    "/api/changes?since=0",
    "/pixels/0?r=run1",
    "/shown/0?r=run1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def root(folder: Path, made: SimpleNamespace) -> Path:
    """Return a workspace whose images a.png and plain.png lead out of their folder."""
    workspace: Path = made.workspace(folder)
    outside = folder / "outside.png"
    Image.fromarray(np.full((8, 10), 200, np.uint8)).save(outside)
    (folder / "secret.txt").write_bytes(SECRET)
    (folder / "images/a.png").unlink()
    (folder / "images/a.png").symlink_to(outside)
    (folder / "images/plain.png").unlink()
    (folder / "images/plain.png").symlink_to(folder / "secret.txt")
    return workspace


@pytest.fixture(scope="module")
def server(root: Path, reviewing: Callable[..., Any]) -> Iterator[Any]:
    with reviewing(root) as running:
        yield running


def test_the_token_opens_the_door_once_seen_and_the_cookie_keeps_it_open(server: Any) -> None:
    answer = server.ask("GET", server.address.removeprefix(server.origin), {"Cookie": ""})
    name, *more = answer.headers["set-cookie"].split("; ")
    assert answer.status == 200
    assert set(more) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert name.startswith(f"dinotool-review-{server.port}=")
    assert b'http-equiv="refresh"' in answer.body
    token = server.address.partition("token=")[2]
    assert len(token) >= 43  # 32 bytes
    assert token not in name
    assert server.ask("GET", "/api/list").status == 200


@pytest.mark.parametrize("address", [*ADDRESSES, "/mask/p1", "/crop/p0", "/api/why/p0", "/nothing"])
def test_without_the_cookie_nothing_is_said(server: Any, address: str) -> None:
    token = server.address.partition("token=")[2]
    wrong = (
        {"Cookie": ""},
        {"Cookie": f"dinotool-review-{server.port}=guessed"},
        {"Cookie": f"dinotool-review-{server.port}={token}"},  # the token is no cookie
        {"Cookie": server.cookie.replace("review-", "review-1")},
        {"Cookie": server.cookie.rpartition("=")[2]},
        {"Cookie": "", "Authorization": f"Bearer {token}"},
    )
    for headers in wrong:
        answer = server.ask("GET", address, headers)
        assert answer.status == 403
        if address == "/":  # a person who followed a link comes without the cookie, and may go on
            assert answer.body == WHO
        else:
            assert list(json.loads(answer.body)) == ["error"]
    others = "a=1; " + server.cookie + "; b=2"
    assert server.ask("GET", address, {"Cookie": others}).status in (200, 404)


@pytest.mark.parametrize("token", ["", "x", "{token}x", "{token}&token=y"])
def test_a_wrong_token_is_no_key(server: Any, token: str) -> None:
    given = token.format(token=server.address.partition("token=")[2])
    answer = server.ask("GET", f"/?token={given}", {"Cookie": ""})
    assert (answer.status, "set-cookie" in answer.headers) == (403, False)


def test_the_token_opens_nothing_but_the_first_page(server: Any) -> None:
    token = server.address.partition("?")[2]
    assert server.ask("GET", f"/api/list?{token}", {"Cookie": ""}).status == 403
    assert server.ask("POST", f"/?{token}", {"Cookie": ""}, b"{}").status == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.2:{port}",
        "127.1:{port}",
    ],
)
def test_a_foreign_name_that_points_here_is_refused(server: Any, host: str) -> None:
    for address in (*ADDRESSES, server.address.removeprefix(server.origin)):
        answer = server.ask("GET", address, {"Host": host.format(port=server.port)})
        assert (answer.status, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("lines", ["", "Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n", "Host: \r\n"])
def test_a_request_says_once_where_it_goes(server: Any, lines: str) -> None:
    for version in ("1.0", "1.1"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
            head = f"GET /api/list HTTP/{version}\r\nCookie: {server.cookie}\r\nConnection: close\r\n"
            line.sendall((head + lines.format(port=server.port) + "\r\n").encode())
            assert line.makefile("rb").readline().split()[1] in (b"400", b"403")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_this_machine_are_answered(server: Any, host: str) -> None:
    assert server.ask("GET", "/api/changes", {"Host": f"{host}:{server.port}"}).status == 200


def acts(root: Path) -> int:
    with labels.reading(database(root)) as db:
        return labels.last_seq(db)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://localhost:{port}"},  # the page was opened as 127.0.0.1
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Cookie": ""},
        {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
    ],
)
def test_only_the_page_itself_changes_anything(server: Any, root: Path, headers: dict[str, str]) -> None:
    own = {name: value.format(port=server.port) for name, value in headers.items()}
    body = json.dumps({"act": "x", "changes": [{"id": "p0", "do": "accepted", "seen": 0}]}).encode()
    for address in ("/api/act", "/api/undo", "/api/again", "/api/run"):
        assert server.ask("POST", address, own, body).status == 403
    assert acts(root) == 0
    assert server.desk.again.state() is None


def test_the_page_itself_changes_what_it_likes(server: Any, root: Path) -> None:
    body = json.dumps({"act": "x", "changes": [{"id": "p0", "do": "accepted", "seen": 0}]}).encode()
    same = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json; charset=utf-8"}
    assert acts(root) == 0
    assert server.ask("POST", "/api/act", same, body).status == 200
    assert acts(root) == 1


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_of_this_browser_may_link_to_the_first_page_and_no_more(server: Any, site: str) -> None:
    for address in ADDRESSES[1:]:
        assert server.ask("GET", address, {"Sec-Fetch-Site": site}).status == 403
        assert server.ask("GET", address, {"Sec-Fetch-Site": "same-origin"}).status in (200, 404)
    assert server.ask("GET", "/", {"Sec-Fetch-Site": site}).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_ways_to_ask_are_not_known(server: Any, method: str) -> None:
    answer = server.ask(method, "/api/list")
    assert answer.status in (400, 403, 405)
    assert "access-control-allow-origin" not in answer.headers


ESCAPES = (
    "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "%2e%2e%2fsecret.txt", "..%5csecret.txt",
    "%252e%252e%252fsecret.txt", "....//secret.txt", "{folder}/secret.txt", "/{folder}/secret.txt",
    "%2f{folder}%2fsecret.txt", "file:%2f%2f{folder}/secret.txt", "0/../../secret.txt",
    "0%2f..%2f..%2fsecret.txt", "secret.txt", "..%00", "%00", "-1", "99999999999999999999", "0x0", "1e3",
    "%ff", "index.html%00.txt", "",
)  # fmt: skip


BEFORE = ("/", "/page/", "/pixels/", "/shown/", "/twin/", "/crop/", "/mask/", "/crop-of/", "/api/why/")


@pytest.mark.parametrize("before", BEFORE)
def test_no_address_holds_a_path(server: Any, folder: Path, before: str) -> None:
    for escape in ESCAPES:
        address = before + escape.format(folder=str(folder).lstrip("/"))
        if address in ("/", "/page/index.html"):
            continue
        answer = server.ask("GET", address)
        assert answer.status in (400, 403, 404), address
        assert SECRET not in answer.body


def test_what_the_browser_is_told_of_an_image_is_its_number_and_nothing_else_reads(server: Any) -> None:
    listed = server.get("/api/list")
    assert all(isinstance(image, int) for image in listed["rows"]["image"])
    for name in listed["images"]["name"]:
        for before in ("/pixels/", "/shown/"):
            path = before + "".join(f"%{byte:02x}" for byte in name.encode())
            assert server.ask("GET", path).status == 404


@pytest.mark.parametrize("address", ["/pixels/{}", "/shown/{}", "/crop-of/{}"])
@pytest.mark.parametrize("name", ["a.png", "plain.png"])
def test_a_link_out_of_the_folder_is_not_followed(server: Any, address: str, name: str) -> None:
    place = server.get("/api/list")["images"]["name"].index(name)
    answer = server.ask("GET", address.format(place))
    assert answer.status == 404
    assert "leads out of" in json.loads(answer.body)["error"]
    assert SECRET not in answer.body


def test_a_folder_that_became_a_link_is_not_followed_either(server: Any, folder: Path) -> None:
    os.rename(folder / "images/night", folder / "night")
    (folder / "images/night").symlink_to(folder / "night")
    place = next(i for i, name in enumerate(server.get("/api/list")["images"]["name"]) if "night" in name)
    assert server.ask("GET", f"/pixels/{place}").status == 404


def test_every_answer_says_what_other_pages_may_not(server: Any) -> None:
    answers = [server.ask("GET", address) for address in (*ADDRESSES, "/nothing", "/pixels/99")]
    answers += [
        server.ask("GET", "/api/list", {"Cookie": ""}),
        server.ask("GET", "/api/list", {"Host": "evil.example"}),
        server.ask("POST", "/api/act", body=b"nonsense"),
        server.ask("GET", server.address.removeprefix(server.origin)),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] in ("no-store", "private, max-age=3600")
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_a_request_is_never_held_whole_where_it_is_too_long(server: Any) -> None:
    for body in (b" " * (2**22 + 1), b"[" * 2**22, b'{"act": "' + b"x" * (2**22 - 20) + b'"}'):
        answer = server.ask("POST", "/api/act", body=body)
        assert answer.status == 400
        assert len(answer.body) < 500


def test_a_port_in_use_is_said_where_it_was_asked_for_and_the_next_is_taken_where_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {taken}: in use"):
            review.bound("127.0.0.1", taken)
        monkeypatch.setattr(review, "PORT", taken)
        with review.bound("127.0.0.1", None) as listener:
            assert listener.getsockname()[1] != taken


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_a_sentence(host: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        review.bound(host, 0)


def test_only_this_machine_is_listened_on(server: Any) -> None:
    assert server.ready.listener.getsockname()[0] == "127.0.0.1"


def test_the_process_loads_neither_torch_nor_faiss_and_no_page_leaves(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from dinonat.pipelines import review;"
        "ready = review.prepared(review.ReviewSettings(port=0), Path(sys.argv[1])); ready.listener.close();"
        "print([name for name in ('torch', 'faiss', 'sklearn', 'natten') if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


def test_nothing_of_the_page_comes_from_elsewhere(server: Any) -> None:
    for name, (content, _) in files().items():
        text = content.decode()
        assert "http://" not in text.replace("http://www.w3.org/", ""), name
        assert "https://" not in text, name


def test_the_settings_are_said_to_whoever_let_others_in(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review.Ready, "serve", lambda ready: ready.listener.close())
    monkeypatch.setattr(review, "LOCAL", ())
    report = review.run(review.ReviewSettings(port=0, browser=False), root)
    said = capsys.readouterr()
    assert "whoever reaches this port" in said.err
    assert said.out.count(report.address) == 1
    assert places.names(root, "proposals") == ["run1"]
