"""What corrections teach of suspicion: when something is learnt, and when it is used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, insert, select

from misheard.capture.inferences import InferenceLog
from misheard.capture.ranking import average_precision
from misheard.capture.suspicion import DEFAULTS
from misheard.capture.suspicion_kept import KeptModel
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.database.audit import AuditLog
from misheard.database.engine import writing
from misheard.database.schema import selections, suspicion_models
from misheard.errors import TooFewLabelsError
from misheard.scoring.normalize import normalizer
from tests.capture.labelled import AT, correct, digest, traffic

ON_BOTH_DATABASES = True


@pytest.fixture
def suspicions(engine: Engine) -> Suspicions:
    return Suspicions(engine, normalize=normalizer("basic"))


def fitted(suspicions: Suspicions) -> KeptModel:
    made = suspicions.fit(actor="ann")
    assert made is not None
    return made


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
    assert made is not None and made.figures is not None and made.figures.is_used
    fitted, gained = made.figures.fitted, made.figures.gain
    assert made.figures.current == made.figures.defaults
    assert made.figures.current.average_precision == pytest.approx(before, abs=0.05)
    assert fitted.average_precision > before + 0.2
    assert 0 < gained.low < gained.estimate < gained.high < 1
    assert suspicions.current() == suspicions.newest() == made
    assert AuditLog(engine).entries(limit=1)[0].to_value == f"model {made.number}"

    items, wrong = traffic(300, first=1_000)
    log.capture(items, live="v-1")
    digest(engine, suspicions, min_suspicion=0.0).catch_up()
    after = average_precision(np.array(ranked(engine, log, 300)), np.array(wrong))
    assert after > before + 0.2
    assert after == pytest.approx(fitted.average_precision, abs=0.15)


def test_a_fit_that_is_not_surely_better_is_kept_and_not_used(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    """Labels that have nothing to do with any signal teach nothing, whatever chance makes of it."""
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    correct(cases, log, wrong)
    good = fitted(suspicions)
    # The same labels, and as many again that are left to chance: the model before is made from
    # the former alone.
    items, _ = traffic(300, first=1_000)
    log.capture(items, live="v-1")
    for seed in range(2):
        correct(cases, log, [bool(one) for one in np.random.default_rng(seed).random(300) < 0.3])
        made = fitted(suspicions)
        assert made.figures is not None and not made.figures.is_used
        assert made.figures.current.average_precision > made.figures.defaults.average_precision
        assert "not surely better, still in use: model 1" in made.figures.reason
        assert suspicions.newest() == made
        assert suspicions.current() == good
        newest = AuditLog(engine).entries(limit=1)[0]
        assert (newest.from_value, newest.to_value) == ("model 1", "model 1")


def test_where_no_label_has_come_nothing_is_fitted(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    correct(cases, log, wrong)
    made = fitted(suspicions)
    entries = AuditLog(engine).entries(limit=1_000)
    assert suspicions.fit(actor="cron") is None
    assert suspicions.newest() == made
    assert AuditLog(engine).entries(limit=1_000) == entries
    # Another word on a transcript is news.
    correct(cases, log, [not wrong[-1]])
    assert suspicions.labels().new == 1
    assert fitted(suspicions).number == 2


def test_the_same_labels_make_no_better_model(
    log: InferenceLog, cases: Cases, suspicions: Suspicions
) -> None:
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    correct(cases, log, wrong)
    fitted(suspicions)
    correct(cases, log, wrong[-1:])
    again = fitted(suspicions).figures
    assert again is not None and not again.is_used
    assert again.gain.estimate == pytest.approx(0.0, abs=0.02)


def test_it_is_due_when_a_fifth_more_has_come(
    log: InferenceLog, cases: Cases, engine: Engine, suspicions: Suspicions
) -> None:
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    assert suspicions.fit_if_due(actor="worker") is None
    correct(cases, log, wrong[-60:])
    assert suspicions.labels().errors < 20
    assert suspicions.fit_if_due(actor="worker") is None
    correct(cases, log, wrong)
    made = suspicions.fit_if_due(actor="worker")
    assert made is not None and made.figures is not None and made.figures.labels == 300
    assert AuditLog(engine).entries(limit=1)[0].actor == "worker"
    assert suspicions.fit_if_due(actor="worker") is None
    items, wrong = traffic(60, first=1_000)
    log.capture(items, live="v-1")
    correct(cases, log, wrong[-59:])
    assert suspicions.labels().new == 59
    assert suspicions.fit_if_due(actor="worker") is None
    correct(cases, log, wrong)
    made = suspicions.fit_if_due(actor="worker")
    assert made is not None and made.figures is not None and made.figures.labels == 360


def test_of_speakers_that_nobody_names_nothing_is_fitted(
    log: InferenceLog, cases: Cases, suspicions: Suspicions
) -> None:
    items, wrong = traffic(200)
    log.capture([replace(one, speaker_group="all") for one in items], live="v-1")
    correct(cases, log, wrong)
    assert suspicions.labels().groups == 1
    assert suspicions.fit_if_due(actor="worker") is None


def test_of_two_that_fit_at_once_one_keeps_its_fit(
    log: InferenceLog, cases: Cases, engine: Engine
) -> None:
    items, wrong = traffic(300)
    log.capture(items, live="v-1")
    correct(cases, log, wrong)
    before = len(AuditLog(engine).entries(limit=1_000))
    ready = threading.Barrier(2)

    def work(actor: str) -> KeptModel | None:
        own = Suspicions(engine, normalize=normalizer("basic"))
        ready.wait()
        return own.fit_if_due(actor=actor)

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(work, ("one", "other")))
    assert sum(one is not None for one in made) == 1
    with engine.connect() as connection:
        assert connection.execute(select(suspicion_models.c.number)).scalars().all() == [1]
    assert len(AuditLog(engine).entries(limit=1_000)) == before + 1


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
    figures = fitted(suspicions).figures
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
    figures = fitted(suspicions).figures
    assert figures is not None
    assert figures.audited == 0
    assert figures.error_rate == pytest.approx(np.mean(wrong))
