"""What a gate decided, and how verdict and figures are stored beside each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from misheard.gates.comparison import Comparison
from misheard.gates.plain import without_nan


class Answer(StrEnum):
    """What a gate, or one criterion of it, says of a candidate."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """The figures point the right way, and may still be chance: more test words would tell."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that a candidate was held to."""

    name: str
    answer: Answer
    reason: str
    """What was found, in words."""
    figure: float | None = None
    """What was measured; None where it is no single number."""
    limit: float | None = None
    """What it was held to."""
    words_needed: int | None = None
    """How many more test words would settle it; only where it is inconclusive."""

    @classmethod
    def of(cls, name: str, kept: bool, reason: str, **figures: float | None) -> Self:
        """A criterion that is either kept or not."""
        answer = Answer.PASS if kept else Answer.FAIL
        return cls(name=name, answer=answer, reason=reason, **figures)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a gate decided, and on which evidence."""

    criteria: tuple[Criterion, ...]
    """One for each thing that was looked at."""
    unjudged: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    @classmethod
    def of(cls, criteria: Iterable[Criterion], *, unjudged: Iterable[str] = ()) -> Self:
        """From what was found; where nothing was, the candidate has not passed."""
        found = tuple(criteria)
        if not found:
            found = (Criterion.of("evidence", False, "there is nothing to judge by"),)
        return cls(criteria=found, unjudged=tuple(unjudged))

    @property
    def answer(self) -> Answer:
        """Fail where any criterion fails; else inconclusive where any is; else pass."""
        answers = {criterion.answer for criterion in self.criteria}
        for answer in (Answer.FAIL, Answer.INCONCLUSIVE):
            if answer in answers:
                return answer
        return Answer.PASS

    @property
    def passed(self) -> bool:
        """Whether the candidate may go on: inconclusive is no pass."""
        return self.answer is Answer.PASS

    @property
    def reasons(self) -> tuple[str, ...]:
        """What each criterion found."""
        return tuple(criterion.reason for criterion in self.criteria)

    @property
    def failures(self) -> tuple[str, ...]:
        """Those of the reasons that speak against the candidate, or not clearly for it."""
        return tuple(one.reason for one in self.criteria if one.answer is not Answer.PASS)

    @property
    def words_needed(self) -> int | None:
        """How many more test words would settle every criterion that is inconclusive.

        None where none is, or where no number of words would.
        """
        unsettled = [one for one in self.criteria if one.answer is Answer.INCONCLUSIVE]
        needed = [one.words_needed for one in unsettled if one.words_needed is not None]
        return max(needed) if needed and len(needed) == len(unsettled) else None


def told(verdict: Verdict) -> str:
    """A verdict on one line: its answer where that is not pass, then what speaks for it."""
    if verdict.passed:
        return "; ".join(verdict.reasons)
    return f"{verdict.answer}: {'; '.join(verdict.failures)}"


def to_columns(record: object) -> dict[str, Any]:
    """The columns of a record that has a `verdict` and a `comparison` among its fields."""
    values = dict(vars(record))
    verdict, comparison = values.pop("verdict"), values.pop("comparison")
    judged = {
        "criteria": without_nan([asdict(criterion) for criterion in verdict.criteria]),
        "unjudged": list(verdict.unjudged),
    }
    return {
        **values,
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "figures": comparison.to_dict() | judged,
    }


def from_columns(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that `to_columns` was given."""
    fields = dict(row)
    figures = dict(fields.pop("figures"))
    passed, reasons = fields.pop("passed"), fields.pop("reasons")
    unjudged = tuple(figures.pop("unjudged", ()))
    failures = figures.pop("failures", ())
    criteria = figures.pop("criteria", None)
    if criteria is None:
        # Revision 0001 kept the reasons alone.
        against = failures or ([] if passed else reasons)
        found = tuple(Criterion.of("", one not in against, one) for one in reasons)
    else:
        found = tuple(_criterion(values) for values in criteria)
    return {
        **fields,
        "verdict": Verdict(criteria=found, unjudged=unjudged),
        "comparison": Comparison.from_dict(figures),
    }


def _criterion(values: dict[str, Any]) -> Criterion:
    return Criterion(**values | {"answer": Answer(values["answer"])})
