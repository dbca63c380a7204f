"""A workspace whose models each say one letter, and servers that follow it in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from misheard import audio
from misheard.serving import engines as engines_module
from misheard.serving import service as service_module
from misheard.serving.engines import Engines
from misheard.speech.context import Context, ModelCard
from misheard.workspace import Workspace
from tests.conftest import make_wav
from tests.tiny_whisper import tiny_whisper

_T = TypeVar("_T")
PATIENCE_S = 120.0
"""For a machine that is busy with other things."""
CLIP = audio.decode(make_wav(seconds=0.3))
QUICK: dict[str, dict[str, Any]] = {
    "serving": {"follow_s": 0.02},
    "deployment": {"auto_backup_before_deploy": False, "max_latency_s": PATIENCE_S},
}


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers of this process wait longer for the database before they go on without it.

    Else an answer is captured late, or a canary has no part in it, when a disk is slow for seconds.
    """
    monkeypatch.setattr(service_module, "_KEPT_WITHIN_S", PATIENCE_S)
    monkeypatch.setattr(engines_module, "_UNSURE_AFTER_S", PATIENCE_S)


def make_letters(folder: Path, like: Path) -> dict[str, Path]:
    """Models that say A, B and C, in windows that fit the clip."""
    made = {one: tiny_whisper(folder / one, like, layers=1, says=one) for one in "ABC"}
    context = Context(margin_s=0.5, round_to=32)
    for path in made.values():
        ModelCard(base="", dataset_id="", recipe_id="", context=context).write(path)
    return made


def make(root: Path, letters: dict[str, Path], **settings: dict[str, Any]) -> Workspace:
    """A workspace with A live, and all three registered, called by their letters."""
    merged = {name: QUICK.get(name, {}) | settings.get(name, {}) for name in QUICK | settings}
    workspace = Workspace.create(root, model=str(letters["A"]), settings=merged, actor="ann")
    for letter, path in letters.items():
        workspace.registry.register(
            path, name="tiny", source="test", actor="ann", version_id=letter
        )
    deploy(workspace, "A")
    return workspace


def deploy(workspace: Workspace, version_id: str, **given: Any) -> int:
    """By force, for no gate has judged them; the number of the row."""
    made = workspace.deploy(version_id, actor="ann", reason="test", force=True, **given)
    return made.number


@asynccontextmanager
async def serving(workspace: Workspace, **given: Any) -> AsyncIterator[Engines]:
    """A server that follows, stopped at the end."""
    engines = Engines(workspace, **given)
    await engines.start()
    try:
        yield engines
    finally:
        await engines.stop()


@contextmanager
def held_up(engines: Engines) -> Iterator[None]:
    """What is asked of the live version waits while the block runs."""
    over = threading.Event()
    with engines.using() as live:
        for _ in range(live.batcher._workers):
            live.batcher._hearing.submit(over.wait, PATIENCE_S)
        try:
            yield
        finally:
            over.set()


async def ask(engines: Engines, version_id: str | None = None) -> tuple[str, str]:
    """Who answered, and the letter that it said."""
    with engines.using(version_id) as serving:
        heard = await serving.batcher.transcribe(CLIP)
        return serving.version_id, letter_of(heard.text)


def letter_of(text: str) -> str:
    (letter,) = set(text)
    return letter


async def until(is_so: Callable[[], bool], *, within_s: float = PATIENCE_S) -> float:
    """Wait for something; the seconds that it took."""
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < within_s
        await asyncio.sleep(0.01)
    return time.monotonic() - started


def run(body: Callable[[], Awaitable[_T]]) -> _T:
    """In an event loop of its own, for a bounded time."""

    async def bounded() -> _T:
        return await asyncio.wait_for(body(), timeout=5 * PATIENCE_S)

    return asyncio.run(bounded())
