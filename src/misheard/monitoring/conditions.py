"""What alerts speak of: rules, what one says of something, and the figures that they look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from misheard.monitoring.drift import Drift
from misheard.scoring.survey import Estimate


class Rule(StrEnum):
    """What is looked after."""

    DRIFT_SUSPICION = "drift_suspicion"
    DRIFT_EMPTY_SHARE = "drift_empty_share"
    DRIFT_LATENCY = "drift_latency"
    LATENCY = "latency"
    LATENCY_P95 = "latency_p95"
    REAL_TIME_FACTOR = "real_time_factor"
    AUDITED_ERROR_RATE = "audited_error_rate"
    ERROR_RATE = "error_rate"
    CYCLE_ENDED = "cycle_ended"
    APPROVAL = "approval"
    CYCLE_STUCK = "cycle_stuck"
    CANARY_ROLLED_BACK = "canary_rolled_back"
    SUITE_FAILED = "suite_failed"
    NO_TRAFFIC = "no_traffic"
    DIGEST_BEHIND = "digest_behind"
    DISK = "disk"
    DELIVERY = "delivery"
    SERVER_BEHIND = "server_behind"

    @property
    def severity(self) -> str:
        """How soon somebody should look: critical, error or warning."""
        if self in (Rule.ERROR_RATE, Rule.AUDITED_ERROR_RATE, Rule.DISK):
            return "critical"
        return "error" if self in _ERRORS else "warning"


_ERRORS = (
    Rule.LATENCY,
    Rule.LATENCY_P95,
    Rule.REAL_TIME_FACTOR,
    Rule.CYCLE_STUCK,
    Rule.CANARY_ROLLED_BACK,
    Rule.SUITE_FAILED,
    Rule.NO_TRAFFIC,
    Rule.DELIVERY,
    Rule.SERVER_BEHIND,
)


class Health(StrEnum):
    """How something is."""

    WELL = "well"
    BAD = "bad"
    UNKNOWN = "unknown"
    """Too little is known to say; what was bad is not taken for well."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What one rule says of one subject."""

    rule: Rule
    subject: str
    health: Health
    detail: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RecentTraffic:
    """Sums over the last hours, of one version, and what 95 % of its callers waited at most."""

    version_id: str
    inferences: int
    timed: int
    latency_s: float
    compute_s: float
    computed_audio_s: float
    latency_p95_s: float
    """NaN where nobody said."""


@dataclass(frozen=True, kw_only=True)
class WatchedMean:
    """A drift chart of one version; `metric` as in `drift_of`."""

    metric: str
    version_id: str
    drift: Drift
    anew_since: datetime | None = None
    """When another model of suspicion was taken, where that is why the chart is no older."""


@dataclass(frozen=True, kw_only=True)
class CycleReading:
    """Where a cycle stands."""

    id: str
    state: str
    detail: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class StandingReading:
    """A cycle that has to move without a person or a trainer elsewhere."""

    id: str
    state: str
    moved_at: datetime
    """When it took its last step, or its training gave its last sign of life."""
    is_held: bool
    """Whether a process works on it, and does more than wait for its training."""
    error: str
    """Why it could not go on when that was last tried; empty where it could."""


@dataclass(frozen=True, kw_only=True)
class RolloutReading:
    """What became of a version that was tried on live traffic."""

    id: str
    version_id: str
    was_rolled_back: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class SuiteReading:
    """The newest run of a suite on the live version."""

    name: str
    run_id: str
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ChannelReading:
    """What a channel has not taken yet; no attempts where there is nothing."""

    name: str
    attempts: int
    error: str


@dataclass(frozen=True, kw_only=True)
class ServerReading:
    """What a server answers with, and what is live."""

    id: str
    address: str
    slot: str
    version_id: str
    """Empty where it answers with nothing yet."""
    live_version: str
    behind_since: datetime | None
    """When the first deployment was made that it has not followed; None where it has all."""
    reason: str
    """Why it could not load what is live; empty where it does not say."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """All that the rules look at."""

    moment: datetime
    live_version: str
    recent: tuple[RecentTraffic, ...]
    means: tuple[WatchedMean, ...]
    audited: Estimate | None
    """Share of what the live version has heard since its deployment that is wrong, by the audit;
    None where nobody asked."""
    traffic: tuple[int, int]
    """Errors and inferences of the live version since its deployment."""
    newest_cycle: CycleReading | None
    waiting: tuple[CycleReading, ...]
    """Cycles that wait for a person."""
    standing: tuple[StandingReading, ...]
    """Cycles that wait for nobody."""
    newest_canary: RolloutReading | None
    suites: tuple[SuiteReading, ...]
    last_heard_at: datetime | None
    behind: int
    free_disk_share: float
    channels: tuple[ChannelReading, ...]
    servers: tuple[ServerReading, ...]
