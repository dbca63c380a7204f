"""Figures of the gates as charts: rates with their intervals, kinds of error, slices."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from misheard.gates.comparison import Comparison, Side
from misheard.gates.slices import Slice
from misheard.reports import charts, figures
from misheard.reports.page import drawn

Rate = tuple[str, Side, bool]
"""A name, its figures, and whether it is the one to look at."""


def rates(sides: Sequence[Rate]) -> Markup:
    """The word error rate of each, with its 95 % interval."""
    estimates = [
        charts.Estimate(
            name=name,
            value=side.wer,
            low=side.wer_interval[0],
            high=side.wer_interval[1],
            role="candidate" if chosen else "baseline",
        )
        for name, side, chosen in sides
    ]
    named = ", ".join(f"{one.name} {figures.percent(one.value)}" for one in estimates)
    return drawn(
        charts.interval_plot(
            estimates,
            label=f"Word error rate with 95% intervals: {named}",
            as_text=figures.percent,
            tick_text=figures.tick_percent,
        )
    )


def reduction(comparison: Comparison) -> Markup:
    """The difference of the two rates, against zero."""
    gain = charts.Estimate(
        name="Live − candidate",
        value=comparison.baseline.wer - comparison.candidate.wer,
        low=comparison.reduction_interval[0],
        high=comparison.reduction_interval[1],
        role="candidate",
    )
    return drawn(
        charts.interval_plot(
            [gain],
            label="Live word error rate minus the candidate's, with its 95% interval: "
            f"{figures.signed_percent(gain.value)}",
            as_text=figures.signed_percent,
            tick_text=figures.signed_tick_percent,
            zero=True,
            sides=("candidate is worse", "candidate is better"),
        )
    )


def kinds(comparison: Comparison) -> Markup:
    """Substitutions, deletions and insertions of both."""
    before, after = comparison.baseline, comparison.candidate
    groups = [
        (name.capitalize(), _both(getattr(before, name), getattr(after, name)))
        for name in ("substitutions", "deletions", "insertions")
    ]
    return drawn(charts.bars(groups, label="Word errors by kind, live version and candidate"))


def slices(chosen: Sequence[Slice], *, label: str) -> Markup:
    """The word error rate of both on each slice in which somebody speaks."""
    groups = [
        (
            f"{one.name} · {figures.plural(one.words, 'word')}"
            + (" · worse by more than chance" if one.worse else ""),
            _both(one.baseline_errors / one.words, one.candidate_errors / one.words),
        )
        for one in chosen
        if one.words
    ]
    return drawn(charts.bars(groups, label=label, as_text=figures.percent))


def _both(before: float, after: float) -> list[charts.Bar]:
    return [
        charts.Bar(name="live", value=before, role="baseline"),
        charts.Bar(name="candidate", value=after, role="candidate"),
    ]
