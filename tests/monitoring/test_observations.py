"""What was told is kept, checked, and read back by window through an index."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, func, insert, select, update

from misheard.capture.inferences import Inference
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.engine import now, writing
from misheard.database.schema import (
    cycles,
    deployments,
    error_cases,
    inferences,
    observations,
    validations,
)
from misheard.datasets.datasets import Datasets, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.errors import BadInputError
from misheard.monitoring.observations import Observations, performance_in
from misheard.registry import ModelVersion

ON_BOTH_DATABASES = True

DAY = timedelta(days=1)


@pytest.fixture
def told(engine: Engine) -> Observations:
    return Observations(engine)


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(observations)).scalar_one()


def at(engine: Engine, number: int, moment: datetime) -> None:
    with writing(engine) as connection:
        this = observations.c.number == number
        connection.execute(update(observations).where(this).values(created_at=moment))


def test_a_trend_has_its_figures(told: Observations) -> None:
    for wer in (0.4, 0.3, 0.1):
        told.record_performance("v-1", wer=wer, inference_time_s=2 * wer)
    told.record_performance("v-1", cer=0.02)
    trend = told.trend("wer")
    assert trend.values == (0.4, 0.3, 0.1)
    assert list(trend.timestamps) == sorted(trend.timestamps)
    assert trend.count == 3
    assert (trend.latest, trend.min, trend.max) == (0.1, 0.1, 0.4)
    assert trend.mean == pytest.approx(np.mean([0.4, 0.3, 0.1]))
    assert trend.std == pytest.approx(np.std([0.4, 0.3, 0.1]))
    assert trend.improvement == pytest.approx(0.3)
    assert trend.improvement_percent == pytest.approx(75)
    assert told.trend("inference_time").latest == pytest.approx(0.2)
    assert told.trend("cer").count == 1


def test_a_trend_that_gets_worse_improves_by_less_than_nothing(told: Observations) -> None:
    told.record_performance("v-1", error_rate=0.1, correction_rate=0.0)
    told.record_performance("v-1", error_rate=0.2, correction_rate=0.5)
    assert told.trend("error_rate").improvement == pytest.approx(-0.1)
    assert told.trend("error_rate").improvement_percent == pytest.approx(-100)
    assert math.isnan(told.trend("correction_rate").improvement_percent)


def test_a_trend_ends_at_its_window(told: Observations, engine: Engine) -> None:
    old = told.record_performance("v-1", wer=0.9)
    at(engine, old.number, now() - 30 * DAY)
    told.record_performance("v-1", wer=0.2)
    assert told.trend("wer", now() - 7 * DAY).values == (0.2,)
    assert told.trend("wer", now() - 31 * DAY).values == (0.9, 0.2)


def test_of_nothing_there_are_no_figures(told: Observations) -> None:
    trend = told.trend("wer")
    assert (trend.count, trend.values, trend.timestamps) == (0, (), ())
    figures = (trend.latest, trend.mean, trend.std, trend.min, trend.max, trend.improvement)
    assert all(map(math.isnan, (*figures, trend.improvement_percent)))
    found = told.inference_statistics()
    assert (found.total, found.errors_detected, found.corrections_applied) == (0, 0, 0)
    assert math.isnan(found.error_detection_rate) and math.isnan(found.mean_inference_time_s)
    assert told.traffic() == (0, 0)
    assert told.model_rows() == []
    summary = told.learning_summary()
    assert summary["cycles"] == {"total": 0, "by_state": {}}
    assert math.isnan(summary["performance"]["wer"]["latest"])
    assert summary["learning"] == {}


def test_an_unknown_metric_names_the_known_ones(told: Observations) -> None:
    with pytest.raises(BadInputError, match=r"'speed'.*wer, cer, error_rate.*inference_time"):
        told.trend("speed")


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"wer": math.nan},
        {"wer": math.inf},
        {"cer": -0.1},
        {"wer": "0.1"},
        {"wer": True},
        {"error_rate": 1.01},
        {"correction_rate": 15},
        {"inference_time_s": -1},
        {"wer": 0.1, "details": {"loss": math.nan}},
        {"wer": 0.1, "details": {"when": datetime.now(UTC)}},
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    told: Observations, engine: Engine, figures: dict[str, Any]
) -> None:
    with pytest.raises(BadInputError):
        told.record_performance("v-1", **figures)
    assert rows(engine) == 0


def test_the_other_records_are_checked_too(told: Observations, engine: Engine) -> None:
    bad: list[Callable[[], object]] = [
        lambda: told.record_inference("a.wav", inference_time_s=math.nan),
        lambda: told.record_inference("a.wav", inference_time_s=0.1, confidence=1.5),
        lambda: told.record_inference("a\0.wav", inference_time_s=0.1),
        lambda: told.record_model_version("v", model_name="m", training_data_size=-1),
        lambda: told.record_model_version("v", model_name="m", training_data_size=1.5),  # type: ignore[arg-type]
        lambda: told.record_model_version(
            "v", model_name="m", training_data_size=1, performance={"wer": -1}
        ),
        lambda: told.record_learning("tuning", {"loss": math.inf}),
    ]
    for record in bad:
        with pytest.raises(BadInputError):
            record()
    assert rows(engine) == 0


def test_rates_at_their_bounds_are_taken(told: Observations) -> None:
    told.record_performance("v-1", wer=3.5, cer=0, error_rate=1, correction_rate=np.float32(0.5))
    told.record_inference("a.wav", inference_time_s=0, confidence=1)
    assert told.trend("wer").latest == 3.5
    assert told.trend("correction_rate").latest == 0.5


def test_a_row_stands_or_falls_with_the_callers_transaction(
    told: Observations, engine: Engine
) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            performance_in(connection, "v-1", wer=0.5)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert told.trend("wer").count == 0
    with writing(engine) as connection:
        made = performance_in(connection, "v-1", wer=0.5, details={"set": ("a", 1)})
    assert told.trend("wer").count == 1
    assert made.details == {"set": ["a", 1]}


def test_traffic_is_the_log_and_what_was_told(
    told: Observations, cases: Cases, engine: Engine, hear: Callable[..., list[Inference]]
) -> None:
    heard = hear(["one", "two", "three", "four", "five"])
    reported = hear(["six"], first=5)
    with writing(engine) as connection:
        this = inferences.c.id == reported[0].id
        connection.execute(update(inferences).where(this).values(reported=True))
    cases.correct(
        [
            Correction(inference_id=heard[0].id, reference="won", author="ann"),
            Correction(inference_id=heard[1].id, reference="two", author="ann"),
            Correction(inference_id=heard[2].id, reference="tree", author="ann"),
            Correction(inference_id=reported[0].id, reference="sicks", author="ann"),
        ]
    )
    # Found wrong, then found right after all: the newest word counts.
    cases.correct([Correction(inference_id=heard[2].id, reference="three", author="ben")])
    with writing(engine) as connection:
        suspected = {"id": "case-1", "inference_id": heard[3].id, "created_at": now()}
        connection.execute(insert(error_cases).values(**suspected, details={}))
    told.record_inference("a.wav", inference_time_s=1.6)
    told.record_inference("b.wav", inference_time_s=0.0, is_error=True, is_corrected=True)
    found = told.inference_statistics(now() - DAY)
    assert found.total == 7
    assert found.errors_detected == 3, "a corrected one, a suspected one, and one that was told"
    assert found.corrections_applied == 2
    assert found.error_detection_rate == pytest.approx(3 / 7)
    assert found.correction_rate == pytest.approx(2 / 7)
    assert (found.min_inference_time_s, found.max_inference_time_s) == (0.0, 1.6)
    assert found.mean_inference_time_s == pytest.approx((5 * 0.1 + 1.6) / 7)
    assert told.traffic() == (3, 7)
    assert told.inference_statistics(now()).total == 0


def test_traffic_of_a_version_is_its_own(
    told: Observations, cases: Cases, hear: Callable[..., list[Inference]]
) -> None:
    old = hear(["one"], version_id="v-old")
    hear(["two", "three"], version_id="v-new", first=1)
    cases.correct([Correction(inference_id=old[0].id, reference="won", author="ann")])
    told.record_inference("a.wav", inference_time_s=0.1, is_error=True, version_id="v-new")
    told.record_inference("b.wav", inference_time_s=0.1, is_error=True)
    assert told.traffic(version_id="v-old") == (1, 1)
    assert told.traffic(version_id="v-new") == (1, 3)
    assert told.traffic() == (3, 5)
    assert told.traffic(now(), "v-new") == (0, 0)


def test_a_session_counts_once_by_the_share_of_it_that_is_wrong(
    told: Observations, cases: Cases, engine: Engine, hear: Callable[..., list[Inference]]
) -> None:
    heard = hear(["one", "two", "three", "four", "five"], version_id="v-new")
    with writing(engine) as connection:
        for one, session in zip(heard, ("a", "a", "a", "a", None), strict=True):
            row = update(inferences).where(inferences.c.id == one.id)
            connection.execute(row.values(session=session))
    told.record_inference("a.wav", inference_time_s=0.1, is_error=True, version_id="v-new")
    told.record_inference("b.wav", inference_time_s=0.1, is_error=True)
    since = now() - DAY
    assert told.sessions(since=since, version_id="v-new") == (1.0, 3)
    cases.correct(
        [
            Correction(inference_id=heard[0].id, reference="won", author="ann"),
            Correction(inference_id=heard[1].id, reference="two", author="ann"),
            Correction(inference_id=heard[4].id, reference="fife", author="ann"),
        ]
    )
    assert told.sessions(since=since, version_id="v-new") == (2.25, 3)
    assert told.sessions(since=since, version_id="v-old") == (0.0, 0)
    assert told.sessions(since=now(), version_id="v-new") == (0.0, 0)


def validated(
    engine: Engine, dataset_id: str, candidate: str, wer: float | None, *, days: float, passed: bool
) -> None:
    side = {"wer": wer, "cer": 0.01}
    with writing(engine) as connection:
        connection.execute(
            insert(validations).values(
                id=f"val-{candidate}-{days}",
                created_at=now() - days * DAY,
                candidate_id=candidate,
                baseline_id="v-base",
                dataset_id=dataset_id,
                set_name="held out",
                passed=passed,
                reasons=[],
                figures={"baseline": {"wer": 0.3}, "candidate": side, "p_value": 0.02},
                utterances_sha256="",
            )
        )


def test_a_row_a_version_with_its_newest_validation(
    told: Observations,
    engine: Engine,
    datasets: Datasets,
    register: Callable[..., ModelVersion],
) -> None:
    clips = [
        Row(
            audio_sha256=str(number),
            reference="one",
            split=Split.TRAIN if number else Split.TEST,
            kind="error",
            speaker_group="a",
            duration_s=1.0,
        )
        for number in range(4)
    ]
    dataset = datasets.add("calls", Purpose.TRAINING, clips)
    base = register("base")
    tuned = register("tuned", parent_id=base.id, dataset_id=dataset.id, job_id="job-1")
    bad, fresh = register("bad", parent_id=base.id), register("fresh")
    validated(engine, dataset.id, tuned.id, 0.4, days=2, passed=False)
    validated(engine, dataset.id, tuned.id, 0.2, days=1, passed=True)
    validated(engine, dataset.id, bad.id, None, days=1, passed=False)
    with writing(engine) as connection:
        for number, version in enumerate((base, tuned)):
            values = {"slot": "production", "action": "deploy", "actor": "ann", "reason": ""}
            values |= {"version_id": version.id, "created_at": now()}
            values |= {"after_number": number, "undo_number": number}
            connection.execute(insert(deployments).values(**values))
    told.record_model_version("v-theirs", model_name="old", training_data_size=7)
    told.record_model_version(
        "v-theirs",
        model_name="theirs",
        training_data_size=9,
        performance={"wer": 0.25, "accuracy": 0.9},
    )
    told.record_model_version(base.id, model_name="known already", training_data_size=1)
    found = {row["version_id"]: row for row in told.model_rows()}
    assert list(found) == [base.id, tuned.id, bad.id, fresh.id, "v-theirs"]
    row = found[tuned.id]
    assert (row["wer"], row["cer"], row["baseline_wer"], row["p_value"]) == (0.2, 0.01, 0.3, 0.02)
    assert (row["parent_id"], row["dataset_id"], row["job_id"]) == (base.id, dataset.id, "job-1")
    assert row["training_data_size"] == 3
    assert (row["is_live"], row["validation_passed"], row["validation_set"]) == (
        True,
        True,
        "held out",
    )
    statuses = [found[one]["status"] for one in found]
    assert statuses == ["archived", "deployed", "failed", "registered", "told"]
    assert math.isnan(found[bad.id]["wer"]) and math.isnan(found[base.id]["wer"])
    assert found["v-theirs"]["model_name"] == "theirs"
    assert (found["v-theirs"]["training_data_size"], found["v-theirs"]["accuracy"]) == (9, 0.9)


def test_the_summary_counts_everything(
    told: Observations,
    engine: Engine,
    cases: Cases,
    hear: Callable[..., list[Inference]],
    register: Callable[..., ModelVersion],
) -> None:
    heard, base = hear(["one", "two"]), register("base")
    cases.correct(
        [
            Correction(inference_id=heard[0].id, reference="won", author="ann"),
            Correction(inference_id=heard[1].id, reference="two", author="ann"),
        ]
    )
    cases.correct([Correction(inference_id=heard[0].id, reference="one", author="ben")])
    values = {"created_at": now(), "actor": "ann", "baseline_id": base.id, "decision": {}}
    values |= {"detail": "", "fence": 0, "options": {}}
    with writing(engine) as connection:
        for number, state in enumerate(("failed", "deployed", "failed")):
            connection.execute(insert(cycles).values(**values, id=f"c-{number}", state=state))
    told.record_performance("v-1", wer=0.3)
    told.record_performance("v-1", wer=0.2)
    told.record_learning("tuning", {"loss": 2.0})
    told.record_learning("tuning", {"loss": 1.0}, {"note": "longer"})
    found = told.learning_summary()
    assert found["cycles"] == {"total": 3, "by_state": {"deployed": 1, "failed": 2}}
    assert found["jobs"]["total"] == 0 and found["versions"] == 1
    assert found["corrections"] == {"total": 2, "errors": 0, "confirmations": 2}
    assert found["performance"]["wer"] == {
        "count": 2,
        "first": 0.3,
        "latest": 0.2,
        "improvement": pytest.approx(0.1),
    }
    assert found["learning"]["tuning"]["count"] == 2
    assert found["learning"]["tuning"]["metrics"] == {"loss": 1.0}


@contextmanager
def plans(engine: Engine) -> Iterator[list[str]]:
    """How SQLite looked up the rows of every query in the block."""
    seen: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    made: list[str] = []
    yield made
    event.remove(engine, "before_cursor_execute", keep)
    with engine.connect() as connection:
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            made += [row.detail for row in plan]


def test_windows_are_read_through_an_index(told: Observations, engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("the plans are SQLite's")
    since = now() - DAY
    with plans(engine) as found:
        told.trend("wer", since)
        told.inference_statistics(since)
        told.traffic(since, "v-1")
        told.sessions(since=since, version_id="v-1")
    looked_up = [line for line in found if line.startswith(("SCAN", "SEARCH"))]
    used = " ".join(looked_up)
    assert "ix_observations_kind_created_at (kind=? AND created_at>?)" in used
    assert "ix_inferences_created_at" in used
    assert "ix_hourly_slice (slice=? AND hour>?" in used
    tables = ("observations", "inferences", "error_cases", "corrections")
    assert [line for line in looked_up if line.startswith(tuple(f"SCAN {t}" for t in tables))] == []


def test_a_day_out_of_200_000_rows_is_quick(told: Observations, engine: Engine) -> None:
    total, month = 100_000, 30 * DAY
    begin = now() - month

    def events(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{**fields, "created_at": begin + month * (n / total)} for n in range(total)]

    log = {"speaker_group": "a", "audio_sha256": "a", "source": "", "duration_s": 1.0}
    log |= {"version_id": "v-1", "text": "one", "latency_s": 0.1, "reported": False}
    seen = {"kind": "inference", "subject": "a.wav", "inference_time_s": 0.1, "details": {}}
    seen |= {"is_error": True, "is_corrected": False}
    with writing(engine) as connection:
        heard = [row | {"id": f"inf-{n}"} for n, row in enumerate(events(log))]
        connection.execute(insert(inferences), heard)
        connection.execute(insert(observations), events(seen))
    since, spent = begin + month - DAY, list[float]()
    # Where something else keeps the machine busy, it is looked at again.
    while len(spent) < 3 or (min(spent) >= 0.1 and len(spent) < 30):
        begun = time.perf_counter()
        found = told.inference_statistics(since)
        spent.append(time.perf_counter() - begun)
    assert found.total == pytest.approx(2 * total / 30, abs=20)
    assert found.errors_detected == pytest.approx(total / 30, abs=20)
    assert min(spent) < 0.1
