"""Suspicion in a workspace: what is suspected, what corrections teach, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert, select, update

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.capture.ranking import average_precision
from misheard.capture.suspicion import DEFAULTS
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.audit import AuditLog
from misheard.database.engine import writing
from misheard.database.schema import (
    hourly,
    inferences,
    selections,
    speaker_norms,
    suspicion_models,
)
from misheard.errors import TooFewLabelsError
from misheard.scoring.normalize import normalizer

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SENTENCE = "press one to hear your messages or hold the line for an agent who can help you today"
WORDS = SENTENCE.split()


def told(number: int, **fields: Any) -> Captured:
    known: dict[str, Any] = {
        "audio": f"{number}.wav",
        "text": f"number {number}",
        "heard_at": AT + timedelta(seconds=number),
        "duration_s": 2.0,
        "avg_logprob": -0.2,
    }
    return Captured(**known | fields)


@pytest.fixture
def suspicions(engine: Engine) -> Suspicions:
    return Suspicions(engine, normalize=normalizer("basic"))


def traffic(count: int, *, first: int = 0) -> tuple[list[Captured], list[bool]]:
    """What is wrong here is short and fast, as names and numbers are; long texts are right."""
    random = np.random.default_rng(first)
    items, wrong = [], []
    for number in range(first, first + count):
        words = int(random.integers(1, 17))
        fast = float(random.uniform(8, 25))
        text = " ".join(WORDS[:words])
        items.append(
            told(
                number,
                client_id=f"call {number}",
                text=text,
                duration_s=len(text) / fast,
                avg_logprob=-float(random.gamma(2.0, 0.15)),
                speaker_group=f"group {number % 15}",
            )
        )
        wrong.append(bool(random.random() < 1 / (1 + np.exp(0.8 * words - 0.15 * fast - 1))))
    return items, wrong


def correct(
    cases: Cases, log: InferenceLog, wrong: Sequence[bool], *, method: str = "manual"
) -> None:
    """A person says of the newest so many what was spoken; `wrong` in the order of capture."""
    rows = reversed(log.recent(limit=len(wrong)))
    cases.correct(
        [
            Correction(
                inference_id=row.id,
                reference="other words" if is_wrong else row.text,
                author="ann",
                method=method,
            )
            for row, is_wrong in zip(rows, wrong, strict=True)
        ]
    )


def digest(engine: Engine, suspicions: Suspicions, **rules: Any) -> Digest:
    return Digest(engine, rules=DigestRules(**rules), scorer=suspicions.score)


def ranked(engine: Engine, log: InferenceLog, count: int) -> list[float]:
    """The priority of the newest so many, in the order of capture."""
    with engine.connect() as connection:
        query = select(selections.c.inference_id, selections.c.priority)
        priority = {row.inference_id: row.priority for row in connection.execute(query)}
    return [priority[row.id] for row in reversed(log.recent(limit=count))]


def test_the_ranking_improves_with_corrections(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    digest(engine, suspicions, min_suspicion=0.0).catch_up()
    before = average_precision(np.array(ranked(engine, log, 300)), np.array(wrong))
    correct(cases, log, wrong)
    assert (suspicions.labels().errors, suspicions.labels().right) == (sum(wrong), 300 - sum(wrong))

    made = suspicions.fit(actor="ann")
    assert made.figures is not None and made.figures.is_used
    assert made.figures.current_average_precision == pytest.approx(before, abs=0.05)
    assert made.figures.average_precision > before + 0.2
    assert suspicions.current() == suspicions.newest() == made
    assert AuditLog(engine).entries(limit=1)[0].to_value == f"model {made.number}"

    items, wrong = traffic(300, first=1_000)
    log.capture(items, live="v-1")
    digest(engine, suspicions, min_suspicion=0.0).catch_up()
    after = average_precision(np.array(ranked(engine, log, 300)), np.array(wrong))
    assert after > before + 0.2
    assert after == pytest.approx(made.figures.average_precision, abs=0.15)


def test_a_fit_that_ranks_no_better_is_kept_and_not_used(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    """Labels that have nothing to do with any signal teach nothing."""
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    correct(cases, log, wrong)
    good = suspicions.fit(actor="ann")
    # The same labels, and as many again that are left to chance: the model before is made from
    # the former alone.
    items, _ = traffic(300, first=1_000)
    log.capture(items, live="v-1")
    worse = good
    for seed in range(5):
        correct(cases, log, [bool(one) for one in np.random.default_rng(seed).random(300) < 0.3])
        worse = suspicions.fit(actor="ann")
        assert worse.figures is not None
        if not worse.figures.is_used:
            break
        good = worse
    assert worse.figures is not None and not worse.figures.is_used
    assert worse.figures.average_precision < worse.figures.current_average_precision
    assert f"model {good.number} stays in use" in worse.figures.reason
    assert suspicions.newest() == worse
    assert suspicions.current() == good


def test_too_few_labels_are_refused_and_nothing_is_kept(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    with pytest.raises(TooFewLabelsError, match="0 transcripts are corrected and 0 confirmed"):
        suspicions.fit(actor="ann")
    items, _ = traffic(30)
    log.capture(items, live="v-1")
    correct(cases, log, [True] * 30)
    with pytest.raises(TooFewLabelsError, match="30 transcripts are corrected and 0 confirmed"):
        suspicions.fit(actor="ann")
    assert suspicions.newest() is None
    assert (suspicions.current().number, suspicions.current().model) == (0, DEFAULTS)


def test_what_an_audit_drew_weighs_as_much_as_it_stands_for(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    items, wrong = traffic(200)
    log.capture(items, live="v-1")
    rows = list(reversed(log.recent(limit=200)))
    drawn = [
        {
            "inference_id": row.id,
            "created_at": AT,
            "stream": "audit" if number < 100 else "suspicious",
            "probability": 0.1 if number < 100 else 1.0,
            "priority": 0.5,
        }
        for number, row in enumerate(rows)
    ]
    with writing(engine) as connection:
        connection.execute(insert(selections), drawn)
    correct(cases, log, wrong)
    figures = suspicions.fit(actor="ann").figures
    assert figures is not None
    assert figures.audited == 100
    audited, chosen = wrong[:100], wrong[100:]
    expected = (10 * sum(audited) + sum(chosen)) / (10 * 100 + 100)
    assert figures.error_rate == pytest.approx(expected)


def test_who_came_because_it_is_wrong_answers_no_audit(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    items, wrong = traffic(200)
    log.capture(items, live="v-1")
    digest(engine, suspicions, audit_share=0.5).catch_up()
    correct(cases, log, wrong, method="feedback")
    figures = suspicions.fit(actor="ann").figures
    assert figures is not None
    assert figures.audited == 0
    assert figures.error_rate == pytest.approx(np.mean(wrong))


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
