"""The queue of what is to be told: tried again until a channel takes it, by one process at a time.

Whoever takes a delivery moves its time on first, and only then sends. If it is killed before it can
write down that it has sent, the time comes again, and somebody sends again: at least once.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, exists, func, select, update

from misheard.database.engine import now, writing
from misheard.database.schema import alerts, deliveries
from misheard.errors import DeliveryFailedError
from misheard.monitoring.channels.channel import Channel, Event, Notice
from misheard.monitoring.conditions import Rule

_AT_ONCE = 50
"""Deliveries a look, of each channel."""
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=1)
_CLAIM = timedelta(seconds=60)
"""Beyond a channel's timeout, for which a delivery that is being sent is nobody else's."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event of an alert on its way to one channel."""

    number: int
    created_at: datetime
    alert_id: str
    event: Event
    channel: str
    attempts: int
    next_at: datetime | None
    """When it is tried next; None once it was delivered or given up."""
    delivered_at: datetime | None
    error: str
    """What went wrong last; empty where nothing has."""

    @property
    def is_given_up(self) -> bool:
        """Whether nobody will be told any more."""
        return self.next_at is None and self.delivered_at is None


class DeliveryQueue:
    """Delivers what is due."""

    def __init__(
        self,
        engine: Engine,
        channels: Sequence[Channel],
        *,
        workspace: str,
        give_up: timedelta,
    ) -> None:
        self._engine = engine
        self._channels = {channel.name: channel for channel in channels}
        self._workspace = workspace
        self._give_up = give_up

    def deliver(self) -> tuple[list[Delivery], list[Delivery]]:
        """Try everything that is due: what was delivered, what failed.

        A channel that fails is left alone until the next time: what else waits for it would only
        wait for its timeout.
        """
        done: list[Delivery] = []
        failed: list[Delivery] = []
        down: set[str] = set()
        for due in self._due():
            if due.channel in down or not self._claim(due):
                continue
            claimed = replace(due, attempts=due.attempts + 1)
            error = self._send(claimed)
            ended = self._finish(claimed, error)
            if error:
                down.add(due.channel)
                failed.append(ended)
            else:
                done.append(ended)
        return done, failed

    def _due(self) -> list[Delivery]:
        """What is due, oldest first; a recovery not before its alert has been told.

        So many of each channel: else what waits for one that is down would keep the others waiting.
        """
        column, before = deliveries.c, deliveries.alias()
        earlier = exists(
            select(before.c.number).where(
                before.c.alert_id == column.alert_id,
                before.c.channel == column.channel,
                before.c.number < column.number,
                before.c.next_at.is_not(None),
            )
        )
        place = func.row_number().over(partition_by=column.channel, order_by=column.number)
        due = select(deliveries, place.label("place"))
        due = due.where(column.next_at <= now(), ~earlier)
        of = due.subquery().c
        query = select(*(of[one.name] for one in column)).where(of.place <= _AT_ONCE)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(of.number)).mappings()
            return [_delivery(row) for row in rows]

    def _claim(self, due: Delivery) -> bool:
        """Make it ours for as long as sending may take."""
        channel = self._channels.get(due.channel)
        needed = timedelta(seconds=channel.timeout_s if channel else 0.0) + _CLAIM
        same = (deliveries.c.number == due.number) & (deliveries.c.attempts == due.attempts)
        query = (
            update(deliveries)
            .where(same, deliveries.c.next_at == due.next_at)
            .values(attempts=due.attempts + 1, next_at=now() + needed)
        )
        with writing(self._engine) as connection:
            return bool(connection.execute(query).rowcount)

    def _send(self, claimed: Delivery) -> str:
        """Tell it; what went wrong."""
        channel = self._channels.get(claimed.channel)
        if channel is None:
            return "The settings have no such channel."
        with self._engine.connect() as connection:
            query = select(alerts).where(alerts.c.id == claimed.alert_id)
            row = connection.execute(query).mappings().one()
        notice = Notice(
            alert_id=row["id"],
            event=claimed.event,
            rule=row["rule"],
            subject=row["subject"],
            detail=row["detail"],
            figures=row["figures"],
            fired_at=row["fired_at"],
            resolved_at=row["resolved_at"] if claimed.event is Event.RESOLVED else None,
            workspace=self._workspace,
            severity=Rule(row["rule"]).severity,
        )
        return _send_within(channel, notice)

    def _finish(self, claimed: Delivery, error: str) -> Delivery:
        """Write down how it went, unless somebody else has taken it over."""
        moment = now()
        if not error:
            ended = replace(claimed, delivered_at=moment, next_at=None, error="")
        else:
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(claimed.attempts - 1, 20))
            is_over = moment - claimed.created_at > self._give_up
            hopeless = is_over or claimed.channel not in self._channels
            ended = replace(claimed, error=error, next_at=None if hopeless else moment + wait)
        ours = (deliveries.c.number == claimed.number) & (deliveries.c.attempts == claimed.attempts)
        values = {
            "delivered_at": ended.delivered_at,
            "next_at": ended.next_at,
            "error": ended.error,
        }
        with writing(self._engine) as connection:
            connection.execute(update(deliveries).where(ours).values(**values))
        return ended


def read_deliveries(
    connection: Connection, alert_ids: Sequence[str]
) -> dict[str, tuple[Delivery, ...]]:
    """The deliveries of alerts, oldest first."""
    found: defaultdict[str, tuple[Delivery, ...]] = defaultdict(tuple)
    query = select(deliveries).where(deliveries.c.alert_id.in_(alert_ids))
    for row in connection.execute(query.order_by(deliveries.c.number)).mappings():
        found[row["alert_id"]] += (_delivery(row),)
    return found


def _send_within(channel: Channel, notice: Notice) -> str:
    """Send, and wait no longer than the channel's time: a server may answer byte by byte, for ever.

    Whatever a channel raises is a delivery that failed, so that no channel keeps the others, or
    whoever looks, from going on.
    """
    told: list[str] = []

    def send() -> None:
        try:
            channel.send(notice)
            told.append("")
        except DeliveryFailedError as error:
            told.append(error.detail)
        except Exception as error:  # noqa: BLE001 - see above; its text may hold a secret
            told.append(f"{type(error).__name__} in the channel.")

    thread = threading.Thread(target=send, daemon=True, name=f"deliver-{channel.name}")
    thread.start()
    thread.join(channel.timeout_s)
    return told[0] if told else f"It did not answer within {channel.timeout_s:g} s."


def _delivery(row: Any) -> Delivery:
    return Delivery(**{**row, "event": Event(row["event"])})
