"""The watch over a version that a cycle has deployed: for how long, over how much, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from misheard.deployment import Deployment, Deployments
from misheard.monitoring.observations import Observations


@dataclass(frozen=True, kw_only=True)
class WatchRules:
    """When a version was watched for long enough."""

    hours: float = 24.0
    inferences: int = 0
    """Transcripts that it has to make at least, however long that takes."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a version did since it went live."""

    version_id: str
    since: datetime
    until: datetime
    """It is watched until then at least."""
    wanted: int
    """And until it has made so many transcripts."""
    inferences: int
    errors: int
    """Transcripts of those that people found to be wrong."""
    left_by: Deployment | None
    """What ended it early: another version went live; None while this one is."""

    def is_over(self, at: datetime) -> bool:
        """Whether there is nothing more to wait for."""
        waited = at >= self.until and self.inferences >= self.wanted
        return self.left_by is not None or waited

    def __str__(self) -> str:
        """What it did, in words.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
        >>> str(Watch(version_id="v-1", since=noon, until=noon, wanted=0, inferences=1, errors=0,
        ...           left_by=None))
        '1 transcript, 0 of them found wrong'
        """
        what = "1 transcript" if self.inferences == 1 else f"{self.inferences:,} transcripts"
        return f"{what}, {self.errors:,} of them found wrong"


def watch_over(
    version_id: str, *, deployments: Deployments, observations: Observations, rules: WatchRules
) -> Watch:
    """How the watch over `version_id` stands, which is live or was; each time anew from its day."""
    went_live = deployments.newest_of(version_id)
    errors, inferences = observations.traffic(since=went_live.created_at, version_id=version_id)
    return Watch(
        version_id=version_id,
        since=went_live.created_at,
        until=went_live.created_at + timedelta(hours=rules.hours),
        wanted=rules.inferences,
        inferences=inferences,
        errors=errors,
        left_by=deployments.after(went_live),
    )
