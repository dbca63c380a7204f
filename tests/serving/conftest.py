"""Servers that are given more time than usual, for a machine that is busy with other things."""

from __future__ import annotations

import pytest

from tests.serving.letters import be_patient


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)
