"""Servers that keep one request waiting, so that whoever asked can be killed at that moment."""

from __future__ import annotations

import http.client
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.gce.double import ComputeDouble

_PATIENCE_S = 300.0


class Hold:
    """A request of a method whose path has a word in it, until it is let go."""

    def __init__(self) -> None:
        self.method, self.word, self.skip = "", "", 0
        self.reached = threading.Event()
        self._over = threading.Event()
        self._over.set()
        self._lock = threading.Lock()

    def wait_for(self, method: str, word: str, *, skip: int = 0) -> None:
        """The first one, or that after so many."""
        self.method, self.word, self.skip = method, word, skip
        self.reached.clear()
        self._over.clear()

    def let_go(self) -> None:
        self.method = ""
        self._over.set()

    def is_kept(self, method: str, path: str) -> bool:
        """Keep it waiting if it is the one; whether it was, and so must not be answered."""
        with self._lock:
            if self._over.is_set() or method != self.method or self.word not in unquote(path):
                return False
            if self.skip:
                self.skip -= 1
                return False
            self.method = ""
        self.reached.set()
        self._over.wait(_PATIENCE_S)
        return True


class HoldingDouble(ComputeDouble):
    """Of Compute Engine: a request that was kept waiting never arrives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hold = Hold()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        if self.hold.is_kept(handler.command, handler.path):
            handler.close_connection = True
            return
        super()._handle(handler)


class HoldingProxy:
    """In front of an emulator of a bucket."""

    def __init__(self, behind: str) -> None:
        self.hold = Hold()
        self._behind = urlsplit(behind).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        # An upload has the name of its object in the query, or in its body.
        words = f"{handler.path} {data[:2000].decode(errors='replace')}"
        if self.hold.is_kept(handler.command, words):
            handler.close_connection = True
            return
        asking = http.client.HTTPConnection(self._behind, timeout=60)
        headers = {key: value for key, value in handler.headers.items() if key != "Host"}
        asking.request(handler.command, handler.path, body=data or None, headers=headers)
        answer = asking.getresponse()
        body = answer.read()
        with suppress(OSError):
            handler.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                    handler.send_header(key, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(body)
        asking.close()
