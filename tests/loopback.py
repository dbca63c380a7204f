"""Real servers on this machine, for what is sent over a network: HTTP and SMTP."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class HttpServer:
    """Takes JSON; what it answers can be changed at any time."""

    url: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of all requests, in the order in which they came."""
    status: int = 200
    delay_s: float = 0.0
    drip: bool = False
    """Answer one byte of a header at a time, for ever."""
    location: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)


@contextmanager
def http_server() -> Iterator[HttpServer]:
    state = HttpServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            state.taken.append(json.loads(body))
            if state.stopping.wait(state.delay_s):
                return
            if state.drip:
                self._drip()
                return
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()
            # Some repeat what they were sent, secrets included.
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def _drip(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not state.stopping.wait(0.05):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/hooks/T0PSECRET"
    with _serving(server):
        try:
            yield state
        finally:
            state.stopping.set()


@dataclass
class SmtpServer:
    """Takes mail, over TLS where it has a certificate."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    password: str = ""
    """What a login needs; empty where nobody has to log in."""
    answer: str = "250 taken"
    """To the whole of a mail."""
    refused: str = ""
    """A recipient that it does not know."""
    delay_s: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)
    encrypted: list[bool] = field(default_factory=list)


@contextmanager
def smtp_server(certificate: Path | None = None, *, tls: bool = False) -> Iterator[SmtpServer]:
    """With a certificate it offers STARTTLS; with `tls` it speaks TLS from the first byte."""
    state = SmtpServer()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.secure = False
            if tls and context is not None:
                self._encrypt(context)
            self._say("220 here")
            self.to: list[str] = []
            while line := self.rfile.readline():
                if state.stopping.wait(state.delay_s):
                    return
                verb, _, rest = line.decode().strip().partition(" ")
                if not self._answer(verb.upper(), rest):
                    return

        def _answer(self, verb: str, rest: str) -> bool:
            if verb == "EHLO":
                offers = ["here", "AUTH PLAIN"]
                if context is not None and not self.secure:
                    offers.append("STARTTLS")
                for offer in offers[:-1]:
                    self._say(f"250-{offer}")
                self._say(f"250 {offers[-1]}")
            elif verb == "STARTTLS" and context is not None:
                self._say("220 go on")
                self._encrypt(context)
            elif verb == "AUTH":
                self._login(rest)
            elif verb == "RCPT":
                known = not state.refused or state.refused not in rest
                self.to += [rest.partition(":")[2].strip("<> ")] if known else []
                self._say("250 ok" if known else "550 nobody of that name")
            elif verb == "DATA":
                self._take()
            elif verb == "QUIT":
                self._say("221 bye")
                return False
            else:
                self._say("250 ok")
            return True

        def _login(self, rest: str) -> None:
            _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
            if password == state.password:
                state.logins.append(user)
                self._say("235 welcome")
            else:
                self._say(f"535 no, not with {password}")

        def _take(self) -> None:
            self._say("354 go on")
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line[1:] if line.startswith(b"..") else line)
            if state.answer.startswith("250"):
                state.mails.append(message_from_bytes(b"".join(lines)))
                state.recipients.append(self.to)
                state.encrypted.append(self.secure)
            self._say(state.answer)

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def _encrypt(self, context: ssl.SSLContext) -> None:
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", buffering=0)
            self.secure = True

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away, or trusts no certificate, is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    with _serving(server):
        try:
            yield state
        finally:
            state.stopping.set()


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def certificate(folder: Path) -> Path:
    """A certificate for this machine with its key in one file, signed by itself."""
    made = folder / "server.pem"
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    made.write_bytes(key.read_bytes() + cert.read_bytes())
    return made


def until(condition: Any, *, seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.02)
