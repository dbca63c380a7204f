"""Which servers answer with what is live, and since when the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from misheard.database.schema import deployments, servers
from misheard.monitoring.conditions import ServerReading

_SEEN = timedelta(minutes=1)
"""A server that was not heard of for longer is not there any more."""


def following(connection: Connection, moment: datetime) -> Iterable[ServerReading]:
    """Each server that is running at `moment`."""
    query = select(servers).where(servers.c.seen_at >= moment - _SEEN)
    for row in connection.execute(query.order_by(servers.c.started_at, servers.c.id)).all():
        of_slot = select(deployments.c.version_id, deployments.c.created_at)
        missed = of_slot.where(
            deployments.c.slot == row.slot, deployments.c.number > row.deployment_number
        )
        by_number = deployments.c.number
        first = connection.execute(missed.order_by(by_number).limit(1)).first()
        newest = connection.execute(missed.order_by(by_number.desc()).limit(1)).first()
        live = newest.version_id if newest is not None else row.version_id
        yield ServerReading(
            id=row.id,
            address=row.address,
            slot=row.slot,
            version_id=row.version_id,
            live_version=live,
            # Nobody waits for one that is only starting.
            behind_since=None if first is None else max(first.created_at, row.started_at),
            reason=row.failed.get(live, ""),
        )
