"""Who connects and asks nothing, or asks without end, takes neither memory nor a place for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from misheard.access.tokens import Tokens
from misheard.server.connections import BoundedConnection
from tests.server.guarded import guarded, served
from tests.server.test_limits import Sender, opened
from tests.serving.letters import PATIENCE_S

MB = 1_000_000


class Patient(BoundedConnection):
    HEAD_S = PATIENCE_S


class Hasty(BoundedConnection):
    HEAD_S = 3.0


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    folder: Path = tmp_path_factory.mktemp("connections")
    with opened(folder / "misheard.db") as made:
        yield made


@pytest.fixture(scope="module")
def port(tokens: Tokens) -> Iterator[int]:
    """Of a server that lets a head take its time."""
    with served(guarded(tokens), http=Patient) as answers:
        yield answers


@pytest.fixture(scope="module")
def hasty(tokens: Tokens) -> Iterator[int]:
    """Of one that does not."""
    with served(guarded(tokens), http=Hasty) as answers:
        yield answers


def closed_by(sender: Sender, data: bytes, *, times: int) -> bytes:
    """What was answered until the server closed, while `data` is sent again and again."""
    try:
        for _ in range(times):
            sender.send(data)
    except ConnectionError:
        return b""
    try:
        return sender.socket.recv(4_096)
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "endless",
    [b"X: " + b"a" * 1_000 + b"\r\n", b"a" * 1_000],
    ids=["headers", "one header"],
)
def test_a_head_without_end_is_cut_off(port: int, endless: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with Sender(port) as sender:
        sender.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nY: ")
        answer = closed_by(sender, endless * 100, times=500)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    # 50 MB were on their way.
    assert psutil.Process().memory_info().rss - before < 25 * MB


def test_a_head_that_is_a_little_too_long_is_told_so(port: int) -> None:
    with Sender(port) as sender:
        sender.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65_536)
        status, headers, body = sender.answer()
        assert (status, headers["connection"]) == (431, "close")
        assert b"Too Large" in body and sender.is_closed()


def test_long_heads_that_end_are_answered(port: int) -> None:
    with Sender(port) as sender:
        for _ in range(3):
            sender.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            sender.send(b"a" * 30_000 + b"\r\n\r\n")
            assert sender.answer()[0] == 200


def test_what_follows_a_body_has_an_end_too(port: int) -> None:
    with Sender(port) as sender:
        sender.head("/stream", "Transfer-Encoding: chunked")
        sender.chunk(b"a" * 100)
        sender.send(b"0\r\n")
        assert closed_by(sender, b"X: " + b"a" * 1_000 + b"\r\n", times=5_000) == b""


def test_a_body_of_many_small_chunks_is_read(port: int) -> None:
    with Sender(port) as sender:
        sender.head("/stream", "Transfer-Encoding: chunked")
        for _ in range(100):
            sender.send(b"1\r\na\r\n" * 90)
        sender.send(b"0\r\n\r\n")
        status, _, body = sender.answer()
        assert (status, body) == (200, b"9000")


def test_who_asks_nothing_is_not_waited_for(hasty: int) -> None:
    began = time.monotonic()
    with Sender(hasty) as silent, Sender(hasty) as slow:
        slow.send(b"GET /healthz HTTP/1.1\r\nHost: loc")
        assert silent.is_closed() and slow.is_closed()
    assert time.monotonic() - began < BoundedConnection.HEAD_S


def test_a_second_question_must_end_as_well(hasty: int) -> None:
    with Sender(hasty) as sender:
        for _ in range(2):
            sender.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sender.answer()[0] == 200
            time.sleep(1.5 * Hasty.HEAD_S)  # who has asked once may think about the next
        sender.send(b"GET /healthz HTTP/1.1\r\nHost: loc")
        assert sender.is_closed()
