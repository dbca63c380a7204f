"""More than a server can do: it says so at once, and when to come back."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import make_wav
from tests.loopback import until
from tests.server.site import TRANSCRIPTIONS, Site, site
from tests.serving.letters import held_up, make

ROOM = 4
CLIENTS = 24


@pytest.fixture(scope="module")
def small(letters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With room for few, and a batch that waits for others so long that it fills."""
    rules = {"max_waiting": ROOM, "max_wait_ms": 1_000.0, "max_upload_mb": 0.1}
    root = tmp_path_factory.mktemp("small") / "ws"
    with site(make(root, letters, serving=rules)) as made:
        yield made


def at_once(small: Site, *, max_retries: int) -> list[Any]:
    async def ask() -> list[Any]:
        async with small.async_client(max_retries=max_retries) as client:
            asked = (
                client.audio.transcriptions.create(
                    file=("a.wav", make_wav(seconds=0.3)), model="whisper-1"
                )
                for _ in range(CLIENTS)
            )
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


def test_who_is_one_too_many_is_told_when_to_come_back(small: Site) -> None:
    found = at_once(small, max_retries=0)
    counted = Counter(type(one) for one in found)
    refused = [one for one in found if isinstance(one, openai.RateLimitError)]
    assert counted.keys() <= {openai.types.audio.Transcription, openai.RateLimitError}
    assert len(found) - len(refused) >= ROOM
    assert refused
    for one in refused:
        assert one.type == "rate_limit_error"
        assert int(one.response.headers["retry-after"]) >= 1
        assert "Come back in" in one.message


def test_openais_client_comes_back_by_itself(small: Site) -> None:
    found = at_once(small, max_retries=100)
    assert [one for one in found if isinstance(one, Exception)] == []


def test_a_file_that_is_too_large_is_refused(small: Site) -> None:
    with small.http() as http:
        answer = http.post(TRANSCRIPTIONS, files={"file": b"x" * 2_000_000})
    assert answer.status_code == 413
    assert "serving.max_upload_mb" in answer.json()["detail"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_who_goes_away_while_sending_is_no_mistake_of_ours(
    small: Site, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    with socket.create_connection((host, int(port))) as asking:
        asking.sendall(head.encode())
        time.sleep(0.2)
    time.sleep(0.5)
    assert small.hear(make_wav(seconds=0.3)).text == "AAAAAAAA"
    assert "incident" not in caplog.text.lower()


def test_no_disk_has_a_part_in_an_answer(
    letters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(make(tmp_path / "ws", letters)) as roomy:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        large = make_wav(seconds=25.0, rate_hz=48_000)
        assert len(large) > 2 << 20
        assert roomy.hear(large, extra_body={"store": "false"}).text == "AAAAAAAA"


@pytest.mark.parametrize("charset", ["undefined", "punycode", "none-such", "utf-16"])
def test_a_form_in_a_strange_charset_is_no_mistake_of_ours(small: Site, charset: str) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\xfe\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    with small.http() as http:
        answer = http.post(TRANSCRIPTIONS, content=form, headers={"Content-Type": kind})
    assert answer.status_code in {400, 422}


def test_who_goes_away_is_not_heard_to_the_end(small: Site) -> None:
    clip = make_wav(seconds=0.3)
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
    )
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    form += clip + b"\r\n--x--\r\n"
    host, port = small.url.removeprefix("http://").split(":")
    before = small.workspace.inferences.count()
    abandoned = small.service._outcomes["abandoned"]
    with held_up(small.service.engines):
        with socket.create_connection((host, int(port))) as asking:
            asking.sendall(f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form)
            until(lambda: small.service._in_flight == 1)
        until(lambda: small.service._in_flight == 0)
    assert small.service._outcomes["abandoned"] == abandoned + 1
    assert small.workspace.inferences.count() == before
