"""What every section is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the settings; a key that it does not know is an error."""

    # NaN slips through every bound, so it is refused outright.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
