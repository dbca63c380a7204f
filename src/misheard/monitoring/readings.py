"""What the alert rules look at, by indexed query: as quick after years as on the first day."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from misheard.capture import suspicion_kept
from misheard.cases.audited import LATELY, audited_rate
from misheard.database import latencies, tallies
from misheard.database.schema import (
    cycle_steps,
    cycles,
    deliveries,
    deployments,
    hourly,
    rollouts,
    suite_runs,
    suites,
    versions,
)
from misheard.monitoring import latency, traffic
from misheard.monitoring.conditions import (
    ChannelReading,
    CycleReading,
    Readings,
    RecentTraffic,
    RolloutReading,
    StandingReading,
    SuiteReading,
    WatchedMean,
)
from misheard.monitoring.drift import Block, DriftRules, detect
from misheard.monitoring.following import following
from misheard.settings import AlertSettings

_PRODUCTION = "production"
_SERVING = timedelta(hours=48)
"""A recogniser that is none of ours is looked after while it was heard in this time."""
_GRACE = timedelta(hours=1)
"""After a block has ended, until it is judged: transcripts may come late."""
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
_ANCHOR = timedelta(weeks=4)
_ANCHORS = 3
_H = hourly.c
_TOTALS = {
    "suspicion": ("suspicion", "suspected"),
    "empty_share": ("empty", "inferences"),
    "latency": ("latency_s", "timed"),
}


def read(
    connection: Connection,
    *,
    settings: AlertSettings,
    channels: Sequence[str],
    root: Path,
    moment: datetime,
    trained_at: Callable[[str], datetime | None] = lambda _: None,
) -> Readings:
    """Everything that the rules look at, at `moment`.

    `trained_at` says when a job gave its last sign of life, by its id.
    """
    live = _live(connection)
    version_id = live.version_id if live is not None else ""
    serving = _serving(connection, version_id, moment)
    audited, heard = None, (0, 0)
    if live is not None:
        since = live.created_at
        if settings.max_audited_error_rate is not False:
            found = audited_rate(connection, since, version_id, newest=LATELY, count_drawn=False)
            audited = found.error_rate
        if settings.max_error_rate is not False:
            total = traffic.statistics(connection, since=since, version_id=version_id)
            heard = total.errors_detected, total.total
    usage = shutil.disk_usage(root)
    return Readings(
        moment=moment,
        live_version=version_id,
        recent=tuple(_recent(connection, serving, moment, settings.window_hours)),
        means=tuple(_means(connection, serving, live, moment, settings)),
        audited=audited,
        traffic=heard,
        newest_cycle=_newest_cycle(connection),
        waiting=tuple(_waiting(connection)),
        standing=tuple(_standing(connection, moment, trained_at)),
        newest_canary=_newest_canary(connection),
        suites=tuple(_suites(connection, version_id)),
        last_heard_at=traffic.last_heard_at(connection),
        behind=tallies.behind(connection),
        free_disk_share=usage.free / usage.total,
        channels=tuple(_channels(connection, channels)),
        servers=tuple(following(connection, moment)),
    )


def drift_blocks(
    connection: Connection,
    version_id: str,
    *,
    since: datetime,
    until: datetime,
    block_hours: int,
) -> dict[str, list[Block]]:
    """The whole blocks of a version's traffic between two times, by metric, oldest first."""
    columns = sorted({name for pair in _TOTALS.values() for name in pair})
    hour, sums = _H.hour, [hourly.c[name] for name in columns]
    query = (
        select(hour, *sums)
        .where(_H.version_id == version_id, _H.hour >= since, _H.hour < until, _H.slice == "")
        .order_by(hour)
    )
    by_start: dict[datetime, dict[str, float]] = {}
    for row in connection.execute(query).mappings():
        start = tallies.hour_of(row["hour"], block=block_hours)
        if start < since or start + timedelta(hours=block_hours) > until:
            continue
        known = by_start.setdefault(start, dict.fromkeys(columns, 0.0))
        for name in columns:
            known[name] += row[name]
    return {
        metric: [
            Block(start=start, total=sums[total], count=int(sums[count]))
            for start, sums in by_start.items()
            if sums[count]
        ]
        for metric, (total, count) in _TOTALS.items()
    }


def drift_start(moment: datetime) -> datetime:
    """Blocks before it are not looked at: from twelve to sixteen weeks ago, the same for weeks.

    Were it a sliding window, a chart might change its mind about the past from hour to hour.
    """
    return _EPOCH + ((moment - _EPOCH) // _ANCHOR - _ANCHORS) * _ANCHOR


def _live(connection: Connection) -> Any:
    query = select(deployments).where(deployments.c.slot == _PRODUCTION)
    return connection.execute(query.order_by(deployments.c.number.desc()).limit(1)).first()


def _serving(connection: Connection, live: str, moment: datetime) -> list[str]:
    """The live version, and recognisers that are none of ours; not what was live before."""
    query = select(_H.version_id).where(_H.hour >= moment - _SERVING, _H.slice == "").distinct()
    found = set(connection.scalars(query))
    ours = set(connection.scalars(select(versions.c.id).where(versions.c.id.in_(found))))
    return sorted((found - ours) | ({live} if live else set()))


def _recent(
    connection: Connection, serving: Iterable[str], moment: datetime, window_hours: int
) -> Iterable[RecentTraffic]:
    first = tallies.hour_of(moment) - timedelta(hours=window_hours)
    names = ("inferences", "timed", "latency_s", "compute_s", "computed_audio_s")
    query = (
        select(_H.version_id, *(func.sum(hourly.c[name]).label(name) for name in names))
        .where(_H.hour >= first, _H.slice == "")
        .group_by(_H.version_id)
    )
    rows = {row["version_id"]: dict(row) for row in connection.execute(query).mappings()}
    waited = latency.counted(connection, since=first)
    for version_id in serving:
        none = {"version_id": version_id, **dict.fromkeys(names, 0)}
        p95_s = latencies.quantile_s(waited[version_id], 0.95)
        yield RecentTraffic(**rows.get(version_id, none), latency_p95_s=p95_s)


def _means(
    connection: Connection,
    serving: Iterable[str],
    live: Any,
    moment: datetime,
    settings: AlertSettings,
) -> Iterable[WatchedMean]:
    if not settings.drift_of:
        return
    rules = DriftRules(
        false_alarms_a_month=settings.drift_false_alarms_a_month,
        block_hours=settings.drift_block_hours,
    )
    until = tallies.hour_of(moment - _GRACE, block=rules.block_hours)
    model = suspicion_kept.in_use(connection)
    for version_id in serving:
        since = drift_start(moment)
        if live is not None and version_id == live.version_id:
            since = max(since, live.created_at)
        found = drift_blocks(
            connection, version_id, since=since, until=until, block_hours=rules.block_hours
        )
        began = model.created_at
        if began is not None:
            # Another model of suspicion has other figures: what was before says nothing of them.
            found["suspicion"] = [one for one in found["suspicion"] if one.start >= began]
        for metric in settings.drift_of:
            yield WatchedMean(
                metric=metric,
                version_id=version_id,
                drift=detect(found[metric], rules),
                anew_since=began if metric == "suspicion" and began and began >= since else None,
            )


_CYCLE = (cycles.c.id, cycles.c.state, cycles.c.detail, cycles.c.created_at)


def _newest_cycle(connection: Connection) -> CycleReading | None:
    query = select(*_CYCLE).order_by(cycles.c.number.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    return CycleReading(id=row.id, state=row.state, detail=row.detail, since=row.created_at)


def _waiting(connection: Connection) -> Iterable[CycleReading]:
    query = select(*_CYCLE).where(cycles.c.state.in_(("proposed", "awaiting_approval")))
    for row in connection.execute(query.order_by(cycles.c.number)).all():
        since = _last_step(connection, row.id) or row.created_at
        yield CycleReading(id=row.id, state=row.state, detail=row.detail, since=since)


_MOVING = ("triggered", "dataset", "training", "converted", "validated", "regression", "watched")
_OF_TRAINER = ("dataset", "training")


def _standing(
    connection: Connection, moment: datetime, trained_at: Callable[[str], datetime | None]
) -> Iterable[StandingReading]:
    query = select(cycles).where(cycles.c.state.in_(_MOVING)).order_by(cycles.c.number)
    for row in connection.execute(query).all():
        if row.options.get("trained_elsewhere") and row.state in _OF_TRAINER:
            continue
        moved_at = _last_step(connection, row.id) or row.created_at
        is_held = row.lease_until is not None and row.lease_until > moment
        if row.state == "training" and row.job_id is not None:
            # Who waits for it would wait for ever, so that is no sign of its life.
            is_held = False
            moved_at = max(moved_at, trained_at(row.job_id) or moved_at)
        yield StandingReading(
            id=row.id, state=row.state, moved_at=moved_at, is_held=is_held, error=row.error
        )


def _last_step(connection: Connection, cycle_id: str) -> datetime | None:
    query = select(cycle_steps.c.created_at).where(cycle_steps.c.cycle_id == cycle_id)
    newest = query.order_by(cycle_steps.c.number.desc()).limit(1)
    found: datetime | None = connection.execute(newest).scalar()
    return found


def _newest_canary(connection: Connection) -> RolloutReading | None:
    c = rollouts.c
    query = select(c.id, c.version_id, c.state, c.detail).where(c.kind == "canary")
    row = connection.execute(query.order_by(c.created_at.desc(), c.id.desc()).limit(1)).first()
    if row is None:
        return None
    return RolloutReading(
        id=row.id,
        version_id=row.version_id,
        was_rolled_back=row.state == "rolled_back",
        detail=row.detail,
    )


def _suites(connection: Connection, version_id: str) -> Iterable[SuiteReading]:
    query = select(suites.c.id, suites.c.name).order_by(suites.c.created_at, suites.c.id)
    newest = {row.name: row.id for row in connection.execute(query)}
    run = suite_runs.c
    for name, suite_id in newest.items():
        last = (
            select(run.id, run.passed, run.reasons)
            .where(run.suite_id == suite_id, run.candidate_id == version_id)
            .order_by(run.created_at.desc(), run.id.desc())
            .limit(1)
        )
        row = connection.execute(last).first()
        if row is not None:
            reason = "; ".join(map(str, row.reasons))
            yield SuiteReading(name=name, run_id=row.id, passed=row.passed, reason=reason)


def _channels(connection: Connection, names: Sequence[str]) -> Iterable[ChannelReading]:
    """Of each channel, what it has refused most often of what is still to be delivered."""
    column = deliveries.c
    query = (
        select(column.channel, column.attempts, column.error)
        # Those that are still to be delivered, by an index.
        .where(column.next_at >= _EPOCH, column.error != "")
        .order_by(column.attempts)
    )
    worst = {row.channel: row for row in connection.execute(query)}
    for name in names:
        row = worst.get(name)
        yield ChannelReading(
            name=name,
            attempts=row.attempts if row is not None else 0,
            error=row.error if row is not None else "",
        )
