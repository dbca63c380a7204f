"""Suites over real rows: kept, replaced, run, told of."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from misheard.database.audit import AuditEntry, AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import suite_runs
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.errors import InvalidSuiteError, UnknownIdError
from misheard.gates.comparison import DEGRADATION
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import Suite, SuiteKind, SuiteRun
from misheard.gates.validation import Validations
from misheard.speech.transcriber import Progress, no_progress
from tests.gates.conftest import REGRESSION_RULES, Ear

Make = Callable[..., RegressionSuites]


@pytest.fixture
def suites_with(engine: Engine, datasets: Datasets, validations: Validations) -> Make:
    def make(**rules: Any) -> RegressionSuites:
        changed = replace(REGRESSION_RULES, **rules)
        return RegressionSuites(engine, datasets, validations, rules=changed)

    return make


@pytest.fixture
def other(datasets: Datasets, tone: Callable[..., bytes]) -> Dataset:
    sample = Sample(data=tone(seconds=0.15, hertz=300), reference="press 5 now")
    return datasets.add_evaluation("other", [sample])


def test_every_suite_is_run_and_kept(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    suites.add("all", SuiteKind.BENCHMARK, held_out, description="everything")
    suites.add("pins", SuiteKind.CRITICAL, held_out)
    seen: list[str] = []

    def observe(what: str, total: int) -> Callable[[int], None]:
        seen.append(f"{what} {total}")
        return lambda _: None

    forward = suites.run_all(new, old, observe=observe)
    assert seen == ["suite 'all' 24", "suite 'pins' 24"]
    assert [run.verdict.passed for run in forward] == [True, True]
    assert suites.runs_of(new) == forward
    backward = suites.run_all(old, new)
    assert [run.verdict.passed for run in backward] == [False, False]
    assert suites.runs_of(new) == forward
    assert suites.runs() == [*backward[::-1], *forward[::-1]]


def test_a_suite_added_again_is_the_one_that_is_there(
    suites: RegressionSuites, held_out: Dataset
) -> None:
    first = suites.add("all", SuiteKind.BENCHMARK, held_out, baseline_wer=0.1)
    assert suites.add("all", SuiteKind.BENCHMARK, held_out, baseline_wer=0.1) == first
    assert suites.listed() == [first]
    assert suites.get(first.id) == first


@pytest.mark.parametrize(
    "change",
    [
        {"kind": SuiteKind.CRITICAL},
        {"description": "calls"},
        {"baseline_version": "v-1"},
        {"baseline_wer": 0.2},
        {"baseline_wer": None},
        {"baseline_cer": 0.2},
        {"max_wer_degradation": 0.2},
        {"max_cer_degradation": 0.2},
    ],
)
def test_other_content_replaces_a_suite_and_the_old_one_is_kept(
    suites: RegressionSuites, held_out: Dataset, change: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"kind": SuiteKind.BENCHMARK, "dataset": held_out, "baseline_wer": 0.1}
    first = suites.add("all", **given)
    between = suites.add("pins", SuiteKind.CRITICAL, held_out)
    second = suites.add("all", **given | change)
    assert second.id != first.id
    assert suites.listed() == [second, between]
    assert suites.get(first.id) == first
    # Back to what it was is a new row again: the newest counts.
    third = suites.add("all", **given)
    assert third.id not in {first.id, second.id}
    assert suites.listed() == [third, between]


def test_another_dataset_replaces_a_suite(
    suites: RegressionSuites, held_out: Dataset, other: Dataset
) -> None:
    suites.add("all", SuiteKind.BENCHMARK, held_out)
    second = suites.add("all", SuiteKind.BENCHMARK, other)
    assert suites.listed() == [second]


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
@pytest.mark.parametrize(
    "key", ["baseline_wer", "baseline_cer", "max_wer_degradation", "max_cer_degradation"]
)
def test_figures_that_no_rate_can_have_are_refused(
    suites: RegressionSuites, held_out: Dataset, key: str, value: float
) -> None:
    with pytest.raises(InvalidSuiteError, match=key):
        suites.add("all", SuiteKind.BENCHMARK, held_out, **{key: value})  # type: ignore[arg-type]
    assert suites.listed() == []


def test_an_unknown_suite_is_an_error(suites: RegressionSuites) -> None:
    with pytest.raises(UnknownIdError, match="suite-x"):
        suites.get("suite-x")


def test_a_run_says_what_it_was_held_to(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    given = suites.add(
        "all",
        SuiteKind.BENCHMARK,
        held_out,
        baseline_version="v-0",
        baseline_wer=0.32,
        baseline_cer=0.25,
        max_wer_degradation=0.03,
        max_cer_degradation=1.0,
    )
    run = suites.run(given, old, new)
    # 12 errors in 36 words are 33.3 %.
    assert run.verdict.passed is False
    assert run.verdict.failures[0].startswith("6 of 12 utterances fail")
    assert len(run.verdict.failures) == 1
    assert (run.baseline_wer, run.baseline_cer, run.held_to_version) == (0.32, 0.25, "")
    assert run.wer_degradation == pytest.approx(12 / 36 - 0.32)
    assert run.cer_degradation == pytest.approx(run.comparison.candidate.cer - 0.25)
    assert {row["reference"] for row in run.failed_utterances} == {
        f"press {number} now" for number in range(0, 12, 2)
    }
    assert suites.runs() == [run]
    live = suites.run(suites.add("live", SuiteKind.BENCHMARK, held_out), old, new)
    assert (live.baseline_wer, live.wer_degradation) == (0.0, pytest.approx(12 / 36))


def test_a_run_keeps_the_threshold_that_it_was_judged_by(
    suites_with: Make, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    lenient = suites_with(sample_degradation_threshold=0.7)
    run = lenient.run(lenient.add("all", SuiteKind.BENCHMARK, held_out), old, new)
    assert run.failed_utterances == ()
    (kept,) = suites_with().runs()
    assert kept.failed_utterances == ()


def test_a_silent_suite_is_run_and_kept(
    suites: RegressionSuites,
    datasets: Datasets,
    validations: Validations,
    tone: Callable[..., bytes],
) -> None:
    silence = datasets.add_evaluation("silence", [Sample(data=tone(), reference="")])
    suite = suites.add("silence", SuiteKind.EDGE_CASE, silence)
    loud = validations.contender("loud", lambda path: "thanks")
    quiet = validations.contender("quiet", lambda path: "")
    run = suites.run(suite, loud, quiet)
    assert not run.verdict.passed
    (kept,) = suites.runs()
    assert math.isnan(kept.baseline_wer)
    assert math.isnan(kept.wer_degradation)
    assert kept.verdict == run.verdict
    assert not kept.has_degraded
    assert suites.run(suite, quiet, loud).verdict.passed


def test_a_run_kept_before_figures_could_be_given_loads(
    suites: RegressionSuites, engine: Engine, held_out: Dataset, versions: tuple[str, str]
) -> None:
    run = suites.run(suites.add("all", SuiteKind.BENCHMARK, held_out), *versions)
    with writing(engine) as connection:
        figures = dict(connection.execute(select(suite_runs.c.figures)).scalar_one())
        del figures["held_to"], figures["slices"]
        connection.execute(update(suite_runs).values(figures=figures))
    (kept,) = suites.runs()
    assert kept == replace(run, comparison=replace(run.comparison, slices=()), held_to_version="")
    assert kept.sample_degradation_threshold == DEGRADATION


def test_a_failing_function_counts_against_the_candidate(
    suites: RegressionSuites, validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    def broken(path: str) -> str:
        raise OSError("no microphone")

    suite = suites.add("all", SuiteKind.BENCHMARK, held_out)
    run = suites.run(suite, validations.contender("mine", broken), versions[1])
    assert run.candidate_id == "mine"
    assert run.comparison.candidate.wer == 1.0
    assert not run.verdict.passed


def test_some_kinds_may_be_run_alone(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str]
) -> None:
    by_kind = {kind: suites.add(kind.value, kind, held_out) for kind in SuiteKind}
    chosen = {SuiteKind.CRITICAL, SuiteKind.EDGE_CASE}
    ran = suites.run_all(*versions, kinds=chosen)
    assert [run.suite_id for run in ran] == [
        by_kind[SuiteKind.CRITICAL].id,
        by_kind[SuiteKind.EDGE_CASE].id,
    ]
    assert suites.run_all(*versions, kinds=()) == []


def test_only_the_newest_suite_of_a_name_is_run(
    suites: RegressionSuites, held_out: Dataset, other: Dataset, versions: tuple[str, str]
) -> None:
    first = suites.add("all", SuiteKind.BENCHMARK, held_out)
    early = suites.run_all(versions[1], versions[0], cycle_id="cycle-1")
    second = suites.add("all", SuiteKind.BENCHMARK, other)
    late = suites.run_all(versions[1], versions[0])
    assert [run.suite_id for run in late] == [second.id]
    assert suites.runs_of(versions[1]) == late
    assert [run.suite_id for run in suites.runs_of(versions[1], cycle_id="cycle-1")] == [first.id]
    assert suites.runs_of(versions[1], cycle_id="cycle-1") == early
    assert suites.runs_of(versions[1], cycle_id="cycle-2") == []


def test_runs_are_found_by_suite_candidate_cycle_and_time(
    suites: RegressionSuites, held_out: Dataset, other: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    a, b = (
        suites.add(name, SuiteKind.BENCHMARK, one) for name, one in (("a", held_out), ("b", other))
    )
    one = suites.run(a, new, old)
    two = suites.run(b, new, old, cycle_id="cycle-1")
    three = suites.run(a, old, new)
    assert suites.runs() == [three, two, one]
    assert suites.runs(limit=2) == [three, two]
    assert suites.runs(suite_id=a.id) == [three, one]
    assert suites.runs(candidate_id=new) == [two, one]
    assert suites.runs(cycle_id="cycle-1") == [two]
    assert suites.runs(since=two.created_at) == [three, two]
    assert suites.runs(since=now()) == []


class StoppedError(Exception):
    """The process was killed here."""


def test_a_run_that_is_killed_keeps_the_suites_that_were_done(
    suites: RegressionSuites, held_out: Dataset, other: Dataset, versions: tuple[str, str]
) -> None:
    suites.add("a", SuiteKind.BENCHMARK, held_out)
    suites.add("b", SuiteKind.BENCHMARK, other)

    def stop_at_b(what: str, _: int) -> Callable[[int], None]:
        if what == "suite 'b'":
            raise StoppedError
        return lambda _: None

    with pytest.raises(StoppedError):
        suites.run_all(*versions, cycle_id="cycle-1", observe=stop_at_b)
    (kept,) = suites.runs()
    again = suites.run_all(*versions, cycle_id="cycle-1")
    assert again[0] == kept
    assert len(suites.runs()) == 2


def test_a_cycle_runs_a_suite_on_the_same_sides_once(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str], engine: Engine
) -> None:
    old, new = versions
    suite = suites.add("all", SuiteKind.BENCHMARK, held_out)
    first = suites.run(suite, old, new, cycle_id="cycle-1")
    heard: list[int] = []
    again = suites.run(suite, old, new, cycle_id="cycle-1", progress=heard.append)
    assert (again, heard) == (first, [])
    assert AuditLog(engine).counts()["alert"] == 1
    others = [
        suites.run(suite, old, new, cycle_id="cycle-2"),
        suites.run(suite, new, old, cycle_id="cycle-1"),
        suites.run(suite, old, old, cycle_id="cycle-1"),
        suites.run(suite, old, new),
        suites.run(suite, old, new),
    ]
    assert len({first.id, *(run.id for run in others)}) == 6


def test_a_rival_that_was_faster_in_the_same_cycle_wins(
    suites: RegressionSuites, validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    suite = suites.add("all", SuiteKind.BENCHMARK, held_out)
    rival = []

    def meanwhile(_: int) -> None:
        if not rival:
            rival.append(None)
            rival[0] = suites.run(suite, *versions, cycle_id="cycle-1")

    mine = suites.run(suite, *versions, cycle_id="cycle-1", progress=meanwhile)
    assert mine == rival[0]
    assert suites.runs() == [mine]


def test_a_schedule_is_due_after_its_interval(
    suites_with: Make, held_out: Dataset, versions: tuple[str, str]
) -> None:
    daily = suites_with(run_on_schedule=True, schedule_interval_hours=24.0)
    assert not daily.due(now()), "there is nothing to run"
    suite = daily.add("all", SuiteKind.BENCHMARK, held_out)
    assert daily.due(now())
    daily.run(suite, *versions, cycle_id="cycle-1")
    assert daily.due(now()), "a cycle's gate is no scheduled run"
    ran = daily.run(suite, *versions).created_at
    day = timedelta(hours=24)
    assert not daily.due(ran + day - timedelta(seconds=1))
    assert daily.due(ran + day)
    assert suites_with(run_on_schedule=True, schedule_interval_hours=1.0).due(
        ran + timedelta(hours=1)
    )
    assert not suites_with(run_on_schedule=False).due(ran + 10 * day)


def test_what_is_due_is_run_once_though_two_see_it_at_the_same_moment(
    suites_with: Make, held_out: Dataset, other: Dataset, versions: tuple[str, str]
) -> None:
    daily = suites_with(run_on_schedule=True, schedule_interval_hours=24.0)
    daily.add("all", SuiteKind.BENCHMARK, held_out)
    one = daily.add("one", SuiteKind.CRITICAL, other)
    rival: list[SuiteRun] = []

    def meanwhile(_what: str, _total: int) -> Progress:
        if not rival:
            rival.extend(suites_with(**SCHEDULE).run_due(versions[0], moment))
        return no_progress

    moment = now()
    daily.run_due(versions[0], moment, observe=meanwhile)
    assert len(rival) == 2
    assert len(daily.runs()) == 2
    assert daily.due(moment) == []
    # What a killed run has left is due still, and only that.
    third = daily.add("one", SuiteKind.CRITICAL, held_out)
    assert third.id != one.id
    assert daily.due(moment) == [third]


SCHEDULE = {"run_on_schedule": True, "schedule_interval_hours": 24.0}


def alerts(engine: Engine, suite: Suite) -> Sequence[AuditEntry]:
    found = AuditLog(engine).entries(subject=suite.id)
    assert {entry.action for entry in found} <= {"alert", "baseline"}
    return [entry for entry in found if entry.action == "alert"]


def test_a_failed_run_is_told_of(
    suites: RegressionSuites,
    held_out: Dataset,
    versions: tuple[str, str],
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    old, new = versions
    suite = suites.add("pins", SuiteKind.CRITICAL, held_out)
    with caplog.at_level(logging.WARNING, logger="misheard.alerts"):
        assert suites.run(suite, new, old).verdict.passed
        assert alerts(engine, suite) == []
        run = suites.run(suite, old, new, cycle_id="cycle-1")
    (entry,) = alerts(engine, suite)
    assert entry.reason == "; ".join(run.verdict.failures)
    assert entry.evidence == {
        "run_id": run.id,
        "suite": "pins",
        "candidate_id": old,
        "baseline_id": new,
        "cycle_id": "cycle-1",
        "passed": False,
        "wer_degradation": run.wer_degradation,
        "cer_degradation": run.cer_degradation,
        "failed_utterances": 6,
    }
    (record,) = caplog.records
    assert record.name == "misheard.alerts"
    assert "'pins'" in record.message
    assert entry.reason in record.message


def test_alerts_on_failure_may_be_off(
    suites_with: Make,
    held_out: Dataset,
    versions: tuple[str, str],
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    quiet = suites_with(alert_on_failure=False, alert_on_warning=True)
    suite = quiet.add("pins", SuiteKind.CRITICAL, held_out)
    assert not quiet.run(suite, *versions).verdict.passed
    assert alerts(engine, suite) == []
    assert caplog.records == []


def test_a_rise_that_is_tolerated_is_told_of_where_that_is_wanted(
    suites_with: Make, held_out: Dataset, versions: tuple[str, str], ear: Ear, engine: Engine
) -> None:
    old, new = versions
    lenient = {"max_failed_samples_rate": 1.0, "critical_degradation_threshold": 1.0}
    silent = suites_with(**lenient)
    suite = silent.add("all", SuiteKind.BENCHMARK, held_out, max_wer_degradation=1.0)
    assert silent.run(suite, old, new).verdict.passed
    assert alerts(engine, suite) == []
    warned = suites_with(alert_on_warning=True, **lenient)
    assert warned.run(suite, new, old).verdict.passed
    assert alerts(engine, suite) == []
    assert warned.run(suite, old, new).verdict.passed
    (entry,) = alerts(engine, suite)
    assert entry.evidence["passed"] is True
    assert entry.reason.startswith("passed, but worse: ")
