"""The section `[datasets]`."""

from __future__ import annotations

from pydantic import Field, model_validator

from misheard.settings.section import Section


class DatasetSettings(Section):
    """How corrections become a dataset version."""

    train_percent: int = Field(default=80, ge=0)
    validation_percent: int = Field(default=10, ge=0)
    test_percent: int = Field(default=10, ge=0)
    replay_per_error: float = Field(default=10.0, ge=0.0)
    """Confirmed utterances for each error case, so that the model does not forget what it knew."""
    balance_error_types: bool = False
    """Show utterances with rare types of error more often in training; none is left out."""
    min_quality: float = Field(default=0.9, ge=0.0, le=1.0)
    """Share of utterances without a flaw; a dataset below it is not trained on."""

    @model_validator(mode="after")
    def _sum(self) -> DatasetSettings:
        if self.train_percent + self.validation_percent + self.test_percent != 100:
            raise ValueError("train_percent, validation_percent and test_percent must sum to 100")
        return self
