"""What is logged by reference: any recogniser's transcripts, one or many, each once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.inferences import InferenceLog
from misheard.capture.intake import Logged
from misheard.database.engine import now
from misheard.errors import BadInputError, InvalidTranscriptError, NotAudioError

ON_BOTH_DATABASES = True

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def told(number: int = 0, **fields: Any) -> Captured:
    known = {"audio": f"s3://calls/{number}.wav", "text": "hold the line", "heard_at": AT}
    return Captured(**known | fields)


def test_audio_text_and_time_are_enough(log: InferenceLog) -> None:
    assert log.capture([told()], live="v-1") == Logged(new=1, known=0)
    (kept,) = log.recent()
    assert (kept.source, kept.text, kept.created_at) == ("s3://calls/0.wav", "hold the line", AT)
    assert (kept.version_id, kept.audio_sha256, kept.speaker_group) == ("v-1", "", kept.source)
    assert (kept.duration_s, kept.latency_s, kept.avg_logprob, kept.tags) == (None, None, None, {})
    assert not kept.reported


def test_all_that_a_recogniser_can_say_is_kept(log: InferenceLog) -> None:
    item = told(
        recogniser="vendor 3",
        client_id="c-1",
        speaker="ann",
        session="call 7",
        duration_s=2,
        second_text="hold the lion",
        avg_logprob=-0.3,
        no_speech_prob=0.1,
        compression_ratio=1.2,
        latency_s=0.4,
        compute_s=0.2,
        tags={"channel": "móvil"},
    )
    log.capture([item], live="v-1")
    (kept,) = log.recent()
    for name in ("client_id", "speaker", "session", "second_text", "avg_logprob", "tags"):
        assert getattr(kept, name) == getattr(item, name)
    assert (kept.version_id, kept.speaker_group) == ("vendor 3", "ann")
    assert (kept.duration_s, kept.latency_s, kept.compute_s) == (2.0, 0.4, 0.2)


def test_what_has_an_id_is_logged_once_however_often_it_is_sent(log: InferenceLog) -> None:
    items = [told(n, client_id=f"c-{n}") for n in range(5)]
    assert log.capture(items[:3], live="v-1") == Logged(new=3, known=0)
    assert log.capture(items + items, live="v-1") == Logged(new=2, known=8)
    assert log.capture([told(), told()], live="v-1") == Logged(new=2, known=0)
    assert log.count() == 7


def test_a_stream_is_taken_in_portions_and_tells_how_far_it_is(log: InferenceLog) -> None:
    done: list[int] = []

    def stream() -> Iterator[Captured]:
        for number in range(4_500):
            yield told(number)

    assert log.capture(stream(), live="v-1", progress=done.append).new == 4_500
    assert sum(done) == 4_500
    assert len(done) > 1
    assert log.count() == 4_500


def test_a_zone_is_only_another_way_to_say_when(log: InferenceLog) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    log.capture([told(heard_at=elsewhere)], live="v-1")
    assert log.recent()[0].created_at == AT


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"text": None}, "text"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud800"}, "surrogates"),
        ({"audio": 3}, "audio"),
        ({"client_id": 7}, "client_id"),
        ({"speaker": b"ann"}, "speaker"),
        ({"heard_at": datetime(2026, 1, 1)}, "zone"),  # noqa: DTZ001 - what is refused
        ({"heard_at": "2026-01-01"}, "zone"),
        ({"heard_at": datetime(2999, 1, 1, tzinfo=UTC)}, "future"),
        ({"duration_s": -1.0}, "below 0"),
        ({"latency_s": math.nan}, "nan"),
        ({"avg_logprob": -math.inf}, "inf"),
        ({"no_speech_prob": True}, "no number"),
        ({"compute_s": "fast"}, "no number"),
        ({"tags": {"channel": 3}}, "channel"),
        ({"tags": ["a"]}, "names and values"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_of_it_is_kept(
    log: InferenceLog, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInputError, match=complaint):
        log.capture((told(n, **(changes if n == 2 else {})) for n in range(1, 4)), live="v-1")
    assert log.count() == 0


def test_clocks_may_differ_by_hours(log: InferenceLog) -> None:
    log.capture([told(heard_at=now() + timedelta(hours=3))], live="v-1")
    assert log.count() == 1


def test_audio_is_copied_in_where_that_is_wanted(
    log: InferenceLog, blobs: DirectoryBlobs, tone: Callable[..., bytes], tmp_path: Path
) -> None:
    data = tone(seconds=0.5)
    path = tmp_path / "17.wav"
    path.write_bytes(data)
    log.capture([told(audio=str(path), duration_s=9.0)], live="v-1", copy_audio=True)
    (kept,) = log.recent()
    assert kept.duration_s == pytest.approx(0.5)
    assert blobs.get_bytes(kept.audio_sha256) == data
    missing = [told(audio=str(path)), told(audio=str(tmp_path / "18.wav"))]
    with pytest.raises(NotAudioError, match=r"18\.wav"):
        log.capture(missing, live="v-1", copy_audio=True)
    assert log.count() == 1


def test_audio_that_was_referred_to_is_fetched_once_it_is_needed(
    log: InferenceLog, blobs: DirectoryBlobs, tone: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "17.wav"
    path.write_bytes(tone(seconds=0.5))
    log.capture([told(audio=str(path)), told(audio=str(tmp_path / "gone.wav"))], live="v-1")
    there = {Path(one.source).name: one.id for one in log.recent()}
    assert log.fetch_audio(list(there.values())) == [there["gone.wav"]]
    kept = log.get(there["17.wav"])
    assert blobs.get_bytes(kept.audio_sha256) == path.read_bytes()
    assert kept.duration_s == pytest.approx(0.5)
    path.unlink()
    assert log.fetch_audio([kept.id]) == []
    assert log.get(there["gone.wav"]).audio_sha256 == ""


def test_a_record_of_a_file_becomes_a_transcript() -> None:
    record = {"audio": "a", "text": "b", "heard_at": "2026-01-31T09:30:00Z", "latency_s": None}
    made = Captured.from_record(record, what="line 1")
    assert made == replace(told(), audio="a", text="b")
    for stamp in (AT.timestamp(), AT, "2026-01-31 09:30"):
        assert Captured.from_record(record | {"heard_at": stamp}, what="line 1").heard_at == AT
    with pytest.raises(BadInputError, match="line 3 has no 'text'"):
        Captured.from_record({"audio": "a", "heard_at": 1.0}, what="line 3")
    with pytest.raises(BadInputError, match="line 3 has 'transcript'"):
        Captured.from_record(record | {"transcript": "x"}, what="line 3")
    with pytest.raises(BadInputError, match="'soon' is no time"):
        Captured.from_record(record | {"heard_at": "soon"}, what="line 3")


def test_a_text_that_is_no_text_says_so() -> None:
    with pytest.raises(InvalidTranscriptError, match="the text of a transcript"):
        told(text=["a"])
