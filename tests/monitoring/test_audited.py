"""The error rate of the traffic, by what was drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, update

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.engine import now, writing
from misheard.database.schema import inferences, selections
from misheard.monitoring.audited import audited
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True


def suspicions(_: Connection, rows: Sequence[Any]) -> list[float | None]:
    return [0.9 if "odd" in row.text else 0.1 for row in rows]


@pytest.fixture
def cases(engine: Engine) -> Cases:
    return Cases(engine, normalizer=normalizer("basic"))


def hear(engine: Engine, log: InferenceLog, texts: list[str], *, audit_share: float) -> list[str]:
    """Their ids, chosen as the digest does."""
    told = [Captured(audio="a.wav", text=text, heard_at=now(), duration_s=1.0) for text in texts]
    log.capture(told, live="v-1")
    rules = DigestRules(audit_share=audit_share, min_suspicion=0.5)
    Digest(engine, rules=rules, scorer=suspicions).catch_up()
    with engine.connect() as connection:
        query = select(inferences.c.id).order_by(inferences.c.number.desc()).limit(len(texts))
        return list(reversed(connection.execute(query).scalars().all()))


def label(cases: Cases, inference_id: str, reference: str) -> None:
    cases.correct([Correction(inference_id=inference_id, reference=reference, author="ann")])


def test_only_what_was_drawn_and_looked_at_counts(
    engine: Engine, log: InferenceLog, cases: Cases
) -> None:
    one, two, three, _ = hear(engine, log, ["press one"] * 4, audit_share=1.0)
    (odd,) = hear(engine, log, ["odd words"], audit_share=0.0)
    with engine.connect() as connection:
        assert audited(connection, since=None) is None
    label(cases, one, "press one")
    label(cases, two, "press one")
    label(cases, three, "press two now")
    label(cases, odd, "even words")
    with engine.connect() as connection:
        found = audited(connection, since=None)
        assert audited(connection, since=now()) is None
    assert found is not None
    assert found.utterances.trials == 3
    assert found.utterances.share == pytest.approx(1 / 3)
    assert found.wer == pytest.approx(2 / 7)
    assert found.words == pytest.approx(7 / 3)


def test_what_had_less_of_a_chance_counts_for_more(
    engine: Engine, log: InferenceLog, cases: Cases
) -> None:
    rare, common = hear(engine, log, ["press one", "press one"], audit_share=1.0)
    with writing(engine) as connection:
        this = selections.c.inference_id == rare
        connection.execute(update(selections).where(this).values(probability=0.25))
    label(cases, rare, "something else")
    label(cases, common, "press one")
    with engine.connect() as connection:
        found = audited(connection, since=None)
    assert found is not None
    assert found.utterances.share == pytest.approx(4 / 5)
    assert found.wer == pytest.approx(4 * 2 / (4 * 2 + 2))


def test_only_the_newest_labels_are_looked_at(
    engine: Engine, log: InferenceLog, cases: Cases
) -> None:
    ids = hear(engine, log, ["press one"] * 3, audit_share=1.0)
    for number, inference_id in enumerate(ids):
        label(cases, inference_id, "press one" if number else "something else")
        with writing(engine) as connection:
            moment = now() + timedelta(seconds=number)
            this = selections.c.inference_id == inference_id
            connection.execute(update(selections).where(this).values(labelled_at=moment))
    with engine.connect() as connection:
        found = audited(connection, since=None, limit=2)
    assert found is not None
    assert (found.utterances.trials, found.utterances.share) == (2, 0.0)
