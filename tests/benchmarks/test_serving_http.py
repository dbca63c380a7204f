from __future__ import annotations

from pathlib import Path

from benchmarks.serving_http import measure

from tests.serving.letters import make
from tests.tiny_whisper import tiny_whisper


def test_both_arms_answer_every_request(bundled: Path, tmp_path: Path) -> None:
    letters = {"A": tiny_whisper(tmp_path / "A", bundled, layers=1, says="A")}
    workspace = make(tmp_path / "ws", letters)
    figures = measure(workspace, clients=2, requests=4, rounds=1)
    assert figures["http_overhead"] < 1
    assert set(figures["arms"]) == {"service", "HTTP"}
    for arm in figures["arms"].values():
        assert arm["requests_s"] > 0 and 0 < arm["p50_ms"] <= arm["p95_ms"]
    # All of them were captured, in the round that does not count as well.
    assert workspace.inferences.count() == 2 * 2 * 4
