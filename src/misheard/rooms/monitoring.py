"""How the traffic goes, what is wrong, and who is told."""

from __future__ import annotations

from functools import cached_property

from misheard.finetune.events import last_event_at
from misheard.finetune.paths import JobPaths
from misheard.monitoring.activity import Monitor
from misheard.monitoring.alerts import Alerts
from misheard.monitoring.channels.configured import configured
from misheard.monitoring.metrics import Metrics
from misheard.monitoring.observations import Observations
from misheard.monitoring.trends import Trends
from misheard.rooms.opened import Opened


class MonitoringRooms(Opened):
    """The rooms of `monitoring`."""

    @cached_property
    def observations(self) -> Observations:
        """Figures that were told to us, and those of the traffic."""
        return Observations(self._engine)

    @cached_property
    def monitor(self) -> Monitor:
        """What production did."""
        return Monitor(self._engine)

    @cached_property
    def trends(self) -> Trends:
        """How the traffic went."""
        return Trends(self._engine)

    @cached_property
    def alerts(self) -> Alerts:
        """What is wrong, and who was told."""
        alerts = self.settings.alerts
        return Alerts(
            self._engine,
            settings=alerts,
            channels=configured(alerts),
            root=self.root,
            trained_at=lambda job_id: last_event_at(JobPaths(self._jobs_root / job_id).events),
        )

    @cached_property
    def metrics(self) -> Metrics:
        """Figures for Prometheus."""
        return Metrics(self._engine)
