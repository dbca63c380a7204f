"""What is wrong, by the settings. Pure: readings in, conditions out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from misheard.monitoring.conditions import (
    Condition,
    Health,
    Readings,
    RecentTraffic,
    Rule,
    WatchedMean,
)
from misheard.monitoring.drift import Direction
from misheard.scoring.sequential import is_surely_above, lower_bound
from misheard.settings import AlertSettings

_MIN_AUDITED = 20
"""Audited transcripts below which an error rate is no basis for waking anybody."""
_UNDO = "To bring back what was live before: misheard rollback"


def judge(readings: Readings, limits: AlertSettings) -> list[Condition]:
    """What every rule that is on says."""
    return [
        *_drifts(readings, limits),
        *_loads(readings, limits),
        *_audited_error_rate(readings, limits),
        *_error_rate(readings, limits),
        *_of_cycles(readings, limits),
        *_of_machine(readings, limits),
        *_of_servers(readings, limits),
    ]


_UNITS = {"suspicion": "", "empty_share": "", "latency": " s"}


def _drifts(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    for one in readings.means:
        drift, unit = one.drift, _UNITS[one.metric]
        # NaN compares false: a change from nothing is infinite, and counts.
        bad = drift.direction is Direction.RISE and drift.change >= limits.drift_min_change
        detail = ""
        if bad and drift.since is not None:
            detail = (
                f"The mean {one.metric.replace('_', ' ')} of {one.version_id} is "
                f"{drift.after:.3g}{unit} since {drift.since:%Y-%m-%d %H:%M} UTC, where "
                f"{drift.before:.3g}{unit} was usual at those hours{_anew(one)}. "
                f"See: misheard trend {one.metric} --version {one.version_id}"
            )
        yield Condition(
            rule=Rule(f"drift_{one.metric}"),
            subject=one.version_id,
            health=Health.BAD if bad else (Health.WELL if drift.judged else Health.UNKNOWN),
            detail=detail,
            figures={"before": _round(drift.before), "after": _round(drift.after)},
        )


def _anew(one: WatchedMean) -> str:
    if one.anew_since is None:
        return ""
    return f" since {one.anew_since:%Y-%m-%d}, when another model of suspicion was taken into use"


def _loads(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    for one in readings.recent:
        hours = f"the last {limits.window_hours + 1} hours"
        latency = one.latency_s / one.timed if one.timed else math.nan
        factor = one.compute_s / one.computed_audio_s if one.computed_audio_s else math.nan
        yield from _above(
            Rule.LATENCY,
            one,
            latency,
            limits.max_latency_s,
            enough=one.timed >= limits.min_inferences,
            told=f"Callers of {one.version_id} waited {latency:.2f} s on average over {hours}",
            unit=" s",
        )
        yield from _above(
            Rule.LATENCY_P95,
            one,
            one.latency_p95_s,
            limits.max_latency_p95_s,
            enough=one.timed >= limits.min_inferences and not math.isnan(one.latency_p95_s),
            told=f"5 % of the callers of {one.version_id} waited longer than "
            f"{one.latency_p95_s:.2f} s over {hours}",
            unit=" s",
        )
        yield from _above(
            Rule.REAL_TIME_FACTOR,
            one,
            factor,
            limits.max_real_time_factor,
            enough=one.inferences >= limits.min_inferences and not math.isnan(factor),
            told=f"{one.version_id} took {factor:.2f} s for a second of audio over {hours}",
            unit="",
        )


def _above(
    rule: Rule,
    one: RecentTraffic,
    value: float,
    limit: float,
    *,
    enough: bool,
    told: str,
    unit: str,
) -> Iterator[Condition]:
    if limit is False:
        return
    health = Health.UNKNOWN
    if enough:
        health = Health.BAD if value > limit else Health.WELL
    yield Condition(
        rule=rule,
        subject=one.version_id,
        health=health,
        detail=f"{told}; {limit:g}{unit} are allowed.",
        figures={"value": _round(value), "limit": limit, "inferences": one.inferences},
    )


def _audited_error_rate(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    limit, found = limits.max_audited_error_rate, readings.audited
    if limit is False or found is None:
        return
    health = Health.UNKNOWN
    # Of one speaker there is no telling how far off it is.
    if found.n >= _MIN_AUDITED and found.groups > 1:
        if found.low > limit:
            health = Health.BAD
        elif found.estimate <= limit:
            # Between the two it may be either: an alert stays as it is, and does not come and go
            # with each label.
            health = Health.WELL
    yield Condition(
        rule=Rule.AUDITED_ERROR_RATE,
        subject=readings.live_version,
        health=health,
        detail=(
            f"{found.estimate:.1%} of what {readings.live_version} has heard since it went live is "
            f"wrong, by the newest {found.n:,} transcripts that were drawn at random and looked "
            f"at: surely more than {found.low:.1%}, and {limit:.1%} are allowed. {_UNDO}"
        ),
        figures={
            "estimate": _round(found.estimate),
            "lower": _round(found.low),
            "upper": _round(found.high),
            "count": found.n,
            "groups": found.groups,
            "limit": limit,
        },
    )


def _error_rate(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    (errors, count), limit = readings.traffic, limits.max_error_rate
    if limit is False or not readings.live_version:
        return
    lower = lower_bound(errors, count)
    health = Health.UNKNOWN
    if count >= _MIN_AUDITED:
        if is_surely_above(errors, count, limit):
            health = Health.BAD
        elif errors <= limit * count:
            # In between an alert stays as it is, as with the audit's.
            health = Health.WELL
    yield Condition(
        rule=Rule.ERROR_RATE,
        subject=readings.live_version,
        health=health,
        detail=(
            f"{errors} of {count} transcripts of the traffic since {readings.live_version} went "
            f"live are wrong: surely at least {lower:.1%}, and {limit:.1%} are allowed. {_UNDO}"
        ),
        figures={"errors": errors, "count": count, "lower": _round(lower), "limit": limit},
    )


def _of_cycles(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    newest = readings.newest_cycle
    if limits.cycle_ended and newest is not None:
        yield Condition(
            rule=Rule.CYCLE_ENDED,
            subject=newest.id,
            health=Health.BAD if newest.state in ("failed", "refused") else Health.WELL,
            detail=f"{newest.id} is {newest.state}: {newest.detail}",
            figures={"state": newest.state},
        )
    if limits.max_approval_hours is not False:
        for one in readings.waiting:
            hours = (readings.moment - one.since).total_seconds() / 3600
            yield Condition(
                rule=Rule.APPROVAL,
                subject=one.id,
                health=Health.BAD if hours > limits.max_approval_hours else Health.WELL,
                detail=(
                    f"{one.id} has waited {hours:.0f} hours for a person. "
                    f"misheard cycle approve {one.id}, or reject it."
                ),
                figures={"state": one.state, "since": one.since.isoformat()},
            )
    yield from _stuck(readings, limits)
    canary = readings.newest_canary
    if limits.canary_rolled_back and canary is not None:
        yield Condition(
            rule=Rule.CANARY_ROLLED_BACK,
            subject=canary.id,
            health=Health.BAD if canary.was_rolled_back else Health.WELL,
            detail=(
                f"{canary.version_id} answers nobody any more: {canary.detail}. "
                f"See: misheard rollout show {canary.id}"
            ),
            figures={"version": canary.version_id},
        )
    if limits.suite_failed:
        for run in readings.suites:
            yield Condition(
                rule=Rule.SUITE_FAILED,
                subject=run.name,
                health=Health.WELL if run.passed else Health.BAD,
                detail=f"{readings.live_version} fails the suite '{run.name}': {run.reason}",
                figures={"run": run.run_id},
            )


def _stuck(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    if limits.max_stuck_hours is False:
        return
    for one in readings.standing:
        hours = (readings.moment - one.moved_at).total_seconds() / 3600
        health = Health.WELL
        if hours > limits.max_stuck_hours:
            # Whether what works on it gets any further is seen when it moves.
            health = Health.UNKNOWN if one.is_held else Health.BAD
        why = "Nothing works on it. Is a worker running?"
        if one.error:
            why = f"It cannot go on: {one.error}"
        elif one.state == "training":
            why = "Its training gives no sign of life."
        yield Condition(
            rule=Rule.CYCLE_STUCK,
            subject=one.id,
            health=health,
            detail=(
                f"{one.id} has stood at '{one.state}' for {hours:.0f} hours. {why} "
                f"To try again: misheard cycle run {one.id}"
            ),
            figures={"state": one.state, "since": one.moved_at.isoformat(), "error": one.error},
        )


def _of_machine(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    heard = readings.last_heard_at
    if limits.max_silent_hours is not False and heard is not None:
        hours = (readings.moment - heard).total_seconds() / 3600
        yield Condition(
            rule=Rule.NO_TRAFFIC,
            subject="traffic",
            health=Health.BAD if hours > limits.max_silent_hours else Health.WELL,
            detail=f"Nothing was heard since {heard:%Y-%m-%d %H:%M} UTC, for {hours:.0f} hours.",
            figures={"last_heard_at": heard.isoformat()},
        )
    if limits.max_digest_behind is not False:
        yield Condition(
            rule=Rule.DIGEST_BEHIND,
            subject="digest",
            health=Health.BAD if readings.behind > limits.max_digest_behind else Health.WELL,
            detail=(
                f"{readings.behind:,} transcripts wait to be counted, so every figure is of what "
                "was before them. Is a worker running?"
            ),
            figures={"behind": readings.behind},
        )
    if limits.min_free_disk_percent is not False:
        percent = 100 * readings.free_disk_share
        yield Condition(
            rule=Rule.DISK,
            subject="workspace",
            health=Health.BAD if percent < limits.min_free_disk_percent else Health.WELL,
            detail=f"Only {percent:.1f} % of the workspace's disk are free.",
            figures={"free_percent": _round(percent)},
        )
    if limits.max_failed_attempts is not False:
        for channel in readings.channels:
            failing = channel.attempts >= limits.max_failed_attempts
            yield Condition(
                rule=Rule.DELIVERY,
                subject=channel.name,
                health=Health.BAD if failing else Health.WELL,
                detail=(
                    f"The channel '{channel.name}' has not taken an alert in {channel.attempts} "
                    f"attempts: {channel.error}"
                ),
                figures={"attempts": channel.attempts},
            )


def _of_servers(readings: Readings, limits: AlertSettings) -> Iterator[Condition]:
    if limits.max_behind_s is False:
        return
    for one in readings.servers:
        health, behind_s = Health.WELL, 0.0
        if one.behind_since is not None:
            behind_s = (readings.moment - one.behind_since).total_seconds()
            # Until then it may just be loading.
            health = Health.BAD if behind_s > limits.max_behind_s else Health.UNKNOWN
        yield Condition(
            rule=Rule.SERVER_BEHIND,
            subject=one.id,
            health=health,
            detail=(
                f"The server {one.address or one.id} answers with {one.version_id or 'nothing'}, "
                f"where {one.live_version} is live in '{one.slot}', for {behind_s:.0f} s now. "
                f"{one.reason or 'It does not say why: look into its log.'} {_UNDO}"
            ),
            figures={"serves": one.version_id, "live": one.live_version},
        )


def _round(value: float) -> float | None:
    """For people, and for JSON, which has no NaN."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
