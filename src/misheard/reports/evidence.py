"""Criteria and figures of a validation as a person reads them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from misheard.gates.comparison import Comparison, Side
from misheard.gates.slices import GROUP, LENGTH, Slice
from misheard.gates.verdict import Answer, Criterion
from misheard.reports import figures


def points(value: float) -> str:
    """A difference of two rates, in percentage points.

    >>> points(0.0213), points(-0.004), points(0)
    ('+2.13 pts', '−0.40 pts', '0 pts')
    """
    if not math.isfinite(value):
        return figures.NOTHING
    if not value:
        return "0 pts"
    return f"{100 * value:+.2f} pts".replace("-", "−")


def _share(value: float) -> str:
    return figures.percent(value, 2)


def _seconds(value: float) -> str:
    return f"{figures.number(value)} s"


# What the criteria of the gate are called, how their figures are written, and which way a limit
# holds.
_CRITERIA: dict[str, tuple[str, Callable[[float], str], str]] = {
    "baseline": ("Live version answers", _share, "at most"),
    "wer": ("Fewer word errors", points, "above"),
    "significance": ("More than chance", figures.p_value, "below"),
    "cer": ("Characters", points, "at least"),
    "utterances": ("Utterances that got worse", _share, "at most"),
    "must_pass": ("Must-pass utterances", figures.count, "at most"),
    "slices": ("Better for everybody", figures.count, "at most"),
    "hallucination": ("Words on silence", _share, "at most"),
    "real_time_factor": ("Compute a second of audio", _seconds, "at most"),
    "slowdown": ("Time, against the live version", figures.times, "at most"),
    "general": ("General speech", points, "at most"),
    "evidence": ("Evidence", figures.number, ""),
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One criterion as a row of the page."""

    name: str
    answer: Answer
    reason: str
    figure: str
    limit: str
    """What the figure was held to, in words; empty where nothing was."""


def evidence(criterion: Criterion) -> Evidence:
    """A criterion with its figures in words; one of an unknown name is shown as it is."""
    plain = criterion.name.replace("_", " ").capitalize()
    name, as_text, way = _CRITERIA.get(criterion.name, (plain, figures.number, ""))
    known = criterion.figure is not None and math.isfinite(criterion.figure)
    limited = criterion.limit is not None and math.isfinite(criterion.limit)
    return Evidence(
        name=name,
        answer=criterion.answer,
        reason=criterion.reason,
        figure=as_text(criterion.figure or 0.0) if known else "",
        limit=f"{way} {as_text(criterion.limit or 0.0)}".strip() if limited else "",
    )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure of both sides."""

    name: str
    before: str
    after: str
    change: str
    tone: str
    """good, bad or empty: which way it went."""
    note: str = ""
    part: bool = False
    """Whether it is a part of the figure above."""


def measures(comparison: Comparison) -> tuple[Measure, ...]:
    """Every figure of both sides that was kept: an older misheard kept fewer."""
    before, after = comparison.baseline, comparison.candidate
    made = [
        _rate("Word error rate", before.wer, after.wer),
        Measure(
            name="95% interval",
            before=_interval(before),
            after=_interval(after),
            change="",
            tone="",
            part=True,
        ),
        _rate("Character error rate", before.cer, after.cer),
        *(
            _rate(name, getattr(before, key), getattr(after, key))
            for name, key in (("Match error rate", "mer"), ("Word information lost", "wil"))
            if comparison.blocks
        ),
        _amount("Word errors", before.errors, after.errors),
        *(
            _amount(name.capitalize(), getattr(before, name), getattr(after, name), part=True)
            for name in ("substitutions", "deletions", "insertions")
        ),
    ]
    if comparison.silent:
        made.append(
            _amount(
                "Words on silence",
                before.silent_with_text,
                after.silent_with_text,
                note=f"of {figures.plural(comparison.silent, 'clip')} in which nobody speaks",
            )
        )
    if comparison.blocks:
        made += [
            _amount("Failed", before.failed, after.failed, note="no transcript: all words wrong"),
            _amount(
                "Written otherwise",
                before.formatting_only,
                after.formatting_only,
                note="only case, punctuation or spelling differs: no error",
                weighed=False,
            ),
        ]
    if before.compute_s and after.compute_s:
        made.append(
            Measure(
                name="Compute",
                before=figures.duration(before.compute_s),
                after=figures.duration(after.compute_s),
                change=f"{figures.times(comparison.speedup)} as fast",
                tone="",
                note=f"for {figures.minutes(comparison.audio_s)} of audio",
            )
        )
    return tuple(made)


def by_kind(found: Sequence[Slice]) -> tuple[tuple[str, tuple[Slice, ...]], ...]:
    """Slices under the heading of their kind, in the order in which they were looked at."""
    names = {GROUP: "By group", LENGTH: "By length of clip"}
    kinds = dict.fromkeys(one.kind for one in found)
    return tuple(
        (names.get(kind, f"By {kind}"), tuple(one for one in found if one.kind == kind))
        for kind in kinds
    )


def _interval(side: Side) -> str:
    low, high = map(figures.percent, side.wer_interval)
    return f"{low} to {high}" if low != figures.NOTHING else figures.NOTHING


def _rate(name: str, before: float, after: float) -> Measure:
    return Measure(
        name=name,
        before=_share(before),
        after=_share(after),
        change=points(after - before),
        tone=_tone(after - before),
    )


def _amount(
    name: str,
    before: int,
    after: int,
    *,
    note: str = "",
    part: bool = False,
    weighed: bool = True,
) -> Measure:
    return Measure(
        name=name,
        before=figures.count(before),
        after=figures.count(after),
        change=figures.signed(after - before),
        tone=_tone(after - before) if weighed else "",
        note=note,
        part=part,
    )


def _tone(rise: float) -> str:
    return "bad" if rise > 0 else "good" if rise < 0 else ""
