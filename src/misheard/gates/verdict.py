"""What a gate decided, and how verdict and figures are stored beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from misheard.gates.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a gate decided, and why."""

    passed: bool
    reasons: tuple[str, ...]


def to_columns(record: object) -> dict[str, Any]:
    """The columns of a record that has a `verdict` and a `comparison` among its fields."""
    values = dict(vars(record))
    verdict, comparison = values.pop("verdict"), values.pop("comparison")
    return {
        **values,
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "figures": comparison.to_dict(),
    }


def from_columns(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that `to_columns` was given."""
    fields = dict(row)
    verdict = Verdict(passed=fields.pop("passed"), reasons=tuple(fields.pop("reasons")))
    comparison = Comparison.from_dict(fields.pop("figures"))
    return {**fields, "verdict": verdict, "comparison": comparison}
