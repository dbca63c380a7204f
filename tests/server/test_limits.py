"""Bodies that are too large, too slow or too many are refused before they are in memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Client, Response
from starlette.testclient import TestClient

from misheard.access.roles import Role
from misheard.access.tokens import Tokens
from misheard.database.engine import migrate, open_engine
from misheard.server.limits import BodyLimits, protect
from tests import tiny
from tests.loopback import until
from tests.server.guarded import SMALL, guarded, served
from tests.serving.letters import PATIENCE_S

FORM = "multipart/form-data; boundary=x"
PROTOCOLS = pytest.mark.parametrize("protocol", ["h11", "httptools"])


@contextmanager
def opened(file: Path) -> Iterator[Tokens]:
    engine = open_engine(f"sqlite:///{file}")
    migrate(engine)
    yield Tokens(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    """None in it: whoever is on this machine may do everything."""
    with opened(tmp_path_factory.mktemp("limits") / "misheard.db") as made:
        yield made


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tokens, str]]:
    """One in it, with its secret."""
    with opened(tmp_path_factory.mktemp("limits") / "misheard.db") as made:
        yield made, made.create("ivr", Role.TRANSCRIBE, actor="ann")[1]


@dataclass
class Sender:
    """A connection that sends as slowly and as wrongly as one likes."""

    port: int
    socket: socket.socket = field(init=False)

    def __enter__(self) -> Sender:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def head(self, path: str, *headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; it waits for nothing beyond them."""
        reader = self.socket.makefile("rb")
        status = int(reader.readline().split()[1])
        headers = {}
        while line := reader.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, reader.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        """Whether the server has ended the connection; waits for it."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def form(size: int) -> bytes:
    """A form with a file of `size` bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + b"a" * size + b"\r\n--x--\r\n"


def upload(sender: Sender, size: int) -> int:
    body = form(size)
    sender.head("/upload", f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
    sender.send(body)
    return sender.answer()[0]


def test_what_fits_goes_through(tokens: Tokens) -> None:
    client = TestClient(guarded(tokens), base_url="http://localhost", client=("127.0.0.1", 1))
    assert client.post("/upload", files={"file": b"a" * 200_000}).json()["bytes"] == 200_000
    assert client.post("/correct", json={"a": "b" * 9_000}).json() == "local"
    assert client.post("/stream", content=b"a" * 10_000).json() == 10_000
    assert client.post("/stream", content=iter([b"a" * 5_000] * 2)).json() == 10_000
    assert client.post("/stream").json() == 0
    assert client.get("/heard").json() == "local"


@PROTOCOLS
def test_a_length_that_is_too_large_is_refused_before_a_byte_is_read(
    tokens: Tokens, protocol: str
) -> None:
    app = guarded(tokens)
    with served(app, http=protocol) as port:
        for path, length, limit in (
            ("/upload", 210_001, "0.2 MB"),
            ("/upload", 10**17, "0.2 MB"),
            ("/correct", 10_001, "0.01 MB"),
        ):
            with Sender(port) as sender:
                kind = FORM if path == "/upload" else "application/json"
                sender.head(path, f"Content-Type: {kind}", f"Content-Length: {length}")
                status, headers, body = sender.answer()
                assert (status, headers["connection"]) == (413, "close")
                assert headers["content-type"] == "application/problem+json"
                assert limit in json.loads(body)["detail"]
                assert ("max_upload_mb" in body.decode()) == (path == "/upload")


@PROTOCOLS
def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(
    tokens: Tokens, protocol: str
) -> None:
    app = guarded(tokens)
    with served(app, http=protocol) as port, Sender(port) as sender:
        sender.head("/stream", "Transfer-Encoding: chunked")
        for _ in range(20):
            sender.chunk(b"a" * 1_000)
        status, _, _ = sender.answer()
        assert status == 413
        assert app.state.read <= 10_000


def test_the_form_around_a_file_is_not_of_the_file(tokens: Tokens) -> None:
    app = guarded(tokens)
    with served(app) as port, Sender(port) as sender:
        assert upload(sender, 200_000) == 200
        # The same connection goes on.
        assert upload(sender, 5) == 200
        assert upload(sender, 210_000) == 413


def test_a_client_that_writes_on_sees_the_answer(tokens: Tokens) -> None:
    """As the client of OpenAI does: it sends everything before it reads."""
    with served(guarded(tokens)) as port, Client(base_url=f"http://localhost:{port}") as client:
        answer: Response = client.post("/upload", files={"file": b"a" * 30_000_000})
        assert answer.status_code == 413
        chunks = (b"a" * 100_000 for _ in range(300))
        assert client.post("/stream", content=chunks).status_code == 413
        assert client.post("/nowhere", content=b"a" * 30_000_000).status_code == 404
        assert client.post("/upload", files={"file": b"a" * 10}).json()["bytes"] == 10


@PROTOCOLS
def test_who_still_sends_is_not_cut_off_at_once(tokens: Tokens, protocol: str) -> None:
    """Many systems throw away an answer that was not read yet when a connection is reset."""
    rules = replace(SMALL, linger_s=PATIENCE_S)
    with served(guarded(tokens, rules=rules), http=protocol) as port, Sender(port) as sender:
        sender.head("/upload", f"Content-Type: {FORM}", "Content-Length: 1000000")
        assert sender.answer()[0] == 413
        for _ in range(10):
            time.sleep(0.02)
            sender.send(b"a" * 100_000)
        assert sender.socket.recv(1) == b""


def test_who_never_ends_is_cut_off(tokens: Tokens) -> None:
    rules = replace(SMALL, linger_s=0.3)
    with served(guarded(tokens, rules=rules)) as port, Sender(port) as sender:
        sender.head("/stream", "Transfer-Encoding: chunked")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < PATIENCE_S:
                sender.chunk(b"a" * 1_000)
                time.sleep(0.001)
        assert time.monotonic() - began < SMALL.linger_s


@PROTOCOLS
def test_nothing_is_read_of_who_is_not_known(known: tuple[Tokens, str], protocol: str) -> None:
    tokens, secret = known
    app = guarded(tokens)
    length, expecting = "Content-Length: 200000", "Expect: 100-continue"
    with served(app, http=protocol) as port:
        for key in ("", "Authorization: Bearer mh_wrong"):
            with Sender(port) as sender:
                sender.head("/upload", f"Content-Type: {FORM}", length, expecting, key or "X: y")
                assert sender.answer()[0] == 401
        with Sender(port) as sender:
            key = f"Authorization: Bearer {secret}"
            sender.head("/upload", f"Content-Type: {FORM}", length, expecting, key)
            assert sender.socket.recv(12) == b"HTTP/1.1 100"


def test_what_comes_too_slowly_is_ended(tokens: Tokens) -> None:
    rules = replace(SMALL, patience_s=0.4, min_bytes_per_s=500.0, linger_s=0.1)
    with served(guarded(tokens, rules=rules)) as port:
        with Sender(port) as silent:
            silent.head("/correct", "Content-Type: application/json", "Content-Length: 100")
            status, headers, body = silent.answer()
            assert (status, headers["connection"]) == (408, "close")
            assert "0 bytes came in 0 s" in json.loads(body)["detail"]
            assert silent.is_closed()
        with Sender(port) as slow:
            slow.head("/stream", "Content-Length: 1000")
            began = time.monotonic()
            stop = threading.Event()
            thread = threading.Thread(target=_drip, args=(slow, stop))
            thread.start()
            assert slow.answer()[0] == 408
            stop.set()
            thread.join()
            assert time.monotonic() - began < SMALL.patience_s


def test_what_takes_longer_than_the_patience_and_is_fast_enough_goes_through(
    tokens: Tokens,
) -> None:
    rules = replace(SMALL, patience_s=0.4, min_bytes_per_s=10.0)
    with served(guarded(tokens, rules=rules)) as port, Sender(port) as steady:
        # The first of it comes with the head: it has no more than the patience.
        head = b"POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"
        steady.send(head + b"a" * 400)
        for _ in range(9):
            time.sleep(0.08)
            steady.send(b"a" * 400)
        assert steady.answer()[::2] == (200, b"4000")


def _drip(sender: Sender, stop: threading.Event) -> None:
    for _ in range(100):
        if stop.wait(0.05):
            return
        try:
            sender.send(b"a")
        except OSError:
            return


def test_bodies_fill_the_room_that_there_is_and_no_more(tokens: Tokens) -> None:
    """Whoever comes when it is full is told so before a byte is read, and those there go on."""
    rules = replace(SMALL, max_held_bytes=400_000, linger_s=PATIENCE_S, patience_s=PATIENCE_S)
    app = guarded(tokens, rules=rules)
    body = form(150_000)
    length = f"Content-Length: {len(body)}"
    with served(app) as port, Sender(port) as first, Sender(port) as second:
        for one in (first, second):
            one.head("/upload", f"Content-Type: {FORM}", length)
            one.send(body[:1_000])
        room = _room(app)
        until(lambda: room() == 400_000 - 2 * len(body))
        with Sender(port) as third:
            third.head("/upload", f"Content-Type: {FORM}", length)
            status, headers, told = third.answer()
            assert (status, headers["retry-after"]) == (429, "2")
            assert "Come back" in json.loads(told)["detail"]
        with Sender(port) as chunked:
            chunked.head("/upload", f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
            for start in range(0, 120_000, 10_000):
                chunked.chunk(body[start : start + 10_000])
            assert chunked.answer()[0] == 429
        until(lambda: room() == 400_000 - 2 * len(body))
        with Sender(port) as little:
            assert upload(little, 50_000) == 200
        first.send(body[1_000:])
        assert first.answer()[0] == 200
        until(lambda: room() == 400_000 - len(body))
        with Sender(port) as third:
            assert upload(third, 150_000) == 200
        # Who goes away leaves room, too.
        second.socket.close()
        until(lambda: room() == 400_000)


def test_one_alone_always_has_room(tokens: Tokens) -> None:
    rules = replace(SMALL, max_held_bytes=1)
    with served(guarded(tokens, rules=rules)) as port, Sender(port) as sender:
        assert upload(sender, 200_000) == 200


def _room(app: FastAPI) -> Callable[[], int]:
    """The bytes that are left in it."""
    until(lambda: app.middleware_stack)
    layer: Any = app.middleware_stack
    while not isinstance(layer, BodyLimits):
        layer = layer.app
    room = layer._room
    return lambda: room._left


def test_lengths_that_are_none(tokens: Tokens) -> None:
    client = TestClient(guarded(tokens), base_url="http://localhost", client=("127.0.0.1", 1))
    for length in ("9" * 5_000, "1" + "0" * 30, "0" * 30 + "200000000"):
        answer = client.post("/stream", headers={"Content-Length": length})
        assert answer.status_code == 413


def test_a_workspace_has_the_limits_of_its_settings(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws", serving={"max_upload_mb": 0.5, "requests_per_minute": 1})
    app = FastAPI()
    protect(app, workspace, uploads=["/upload"])
    whole = guarded(workspace.tokens)
    app.include_router(whole.router)
    secrets = [
        workspace.tokens.create(name, Role.TRANSCRIBE, actor="ann")[1] for name in ("ivr", "app")
    ]
    one, other = ({"Authorization": f"Bearer {secret}"} for secret in secrets)
    with TestClient(app) as client:
        fits = client.post("/upload", files={"file": b"a" * 500_000}, headers=one)
        assert fits.json() == {"bytes": 500_000, "by": "ivr"}
        large = client.post("/upload", files={"file": b"a" * 1_600_000}, headers=other)
        assert large.status_code == 413
        for token in (one, other):
            assert client.get("/heard", headers=token).status_code == 429
