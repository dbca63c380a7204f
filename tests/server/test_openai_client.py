"""Do clients of OpenAI's API get along with us, whatever they ask for?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose

from misheard import audio
from misheard.scoring.normalize import normalizer
from misheard.workspace import Workspace
from tests.conftest import Prompt, make_wav
from tests.loopback import until
from tests.server.site import TRANSCRIPTIONS, Site, site

PLAIN = normalizer("whisper-english")
CLOCK = r"\d\d:\d\d:\d\d"


@pytest.fixture(scope="module")
def served(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The real model."""
    root = tmp_path_factory.mktemp("served") / "ws"
    with site(Workspace.create(root, model=str(bundled), actor="ann")) as made:
        yield made


@pytest.fixture(scope="module")
def prompt(phone_prompts: list[Prompt]) -> Prompt:
    """Real speech, which the model hears right."""
    return next(one for one in phone_prompts if one.id == "agent-incorrect")


@pytest.fixture(scope="module")
def client(served: Site) -> Iterator[openai.OpenAI]:
    with served.client() as made:
        yield made


@pytest.fixture(scope="module")
def lettered_client(lettered: Site) -> Iterator[openai.OpenAI]:
    with lettered.client() as made:
        yield made


def said(text: str) -> str:
    return PLAIN(text)


def test_json_is_the_text_with_the_id_that_feedback_takes(served: Site, prompt: Prompt) -> None:
    heard = served.hear(prompt.data, name="agent.gsm")
    assert isinstance(heard, Transcription)
    assert said(heard.text) == said(prompt.reference)
    assert heard.usage.type == "duration"
    assert heard.usage.seconds == pytest.approx(prompt.duration_s, abs=0.001)
    logged = served.workspace.inferences.get(heard.id)
    assert (logged.text, logged.source) == (heard.text, "agent.gsm")
    assert served.workspace.recording(logged.audio_sha256) == prompt.data
    assert logged.latency_s is not None and logged.latency_s > 0


def test_headers_have_the_id_the_version_and_whether_it_was_captured(
    served: Site, client: openai.OpenAI, prompt: Prompt
) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        file=("a.gsm", prompt.data), model="whisper-1", response_format="text"
    )
    assert served.workspace.inferences.get(raw.headers["x-misheard-id"]).text == raw.parse().strip()
    assert raw.headers["x-misheard-version"] == served.workspace.deployments.live().version_id
    assert raw.headers["x-misheard-capture"] == "kept"
    assert raw.headers["cache-control"] == "no-store"


def test_text_is_nothing_but_the_text(served: Site, prompt: Prompt) -> None:
    heard = served.hear(prompt.data, response_format="text")
    assert isinstance(heard, str)
    assert said(heard) == said(prompt.reference)


def test_srt_and_vtt_have_the_times(served: Site, prompt: Prompt) -> None:
    srt = served.hear(prompt.data, response_format="srt")
    assert re.fullmatch(rf"1\n{CLOCK},\d\d\d --> {CLOCK},\d\d\d\n[^\n]+\n\n", srt)
    vtt = served.hear(prompt.data, response_format="vtt")
    assert re.fullmatch(rf"WEBVTT\n\n{CLOCK}\.\d\d\d --> {CLOCK}\.\d\d\d\n[^\n]+\n\n", vtt)


def verbose(served: Site, data: bytes, **fields: Any) -> TranscriptionVerbose:
    """As the client gives it; and it holds all that OpenAI promises, in their types."""
    heard = served.hear(data, response_format="verbose_json", **fields)
    assert isinstance(heard, TranscriptionVerbose)
    return TranscriptionVerbose.model_validate(heard.to_dict(), strict=True)


def test_verbose_json_has_every_field_of_openai(served: Site, prompt: Prompt) -> None:
    heard = verbose(served, prompt.data)
    assert said(heard.text) == said(prompt.reference)
    assert (heard.language, heard.duration) == ("english", pytest.approx(prompt.duration_s))
    assert heard.words is None
    assert heard.segments
    first = heard.segments[0]
    assert 0 <= first.start < first.end <= heard.duration
    assert first.tokens and first.avg_logprob < 0 and 0 <= first.no_speech_prob <= 1
    assert first.compression_ratio > 0 and first.temperature == 0 and first.seek == 0


def test_verbose_json_has_times_of_what_is_asked_for(served: Site, prompt: Prompt) -> None:
    words = verbose(served, prompt.data, timestamp_granularities=["word"])
    assert words.segments is None
    assert words.words and said(" ".join(w.word for w in words.words)) == said(words.text)
    times = [moment for word in words.words for moment in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= words.duration
    both = verbose(served, prompt.data, timestamp_granularities=["word", "segment"])
    assert both.words and both.segments


def test_a_short_stream_is_one_delta_and_the_whole(
    served: Site, client: openai.OpenAI, prompt: Prompt
) -> None:
    stream = client.audio.transcriptions.create(
        file=("a.gsm", prompt.data), model="whisper-1", stream=True
    )
    delta, done = list(stream)
    assert (delta.type, done.type) == ("transcript.text.delta", "transcript.text.done")
    assert delta.delta == done.text
    live = served.workspace.deployments.live().version_id
    assert (done.version, done.capture) == (live, "kept")
    assert served.workspace.inferences.get(done.id).text == done.text


@pytest.mark.model
def test_a_long_stream_comes_in_parts(
    served: Site, client: openai.OpenAI, phone_prompts: list[Prompt]
) -> None:
    spoken = [audio.decode(one.data).samples for one in phone_prompts if one.kind == "speech"]
    long = [one for one in spoken if len(one) > 80_000][:9]
    gap = np.zeros(16_000, np.float32)
    samples = np.concatenate([part for one in long for part in (one, gap)])
    assert len(samples) > 50 * 16_000
    data = audio.encode_wav(samples, 16_000)
    stream = client.audio.transcriptions.create(
        file=("long.wav", data), model="whisper-1", stream=True
    )
    *deltas, done = list(stream)
    assert len(deltas) > 1
    assert "".join(one.delta for one in deltas) == done.text
    assert served.workspace.inferences.get(done.id).text == done.text


def test_what_is_told_of_a_recording_is_kept_with_it(
    lettered: Site, tone: Callable[..., bytes]
) -> None:
    ours = {"session": "call-7", "speaker": "ann", "speaker_group": "office"}
    heard = lettered.hear(tone(seconds=0.3), extra_body={**ours, "tags": {"channel": "mobile"}})
    logged = lettered.workspace.inferences.get(heard.id)
    assert (logged.session, logged.speaker, logged.speaker_group) == ("call-7", "ann", "office")
    assert logged.tags["channel"] == "mobile"
    as_json = lettered.hear(tone(seconds=0.3), extra_body={"tags": '{"channel": "desk"}'})
    assert lettered.workspace.inferences.get(as_json.id).tags["channel"] == "desk"


def test_what_is_not_to_be_captured_is_not(
    lettered: Site, lettered_client: openai.OpenAI, tone: Callable[..., bytes]
) -> None:
    before = lettered.workspace.inferences.count()
    heard = lettered.hear(tone(seconds=0.3), extra_body={"store": False})
    assert heard.text == "AAAAAAAA"
    assert "id" not in heard.to_dict()
    stream = lettered_client.audio.transcriptions.create(
        file=("a.wav", tone(seconds=0.3)),
        model="whisper-1",
        stream=True,
        extra_body={"store": False},
    )
    *_, done = list(stream)
    assert (done.version, done.capture) == ("A", "off")
    assert "id" not in done.to_dict()
    assert lettered.workspace.inferences.count() == before


def test_sent_twice_under_its_own_id_it_is_captured_once(
    lettered: Site, tone: Callable[..., bytes]
) -> None:
    ours = {"client_id": "rec-1"}
    first, second = (lettered.hear(tone(seconds=0.3), extra_body=ours) for _ in range(2))
    assert first.id == second.id


def test_who_uses_anothers_id_is_not_given_anothers_transcript(
    lettered: Site, lettered_client: openai.OpenAI
) -> None:
    ours = {"client_id": "rec-2"}
    first = lettered.hear(make_wav(seconds=0.3, hertz=300), extra_body=ours)
    other = make_wav(seconds=0.3, hertz=301)
    raw = lettered_client.audio.transcriptions.with_raw_response.create(
        file=("a.wav", other), model="whisper-1", extra_body=ours
    )
    assert raw.parse().text == "AAAAAAAA"
    assert raw.headers["x-misheard-capture"] == "failed"
    assert first.id not in raw.text
    assert "x-misheard-id" not in raw.headers


@pytest.mark.parametrize("name", ["/etc/hostname", "..\\..\\x.wav", "a\nb.wav", "ü" * 400])
def test_what_a_file_is_called_is_no_path(
    lettered: Site, tone: Callable[..., bytes], name: str
) -> None:
    heard = lettered.hear(tone(seconds=0.3), name=name)
    kept = lettered.workspace.inferences.get(heard.id).source
    assert kept and not set(kept) & set("/\\\n") and len(kept) <= 200


@pytest.mark.parametrize("model", ["whisper-1", "production", "live"])
def test_the_model_is_what_is_live_or_a_loaded_version(
    lettered: Site, lettered_client: openai.OpenAI, tone: Callable[..., bytes], model: str
) -> None:
    live = lettered.workspace.deployments.live().version_id
    wanted = live if model == "live" else model
    assert lettered_client.models.retrieve(wanted).id == wanted
    heard = lettered_client.audio.transcriptions.create(
        file=("a.wav", tone(seconds=0.3)), model=wanted
    )
    assert heard.text == "AAAAAAAA"


def test_models_are_listed(lettered: Site, lettered_client: openai.OpenAI) -> None:
    # What was live before is loaded by and by.
    until(lambda: len(lettered.service.engines.state.loaded) == 2)
    listed = list(lettered_client.models.list())
    assert [one.id for one in listed[:3]] == ["whisper-1", "production", "A"]
    assert {one.id for one in listed[2:]} == set(lettered.service.engines.state.loaded)
    assert {(one.object, one.owned_by) for one in listed} == {("model", "misheard")}
    assert all(one.created > 1_700_000_000 for one in listed)


def test_a_model_that_is_not_loaded_is_not_found(
    lettered: Site, lettered_client: openai.OpenAI, tone: Callable[..., bytes]
) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        lettered_client.audio.transcriptions.create(
            file=("a.gsm", tone(seconds=0.3)), model="gpt-9"
        )
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        lettered_client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"temperature": 1.5}, "temperature", "less than or equal to 1"),
        ({"temperature": float("nan")}, "temperature", "temperature"),
        ({"response_format": "diarized_json"}, "response_format", "verbose_json"),
        ({"include": ["logprobs"]}, "include[]", "avg_logprob of each segment"),
        ({"chunking_strategy": {"type": "server_vad"}}, None, "chunking_strategy"),
        ({"timestamp_granularities": ["word"]}, "fields", "verbose_json"),
        ({"extra_body": {"sesion": "1"}}, "sesion", "known are file, model,"),
        ({"extra_body": {"tags": "channel"}}, "tags", 'write {"channel": "mobile"}'),
        ({"extra_body": {"tags": {"rollout": "x/1"}}}, None, "set by the server"),
        ({"extra_body": {"session": "x" * 501}}, "session", "at most 500"),
        ({"extra_body": {"session": "a\0b"}}, None, "NUL"),
        ({"language": "klingon"}, None, "speech.language"),
        ({"language": "de"}, None, "only en"),
        ({"prompt": "x" * 10_001}, "prompt", "at most 10000"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    lettered: Site, tone: Callable[..., bytes], fields: dict[str, Any], param: str | None, told: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        lettered.hear(tone(seconds=0.3), **fields)
    assert told in refused.value.message
    assert refused.value.type == "invalid_request_error"
    if param is not None:
        assert refused.value.param == param


@pytest.mark.parametrize("data", [b"", b"no audio at all", make_wav()[:30]])
def test_what_is_no_audio_is_refused_also_when_it_is_streamed(
    lettered: Site, lettered_client: openai.OpenAI, data: bytes
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"'x\.wav'"):
            lettered_client.audio.transcriptions.create(
                file=("x.wav", data), model="whisper-1", stream=stream
            )


def test_a_prompt_and_a_temperature_are_taken(served: Site, prompt: Prompt) -> None:
    for fields in ({"prompt": "Asterisk."}, {"temperature": 0.2}, {"temperature": 0}):
        assert "agent" in said(served.hear(prompt.data, **fields).text)


def test_nothing_is_translated(lettered_client: openai.OpenAI, tone: Callable[..., bytes]) -> None:
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(openai.BadRequestError, match="Nothing is translated here"),
    ):
        lettered_client.audio.translations.create(
            file=("a.gsm", tone(seconds=0.3)), model="whisper-1"
        )


def test_a_form_without_a_file_says_so(lettered: Site) -> None:
    with lettered.http() as http:
        for sent in (
            {"data": {"model": "whisper-1"}},
            {"json": {"model": "whisper-1"}},
            {"data": {"file": "a.wav"}},
            {"files": {"audio": b"x"}},
            {"files": {"file": b"x", "other": b"y"}},
            {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
        ):
            answer = http.post(TRANSCRIPTIONS, **sent)
            assert answer.status_code == 400, answer.text
            assert answer.json()["detail"]


def test_many_at_once_each_get_their_own(served: Site, short_prompts: list[Prompt]) -> None:
    some = short_prompts[:4]

    async def ask() -> list[Any]:
        async with served.async_client() as client:
            return await asyncio.gather(*(
                client.audio.transcriptions.create(file=("a.gsm", one.data), model="whisper-1")
                for one in some
            ))  # fmt: skip

    alone = [served.hear(one.data).text for one in some]
    assert [one.text for one in asyncio.run(ask())] == alone
