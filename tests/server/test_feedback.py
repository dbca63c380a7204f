"""What people say of a transcript is kept once, whoever asks how often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from misheard.cases.records import CaseStatus
from tests.conftest import make_wav
from tests.server.site import Site

HEARD = "AAAAAAAA"


@pytest.fixture(scope="module")
def http(lettered: Site) -> Iterator[httpx2.Client]:
    with lettered.http() as made:
        yield made


@pytest.fixture
def heard(lettered: Site) -> str:
    """The id of a transcript."""
    made: str = lettered.hear(make_wav(seconds=0.3)).id
    return made


def give(http: httpx2.Client, **said: Any) -> httpx2.Response:
    return http.post("/v1/feedback", json=said)


def test_a_correction_opens_a_case(lettered: Site, http: httpx2.Client, heard: str) -> None:
    answer = give(http, id=heard, text="Press one.")
    assert answer.status_code == 200
    assert answer.json() == {"id": heard, "wrong": True, "created_at": answer.json()["created_at"]}
    case = lettered.workspace.cases.get(heard)
    assert (case.status, case.reference) == (CaseStatus.CORRECTED, "Press one.")
    (given,) = lettered.workspace.cases.corrections(inference_id=heard)
    assert (given.author, given.method) == ("local", "feedback")


def test_what_is_right_is_confirmed(lettered: Site, http: httpx2.Client, heard: str) -> None:
    assert give(http, id=heard, right=True).json()["wrong"] is False
    (given,) = lettered.workspace.cases.corrections(inference_id=heard)
    assert (given.reference, given.is_error) == (HEARD, False)


def test_formatting_is_no_error(http: httpx2.Client, heard: str) -> None:
    assert give(http, id=heard, text=f"{HEARD.lower()}.").json()["wrong"] is False


def test_nobody_spoke(lettered: Site, http: httpx2.Client, heard: str) -> None:
    assert give(http, id=heard, text="").json()["wrong"] is True
    assert lettered.workspace.cases.get(heard).reference == ""


def test_wrong_without_a_text_opens_a_case_for_somebody_to_hear(
    lettered: Site, http: httpx2.Client, heard: str
) -> None:
    assert give(http, id=heard, right=False).json()["wrong"] is True
    case = lettered.workspace.cases.get(heard)
    assert (case.status, case.details["reported_by"]) == (CaseStatus.OPEN, "local")
    (entry,) = lettered.workspace.audit.entries(subject=heard)
    assert (entry.actor, entry.action, entry.to_value) == ("local", "open_case", case.id)


def test_sent_again_it_counts_once(lettered: Site, http: httpx2.Client, heard: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(give, http, id=heard, text="Press one.") for _ in range(8)]
        answers = [one.result().json() for one in sent]
    assert answers == [answers[0]] * 8
    assert len(lettered.workspace.cases.corrections(inference_id=heard)) == 1


def test_a_change_of_mind_is_a_new_word_on_it(
    lettered: Site, http: httpx2.Client, heard: str
) -> None:
    for text in ("Press one.", "Press two.", "Press one."):
        give(http, id=heard, text=text)
    texts = [one.reference for one in lettered.workspace.cases.corrections(inference_id=heard)]
    assert texts == ["Press one.", "Press two.", "Press one."]


def test_what_is_not_known_is_not_found(http: httpx2.Client) -> None:
    for said in ({"text": "a"}, {"right": True}, {"right": False}):
        answer = give(http, id="inf-nowhere", **said)
        assert answer.status_code == 404
        assert "inf-nowhere" in answer.json()["detail"]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"text": "a", "right": True},
        {"text": None},
        {"text": 7},
        {"text": "a", "author": "me"},
        {"text": "a\0b"},
        {"text": "a\ud800b"},
        {"text": "x" * 100_001},
        {"id": "a\0", "text": "a"},
    ],
)
def test_what_cannot_be_is_refused(
    lettered: Site, http: httpx2.Client, heard: str, said: dict[str, Any]
) -> None:
    import json  # noqa: PLC0415 - the client's own refuses a lone surrogate

    answer = http.post(
        "/v1/feedback",
        content=json.dumps({"id": heard, **said}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert lettered.workspace.cases.corrections(inference_id=heard) == []
