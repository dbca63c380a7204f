"""The section `[serving]`."""

from __future__ import annotations

from pydantic import Field

from misheard.settings.section import Days, Seconds, Section


class ServingSettings(Section):
    """How `misheard serve` answers, and what it bears."""

    max_upload_mb: float = Field(default=25.0, gt=0.0, le=10_000.0)
    """Megabytes (1e6 bytes) of a file; what is larger is refused before it is read."""
    max_held_mb: float = Field(default=256.0, gt=0.0, le=1_000_000.0)
    """Megabytes of all requests that are under way; the next one is told to come back later."""
    max_duration_s: Seconds = Field(default=7_200.0, gt=0.0)
    """Of a recording; a memory of 64 kB a second is needed for it."""
    max_decode_s: Seconds = Field(default=20.0, gt=0.0)
    """A file that takes longer to decode is given up."""
    decoders: int = Field(default=2, ge=1, le=64)
    """Processes that decode audio; one that hangs or dies takes nothing with it."""
    max_wait_ms: float = Field(default=5.0, ge=0.0, le=10_000.0)
    """A request waits so long for others that it can be heard together with."""
    max_batch: int = Field(default=16, ge=1, le=1_024)
    """Requests that are heard together."""
    max_waiting: int = Field(default=128, ge=1, le=100_000)
    """Requests that may wait or be under way; the next one is told to come back later."""
    max_waiting_audio_s: Seconds = Field(default=14_400.0, gt=0.0)
    """Seconds of audio that may wait: what bounds memory."""
    requests_per_minute: int = Field(default=0, ge=0, le=10_000_000)
    """Of one token, where that says nothing else, in each process; 0: no limit."""
    follow_s: Seconds = Field(default=0.5, gt=0.0, le=60.0)
    """How often a server looks what is live."""
    keep_loaded: int = Field(default=2, ge=1, le=64)
    """Versions that stay loaded: the live one, and those before it, to go back to at once."""
    unseen_days: Days = Field(default=1.0, gt=0.0)
    """A server that gave no sign of life for so long is forgotten."""
