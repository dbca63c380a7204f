"""How long a connection may take to ask for something, and how long its question may be."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LONG = b'{"title":"Request Header Fields Too Large","status":431}'
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)


class BoundedConnection(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1, which bounds neither the head of a request nor the wait for one.

    Bodies are bounded by `limits.BodyLimits`, which sees a request once its head is there; a
    connection that waits for its next request is closed by uvicorn's `timeout_keep_alive`.
    """

    MOST_BYTES: ClassVar[int] = 65_536
    """Of a head, with its address; and of what follows a body or stands between its chunks."""
    HEAD_S: ClassVar[float] = 15.0
    """From the connection, or from the first byte of a later request, to the end of the head."""

    _loose = 0
    """Bytes since the last that were a whole head, or of a body."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._has_asked()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._loose += len(data)
        super().data_received(data)
        if self._loose > self.MOST_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_ANSWER % (len(_TOO_LONG), _TOO_LONG))
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._timer is None:
            self._timer = self.loop.call_later(self.HEAD_S, self.transport.close)

    def on_headers_complete(self) -> None:
        """It has been asked."""
        self._has_asked()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; how large it may be is no matter of this class."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has been read."""
        self._loose = 0
        super().on_message_complete()

    def _has_asked(self) -> None:
        self._loose = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
