"""What every section is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# What is longer than a hundred years overflows a date sooner or later.
Days = Annotated[float, Field(le=36_500.0)]
Hours = Annotated[float, Field(le=876_000.0)]
Minutes = Annotated[float, Field(le=1_440.0)]
"""Up to a day."""
Seconds = Annotated[float, Field(le=2_678_400.0)]
"""Up to a month of 31 days."""


class Section(BaseModel):
    """A section of the settings; a key that it does not know is an error."""

    # NaN slips through every bound, so it is refused outright.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
