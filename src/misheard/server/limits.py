"""How large and how slow the body of a request may be, and how much of them is held at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from fastapi import FastAPI, HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from misheard.server.security import Guard
from misheard.workspace import Workspace

MEGABYTE = 1_000_000
_RETRY_AFTER_S = 2


@dataclass(frozen=True, kw_only=True)
class BodyRules:
    """What is taken of a body."""

    max_upload_bytes: int
    """Of a file; the other fields of its request may have `max_bytes` beside it."""
    uploads: Collection[str] = ()
    """Paths that take files."""
    max_bytes: int = MEGABYTE
    """Of a request that brings no file."""
    max_held_bytes: int = 256 * MEGABYTE
    """Of all requests under way together; one alone may always have what is taken of it."""
    patience_s: float = 15.0
    """A body may be late by so much behind `min_bytes_per_s`."""
    min_bytes_per_s: float = 4_000.0
    """Half of what a voice takes on a telephone line."""
    linger_s: float = 30.0
    """What comes after a refusal is read so long, and thrown away, so that the answer is seen."""


class BodyLimits:
    """ASGI middleware that refuses a body before it is read, or as soon as it is too much.

    It looks when the application first asks for the body, so what needs none is not concerned.
    It refuses by an `HTTPException` there, which the application answers as it does its own: 401
    and 403 for who is not known (see `Guard`, as `app.state.guard`), 413 for what is too large, 408
    for what comes too slowly, 429 while the bodies of others fill the room that there is. What was
    taken counts until its request has been answered.
    """

    def __init__(self, app: ASGIApp, *, rules: BodyRules) -> None:
        self._app = app
        self._rules = rules
        alone = rules.max_upload_bytes + rules.max_bytes
        self._room = _Room(max(rules.max_held_bytes, alone))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http" or not _brings_one(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(self._rules, self._room, scope, receive, send)
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            body.let_go()


def protect(app: FastAPI, workspace: Workspace, *, uploads: Collection[str]) -> None:
    """Give `app` its `Guard`, and the limits of the settings; `uploads` are paths of files."""
    rules = workspace.settings.serving
    app.state.guard = Guard(workspace.tokens, requests_per_minute=rules.requests_per_minute)
    limits = BodyRules(
        max_upload_bytes=round(rules.max_upload_mb * MEGABYTE),
        uploads=frozenset(uploads),
        max_held_bytes=round(rules.max_held_mb * MEGABYTE),
    )
    app.add_middleware(BodyLimits, rules=limits)


class _Room:
    """Counts the bytes of all bodies."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, count: int) -> bool:
        if count > self._left:
            return False
        self._left -= count
        return True

    def leave(self, count: int) -> None:
        self._left += count


class _Body:
    """Of one request."""

    def __init__(
        self, rules: BodyRules, room: _Room, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._rules = rules
        self._room = room
        self._scope = scope
        self._receive = receive
        self._send = send
        self._is_upload = scope["path"] in rules.uploads
        self._limit = rules.max_bytes + (rules.max_upload_bytes if self._is_upload else 0)
        self._held = 0
        self._began_at: float | None = None
        self._read = 0
        self._has_ended = False
        self._closes = False

    async def receive(self) -> Message:
        if self._has_ended:
            return await self._receive()
        if self._began_at is None:
            await self._begin()
        message = await self._in_time()
        self._read += len(message.get("body", b""))
        self._hold(self._read)
        self._has_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on; where the body was not read to its end, close the connection then."""
        if message["type"] == "http.response.start" and not self._has_ended:
            self._closes = True
            MutableHeaders(scope=message)["Connection"] = "close"
        elif message["type"] == "http.response.body" and self._closes:
            # Were it closed at once, who still sends would be cut off before they read the answer.
            await self._send({**message, "more_body": True})
            if message.get("more_body", False):
                return
            self.let_go()
            await self._drain()
            message = {"type": "http.response.body"}
        await self._send(message)

    def let_go(self) -> None:
        """Nothing of it is held any more."""
        self._room.leave(self._held)
        self._held = 0

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rules.linger_s):
                while not self._has_ended:
                    self._has_ended = not (await self._receive()).get("more_body", False)

    async def _begin(self) -> None:
        guard: Guard = self._scope["app"].state.guard
        await guard.caller(HTTPConnection(self._scope))
        self._hold(_declared_bytes(self._scope))
        self._began_at = asyncio.get_running_loop().time()

    def _hold(self, count: int) -> None:
        """Take room for `count` bytes in all."""
        if count > self._limit:
            told = f"At most {self._rules.max_bytes / MEGABYTE:g} MB are taken here."
            if self._is_upload:
                told = (
                    f"A file has at most {self._rules.max_upload_bytes / MEGABYTE:g} MB. Send it "
                    "in parts, or raise serving.max_upload_mb."
                )
            raise HTTPException(413, told)
        more = max(0, count - self._held)
        if not self._room.take(more):
            raise HTTPException(
                429,
                f"Others are sending much at this moment. Come back in {_RETRY_AFTER_S} s.",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        self._held += more

    async def _in_time(self) -> Message:
        late = self._rules.patience_s + self._read / self._rules.min_bytes_per_s
        try:
            async with asyncio.timeout_at((self._began_at or 0.0) + late):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408,
                f"Only {self._read:,} bytes came in {late:.0f} s. Send it again where the network "
                "is better, or a smaller file.",
            ) from error


def _brings_one(scope: Scope) -> bool:
    """Whether there is a body: in HTTP/1.1, which is all that uvicorn speaks, one is announced."""
    return "transfer-encoding" in Headers(scope=scope) or _declared_bytes(scope) > 0


def _declared_bytes(scope: Scope) -> int:
    """By the header Content-Length; 0 where it says nothing."""
    declared = Headers(scope=scope).get("content-length", "")
    if not (declared.isdecimal() and declared.isascii()):
        return 0
    # Cut, as Python refuses to read a number of thousands of digits; zeros in front count nothing.
    return int(declared.lstrip("0")[:18] or 0)
