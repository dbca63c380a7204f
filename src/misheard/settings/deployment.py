"""The section `[deployment]`."""

from __future__ import annotations

from pydantic import Field

from misheard.settings.section import Hours, Seconds, Section


class DeploymentSettings(Section):
    """How a version goes live."""

    require_approval: bool = True
    """A person says yes before anything is deployed."""
    keep_previous_versions: int = Field(default=5, ge=0)
    """Versions live before that keep their files; the one before the live one always does."""
    auto_backup_before_deploy: bool = True
    """Before a deployment: check that what is live can be brought back, and copy the database."""
    enable_auto_rollback: bool = True
    """`misheard watch` rolls back when the live version's error rate is too high."""
    rollback_on_error_threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    """Error rate since the deployment, which it surely is above; a session counts once."""
    watch_hours: Hours = Field(default=24.0, ge=0.0)
    """A cycle watches over what it has deployed for so long, and is then closed."""
    watch_inferences: int = Field(default=0, ge=0)
    """And until what it has deployed made so many transcripts, however long that takes."""
    check_files: bool = True
    """Before a version goes live, it is loaded and transcribes three clips in a fresh process."""
    max_latency_s: float = Field(default=10.0, gt=0.0)
    """None of the three may take longer."""
    max_staging_s: Seconds = Field(default=300.0, gt=0.0)
    """Servers that are running have so long to load a version before it goes live."""
