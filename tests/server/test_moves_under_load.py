"""Versions are deployed and rolled back while 16 callers ask: none of them notices."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import httpx2

from tests.conftest import make_wav
from tests.server.site import TRANSCRIPTIONS, site
from tests.serving.letters import PATIENCE_S, deploy, letter_of, make

CLIENTS = 16
MOVES = 100


def test_a_hundred_moves_under_load_fail_no_request(
    letters: dict[str, Path], tmp_path: Path
) -> None:
    workspace = make(tmp_path / "ws", letters)
    clip = {"file": ("a.wav", make_wav(seconds=0.3))}
    is_over = threading.Event()
    found: list[tuple[int, str, str]] = []
    failures: list[Exception] = []

    def ask(url: str) -> None:
        with httpx2.Client(base_url=url, timeout=PATIENCE_S) as http:
            while not is_over.is_set():
                try:
                    answer = http.post(TRANSCRIPTIONS, files=clip, data={"store": "false"})
                    letter = letter_of(answer.json()["text"])
                    version = answer.headers["x-misheard-version"]
                    found.append((answer.status_code, version, letter))
                except Exception as error:  # noqa: BLE001 - whatever it is, it is one too many
                    failures.append(error)
                    return

    with site(workspace) as served:
        callers = [threading.Thread(target=ask, args=(served.url,)) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        try:
            for number in range(MOVES):
                if number % 2:
                    workspace.roll_back(actor="ann", reason="test")
                else:
                    deploy(workspace, "BC"[number // 2 % 2])
        finally:
            is_over.set()
            for caller in callers:
                caller.join(PATIENCE_S)
    assert len(workspace.deployments.history(limit=2 * MOVES)) == MOVES + 2
    assert failures == []
    assert len(found) >= MOVES
    assert {status for status, _, _ in found} == {200}
    assert all(version == letter for _, version, letter in found)
    assert Counter(letter for _, _, letter in found).keys() == {"A", "B", "C"}
