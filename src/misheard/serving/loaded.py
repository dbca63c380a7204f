"""Versions that are loaded: held by requests, and closed after the last of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from misheard.errors import NotReadyError
from misheard.serving.batching import Batcher


@dataclass(kw_only=True)
class _Loaded:
    batcher: Batcher
    holders: int = 0
    is_wanted: bool = True


class LoadedVersions:
    """Batchers by version. What is no longer wanted can still be held until it is closed."""

    def __init__(self, close: Callable[[Batcher], object]) -> None:
        """`close` is called once for each that nobody wants or holds, by whoever lets go of it."""
        self._close = close
        self._by_id: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    def __contains__(self, version_id: str) -> bool:
        return version_id in self._by_id

    @property
    def wanted(self) -> tuple[str, ...]:
        """Those that are to stay, by name."""
        with self._lock:
            return tuple(sorted(k for k, one in self._by_id.items() if one.is_wanted))

    def add(self, version_id: str, batcher: Batcher) -> None:
        """From now on it can be held."""
        with self._lock:
            self._by_id[version_id] = _Loaded(batcher=batcher)

    def want(self, wanted: Collection[str]) -> None:
        """Let go of all others, each when its last holder has."""
        with self._lock:
            for version_id, one in self._by_id.items():
                one.is_wanted = version_id in wanted
        self._close_unheld()

    @contextmanager
    def held(self, version_id: str) -> Iterator[Batcher]:
        """Nothing is closed under whoever is in the block; `NotReadyError` where it is not here."""
        with self._lock:
            one = self._by_id.get(version_id)
            if one is None:
                raise NotReadyError(f"{version_id} is not loaded here.")
            one.holders += 1
        try:
            yield one.batcher
        finally:
            with self._lock:
                one.holders -= 1
                is_over = not one.holders and not one.is_wanted
            if is_over:
                self._close_unheld()

    def _close_unheld(self) -> None:
        with self._lock:
            over = [k for k, one in self._by_id.items() if not one.holders and not one.is_wanted]
            batchers = [self._by_id.pop(version_id).batcher for version_id in over]
        for batcher in batchers:
            self._close(batcher)
