"""The section `[worker]`."""

from __future__ import annotations

from pydantic import Field

from misheard.settings.section import Seconds, Section


class WorkerSettings(Section):
    """How often `misheard worker` does each of its duties, in seconds."""

    advance_s: Seconds = Field(default=5.0, gt=0.0)
    """Take cycles on that wait for nobody."""
    digest_s: Seconds = Field(default=10.0, gt=0.0)
    """Count what production heard, and choose what a person should look at."""
    rollback_s: Seconds = Field(default=60.0, gt=0.0)
    """Roll back what does worse."""
    rollouts_s: Seconds = Field(default=5.0, gt=0.0)
    """Judge what is tried on live traffic; servers do so, too."""
    trigger_s: Seconds = Field(default=60.0, gt=0.0)
    """Begin a cycle, or propose one, where it is worth it."""
    alerts_s: Seconds = Field(default=60.0, gt=0.0)
    """Look at what alerts, and deliver what is to be told."""
    retention_s: Seconds = Field(default=600.0, gt=0.0)
    """Let go of audio and transcripts that nobody needs any more."""
    suspicion_s: Seconds = Field(default=86_400.0, gt=0.0)
    """Learn anew what is suspicious, where enough labels have come."""
    suites_s: Seconds = Field(default=300.0, gt=0.0)
    """Run the suites that are due."""
    sweep_s: Seconds = Field(default=600.0, gt=0.0)
    """Delete rented machines that nobody needs, where training runs on such."""
