"""The section `[regression]`."""

from __future__ import annotations

from pydantic import Field

from misheard.settings.section import Hours, Section


class RegressionSettings(Section):
    """How much the WER on a suite may rise above the live version's, absolute."""

    max_wer_degradation: float = Field(default=0.01, ge=0.0)
    """On benchmark suites."""
    max_critical_wer_degradation: float = Field(default=0.0, ge=0.0)
    """On critical suites."""
    max_edge_case_wer_degradation: float = Field(default=0.05, ge=0.0)
    """On edge-case suites, which are small: one word may be a percent."""
    run_on_deploy: bool = True
    """A cycle runs all suites before it deploys."""
    run_on_schedule: bool = False
    """`misheard watch` runs all suites on the live version, too."""
    schedule_interval_hours: Hours = Field(default=24.0, gt=0.0)
    fail_on_any_degradation: bool = False
    """No rise of WER or CER is tolerated on any suite, however small."""
    fail_on_critical_degradation: bool = True
    """A rise above `critical_degradation_threshold` fails a suite, whatever it tolerates itself."""
    critical_degradation_threshold: float = Field(default=0.1, ge=0.0)
    max_failed_samples_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of a suite's spoken utterances that may fail beyond those that recover as far."""
    sample_degradation_threshold: float = Field(default=0.2, ge=0.0)
    """An utterance fails when its own WER rises by more than this."""
    alert_on_failure: bool = True
    alert_on_warning: bool = False
    """Alert, too, when a suite passes with a rise that it tolerates."""
