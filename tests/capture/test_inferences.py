from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, InferenceLog
from misheard.database.engine import writing
from misheard.errors import (
    BadInputError,
    InvalidTranscriptError,
    MisheardError,
    UnknownIdError,
)
from misheard.speech.transcriber import Transcript

ON_BOTH_DATABASES = True


@pytest.fixture
def heard(tone: Callable[..., bytes]) -> Callable[..., Heard]:
    def make(text: object = "hello", hertz: float = 440, **fields: object) -> Heard:
        data = tone(hertz=hertz, seconds=0.25)
        signals = {"latency_s": 0.2, "compute_s": 0.1}
        signals |= {k: fields.pop(k) for k in list(fields) if k in Transcript.__dataclass_fields__}
        transcript = Transcript(text=text, **signals)  # type: ignore[arg-type]
        return Heard(data=data, audio=audio.decode(data), transcript=transcript, **fields)  # type: ignore[arg-type]

    return make


Make = Callable[..., Heard]


def test_a_transcript_is_logged_with_all_its_signals_and_its_audio(
    log: InferenceLog, blobs: DirectoryBlobs, heard: Make
) -> None:
    item = heard(
        "Press pound.",
        avg_logprob=-0.25,
        no_speech_prob=0.01,
        compression_ratio=1.5,
        speaker_group="call 7",
        client_id="c-1",
    )
    (made,) = log.record("v-1", [item])
    assert log.get(made.id) == made
    assert made.text == "Press pound."
    assert (made.avg_logprob, made.no_speech_prob, made.compression_ratio) == (-0.25, 0.01, 1.5)
    assert (made.latency_s, made.duration_s, made.version_id) == (0.2, 0.25, "v-1")
    assert (made.speaker_group, made.client_id) == ("call 7", "c-1")
    assert blobs.get_bytes(made.audio_sha256) == item.data


def test_without_a_group_the_recording_is_one_of_its_own(log: InferenceLog, heard: Make) -> None:
    (made,) = log.record("v-1", [heard()])
    assert made.speaker_group == made.audio_sha256


@pytest.mark.parametrize("text", ["", "naïve café — 你好 🎤", "a\nb\tc", "'; DROP TABLE audit; --"])
def test_any_text_is_kept_as_it_is(log: InferenceLog, heard: Make, text: str) -> None:
    (made,) = log.record("v-1", [heard(text)])
    assert log.get(made.id).text == text


@pytest.mark.parametrize(
    "text", [None, 5, b"bytes", ["list"], "lone \ud800 surrogate", "nul \0"], ids=ascii
)
def test_a_transcript_that_is_no_storable_text_is_refused_and_nothing_is_logged(
    log: InferenceLog, blobs: DirectoryBlobs, heard: Make, text: object
) -> None:
    with pytest.raises(InvalidTranscriptError):
        log.record("v-1", [heard("good"), heard(text, hertz=500)])
    assert log.count() == 0
    assert list(blobs) == []


@pytest.mark.parametrize("name", ["avg_logprob", "no_speech_prob", "compression_ratio"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_signals_that_are_no_numbers_are_refused_by_name(
    log: InferenceLog, heard: Make, name: str, value: float
) -> None:
    with pytest.raises(BadInputError, match=name):
        log.record("v-1", [heard(**{name: value})])
    assert log.count() == 0


@pytest.mark.parametrize("field", ["client_id", "speaker_group"])
@pytest.mark.parametrize("value", ["lone \ud800 surrogate", "nul \0"], ids=ascii)
def test_other_texts_that_cannot_be_stored_are_refused_as_well(
    log: InferenceLog, heard: Make, field: str, value: str
) -> None:
    with pytest.raises(MisheardError):
        log.record("v-1", [heard(**{field: value})])
    assert log.count() == 0


def test_audio_and_bytes_that_do_not_belong_together_never_make_a_row_without_its_blob(
    log: InferenceLog, blobs: DirectoryBlobs, heard: Make
) -> None:
    mixed = replace(heard(hertz=440), data=heard(hertz=550).data)
    try:
        made = log.record("v-1", [mixed])
    except MisheardError:
        assert log.count() == 0
    else:
        assert made[0].audio_sha256 in blobs


def test_a_client_id_that_is_logged_already_is_left_as_it_was(
    log: InferenceLog, heard: Make
) -> None:
    (first,) = log.record("v-1", [heard("first", client_id="c-1")])
    made = log.record("v-1", [heard("again", client_id="c-1"), heard("new", client_id="c-2")])
    assert made[0] == first
    assert made[1].text == "new"
    assert log.count() == 2


def test_a_client_id_twice_in_one_call_makes_one_row(log: InferenceLog, heard: Make) -> None:
    one, two = log.record("v-1", [heard("one", client_id="c"), heard("two", client_id="c")])
    assert one == two
    assert log.count() == 1


def test_the_newest_come_first_and_can_be_counted_since_a_moment(
    log: InferenceLog, heard: Make
) -> None:
    (old,) = log.record("v-1", [heard("old")])
    (new,) = log.record("v-1", [heard("new")])
    assert [one.text for one in log.recent(limit=1)] == ["new"]
    assert log.count(since=old.created_at) == 1
    assert log.count(since=old.created_at - timedelta(seconds=1)) == 2
    assert log.count(since=new.created_at) == 0


def test_a_recording_knows_where_it_came_from(log: InferenceLog, heard: Make) -> None:
    (made,) = log.record("v-1", [heard(source="calls/naïve 👂.wav")])
    assert log.get(made.id) == made
    assert made.source == "calls/naïve 👂.wav"
    assert not made.reported


def test_a_path_that_is_no_unicode_is_kept_as_far_as_it_can_be(
    log: InferenceLog, heard: Make
) -> None:
    (made,) = log.record("v-1", [heard(source=os.fsdecode(b"caf\xe9.wav"))])
    assert log.get(made.id).source == "caf\\udce9.wav"


def test_a_report_without_its_log_is_no_traffic(
    log: InferenceLog, blobs: DirectoryBlobs, heard: Make, engine: Engine
) -> None:
    item = heard("press pond", speaker_group="call 7", source="call.wav")
    log.keep_audio([item])
    with writing(engine) as connection:
        made = log.report_in(connection, "v-1", item)
    found = log.get(made)
    assert found.reported
    assert (found.text, found.speaker_group, found.source) == ("press pond", "call 7", "call.wav")
    assert blobs.get_bytes(found.audio_sha256) == item.data


def test_a_report_finds_what_was_logged_by_audio_and_text(
    log: InferenceLog, heard: Make, engine: Engine
) -> None:
    (known,) = log.record("v-1", [heard("press pond")])

    def reported(item: Heard) -> str:
        with writing(engine) as connection:
            return log.report_in(connection, "v-2", item)

    assert reported(heard("press pond")) == known.id
    assert log.get(reported(heard("press bond"))).reported
    other = heard("press pond", hertz=500)
    assert log.get(reported(other)).audio_sha256 == other.audio.sha256
    assert log.count() == 3


def test_a_report_is_never_taken_for_what_production_heard(
    log: InferenceLog, heard: Make, engine: Engine
) -> None:
    item = heard("press pond")
    with writing(engine) as connection:
        first, again = (log.report_in(connection, "v-1", item) for _ in range(2))
    assert first != again
    assert log.get(first).reported
    assert log.get(again).reported


def test_bad_audio_is_refused_before_any_of_it_is_kept(
    log: InferenceLog, blobs: DirectoryBlobs, heard: Make
) -> None:
    good, bad = heard("good"), replace(heard(hertz=440), data=heard(hertz=550).data)
    with pytest.raises(BadInputError, match="other data"):
        log.keep_audio([good, bad])
    assert list(blobs) == []


def test_recording_nothing_is_no_error(log: InferenceLog) -> None:
    assert log.record("v-1", []) == []


def test_an_unknown_id_is_an_error(log: InferenceLog) -> None:
    with pytest.raises(UnknownIdError, match="no inference 'inf-x'"):
        log.get("inf-x")
