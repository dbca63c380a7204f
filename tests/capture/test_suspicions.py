"""Suspicion in a workspace: what is suspected, and what is kept of it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert, select, update

from misheard.capture.inferences import InferenceLog
from misheard.capture.suspicion import DEFAULTS
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.database.engine import writing
from misheard.database.schema import (
    hourly,
    inferences,
    selections,
    speaker_norms,
    suspicion_models,
)
from misheard.scoring.normalize import normalizer
from tests.capture.labelled import AT, correct, digest, told, traffic

ON_BOTH_DATABASES = True


@pytest.fixture
def suspicions(engine: Engine) -> Suspicions:
    return Suspicions(engine, normalize=normalizer("basic"))


def test_what_was_only_reported_is_no_label(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    log.capture([told(0)], live="v-1")
    correct(cases, log, [True])
    assert suspicions.labels().errors == 1
    with writing(engine) as connection:
        connection.execute(update(inferences).values(reported=True))
    assert suspicions.labels().errors == 0


def test_norms_of_speakers_are_kept_with_what_was_digested(
    log: InferenceLog, engine: Engine, suspicions: Suspicions
) -> None:
    follower = digest(engine, suspicions)
    sentence = "please hold the line"
    log.capture([told(n, text=sentence, speaker="ann") for n in range(10)], live="v-1")
    log.capture([told(n, text=sentence, duration_s=1.0) for n in range(10, 15)], live="v-1")
    log.capture([told(20, text="", speaker="bob"), told(21, duration_s=None)], live="v-1")
    follower.catch_up()
    with engine.connect() as connection:
        found = {row.speaker: row for row in connection.execute(select(speaker_norms))}
    assert found.keys() == {"", "ann"}
    assert found["ann"].utterances == 10
    assert found["ann"].mean == pytest.approx(len(sentence) / 2.0)
    assert found["ann"].squared_distance == pytest.approx(0, abs=1e-9)
    assert found[""].utterances == 15
    log.capture([told(n, text=sentence, speaker="ann") for n in range(30, 35)], live="v-1")
    follower.catch_up()
    with engine.connect() as connection:
        query = select(speaker_norms.c.utterances).where(speaker_norms.c.speaker == "ann")
        assert connection.execute(query).scalar_one() == 15


def test_suspicion_is_counted_by_the_hour(
    log: InferenceLog, engine: Engine, suspicions: Suspicions
) -> None:
    doubtful = told(1, text="thank you for watching", avg_logprob=-2.0, second_text="hold on")
    log.capture([told(0), doubtful], live="v-1")
    digest(engine, suspicions, min_suspicion=0.5).catch_up()
    with engine.connect() as connection:
        hour = connection.execute(select(hourly)).one()
        chosen = connection.execute(select(selections)).all()
    assert hour.suspected == 2
    assert [one.stream for one in chosen] == ["suspicious"]
    assert hour.suspicion > chosen[0].priority > 0.5


def test_a_model_for_other_signals_is_left_alone(engine: Engine, suspicions: Suspicions) -> None:
    """As one that another version of misheard has fitted."""
    stored = DEFAULTS.to_dict() | {"weights": {"a signal of the future": 1.0}}
    with writing(engine) as connection:
        connection.execute(
            insert(suspicion_models).values(
                created_at=AT, weights=stored, figures={"is_used": True}
            )
        )
    assert suspicions.current().number == 0


def only_ascii(text: str) -> str:
    return text.encode("ascii").decode()


def test_a_transcript_that_the_normaliser_cannot_read_has_no_suspicion_and_stops_nothing(
    log: InferenceLog, engine: Engine, cases: Cases, caplog: pytest.LogCaptureFixture
) -> None:
    own = Suspicions(engine, normalize=only_ascii)
    bad = told(1, text="ten £", second_text="ten pounds", speaker="ann")
    log.capture([told(0), bad, told(2)], live="v-1")
    assert digest(engine, own).catch_up() == 3
    with engine.connect() as connection:
        hour = connection.execute(select(hourly)).one()
    assert (hour.inferences, hour.suspected) == (3, 2)
    assert "1 transcripts have no suspicion" in caplog.text
    assert "UnicodeEncodeError" in caplog.text
    assert "£" not in caplog.text
    # Nor does it keep the others from being learnt from.
    items, wrong = traffic(400, first=10)
    log.capture(items, live="v-1")
    correct(cases, log, [True, False, True, *wrong])
    figures = own.fit(actor="ann").figures
    assert figures is not None
    assert figures.labels == 402


def test_an_estimate_is_the_score_that_a_digest_would_give_and_changes_nothing(
    log: InferenceLog, engine: Engine, suspicions: Suspicions
) -> None:
    log.capture(
        [told(n, text="please hold the line", speaker="ann") for n in range(10)], live="v-1"
    )
    digest(engine, suspicions).catch_up()
    log.capture([told(10, text="thank you for watching", speaker="ann")], live="v-1")
    (new,) = log.recent(limit=1)

    def norms() -> list[object]:
        with engine.connect() as connection:
            query = select(speaker_norms).order_by(speaker_norms.c.speaker)
            return [tuple(row) for row in connection.execute(query)]

    before = norms()
    estimated = suspicions.estimate([new, new])
    assert norms() == before
    with writing(engine) as connection:
        assert suspicions.score(connection, [new]) == [pytest.approx(estimated[0])]
    assert estimated[0] == estimated[1]
    assert norms() != before
    assert suspicions.estimate([]) == []
