"""Alerts: one row each from when something turns bad to when it is well again.

Every look reads, judges, and writes in one transaction whatever has changed. Two processes that
look at once come to the same rows as one: they take turns, and an alert that is open is not opened
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from misheard.database import audit
from misheard.database.audit import AuditEntry
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import alerts, deliveries, silences
from misheard.errors import BadInputError, UnknownIdError
from misheard.monitoring import readings
from misheard.monitoring.channels.channel import Channel, Event
from misheard.monitoring.conditions import Condition, Health, Rule
from misheard.monitoring.delivery import Delivery, DeliveryQueue, read_deliveries
from misheard.monitoring.rules import judge
from misheard.settings import AlertSettings


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that is or was wrong."""

    id: str
    rule: Rule
    subject: str
    fired_at: datetime
    well_since: datetime | None
    """Since when it has been well without a break; it is over once that has lasted."""
    resolved_at: datetime | None
    detail: str
    """As it was when it fired."""
    figures: dict[str, Any]
    deliveries: tuple[Delivery, ...] = ()
    """Whom it was told, or is to be."""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A time in which a rule tells nobody."""

    number: int
    created_at: datetime
    rule: str
    """Empty: every rule."""
    until: datetime
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AlertsLook:
    """What one look came to."""

    fired: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    delivered: tuple[Delivery, ...]
    failed: tuple[Delivery, ...]


class Alerts:
    """Looks for what is wrong, remembers it, and tells people through channels."""

    def __init__(
        self,
        engine: Engine,
        *,
        settings: AlertSettings,
        channels: Sequence[Channel],
        root: Path,
        trained_at: Callable[[str], datetime | None] = lambda _: None,
    ) -> None:
        """`root` is the workspace's directory: its disk is looked at, its name is told.

        `trained_at` says when a training job gave its last sign of life, by its id.
        """
        self._engine = engine
        self._settings = settings
        self._channels = [channel.name for channel in channels]
        self._root = root
        self._trained_at = trained_at
        self._queue = DeliveryQueue(
            engine,
            channels,
            workspace=root.resolve().name,
            give_up=timedelta(hours=settings.give_up_hours),
        )

    def look(self) -> AlertsLook:
        """Evaluate every rule and deliver what is due; a channel that fails raises nothing."""
        fired, resolved = self.evaluate()
        delivered, failed = self._queue.deliver()
        return AlertsLook(
            fired=tuple(fired),
            resolved=tuple(resolved),
            delivered=tuple(delivered),
            failed=tuple(failed),
        )

    def evaluate(self, moment: datetime | None = None) -> tuple[list[Alert], list[Alert]]:
        """Open and close alerts by the rules, at `moment` or now; those opened, those closed."""
        at = moment or now()
        with self._engine.connect() as connection:
            read = readings.read(
                connection,
                settings=self._settings,
                channels=self._channels,
                root=self._root,
                moment=at,
                trained_at=self._trained_at,
            )
        return self.note(judge(read, self._settings), at)

    def note(
        self, conditions: Iterable[Condition], moment: datetime
    ) -> tuple[list[Alert], list[Alert]]:
        """Take down how things are; an open alert that no condition names is well.

        The same conditions again change nothing.
        """
        told = {(one.rule, one.subject): one for one in conditions}
        with writing(self._engine) as connection:
            known = {(one.rule, one.subject): one for one in _open(connection)}
            fired = [
                _fire(connection, one, moment)
                for key, one in told.items()
                if one.health is Health.BAD and key not in known
            ]
            resolved = []
            for key, alert in known.items():
                health = told[key].health if key in told else Health.WELL
                if self._follow(connection, alert, health, moment):
                    resolved.append(alert)
            self._tell(connection, moment)
        return fired, resolved

    def listed(
        self, *, open_only: bool = False, limit: int = 50, before: str | None = None
    ) -> list[Alert]:
        """Alerts with their deliveries: open ones first, then the newest.

        With `before`, those after the one with that id.
        """
        query = select(alerts).order_by(
            alerts.c.resolved_at.is_not(None), alerts.c.fired_at.desc(), alerts.c.id.desc()
        )
        if open_only:
            query = query.where(alerts.c.resolved_at.is_(None))
        with self._engine.connect() as connection:
            if before is not None:
                query = query.where(_listed_after(connection, before))
            found = [_alert(row) for row in connection.execute(query.limit(limit)).mappings()]
            sent = read_deliveries(connection, [one.id for one in found])
        return [_alert({**vars(one), "deliveries": sent.get(one.id, ())}) for one in found]

    def silence(self, rule: str, *, until: datetime, actor: str, reason: str) -> Silence:
        """Let `rule`, or every rule where it is empty, tell nobody until then.

        What fires meanwhile is told afterwards if it is still so; a recovery is told to whoever was
        told of the alert. Raises `BadInputError` for a rule that is none or a time that is past.
        """
        if rule and rule not in set(Rule):
            raise BadInputError(f"There is no rule '{rule}'. Known: {', '.join(Rule)}.")
        moment = now()
        if until <= moment:
            raise BadInputError("A silence ends in the future.")
        if not reason.strip():
            raise BadInputError("Whoever is on call next wants to know why: give a reason.")
        values: dict[str, Any] = {
            "created_at": moment,
            "rule": rule,
            "until": until,
            "actor": actor,
            "reason": reason,
        }
        with writing(self._engine) as connection:
            made = insert(silences).values(**values).returning(silences.c.number)
            number = connection.execute(made).scalar_one()
            entry = AuditEntry(
                actor=actor,
                action="silence",
                subject=rule or "every rule",
                to_value=until.isoformat(),
                reason=reason,
            )
            audit.record(connection, entry)
        return Silence(number=number, **values)

    def unsilence(self, number: int, *, actor: str) -> None:
        """End a silence; `UnknownIdError` where there is none of that number."""
        with writing(self._engine) as connection:
            ended = delete(silences).where(silences.c.number == number)
            row = connection.execute(ended.returning(silences.c.rule, silences.c.until)).first()
            if row is None:
                raise UnknownIdError(f"There is no silence {number}. See: misheard alerts list")
            entry = AuditEntry(
                actor=actor,
                action="unsilence",
                subject=row.rule or "every rule",
                from_value=row.until.isoformat(),
            )
            audit.record(connection, entry)

    def silences(self, moment: datetime | None = None) -> list[Silence]:
        """Those that hold, the first to end first."""
        with self._engine.connect() as connection:
            return _silences(connection, moment or now())

    def _follow(
        self, connection: Connection, alert: Alert, health: Health, moment: datetime
    ) -> bool:
        """How an open alert goes on; whether it is over."""
        this = (alerts.c.id == alert.id) & alerts.c.resolved_at.is_(None)
        if health is Health.UNKNOWN:
            return False
        if health is Health.BAD:
            if alert.well_since is not None:
                connection.execute(update(alerts).where(this).values(well_since=None))
            return False
        since = alert.well_since or moment
        if alert.well_since is None:
            connection.execute(update(alerts).where(this).values(well_since=since))
        if moment - since < timedelta(minutes=self._settings.well_minutes):
            return False
        connection.execute(update(alerts).where(this).values(resolved_at=moment))
        for channel in _told_of(connection, alert.id):
            _enqueue(connection, alert.id, Event.RESOLVED, channel, moment)
        return True

    def _tell(self, connection: Connection, moment: datetime) -> None:
        """Queue every open alert for each channel that it was not queued for, unless silenced."""
        silent = {one.rule for one in _silences(connection, moment)}
        if "" in silent:
            return
        for alert in _open(connection):
            if alert.well_since is not None or alert.rule in silent:
                continue
            told = _told_of(connection, alert.id)
            for channel in self._channels:
                # A channel that fails is no way to say that it fails.
                failing = alert.rule is Rule.DELIVERY and channel == alert.subject
                if channel not in told and not failing:
                    _enqueue(connection, alert.id, Event.FIRED, channel, moment)


def _listed_after(connection: Connection, alert_id: str) -> ColumnElement[bool]:
    """Which alerts come after that one where open ones come first."""
    columns = (alerts.c.fired_at, alerts.c.resolved_at)
    last = connection.execute(select(*columns).where(alerts.c.id == alert_id)).first()
    if last is None:
        raise UnknownIdError(f"There is no alert '{alert_id}' to go on after.")
    same_time = (alerts.c.fired_at == last.fired_at) & (alerts.c.id < alert_id)
    older = (alerts.c.fired_at < last.fired_at) | same_time
    if last.resolved_at is None:
        return or_(alerts.c.resolved_at.is_not(None), older)
    return and_(alerts.c.resolved_at.is_not(None), older)


def _open(connection: Connection) -> list[Alert]:
    query = select(alerts).where(alerts.c.resolved_at.is_(None)).order_by(alerts.c.fired_at)
    return [_alert(row) for row in connection.execute(query).mappings()]


def _fire(connection: Connection, one: Condition, moment: datetime) -> Alert:
    values = {
        "id": new_id("alert"),
        "rule": one.rule,
        "subject": one.subject,
        "fired_at": moment,
        "detail": one.detail,
        "figures": dict(one.figures),
    }
    connection.execute(insert(alerts).values(**values))
    return _alert({**values, "well_since": None, "resolved_at": None})


def _told_of(connection: Connection, alert_id: str) -> set[str]:
    """The channels that an alert was queued for."""
    query = select(deliveries.c.channel).where(
        deliveries.c.alert_id == alert_id, deliveries.c.event == Event.FIRED
    )
    return set(connection.scalars(query))


def _enqueue(
    connection: Connection, alert_id: str, event: Event, channel: str, moment: datetime
) -> None:
    values = {
        "created_at": moment,
        "alert_id": alert_id,
        "event": event,
        "channel": channel,
        "attempts": 0,
        "next_at": moment,
        "error": "",
    }
    connection.execute(insert(deliveries).values(**values))


def _silences(connection: Connection, moment: datetime) -> list[Silence]:
    query = select(silences).where(silences.c.until > moment).order_by(silences.c.until)
    return [Silence(**row) for row in connection.execute(query).mappings()]


def _alert(row: Any) -> Alert:
    return Alert(**{**row, "rule": Rule(row["rule"])})
