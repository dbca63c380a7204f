"""What is logged by reference: any recogniser's transcripts, one or many, each once."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from misheard.blobs.directory import DirectoryBlobs
from misheard.blobs.together import delete_all
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.capture.intake import Logged
from misheard.database.discarded import delete_discarded
from misheard.database.engine import now, writing
from misheard.database.schema import discarded, hourly, inferences
from misheard.datasets.datasets import Datasets
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
        ({"duration_s": 1e308}, "above 31,536,000"),
        ({"latency_s": 10**401}, "no number that can be kept"),
        ({"avg_logprob": -1e6}, "below -1000"),
        ({"no_speech_prob": 1.5}, "above 1"),
        ({"client_id": "x" * 501}, "client_id .* 501 characters"),
        ({"speaker": "x" * 501}, "more than 500"),
        ({"recogniser": "x" * 251}, "more than 250"),
        ({"tags": {"x" * 251: "y"}}, "more than 250"),
        ({"tags": {"x": "y" * 2_001}}, "more than 2,000"),
        ({"heard_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "before 1900"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_of_it_is_kept(
    log: InferenceLog, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInputError, match=complaint):
        log.capture((told(n, **(changes if n == 2 else {})) for n in range(1, 4)), live="v-1")
    assert log.count() == 0


def test_what_is_as_long_as_it_may_be_is_kept_by_every_index(log: InferenceLog) -> None:
    # Drawn, so that no database makes it short, and of characters that take the most bytes.
    draw = random.Random(0)
    ids = ["".join(chr(draw.randrange(0x10000, 0x1FFFF)) for _ in range(500)) for _ in range(3)]
    item = told(
        client_id=ids[0],
        speaker=ids[1],
        session=ids[2],
        recogniser=ids[0][:250],
        tags={"channel": ids[1][:240], "other": ids[2] * 4},
    )
    assert log.capture([item], live="v-1").new == 1
    digest = Digest(
        log._engine, rules=DigestRules(slices=("channel", "other")), scorer=no_suspicion
    )
    assert digest.catch_up() == 1
    with log._engine.connect() as connection:
        slices = set(connection.scalars(select(hourly.c.slice)))
    # A value that makes no name for figures is in the log, but is not counted apart.
    assert slices == {"", f"channel={ids[1][:240]}"}


def test_an_id_that_is_empty_is_none(log: InferenceLog) -> None:
    items = [told(n, client_id="", speaker="", session="") for n in range(2)]
    assert log.capture(items, live="v-1") == Logged(new=2, known=0)
    assert {(one.client_id, one.speaker, one.session) for one in log.recent()} == {
        (None, None, None)
    }


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
    other = tmp_path / "19.wav"
    other.write_bytes(tone(seconds=0.7))
    missing = [told(audio=str(other)), told(audio=str(tmp_path / "18.wav"))]
    with pytest.raises(NotAudioError, match=r"18\.wav"):
        log.capture(missing, live="v-1", copy_audio=True)
    assert log.count() == 1
    assert list(blobs) == [kept.audio_sha256]
    with log._engine.connect() as connection:
        assert connection.execute(select(discarded)).all() == []


COPY = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.inferences import InferenceLog
from misheard.database.engine import open_engine

class Blobs(DirectoryBlobs):
    def put_bytes(self, data):
        super().put_bytes(data)
        os.kill(os.getpid(), signal.SIGKILL)

url, blobs, path = sys.argv[1:]
log = InferenceLog(open_engine(url), Blobs(Path(blobs)))
item = Captured(audio=path, text="hi", heard_at=datetime.now(UTC), speaker="ann")
log.capture([item], live="v-1", copy_audio=True)
"""


def test_what_was_put_by_one_that_was_killed_before_its_row_goes_again(
    log: InferenceLog, blobs: DirectoryBlobs, tone: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "17.wav"
    path.write_bytes(tone(seconds=0.5))
    url = log._engine.url.render_as_string(hide_password=False)
    killed = subprocess.run(
        [sys.executable, "-c", COPY, url, str(tmp_path / "blobs"), str(path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert (len(list(blobs)), log.count()) == (1, 0)
    datasets = Datasets(log._engine, blobs)
    assert delete_discarded(log._engine, partial(delete_all, blobs), datasets.in_use) == 1
    assert list(blobs) == []


def test_a_recording_that_goes_while_it_is_logged_again_is_put_again(
    log: InferenceLog, tone: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "17.wav"
    path.write_bytes(tone(seconds=0.5))

    class Losing(DirectoryBlobs):
        """As if retention came by once, between the recording and its row."""

        puts = 0

        def put_bytes(self, data: bytes) -> str:
            key = super().put_bytes(data)
            self.puts += 1
            if self.puts == 1:
                self.delete(key)
            return key

    losing = Losing(tmp_path / "losing")
    InferenceLog(log._engine, losing).capture([told(audio=str(path))], live="v-1", copy_audio=True)
    (kept,) = log.recent()
    assert losing.get_bytes(kept.audio_sha256) == path.read_bytes()


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


def test_a_path_means_the_file_that_was_there_when_it_was_logged(
    log: InferenceLog,
    blobs: DirectoryBlobs,
    tone: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "call.wav").write_bytes(tone(hertz=300 + 100 * number))
    monkeypatch.chdir(tmp_path / "a")
    log.capture([told(audio="call.wav"), told(audio="x" * 300)], live="v-1")
    monkeypatch.chdir(tmp_path / "b")
    by_source = {one.source: one.id for one in log.recent()}
    here = by_source[str(tmp_path / "a" / "call.wav")]
    # What was not there is a name of its owner's, which must not become a path elsewhere.
    Path("x" * 200).write_bytes(tone(hertz=500))
    with writing(log._engine) as connection:
        this = inferences.c.id == by_source["x" * 300]
        connection.execute(update(inferences).where(this).values(source="x" * 200))
    assert log.fetch_audio(list(by_source.values())) == [by_source["x" * 300]]
    assert blobs.get_bytes(log.get(here).audio_sha256) == Path("../a/call.wav").read_bytes()
    assert log.get(by_source["x" * 300]).audio_sha256 == ""


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
    for stamp in ("20260131", "20260131T093000"):
        found = Captured.from_record(record | {"heard_at": stamp}, what="line 1").heard_at
        assert found.date() == AT.date()
    for stamp in (20260131, 20260131.5, "1234", "-1", -1, True, 10**400):
        with pytest.raises(BadInputError, match=r"line 3: heard_at = .* is no time"):
            Captured.from_record(record | {"heard_at": stamp}, what="line 3")
    with pytest.raises(BadInputError, match=r"line 3: heard_at = .* in the future"):
        Captured.from_record(record | {"heard_at": "2999-01-01T00:00Z"}, what="line 3")
    told_so = {"client_id": 7, "speaker": 4711, "duration_s": Decimal("2.5")}
    made = Captured.from_record(record | told_so | {"tags": {"a": "b", "c": None}}, what="line 1")
    assert (made.client_id, made.speaker, made.duration_s) == ("7", "4711", 2.5)
    assert made.tags == {"a": "b"}
    with pytest.raises(BadInputError, match="'soon' is no time"):
        Captured.from_record(record | {"heard_at": "soon"}, what="line 3")


def test_a_text_that_is_no_text_says_so() -> None:
    with pytest.raises(InvalidTranscriptError, match="the text of a transcript"):
        told(text=["a"])
