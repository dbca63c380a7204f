"""A server whose model says one letter, quickly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.site import Site, site
from tests.serving.letters import be_patient, make, make_letters


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@pytest.fixture(scope="session")
def letters(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_letters(tmp_path_factory.mktemp("letters"), bundled)


@pytest.fixture(scope="module")
def lettered(letters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For tests that leave A live."""
    with site(make(tmp_path_factory.mktemp("lettered") / "ws", letters)) as made:
        yield made
