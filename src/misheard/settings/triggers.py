"""The section `[triggers]`."""

from __future__ import annotations

from pydantic import Field, model_validator

from misheard.settings.section import Days, Hours, Section


class TriggerSettings(Section):
    """When training is worth it; all figures count what came since the last cycle."""

    min_error_cases: int = Field(default=100, ge=1)
    min_corrected_cases: int = Field(default=50, ge=1)
    trigger_on_error_rate: bool = True
    error_rate_threshold: float = Field(default=0.15, ge=0.0, le=1.0)
    """Errors over all inferences that were logged."""
    min_error_score: float = Field(default=0.5, ge=0.0, le=1.0)
    """An error case that nobody has corrected counts only if its suspicion reaches this; one that
    was corrected always counts, whatever its score."""
    min_audited: int = Field(default=100, ge=1)
    """Labels of the random audit, of what was heard since the last cycle, from which on the error
    rate is the audit's: the lower end of its 95 % interval is then held against the threshold."""
    corrected_cases_alone: int = Field(default=0, ge=0)
    """So many corrected cases are a cause by themselves, however few error cases there are; 0: they
    are not."""
    trigger_on_drift: bool = False
    """A drift of suspicion is a cause, too."""
    every_days: Days = Field(default=0.0, ge=0.0)
    """So many days since the last cycle began are a cause, too; 0: no schedule."""
    cooldown_hours: Hours = Field(default=0.0, ge=0.0)
    """Hours between the end of a cycle and the beginning of the next."""
    max_training_hours_per_month: float = Field(default=0.0, ge=0.0)
    """Once so much was spent on training in a calendar month (UTC), none begins; 0: no limit."""
    max_cost_per_month: float = Field(default=0.0, ge=0.0)
    """The same in money, in the currency of `price_per_hour`; 0: no limit."""
    price_per_hour: float = Field(default=0.0, ge=0.0)
    """What an hour of training costs."""
    one_at_a_time: bool = True
    """None begins by itself while another cycle works, or waits for a person."""
    require_provable: bool = False
    """Train only where the test set is large enough to show the expected gain."""
    require_approval: bool = False
    """A person says yes before anything is trained."""

    @model_validator(mode="after")
    def _has_price(self) -> TriggerSettings:
        if self.max_cost_per_month and not self.price_per_hour:
            raise ValueError("max_cost_per_month needs a price_per_hour to be reckoned with")
        return self
