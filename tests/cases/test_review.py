"""The queue: in which order, each once, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.cases.review import COUNTED_AT_MOST, Page, QueueItem, ReviewQueue, Stream, Waiting
from misheard.errors import BadInputError

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def heard(log: InferenceLog, count: int, **fields: Any) -> None:
    """The text of each ends in its number."""
    items = [
        Captured(
            **{
                "audio": f"{number}.wav",
                "text": f"number {number}",
                "heard_at": AT + timedelta(seconds=number),
            }
            | fields
        )
        for number in range(count)
    ]
    log.capture(items, live="v-1")


def number_of(text: str) -> int:
    return int(text.rsplit(maxsplit=1)[-1])


def choose(engine: Engine, *, audit_share: float = 0.0, steps: int = 10) -> None:
    """Suspicions go up to 1 in so many steps, again and again."""

    def scorer(_: Connection, rows: Sequence[Any]) -> list[float | None]:
        return [(number_of(row.text) % steps + 1) / steps for row in rows]

    Digest(engine, rules=DigestRules(audit_share=audit_share), scorer=scorer).catch_up()


def all_of(queue: ReviewQueue, stream: Stream | None = None, *, limit: int = 7) -> list[QueueItem]:
    found: list[QueueItem] = []
    page = Page(items=(), after="")
    while True:
        page = queue.page(stream, limit=limit, after=page.after)
        found += page.items
        if not page.after:
            return found


def right(item: QueueItem) -> Correction:
    return Correction(inference_id=item.inference_id, reference=item.text, author="ann")


@pytest.fixture
def queue(engine: Engine) -> ReviewQueue:
    return ReviewQueue(engine)


def test_the_most_suspicious_come_first_and_each_comes_once(
    log: InferenceLog, engine: Engine, queue: ReviewQueue
) -> None:
    heard(log, 60)
    choose(engine)
    found = all_of(queue, Stream.SUSPICIOUS)
    suspicions = [one.suspicion or 0 for one in found]
    assert suspicions == sorted(suspicions, reverse=True)
    assert len({one.inference_id for one in found}) == len(found) == 36
    assert min(suspicions) == 0.5
    assert all_of(queue) == found
    assert all_of(queue, Stream.SUSPICIOUS, limit=36) == found


def test_an_item_says_what_a_person_has_to_know(
    log: InferenceLog, engine: Engine, queue: ReviewQueue
) -> None:
    heard(log, 10, speaker="s-1", tags={"channel": "mobile"}, duration_s=2.5, recogniser="theirs")
    choose(engine)
    first = queue.page(limit=1).items[0]
    expected = {
        "stream": Stream.SUSPICIOUS,
        "text": "number 9",
        "source": "9.wav",
        "heard_at": AT + timedelta(seconds=9),
        "version_id": "theirs",
        "audio_sha256": "",
        "duration_s": 2.5,
        "suspicion": 1.0,
        "probability": 1.0,
        "speaker_group": "s-1",
        "tags": {"channel": "mobile"},
    }
    assert {name: getattr(first, name) for name in expected} == expected


def test_a_label_takes_it_out_and_the_place_of_the_next_page_stays(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    heard(log, 60)
    choose(engine)
    everything = all_of(queue, Stream.SUSPICIOUS)
    page = queue.page(Stream.SUSPICIOUS, limit=5)
    cases.correct([right(one) for one in everything[:5]])
    assert list(queue.page(Stream.SUSPICIOUS, limit=5).items) == everything[5:10]
    assert list(queue.page(Stream.SUSPICIOUS, limit=5, after=page.after).items) == everything[5:10]
    assert queue.waiting()[Stream.SUSPICIOUS] == Waiting(count=31, is_more=False)


def test_an_audit_is_in_random_order_and_does_not_tell_what_is_suspicious(
    log: InferenceLog, engine: Engine, queue: ReviewQueue
) -> None:
    heard(log, 2_000)
    choose(engine, audit_share=0.5, steps=2_000)
    found = all_of(queue, Stream.AUDIT, limit=500)
    assert {(one.suspicion, one.probability) for one in found} == {(None, 0.5)}
    numbers = [number_of(one.text) for one in found]
    half = len(numbers) // 2
    # Means of halves of random numbers up to 2,000: their difference has a deviation of 37.
    assert abs(sum(numbers[:half]) / half - sum(numbers[half:]) / (len(numbers) - half)) < 6 * 37
    ups = sum(a < b for a, b in pairwise(numbers))
    assert 0.4 < ups / len(numbers) < 0.6


def test_reported_ones_without_a_suspicion_come_first_and_the_oldest_of_them(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    heard(log, 8)
    ids = {number_of(one.text): one.id for one in log.recent()}
    for number, suspicion in {0: 0.2, 1: None, 2: 0.9, 3: None, 4: 0.9, 5: None, 6: 0.1}.items():
        cases.open(ids[number], suspicion=suspicion)
    for limit in (1, 2, 3, 50):
        found = all_of(queue, Stream.REPORTED, limit=limit)
        told = [(number_of(one.text), one.suspicion) for one in found]
        assert told[:3] == [(1, None), (3, None), (5, None)]
        assert sorted(told[3:5]) == [(2, 0.9), (4, 0.9)]
        assert told[5:] == [(0, 0.2), (6, 0.1)]
        assert {one.probability for one in found} == {None}
    cases.correct([Correction(inference_id=ids[3], reference="other", author="ann")])
    assert number_of(queue.page(Stream.REPORTED).items[1].text) == 5
    assert queue.waiting()[Stream.REPORTED] == Waiting(count=6, is_more=False)


def test_without_a_stream_all_come_in_turn(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    heard(log, 300)
    choose(engine, audit_share=0.2)
    audits = all_of(queue, Stream.AUDIT)
    suspicious = all_of(queue, Stream.SUSPICIOUS)
    chosen = {one.inference_id for one in audits + suspicious}
    others = [one.id for one in log.recent(limit=300) if one.id not in chosen][:4]
    for inference_id in others:
        cases.open(inference_id)
    streams = [one.stream for one in queue.page(limit=6).items]
    assert streams == [*Stream, *Stream]
    mixed = all_of(queue)
    assert len(mixed) == len(audits) + len(suspicious) + 4
    for stream in Stream:
        assert [one for one in mixed if one.stream is stream] == all_of(queue, stream)


def test_what_is_drawn_and_reported_stands_once_on_a_page(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    heard(log, 3)
    choose(engine, audit_share=1.0)
    cases.open(queue.page(Stream.AUDIT).items[0].inference_id)
    assert [one.stream for one in queue.page().items] == [Stream.AUDIT] * 3
    assert [one.stream for one in all_of(queue, Stream.REPORTED)] == [Stream.REPORTED]


def test_cleared_labels_come_back(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    heard(log, 3)
    choose(engine, audit_share=1.0)
    cases.correct([right(one) for one in queue.page().items])
    assert queue.page().items == ()
    cases.clear(actor="ann")
    assert len(queue.page().items) == 3


@pytest.mark.parametrize(
    "after",
    ["x", "???", "bnVsbA", "W10", "eyJhdWRpdCI6MX0", "eyJlbHNlIjpbMSwiYSJdfQ", "ä", "e30="],
)
def test_a_place_that_is_none_is_refused_or_is_the_beginning(
    queue: ReviewQueue, after: str
) -> None:
    if after == "e30=":
        assert queue.page(after=after) == queue.page()
        return
    with pytest.raises(BadInputError, match="no place in the queue"):
        queue.page(after=after)


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_a_page_of_no_size_is_refused(queue: ReviewQueue, limit: int) -> None:
    with pytest.raises(BadInputError, match="1 to 1,000"):
        queue.page(limit=limit)


def test_no_more_than_ten_thousand_are_counted(
    log: InferenceLog, engine: Engine, queue: ReviewQueue
) -> None:
    heard(log, COUNTED_AT_MOST)
    choose(engine, steps=1)
    assert str(queue.waiting()[Stream.SUSPICIOUS]) == "10,000"
    heard(log, 1)
    choose(engine, steps=1)
    assert str(queue.waiting()[Stream.SUSPICIOUS]) == "more than 10,000"


def test_neither_a_page_nor_a_count_looks_at_every_row(
    log: InferenceLog, engine: Engine, queue: ReviewQueue, cases: Cases
) -> None:
    """No scan of a table and no sort, for the first page or for a later one."""
    if engine.dialect.name != "sqlite":
        return  # which chooses by what is in the table
    heard(log, 200)
    choose(engine, audit_share=0.3)
    for number, one in enumerate(log.recent(limit=60)):
        cases.open(one.id, suspicion=None if number % 2 else 0.5)
    steps: list[tuple[str, str]] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        del cursor
        plan = f"EXPLAIN QUERY PLAN {statement}"
        for row in connection.connection.dbapi_connection.execute(plan, parameters):
            steps.append((row[3], statement))

    event.listen(engine, "before_cursor_execute", explain)
    for stream in (None, *Stream):
        all_of(queue, stream, limit=15)
    pages = list(steps)
    steps.clear()
    queue.waiting()
    event.remove(engine, "before_cursor_execute", explain)
    assert len(pages) > 20
    for step, statement in pages:
        assert step.startswith("SEARCH"), (step, statement)
        assert "USING INDEX" in step, (step, statement)
    counted = [step for step, _ in steps if "ix_" in step]
    assert len(counted) == 3
    assert all("USING COVERING INDEX" in step for step in counted)
