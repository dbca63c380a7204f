"""Alerts as lines of Python's log `misheard.alerts`."""

from __future__ import annotations

import logging

from misheard.monitoring.channels.channel import Event, Notice

LOGGER = "misheard.alerts"


class LogChannel:
    """Writes a warning when an alert fires, and an info when it is over."""

    name = "log"
    timeout_s = 5.0

    def send(self, notice: Notice) -> None:
        """See `Channel`."""
        level = logging.WARNING if notice.event is Event.FIRED else logging.INFO
        logging.getLogger(LOGGER).log(level, "%s (%s)", notice.headline, notice.alert_id)
