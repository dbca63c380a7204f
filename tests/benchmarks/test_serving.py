"""The benchmark of many clients, with a model that takes no time, and clients that count."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks import serving
from tests.tiny_whisper import tiny_whisper


def test_each_client_asks_its_next_when_the_last_is_answered() -> None:
    under_way, most = set(), 0

    async def ask(number: int) -> str:
        nonlocal most
        under_way.add(number)
        most = max(most, len(under_way))
        await asyncio.sleep(0.001)
        under_way.remove(number)
        return str(number)

    load = asyncio.run(serving.drive(ask, range(50), 4))
    assert most == 4
    assert load.texts == {number: str(number) for number in range(50)}
    assert 1.0 <= load.p50_ms <= load.p95_ms
    assert 50 / load.requests_s >= 50 / 4 * 0.001


@pytest.mark.model
def test_it_ends_with_its_figures(
    tmp_path: Path,
    bundled: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_whisper(tmp_path / "tiny", bundled)
    asked = [
        "--model",
        str(model),
        "--clients",
        "4",
        "--requests",
        "8",
        "--rounds",
        "1",
        "--clips",
        "5",
    ]
    monkeypatch.setattr(serving, "LONG_S", 40.0)
    monkeypatch.setattr(sys, "argv", ["serving", *asked])
    serving.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["different_texts"] == 0
    assert figures["batching_speedup"] > 0
    assert figures["p50_ms"] <= figures["p95_ms"]
    both = [figures["arms"][name]["requests_s"] for name in (serving.ALONE, serving.ALONE_WIDE)]
    # Both are told to a tenth, which is much of a slow machine's.
    least = (figures["requests_s"] - 0.05) / (max(both) + 0.05)
    most = (figures["requests_s"] + 0.05) / max(max(both) - 0.05, 1e-9)
    assert least - 0.005 <= figures["batching_speedup"] <= most + 0.005
