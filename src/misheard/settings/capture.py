"""The section `[capture]`."""

from __future__ import annotations

from pydantic import Field

from misheard.settings.section import Days, Section


class CaptureSettings(Section):
    """What is kept of what production heard, and what a person should look at."""

    audit_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of the traffic that is drawn at random for a person to look at, whatever it is: only so
    is the error rate known."""
    min_suspicion: float = Field(default=0.5, ge=0.0, le=1.0)
    """A transcript that is at least so likely to be wrong is put into the review queue."""
    slices: tuple[str, ...] = ()
    """Tags whose values are counted apart: ["channel", "noise"]."""
    durable: bool = False
    """Each logged transcript survives a power cut, too; it then takes several times as long."""
    keep_audio_days: Days = Field(default=0.0, ge=0.0)
    """Audio that was heard longer ago is let go of, unless something needs it; 0: it stays."""
    keep_audio_gb: float = Field(default=0.0, ge=0.0, le=1e9)
    """Beyond so many gigabytes (1e9 bytes) the oldest audio is let go of; 0: no limit."""
    keep_text_days: Days = Field(default=0.0, ge=0.0)
    """Transcripts that are older, and that nobody has to do with, are deleted; 0: they stay."""
