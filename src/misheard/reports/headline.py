"""What happened to a cycle, or came of a validation, in one sentence. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from misheard.cycle.states import CycleState
from misheard.gates.comparison import Comparison
from misheard.gates.validation import Validation
from misheard.gates.verdict import Answer
from misheard.reports.facts import Facts
from misheard.reports.figures import p_value, percent, plural

_S = CycleState


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The sentence, what stands below it, and how it should look."""

    sentence: str
    reason: str
    """Why, or what comes next; may be empty."""
    command: str
    """What a person types to go on; empty where nothing is asked."""
    tone: str
    """good, bad, wait or calm."""
    mark: str
    """A sign for the tone, so that it does not depend on colour."""


_STATES: dict[CycleState, tuple[str, str]] = {
    _S.PROPOSED: ("Proposed: it is worth training", "wait"),
    _S.TRIGGERED: ("Begun; no dataset has been built yet", "calm"),
    _S.DATASET: ("The dataset is built; training has not started", "calm"),
    _S.TRAINING: ("The candidate is in training", "calm"),
    _S.CONVERTED: ("The candidate is trained; it has not been validated yet", "calm"),
    _S.VALIDATED: ("The candidate passed validation; the regression suites are next", "calm"),
    _S.REGRESSION: ("The candidate passed validation and every regression suite", "calm"),
    _S.AWAITING_APPROVAL: ("Awaiting approval", "wait"),
    _S.DEPLOYED: ("Deployed", "good"),
    _S.WATCHED: ("Deployed, and watched", "good"),
    _S.CLOSED: ("Deployed, and watched", "good"),
    _S.REFUSED: ("Refused", "bad"),
    _S.REJECTED: ("Rejected", "bad"),
    _S.FAILED: ("Failed", "bad"),
    _S.CANCELLED: ("Cancelled", "calm"),
    _S.ROLLED_BACK: ("Deployed, and rolled back since", "bad"),
}
ANSWERS = {
    Answer.PASS: ("Passed", "good"),
    Answer.FAIL: ("Failed", "bad"),
    Answer.INCONCLUSIVE: ("Inconclusive", "wait"),
}
"""What a gate's answer is called, and the tone of its headline."""
_MARKS = {"good": "✓", "bad": "✗", "wait": "●", "calm": "○"}


def headline(facts: Facts) -> Headline:
    """The headline of a cycle in whatever state it is."""
    state = facts.cycle.state
    sentence, tone = _STATES[state]
    reason, command = facts.cycle.detail, ""
    if (state.went_live or state is _S.AWAITING_APPROVAL) and facts.comparison:
        sentence += f": {effect(facts.comparison)} on held-out speech"
    if state.went_live:
        reason = f"{_capital(reason)}. {_now(facts)}{_caution(facts)}"
    elif state is _S.AWAITING_APPROVAL:
        reason = f"Every gate is passed.{_caution(facts)} A person decides whether it goes live:"
        command = f"misheard cycle approve {facts.cycle.id}"
    elif state is _S.PROPOSED:
        reason = f"{_capital(reason)}. A person decides whether to train:"
        command = f"misheard cycle approve {facts.cycle.id}"
    elif state is _S.REFUSED:
        if _is_unsettled(facts):
            sentence, tone = "Not settled by validation", "wait"
        else:
            sentence += f" by {_refused_by(facts)}"
        sentence += "; the live version stays"
        reason = f"Because of {reason}"
    elif state is _S.FAILED:
        sentence += f" {_failed_at(facts)}; the live version stays"
    elif state is _S.TRIGGERED:
        reason = f"Why it began: {reason}"
    return with_mark(sentence=sentence, reason=reason, command=command, tone=tone)


def of_validation(validation: Validation) -> Headline:
    """The headline of one validation: the answer, its size, and what follows from it."""
    verdict, all_of = validation.verdict, len(validation.verdict.criteria)
    if verdict.answer is Answer.PASS:
        criteria = "the only criterion" if all_of == 1 else f"all {all_of} criteria"
        reason = f"The candidate meets {criteria}."
    elif verdict.answer is Answer.FAIL:
        against = [one.reason for one in verdict.criteria if one.answer is Answer.FAIL]
        criteria = "the only criterion" if all_of == 1 else f"{len(against)} of {all_of} criteria"
        reason = f"The candidate fails {criteria}: {'; '.join(against)}."
    elif verdict.words_needed is not None:
        reason = (
            "The difference may be chance: about "
            f"{plural(verdict.words_needed, 'more test word')} would settle it."
        )
    else:
        reason = f"{_capital('; '.join(verdict.failures))}."
    word, tone = ANSWERS[verdict.answer]
    return with_mark(
        sentence=f"{word}, with {effect(validation.comparison)} on held-out speech",
        reason=reason,
        tone=tone,
    )


def with_mark(*, sentence: str, tone: str, reason: str = "", command: str = "") -> Headline:
    """A headline with the sign of its tone."""
    return Headline(sentence=sentence, reason=reason, command=command, tone=tone, mark=_MARKS[tone])


def effect(comparison: Comparison) -> str:
    """What the candidate does to word errors, in words."""
    before, after = comparison.baseline.errors, comparison.candidate.errors
    if before == after:
        return "as many word errors as before"
    if not before:
        return f"{plural(after, 'word error')} where there were none"
    share = percent(abs(comparison.relative_reduction))
    return f"{share} {'fewer' if after < before else 'more'} word errors"


def chance(comparison: Comparison) -> str:
    """What the interval of the difference says, in a sentence; empty where there is none."""
    low, high = comparison.reduction_interval
    if low > 0:
        return "The whole interval of the difference is above zero: the candidate is better."
    if high < 0:
        return "The whole interval of the difference is below zero: the candidate is worse."
    if low <= high:
        return "The interval of the difference includes zero: it may be chance."
    return ""


def _caution(facts: Facts) -> str:
    """A figure in the headline must not promise more than the test behind it."""
    comparison = facts.comparison
    if comparison is None or not comparison.reduction_interval[0] <= 0:
        return ""
    # No-break spaces keep the figure on one line.
    figure = f"p = {p_value(comparison.p_value)}".replace(" ", "\N{NO-BREAK SPACE}")
    return f" The difference may be chance ({figure})."


def _now(facts: Facts) -> str:
    if facts.is_live:
        return "It is what production uses now."
    return f"Production uses {facts.live_id or 'nothing'} by now."


def _is_unsettled(facts: Facts) -> bool:
    return facts.validation is not None and facts.validation.verdict.answer is Answer.INCONCLUSIVE


def _refused_by(facts: Facts) -> str:
    if facts.validation is not None and not facts.validation.verdict.passed:
        return "validation"
    # Files are tried when every suite is passed.
    passed_suites = any(stage.to is _S.REGRESSION for stage in facts.stages)
    return "the check of its files" if passed_suites else "a regression suite"


def _failed_at(facts: Facts) -> str:
    return "in training" if facts.job else "before training"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
