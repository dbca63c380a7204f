"""Which tokens are used: noted in a thread of its own, so that who asks never waits for it."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from misheard.access.tokens import Token, Tokens
from misheard.database.engine import now

_EVERY_S = 60.0
"""One that could not be noted is tried again after so long."""


class Uses:
    """Notes the hour in which each token was last used; `note` is for one thread."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._waiting: SimpleQueue[str] = SimpleQueue()
        self._noting = ThreadPoolExecutor(1, thread_name_prefix="misheard-uses")
        # Id of a token → when its use was last to be noted, on the monotonic clock.
        self._tried: dict[str, float] = {}

    def note(self, token: Token) -> None:
        """That a token, as it was just looked up, is used now; it does not wait."""
        if not token.is_due(now()):
            return
        at = time.monotonic()
        if at - self._tried.get(token.id, -_EVERY_S) < _EVERY_S:
            return
        self._tried[token.id] = at
        self._waiting.put(token.id)
        self._noting.submit(self._note_all)

    def drain(self) -> None:
        """Return when all that waits is noted, or was tried."""
        self._noting.submit(self._note_all).result()

    def _note_all(self) -> None:
        ids: set[str] = set()
        with suppress(Empty):
            while True:
                ids.add(self._waiting.get_nowait())
        if not ids:
            return
        try:
            self._tokens.note_used(ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is turned away for it
            logging.getLogger("misheard").warning("The use of a token was not noted. %s", error)
