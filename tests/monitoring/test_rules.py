"""Each rule: where it says well, bad, or that it cannot say. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from misheard.monitoring.conditions import (
    ChannelReading,
    Condition,
    CycleReading,
    Health,
    Readings,
    RecentTraffic,
    RolloutReading,
    Rule,
    ServerReading,
    StandingReading,
    SuiteReading,
    WatchedMean,
)
from misheard.monitoring.drift import Direction, Drift
from misheard.monitoring.rules import judge
from misheard.scoring.survey import Estimate, GroupSums, share
from misheard.settings import AlertSettings

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
WELL, BAD, UNKNOWN = Health.WELL, Health.BAD, Health.UNKNOWN
QUIET = Readings(
    moment=AT,
    live_version="v-1",
    recent=(),
    means=(),
    audited=None,
    traffic=(0, 0),
    newest_cycle=None,
    waiting=(),
    standing=(),
    newest_canary=None,
    suites=(),
    last_heard_at=None,
    behind=0,
    free_disk_share=0.5,
    channels=(),
    servers=(),
)


def of_labels(errors: int, count: int, *, each: int = 1) -> Estimate:
    """What an audit comes to in which each speaker has said so many, all right or all wrong."""
    wrong = [float(each)] * (errors // each) + [0.0] * ((count - errors) // each)
    sums = GroupSums.of(wrong, [float(each)] * (count // each))
    return share(sums, n=count, weight_squared=float(count))


OFF = AlertSettings(
    drift_of=(),
    max_latency_s=False,
    max_latency_p95_s=False,
    max_real_time_factor=False,
    max_audited_error_rate=False,
    max_error_rate=False,
    cycle_ended=False,
    max_approval_hours=False,
    max_stuck_hours=False,
    canary_rolled_back=False,
    suite_failed=False,
    max_silent_hours=False,
    max_digest_behind=False,
    min_free_disk_percent=False,
    max_failed_attempts=False,
    max_behind_s=False,
)


def said(rule: Rule, readings: Readings, **limits: Any) -> Condition | None:
    """What one rule says, others aside."""
    found = [one for one in judge(readings, AlertSettings(**limits)) if one.rule is rule]
    assert len(found) <= 1
    return found[0] if found else None


def health(rule: Rule, readings: Readings, **limits: Any) -> Health | None:
    condition = said(rule, readings, **limits)
    return condition.health if condition is not None else None


def traffic(**sums: Any) -> Readings:
    known = {
        "version_id": "v-1",
        "inferences": 100,
        "timed": 100,
        "latency_s": 50.0,
        "compute_s": 30.0,
        "computed_audio_s": 100.0,
        "latency_p95_s": 1.5,
    }
    return replace(QUIET, recent=(RecentTraffic(**known | sums),))


def stands(hours: float, **fields: Any) -> StandingReading:
    """A cycle that took its last step so long ago."""
    known: dict[str, Any] = {"id": "cycle-1", "state": "regression", "is_held": False, "error": ""}
    moved_at = AT - timedelta(hours=hours)
    return StandingReading(**known | fields, moved_at=moved_at)


def follows(behind_s: float | None, *, reason: str = "") -> ServerReading:
    """A server that has missed a deployment so long ago."""
    return ServerReading(
        id="server-1",
        address="10.0.0.1:8000",
        slot="production",
        version_id="v-1",
        live_version="v-2",
        behind_since=None if behind_s is None else AT - timedelta(seconds=behind_s),
        reason=reason,
    )


def test_what_is_off_says_nothing_whatever_happens() -> None:
    cycle = CycleReading(id="cycle-1", state="failed", detail="", since=AT - timedelta(days=9))
    terrible = replace(
        traffic(latency_s=1e6, compute_s=1e6, latency_p95_s=1e4),
        audited=of_labels(99, 100),
        traffic=(99, 100),
        newest_cycle=cycle,
        waiting=(cycle,),
        standing=(stands(99),),
        suites=(SuiteReading(name="s", run_id="r", passed=False, reason=""),),
        last_heard_at=AT - timedelta(days=99),
        behind=10**9,
        free_disk_share=0.0,
        channels=(ChannelReading(name="hook", attempts=99, error="x"),),
        servers=(follows(1e6),),
    )
    assert judge(terrible, OFF) == []


@pytest.mark.parametrize(
    ("sums", "limit", "expected"),
    [
        ({}, 0.6, WELL),
        ({}, 0.5, WELL),
        ({}, 0.4, BAD),
        ({"timed": 19, "latency_s": 1e3}, 0.4, UNKNOWN),
        ({"timed": 0, "latency_s": 0.0}, 0.4, UNKNOWN),
        ({}, False, None),
    ],
)
def test_latency(sums: dict[str, Any], limit: Any, expected: Health | None) -> None:
    assert health(Rule.LATENCY, traffic(**sums), max_latency_s=limit) is expected


@pytest.mark.parametrize(
    ("sums", "limit", "expected"),
    [
        ({}, 1.5, WELL),
        ({}, 1.4, BAD),
        ({"timed": 19}, 1.4, UNKNOWN),
        ({"timed": 0, "latency_p95_s": math.nan}, 1.4, UNKNOWN),
        ({}, False, None),
    ],
)
def test_latency_of_the_slowest_twentieth(
    sums: dict[str, Any], limit: Any, expected: Health | None
) -> None:
    found = said(Rule.LATENCY_P95, traffic(**sums), max_latency_p95_s=limit)
    assert (found.health if found else None) is expected
    if expected is BAD:
        assert found is not None
        assert found.detail == (
            "5 % of the callers of v-1 waited longer than 1.50 s over the last 3 hours; "
            "1.4 s are allowed."
        )


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        ({}, WELL),
        ({"compute_s": 101.0}, BAD),
        ({"compute_s": 101.0, "inferences": 19}, UNKNOWN),
        ({"compute_s": 0.0, "computed_audio_s": 0.0}, UNKNOWN),
    ],
)
def test_real_time_factor(sums: dict[str, Any], expected: Health) -> None:
    assert health(Rule.REAL_TIME_FACTOR, traffic(**sums)) is expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0), UNKNOWN),
        ((19, 19), UNKNOWN),
        ((0, 100), WELL),
        ((50, 100), WELL),
        # 65 of 100 may be chance at 50 % for who looks each time; 70 are not.
        ((65, 100), UNKNOWN),
        ((70, 100), BAD),
    ],
)
def test_the_error_rate_by_what_it_surely_is(counts: tuple[int, int], expected: Health) -> None:
    heard = replace(QUIET, traffic=counts)
    assert health(Rule.ERROR_RATE, heard, max_error_rate=0.5) is expected
    assert health(Rule.ERROR_RATE, replace(heard, live_version="")) is None


@pytest.mark.parametrize(
    ("errors", "count", "each", "expected"),
    [
        (0, 0, 1, UNKNOWN),
        (19, 19, 1, UNKNOWN),
        (0, 100, 1, WELL),
        (50, 100, 1, WELL),
        # 55 of 100 may be chance at 50 %; 65 are not.
        (55, 100, 1, UNKNOWN),
        (65, 100, 1, BAD),
        # Of ten speakers who said ten each, 70 may be chance, too.
        (60, 100, 10, UNKNOWN),
        (70, 100, 10, UNKNOWN),
        (600, 1_000, 10, BAD),
        # Nothing is known of other speakers.
        (100, 100, 100, UNKNOWN),
        (0, 100, 100, UNKNOWN),
    ],
)
def test_the_audited_error_rate_by_its_interval(
    errors: int, count: int, each: int, expected: Health
) -> None:
    audited = replace(QUIET, audited=of_labels(errors, count, each=each))
    assert health(Rule.AUDITED_ERROR_RATE, audited) is expected
    assert health(Rule.AUDITED_ERROR_RATE, QUIET) is None


def test_an_alert_of_the_audited_error_rate_does_not_come_and_go_with_each_label() -> None:
    """Once it is bad, it is bad until it is well; what lies between says neither."""
    found = [
        health(Rule.AUDITED_ERROR_RATE, replace(QUIET, audited=of_labels(errors, 400)))
        for errors in range(180, 240)
    ]
    assert [one for one, before in zip(found, [None, *found], strict=False) if one != before] == [
        WELL,
        UNKNOWN,
        BAD,
    ]
    assert found.count(UNKNOWN) == 19
    condition = said(Rule.AUDITED_ERROR_RATE, replace(QUIET, audited=of_labels(240, 400)))
    assert condition is not None
    assert "60.0% of what v-1 has heard since it went live is wrong" in condition.detail
    assert "400 transcripts" in condition.detail
    assert condition.figures["lower"] > 0.5


def drift(direction: Direction, before: float, after: float, judged: int = 100) -> Readings:
    since = None if direction is Direction.NONE else AT - timedelta(days=3)
    found = Drift(
        direction=direction,
        since=since,
        before=before,
        after=after,
        judged=judged,
        rise=1.0,
        fall=0.0,
        limit=7.5,
    )
    return replace(QUIET, means=(WatchedMean(metric="latency", version_id="v-1", drift=found),))


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (drift(Direction.RISE, 0.2, 0.3), BAD),
        (drift(Direction.RISE, 0.0, 0.3), BAD),
        (drift(Direction.RISE, 0.2, 0.215), WELL),
        (drift(Direction.FALL, 0.3, 0.2), WELL),
        (drift(Direction.NONE, math.nan, math.nan), WELL),
        (drift(Direction.NONE, math.nan, math.nan, judged=0), UNKNOWN),
    ],
)
def test_drift_alerts_on_a_rise_that_is_large_enough(readings: Readings, expected: Health) -> None:
    condition = said(Rule.DRIFT_LATENCY, readings)
    assert condition is not None
    assert condition.health is expected
    if expected is BAD:
        assert "since 2026-02-26 12:00 UTC" in condition.detail
        assert "misheard trend latency --version v-1" in condition.detail


def test_drift_alerts_tell_of_another_model_of_suspicion() -> None:
    readings = drift(Direction.RISE, 0.2, 0.3)
    anew = replace(readings.means[0], metric="suspicion", anew_since=AT - timedelta(days=20))
    condition = said(Rule.DRIFT_SUSPICION, replace(readings, means=(anew,)))
    assert condition is not None
    assert "since 2026-02-09, when another model of suspicion was taken" in condition.detail
    plain = said(Rule.DRIFT_LATENCY, readings)
    assert plain is not None
    assert "another model" not in plain.detail


@pytest.mark.parametrize(
    ("state", "expected"),
    [("failed", BAD), ("refused", BAD), ("deployed", WELL), ("training", WELL), ("rejected", WELL)],
)
def test_the_newest_cycle_failed_or_was_refused(state: str, expected: Health) -> None:
    cycle = CycleReading(id="cycle-1", state=state, detail="the disk was full", since=AT)
    condition = said(Rule.CYCLE_ENDED, replace(QUIET, newest_cycle=cycle))
    assert condition is not None
    assert (condition.health, condition.subject) == (expected, "cycle-1")
    assert "the disk was full" in condition.detail


def test_a_cycle_waits_for_a_person() -> None:
    def waits(hours: float) -> Readings:
        since = AT - timedelta(hours=hours)
        cycle = CycleReading(id="cycle-1", state="awaiting_approval", detail="", since=since)
        return replace(QUIET, waiting=(cycle,))

    assert health(Rule.APPROVAL, waits(23)) is WELL
    assert health(Rule.APPROVAL, waits(25)) is BAD
    assert health(Rule.APPROVAL, waits(25), max_approval_hours=48) is WELL


@pytest.mark.parametrize(
    ("hours", "fields", "expected"),
    [
        (5, {"error": "the disk is full"}, WELL),
        (7, {"error": "the disk is full"}, BAD),
        (7, {}, BAD),
        (7, {"is_held": True}, UNKNOWN),
        (5, {"is_held": True}, WELL),
    ],
)
def test_a_cycle_that_ought_to_move_stands(
    hours: float, fields: dict[str, Any], expected: Health
) -> None:
    readings = replace(QUIET, standing=(stands(hours, **fields),))
    assert health(Rule.CYCLE_STUCK, readings) is expected
    assert health(Rule.CYCLE_STUCK, readings, max_stuck_hours=9) is WELL


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"error": "The disk is full."}, "It cannot go on: The disk is full."),
        ({}, "Nothing works on it. Is a worker running?"),
        ({"state": "training"}, "Its training gives no sign of life."),
    ],
)
def test_why_a_cycle_stands_is_said(fields: dict[str, Any], why: str) -> None:
    condition = said(Rule.CYCLE_STUCK, replace(QUIET, standing=(stands(720, **fields),)))
    assert condition is not None
    assert f" for 720 hours. {why} To try again: misheard cycle run cycle-1" in condition.detail
    assert condition.figures["error"] == fields.get("error", "")


@pytest.mark.parametrize(("taken_back", "expected"), [(False, WELL), (True, BAD)])
def test_a_canary_that_was_taken_back(taken_back: bool, expected: Health) -> None:
    canary = RolloutReading(
        id="rollout-1", version_id="v-2", was_rolled_back=taken_back, detail="surely worse: empty"
    )
    condition = said(Rule.CANARY_ROLLED_BACK, replace(QUIET, newest_canary=canary))
    assert condition is not None
    assert (condition.health, condition.subject) == (expected, "rollout-1")
    assert "v-2 answers nobody any more: surely worse: empty." in condition.detail


@pytest.mark.parametrize(("passed", "expected"), [(True, WELL), (False, BAD)])
def test_a_suite_that_the_live_version_fails(passed: bool, expected: Health) -> None:
    suite = SuiteReading(name="menus", run_id="run-1", passed=passed, reason="9 errors, 2 before")
    condition = said(Rule.SUITE_FAILED, replace(QUIET, suites=(suite,)))
    assert condition is not None
    assert (condition.health, condition.subject) == (expected, "menus")


@pytest.mark.parametrize(
    ("hours", "expected"), [(None, None), (0.0, WELL), (-20.0, WELL), (71.0, WELL), (73.0, BAD)]
)
def test_no_traffic(hours: float | None, expected: Health | None) -> None:
    last = AT - timedelta(hours=hours) if hours is not None else None
    assert health(Rule.NO_TRAFFIC, replace(QUIET, last_heard_at=last)) is expected


def test_the_machine() -> None:
    assert health(Rule.DIGEST_BEHIND, replace(QUIET, behind=100_000)) is WELL
    assert health(Rule.DIGEST_BEHIND, replace(QUIET, behind=100_001)) is BAD
    assert health(Rule.DISK, replace(QUIET, free_disk_share=0.05)) is WELL
    assert health(Rule.DISK, replace(QUIET, free_disk_share=0.049)) is BAD
    assert said(Rule.DELIVERY, QUIET) is None
    for attempts, expected in ((0, WELL), (2, WELL), (3, BAD)):
        channel = ChannelReading(name="hook", attempts=attempts, error="It answered 500.")
        assert health(Rule.DELIVERY, replace(QUIET, channels=(channel,))) is expected


def test_every_rule_has_a_severity_that_pagerduty_knows() -> None:
    assert {rule.severity for rule in Rule} == {"critical", "error", "warning"}


def test_the_table_in_the_docs_has_every_rule_and_its_settings_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| rule | fires when |")
    rows = [line.split(" | ") for line in table.partition("\n\n")[0].splitlines()[2:]]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert named == [rule.value for rule in Rule]
    defaults = AlertSettings().model_dump()
    for row in rows:
        for setting, shown in re.findall(r"`(\w+) = (.*?)`", row[2]):
            value = {"true": True, "false": False}.get(shown)
            assert defaults[setting] == (float(shown) if value is None else value)


@pytest.mark.parametrize(
    ("behind_s", "expected"), [(None, WELL), (5, UNKNOWN), (60, UNKNOWN), (61, BAD)]
)
def test_a_server_that_does_not_follow(behind_s: float | None, expected: Health) -> None:
    readings = replace(QUIET, servers=(follows(behind_s),))
    assert health(Rule.SERVER_BEHIND, readings) is expected
    assert health(Rule.SERVER_BEHIND, readings, max_behind_s=100) is (
        WELL if behind_s is None else UNKNOWN
    )


def test_why_a_server_does_not_follow_is_said() -> None:
    readings = replace(QUIET, servers=(follows(90, reason="Its files are damaged."),))
    condition = said(Rule.SERVER_BEHIND, readings)
    assert condition is not None
    assert "10.0.0.1:8000 answers with v-1, where v-2 is live" in condition.detail
    assert "for 90 s now. Its files are damaged." in condition.detail
    assert condition.rule.severity == "error"
