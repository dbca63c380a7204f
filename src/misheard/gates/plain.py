"""Figures as JSON has them: it has no word for not-a-number."""

from __future__ import annotations

import math
from typing import Any


def without_nan(value: Any) -> Any:
    """`value` as JSON gives it back: None for a number that is not finite, lists for tuples."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(value: Any) -> Any:
    """`value` with NaN in place of every None."""
    if isinstance(value, dict):
        return {key: with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nan(item) for item in value]
    return math.nan if value is None else value
