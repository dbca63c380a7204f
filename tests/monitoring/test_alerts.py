"""An alert is one row from firing to resolved, whoever looks and however often."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select
from sqlalchemy.exc import IntegrityError

from misheard.database.engine import writing
from misheard.database.schema import alerts as alerts_table
from misheard.database.schema import deliveries as deliveries_table
from misheard.errors import BadInputError, UnknownIdError
from misheard.monitoring.alerts import Alert, Alerts
from misheard.monitoring.channels.channel import Channel, Event
from misheard.monitoring.channels.log import LogChannel
from misheard.monitoring.channels.webhook import WebhookChannel
from misheard.monitoring.conditions import Condition, Health, Rule
from misheard.settings import AlertSettings

ON_BOTH_DATABASES = True
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(count: float) -> datetime:
    return AT + timedelta(minutes=count)


def make(
    engine: Engine, root: Path, channels: Sequence[Channel] = (LogChannel(),), **settings: Any
) -> Alerts:
    known = {"well_minutes": 30.0}
    return Alerts(engine, settings=AlertSettings(**known | settings), channels=channels, root=root)


@pytest.fixture
def alerts(engine: Engine, tmp_path: Path) -> Alerts:
    return make(engine, tmp_path)


def condition(health: Health, *, rule: Rule = Rule.DISK, subject: str = "workspace") -> Condition:
    return Condition(rule=rule, subject=subject, health=health, detail="full", figures={"x": 1})


BAD, WELL, UNKNOWN = map(condition, (Health.BAD, Health.WELL, Health.UNKNOWN))


def the_one(alerts: Alerts) -> Alert:
    (found,) = alerts.listed()
    return found


def events(alerts: Alerts) -> list[str]:
    return [one.event for alert in alerts.listed() for one in alert.deliveries]


def test_it_fires_once_and_is_told_once(alerts: Alerts) -> None:
    (fired,), none = alerts.note([BAD], AT)
    assert (fired.rule, fired.subject, fired.fired_at) == (Rule.DISK, "workspace", AT)
    assert none == []
    for minute in range(1, 100, 10):
        assert alerts.note([BAD], minutes(minute)) == ([], [])
    found = the_one(alerts)
    assert (found.detail, found.figures, found.resolved_at) == ("full", {"x": 1}, None)
    assert events(alerts) == ["fired"]


def test_it_is_over_when_it_has_been_well_for_long_enough_without_a_break(alerts: Alerts) -> None:
    alerts.note([BAD], AT)
    assert alerts.note([WELL], minutes(10)) == ([], [])
    assert the_one(alerts).well_since == minutes(10)
    assert alerts.note([WELL], minutes(39)) == ([], [])
    # A break: it begins anew, and nobody is told.
    assert alerts.note([BAD], minutes(39.5)) == ([], [])
    assert the_one(alerts).well_since is None
    assert alerts.note([WELL], minutes(45)) == ([], [])
    assert alerts.note([WELL], minutes(74)) == ([], [])
    none, (over,) = alerts.note([WELL], minutes(75))
    assert none == []
    found = the_one(alerts)
    assert over.id == found.id
    assert found.resolved_at == minutes(75)
    assert events(alerts) == ["fired", "resolved"]
    assert alerts.note([WELL], minutes(200)) == ([], [])
    assert events(alerts) == ["fired", "resolved"]


def test_what_flaps_is_one_alert_told_once(alerts: Alerts) -> None:
    for minute in range(0, 600, 5):
        alerts.note([BAD if minute % 10 else WELL], minutes(minute))
    assert len(alerts.listed()) == 1
    assert events(alerts) == ["fired"]


def test_when_it_comes_again_it_is_another(alerts: Alerts) -> None:
    alerts.note([BAD], AT)
    alerts.note([WELL], minutes(1))
    alerts.note([WELL], minutes(31))
    (again,), _ = alerts.note([BAD], minutes(40))
    assert alerts.listed()[0].id == again.id
    assert len(alerts.listed()) == 2
    assert len(alerts.listed(open_only=True)) == 1


def test_what_is_not_known_changes_nothing(alerts: Alerts) -> None:
    assert alerts.note([UNKNOWN], AT) == ([], [])
    alerts.note([BAD], minutes(1))
    alerts.note([WELL], minutes(2))
    for minute in range(3, 100):
        assert alerts.note([UNKNOWN], minutes(minute)) == ([], [])
    assert the_one(alerts).resolved_at is None


def test_what_nobody_speaks_of_any_more_is_well(alerts: Alerts) -> None:
    """A rule that was switched off, a cycle that was approved, a version that is gone."""
    alerts.note([BAD], AT)
    alerts.note([], minutes(1))
    alerts.note([], minutes(31))
    assert the_one(alerts).resolved_at == minutes(31)


def test_subjects_and_rules_are_apart(alerts: Alerts) -> None:
    first = condition(Health.BAD, rule=Rule.LATENCY, subject="v-1")
    second = condition(Health.BAD, rule=Rule.LATENCY, subject="v-2")
    alerts.note([first, second, BAD], AT)
    assert len(alerts.listed(open_only=True)) == 3
    alerts.note([second, BAD], minutes(1))
    alerts.note([second, BAD], minutes(31))
    assert {one.subject for one in alerts.listed(open_only=True)} == {"v-2", "workspace"}


def test_with_no_time_to_wait_it_is_over_at_once(engine: Engine, tmp_path: Path) -> None:
    alerts = make(engine, tmp_path, well_minutes=0.0)
    alerts.note([BAD], AT)
    alerts.note([WELL], minutes(1))
    assert the_one(alerts).resolved_at == minutes(1)


def test_a_look_that_changes_nothing_writes_nothing(alerts: Alerts, engine: Engine) -> None:
    alerts.note([BAD], AT)
    written: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *told: written.append(str(told[2]).split()[0])
    )
    alerts.note([BAD], minutes(1))
    assert set(written) <= {"SELECT", "BEGIN"}


def test_the_database_holds_one_open_alert_of_a_rule_and_subject(
    alerts: Alerts, engine: Engine
) -> None:
    alerts.note([BAD], AT)
    row = {
        "id": "other",
        "rule": "disk",
        "subject": "workspace",
        "fired_at": AT,
        "detail": "",
        "figures": {},
    }
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(alerts_table).values(**row))


# Silences.


def test_a_silenced_rule_fires_and_tells_nobody_until_the_silence_ends(alerts: Alerts) -> None:
    moment = datetime.now(UTC)
    alerts.silence("disk", until=moment + timedelta(hours=1), actor="ann", reason="moving house")
    (silence,) = alerts.silences()
    assert (silence.rule, silence.actor, silence.reason) == ("disk", "ann", "moving house")
    (fired,), _ = alerts.note([BAD], moment)
    assert the_one(alerts).id == fired.id
    assert events(alerts) == []
    alerts.note([BAD], moment + timedelta(minutes=59))
    assert events(alerts) == []
    # It is still so when the silence ends: now it is told.
    alerts.note([BAD], moment + timedelta(minutes=61))
    assert events(alerts) == ["fired"]


def test_what_begins_and_ends_in_silence_is_never_told(alerts: Alerts) -> None:
    moment = datetime.now(UTC)
    alerts.silence("", until=moment + timedelta(hours=9), actor="ann", reason="holidays")
    alerts.note([BAD], moment)
    alerts.note([WELL], moment + timedelta(minutes=1))
    alerts.note([WELL], moment + timedelta(minutes=31))
    assert the_one(alerts).resolved_at is not None
    assert events(alerts) == []


def test_a_recovery_in_silence_is_told_to_whoever_knows_of_the_alert(alerts: Alerts) -> None:
    """Otherwise an incident at PagerDuty would stay open for ever."""
    moment = datetime.now(UTC)
    alerts.note([BAD], moment)
    alerts.silence("disk", until=moment + timedelta(hours=9), actor="ann", reason="known")
    alerts.note([WELL], moment + timedelta(minutes=1))
    alerts.note([WELL], moment + timedelta(minutes=31))
    assert events(alerts) == ["fired", "resolved"]


def test_another_rule_is_not_silenced_and_a_silence_can_be_ended(alerts: Alerts) -> None:
    moment = datetime.now(UTC)
    made = alerts.silence("latency", until=moment + timedelta(hours=1), actor="ann", reason="x")
    alerts.note([BAD, condition(Health.BAD, rule=Rule.LATENCY, subject="v-1")], moment)
    assert len(events(alerts)) == 1
    alerts.unsilence(made.number, actor="bob")
    assert alerts.silences() == []
    alerts.note([BAD, condition(Health.BAD, rule=Rule.LATENCY, subject="v-1")], moment)
    assert len(events(alerts)) == 2
    with pytest.raises(UnknownIdError, match="alerts list"):
        alerts.unsilence(made.number, actor="bob")


def test_who_silenced_what_is_in_the_audit_log(alerts: Alerts, engine: Engine) -> None:
    from misheard.database.audit import AuditLog  # noqa: PLC0415

    until = datetime.now(UTC) + timedelta(hours=1)
    made = alerts.silence("disk", until=until, actor="ann", reason="moving house")
    alerts.unsilence(made.number, actor="bob")
    ended, begun = AuditLog(engine).entries()
    assert (begun.actor, begun.action, begun.subject) == ("ann", "silence", "disk")
    assert (begun.reason, begun.to_value) == ("moving house", until.isoformat())
    assert (ended.actor, ended.action) == ("bob", "unsilence")


@pytest.mark.parametrize(
    ("rule", "hours", "reason", "said"),
    [("disc", 1, "x", "Known: .*disk"), ("disk", -1, "x", "future"), ("disk", 1, " ", "why")],
)
def test_a_silence_that_cannot_be(
    alerts: Alerts, rule: str, hours: float, reason: str, said: str
) -> None:
    until = datetime.now(UTC) + timedelta(hours=hours)
    with pytest.raises(BadInputError, match=said):
        alerts.silence(rule, until=until, actor="ann", reason=reason)


# Channels.


def test_each_channel_is_told_and_one_that_comes_later_too(engine: Engine, tmp_path: Path) -> None:
    make(engine, tmp_path).note([BAD], AT)
    hook = WebhookChannel("hook", "http://127.0.0.1:9/", timeout_s=1.0)
    both = make(engine, tmp_path, [LogChannel(), hook])
    both.note([BAD], minutes(1))
    both.note([BAD], minutes(2))
    assert [one.channel for one in the_one(both).deliveries] == ["log", "hook"]


def test_that_a_channel_fails_is_not_told_through_it(engine: Engine, tmp_path: Path) -> None:
    hook = WebhookChannel("hook", "http://127.0.0.1:9/", timeout_s=1.0)
    alerts = make(engine, tmp_path, [LogChannel(), hook])
    alerts.note([condition(Health.BAD, rule=Rule.DELIVERY, subject="hook")], AT)
    assert [one.channel for one in the_one(alerts).deliveries] == ["log"]


LOOK = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from misheard.database.engine import open_engine
from misheard.monitoring.alerts import Alerts
from misheard.monitoring.channels.log import LogChannel
from misheard.monitoring.conditions import Condition, Health, Rule
from misheard.settings import AlertSettings
settings = AlertSettings(well_minutes=0.0)
root = Path(sys.argv[1])
alerts = Alerts(open_engine(sys.argv[2]), settings=settings, channels=[LogChannel()], root=root)
start = datetime(2026, 3, 1, tzinfo=UTC)
for number in range(60):
    health = Health.WELL if number % 3 == 2 else Health.BAD
    alerts.note([Condition(rule=Rule.DISK, subject="workspace", health=health)],
                start + timedelta(minutes=number))
"""


def test_several_processes_that_look_at_once_never_open_two(
    alerts: Alerts, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LOOK, str(tmp_path), database_url]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for child in children:
        _, told = child.communicate(timeout=600)
        assert child.returncode == 0, told.decode()
    with engine.connect() as connection:
        rows = connection.execute(select(alerts_table)).all()
        column = deliveries_table.c.number
        sent = connection.execute(select(deliveries_table).order_by(column)).all()
    # Each firing was told once, each recovery once.
    assert rows
    assert sum(row.resolved_at is None for row in rows) <= 1
    for row in rows:
        mine = [one.event for one in sent if one.alert_id == row.id]
        ended = [Event.RESOLVED] if row.resolved_at is not None else []
        assert mine == [Event.FIRED, *ended]
