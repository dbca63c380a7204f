"""What a gate decided, and how verdict and figures are stored beside each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from misheard.gates.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a gate decided, and why."""

    passed: bool
    reasons: tuple[str, ...]
    """One for each rule that had something to say."""
    failures: tuple[str, ...] = ()
    """Those of the reasons that speak against the candidate."""

    @classmethod
    def of(cls, findings: Iterable[tuple[bool, str]]) -> Self:
        """From what each rule found: whether it is kept, and in which words."""
        found = list(findings)
        failures = tuple(reason for kept, reason in found if not kept)
        return cls(
            passed=not failures,
            reasons=tuple(reason for _, reason in found),
            failures=failures,
        )


def to_columns(record: object) -> dict[str, Any]:
    """The columns of a record that has a `verdict` and a `comparison` among its fields."""
    values = dict(vars(record))
    verdict, comparison = values.pop("verdict"), values.pop("comparison")
    return {
        **values,
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "figures": comparison.to_dict() | {"failures": list(verdict.failures)},
    }


def from_columns(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that `to_columns` was given."""
    fields = dict(row)
    figures = dict(fields.pop("figures"))
    passed, reasons = fields.pop("passed"), tuple(fields.pop("reasons"))
    # Kept before failures were told apart: all of it stands against a candidate that failed.
    failures = tuple(figures.pop("failures", () if passed else reasons))
    return {
        **fields,
        "verdict": Verdict(passed=passed, reasons=reasons, failures=failures),
        "comparison": Comparison.from_dict(figures),
    }
