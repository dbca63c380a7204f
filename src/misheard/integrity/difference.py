"""What is counted as it comes, where the rows say otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A count, or a sum, that is not what the rows say."""

    subject: str
    counted: float | None
    least: float | None
    most: float | None
    """What the rows come to: between `least` and `most`, which are nearly always the same."""
    key: Any = None
    """What has to be written anew, as whoever found it calls it."""
    why_not: str = ""
    """Why the rows cannot say what is right; empty where they can."""

    @property
    def detail(self) -> str:
        """What it says, and what it should."""
        right = _figure(self.least)
        if self.least != self.most:
            right += f" to {_figure(self.most)}"
        return f"it says {_figure(self.counted)}, the rows are {right}"


def _figure(value: float | None) -> str:
    if value is None:
        return "nothing"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.9g}"
