from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func, select, text, update

from misheard import audio
from misheard.capture.captured import Captured
from misheard.capture.inferences import Heard, InferenceLog
from misheard.database import tallies
from misheard.database.engine import now, writing
from misheard.database.schema import inferences, marks
from misheard.monitoring.activity import Monitor
from misheard.speech.transcriber import Transcript

ON_BOTH_DATABASES = True


def test_activity_sums_by_version_busiest_first(
    engine: Engine, log: InferenceLog, tone: Callable[..., bytes]
) -> None:
    data = tone(seconds=0.25)

    def heard(logprob: float | None, latency_s: float) -> Heard:
        transcript = Transcript(text="x", avg_logprob=logprob, latency_s=latency_s, compute_s=0.1)
        return Heard(data=data, audio=audio.decode(data), transcript=transcript)

    log.record("v-2", [heard(None, 0.3)])
    log.record("v-1", [heard(-1.0, 0.1), heard(-3.0, 0.2)])
    first, second = Monitor(engine).activity()
    assert (first.version_id, first.inferences, first.audio_s) == ("v-1", 2, 0.5)
    assert first.mean_logprob == pytest.approx(-2.0)
    assert first.mean_latency_s == pytest.approx(0.15)
    assert (second.version_id, second.inferences, second.mean_logprob) == ("v-2", 1, None)


def test_without_inferences_there_is_no_activity(engine: Engine) -> None:
    assert Monitor(engine).activity() == []


def test_what_is_not_counted_yet_is_looked_up_in_a_table_that_nothing_is_known_of(
    log: InferenceLog, engine: Engine
) -> None:
    """Right after so many came, before any ANALYZE."""
    log.capture([Captured(audio="x", text="y", heard_at=now()) for _ in range(20_000)], live="v-1")
    how = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with writing(engine) as connection:
        connection.execute(update(marks).values(number=20_000))
        condition = tallies.not_digested(connection)
    query = select(func.count()).select_from(inferences).where(condition)
    with engine.connect() as connection:
        assert connection.execute(query).scalar_one() == 0
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        plan = " ".join(str(row) for row in connection.execute(text(f"{how} {compiled}")))
    assert "Seq Scan" not in plan
    assert "SCAN inferences" not in plan
