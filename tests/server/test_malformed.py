"""Files that are no recordings: each is refused in time, and the server is as well as before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.conftest import make_wav
from tests.server.site import TRANSCRIPTIONS, Site, site
from tests.serving.letters import make
from tests.serving.malformed import corpus

IN_TIME_S = 60.0
"""A file may take `serving.max_decode_s`, 20 s, and here waits for three others."""


@pytest.fixture(scope="module")
def open_to_all(
    letters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("open") / "ws"
    with site(make(root, letters, serving={"max_duration_s": 1_800.0})) as made:
        yield made


@pytest.fixture(scope="module")
def answers(open_to_all: Site) -> dict[str, tuple[httpx2.Response, float]]:
    """Each file's answer, and the seconds that it took."""
    with open_to_all.http() as http, ThreadPoolExecutor(4) as pool:

        def send(data: bytes) -> tuple[httpx2.Response, float]:
            started = time.monotonic()
            answer = http.post(TRANSCRIPTIONS, files={"file": ("call.wav", data)})
            return answer, time.monotonic() - started

        sent = {name: pool.submit(send, data) for name, data in corpus().items()}
        return {name: one.result() for name, one in sent.items()}


def test_every_one_is_refused_in_time(
    answers: dict[str, tuple[httpx2.Response, float]],
) -> None:
    assert len(answers) >= 200
    odd = {
        name: answer.text
        for name, (answer, took_s) in answers.items()
        if not 400 <= answer.status_code < 500 or took_s > IN_TIME_S
    }
    assert odd == {}


def test_each_is_told_what_is_wrong_and_nothing_of_this_machine(
    answers: dict[str, tuple[httpx2.Response, float]],
) -> None:
    for name, (answer, _) in answers.items():
        problem = answer.json()
        assert problem["detail"], name
        assert "Traceback" not in answer.text and "/tmp" not in answer.text, name
    kinds = Counter(answer.json()["error"]["code"] for answer, _ in answers.values())
    assert {"not_audio", "audio_damaged"} <= set(kinds)


def test_the_server_is_well_afterwards(
    open_to_all: Site, answers: dict[str, tuple[httpx2.Response, float]]
) -> None:
    assert open_to_all.hear(make_wav(seconds=0.3)).text == "AAAAAAAA"
    with open_to_all.http() as http:
        assert http.get("/readyz").status_code == 200
        assert "misheard_server_in_flight" in http.get("/metrics").text
