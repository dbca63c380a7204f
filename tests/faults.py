"""A real HTTP proxy in front of an emulator, that does to requests what networks and clouds do."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "server", "date")
_STEP_BYTES = 256 << 10
"""Google keeps what has arrived of a piece in multiples of this."""


@dataclass(kw_only=True)
class Fault:
    """Something that happens to the next `times` requests that match."""

    method: str = ""
    path: str = ""
    """A regular expression that is searched for in path and query."""
    skip: int = 0
    """So many that match pass unhurt first."""
    times: int = 1

    status: int = 0
    """Answered at once; nothing reaches the emulator."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    cut_request_at: int | None = None
    """The connection breaks after so many bytes of the request's body."""
    cut_answer_at: int | None = None
    """It breaks after so many bytes of the answer's body."""
    lose_answer: bool = False
    """What was asked is done, and the connection breaks before the answer."""
    spoil_request: bool = False
    """One bit of the middle of the body is another one on arrival."""
    spoil_answer: bool = False
    call: Callable[[], object] | None = None
    """Called before the request goes on."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A request that came by."""

    method: str
    path: str
    received_bytes: int
    """Of its body."""
    answered_bytes: int
    """Of the answer's body."""
    status: int
    """0 where the connection was broken."""
    headers: dict[str, str]


class FaultProxy:
    """Listens at `url`, sends everything on to `upstream`.

    Google says how much of an upload has arrived when it is asked so (`Content-Range: bytes */N`).
    fake-gcs-server takes that for the end of the upload; so the proxy, which sees each answer,
    answers in its place.
    """

    def __init__(self, upstream: str, *, latency_s: float = 0.0) -> None:
        self.passed: list[Passed] = []
        self.faults: list[Fault] = []
        self.latency_s = latency_s
        self.upstream = urlsplit(upstream)
        self.lock = threading.Lock()
        self.arrived: dict[str, int | tuple[int, bytes]] = {}
        """By session: how many bytes of it, or the last answer."""
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, fault: Fault) -> Fault:
        with self.lock:
            self.faults.append(fault)
        return fault

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method in ("", method) and re.search(fault.path, path) and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def bytes_up(self, method: str = "") -> int:
        """How much has been received in bodies of requests."""
        return sum(one.received_bytes for one in self.passed if method in ("", one.method))

    def bytes_down(self, method: str = "GET") -> int:
        """How much has been answered in bodies."""
        return sum(one.answered_bytes for one in self.passed if one.method == method)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or is killed, is what is tested here."""


@contextmanager
def faults(upstream: str, *, latency_s: float = 0.0) -> Iterator[FaultProxy]:
    """A proxy while the block runs."""
    proxy = FaultProxy(upstream, latency_s=latency_s)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        front = proxy

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    front: FaultProxy

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._pass_on()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_GET

    def _pass_on(self) -> None:
        if self.front.latency_s:
            time.sleep(self.front.latency_s)
        length = int(self.headers.get("Content-Length", 0))
        fault = self.front.fault_for(self.command, self.path)
        if fault is not None and fault.call is not None:
            fault.call()
        if fault is not None and fault.cut_request_at is not None:
            self._cut_request(length, fault.cut_request_at)
            return
        body = self._read(length)
        if fault is not None and fault.status:
            self._answer(fault.status, fault.headers, fault.body, len(body))
            return
        status, headers, answer = self._ask(_spoilt(body) if _is(fault, "spoil_request") else body)
        if _is(fault, "lose_answer"):
            self._break(len(body), 0)
        elif fault is not None and fault.cut_answer_at is not None:
            self._head(status, headers, len(answer))
            self.wfile.write(answer[: fault.cut_answer_at])
            self._break(len(body), min(fault.cut_answer_at, len(answer)))
        else:
            answer = _spoilt(answer) if _is(fault, "spoil_answer") else answer
            self._answer(status, headers, answer, len(body))

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the client has gone")
        return data

    def _ask(self, body: bytes, what: str = "") -> tuple[int, dict[str, str], bytes]:
        """What the emulator answers; `what`: another Content-Range than the client's."""
        what = what or self.headers.get("Content-Range", "")
        if known := self._known(what):
            return known
        ours = ("host", "content-length", "content-range")
        headers = {one: value for one, value in self.headers.items() if one.lower() not in ours}
        headers["Host"] = self.front.upstream.netloc
        headers["Content-Length"] = str(len(body))
        if what:
            headers["Content-Range"] = what
        asking = http.client.HTTPConnection(self.front.upstream.netloc, timeout=60)
        try:
            asking.request(self.command, self.path, body, headers)
            got = asking.getresponse()
            answer = got.read()
        finally:
            asking.close()
        answered = dict(got.getheaders())
        if "Location" in answered:
            answered["Location"] = answered["Location"].replace(
                f"http://{self.front.upstream.netloc}", self.front.url
            )
        self._remember(what, got.status, answer)
        return got.status, answered, answer

    def _known(self, what: str) -> tuple[int, dict[str, str], bytes] | None:
        """What Google answers to whoever asks how much of an upload has arrived."""
        arrived = self.front.arrived.get(self.path, 0)
        if not what.startswith("bytes */"):
            return None
        if isinstance(arrived, tuple):
            return arrived[0], {"Content-Type": "application/json"}, arrived[1]
        return 308, {"Range": f"bytes=0-{arrived - 1}"} if arrived else {}, b""

    def _remember(self, what: str, status: int, answer: bytes) -> None:
        if found := re.match(r"bytes \d+-(\d+)/", what):
            if status == 308:
                self.front.arrived[self.path] = int(found[1]) + 1
            elif status == 200:
                self.front.arrived[self.path] = (status, answer)

    def _cut_request(self, length: int, at: int) -> None:
        """What has arrived of a piece of an upload Google keeps."""
        body = self._read(min(at, length))
        found = re.match(r"bytes (\d+)-\d+/(\d+)", self.headers.get("Content-Range", ""))
        kept = len(body) // _STEP_BYTES * _STEP_BYTES
        if found and kept:
            start = int(found[1])
            self._ask(body[:kept], f"bytes {start}-{start + kept - 1}/{found[2]}")
        self._break(len(body), 0)

    def _answer(self, status: int, headers: dict[str, str], answer: bytes, received: int) -> None:
        # First, so that whoever has the answer finds it counted.
        self._note(received, len(answer), status)
        self._head(status, headers, len(answer))
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response_only(status)
        length = int(headers.get("Content-Length", length)) if self.command == "HEAD" else length
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _break(self, received: int, answered: int) -> None:
        self._note(received, answered, 0)
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _note(self, received: int, answered: int, status: int) -> None:
        with self.front.lock:
            self.front.passed.append(
                Passed(
                    method=self.command,
                    path=self.path,
                    received_bytes=received,
                    answered_bytes=answered,
                    status=status,
                    headers=dict(self.headers.items()),
                )
            )


def _is(fault: Fault | None, what: str) -> bool:
    return fault is not None and bool(getattr(fault, what))


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
