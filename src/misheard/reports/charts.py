"""Charts as inline SVG: data in, markup out, nothing else needed.

Horizontal positions are percentages and vertical ones pixels, so a chart fills whatever width the
page gives it while its lettering keeps its size. Colours come from the page's style sheet by class.
A chart of nothing is the empty string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from misheard.reports.svg import lettering, picture, plain, scale, ticks

_LEFT, _RIGHT = 2.0, 98.0
_ROW_PX, _AXIS_PX = 58, 26
_ROOM_FOR_MARKS = 30


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured value with its interval, all in the axis's unit."""

    name: str
    value: float
    low: float
    high: float
    role: str
    """baseline, candidate or difference: the class that colours it."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar; its length is its value."""

    name: str
    value: float
    role: str
    """baseline or candidate."""


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """What one thing came to, time after time."""

    name: str
    passed: Sequence[bool]
    """Oldest first."""
    note: str
    """What stands at the right, of the newest."""


def interval_plot(
    estimates: Sequence[Estimate],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    zero: bool = False,
    sides: tuple[str, str] | None = None,
) -> str:
    """A dot and a whisker for each estimate, on one axis.

    `zero` draws the line of no difference; `sides` says what lies left and right of it.
    """
    shown = [v for e in estimates for v in (e.low, e.value, e.high) if math.isfinite(v)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    # Zero belongs in the picture where it costs no more than half of the width.
    if zero or 0 <= low <= high - low:
        low, high = min(low, 0.0), max(high, 0.0)
    axis = ticks(low, high)
    place = scale(axis[0], axis[-1], _LEFT, _RIGHT)
    bottom = _ROW_PX * len(estimates)
    parts = [_vertical(place(tick), bottom, tick_text(tick)) for tick in axis]
    if zero:
        parts.append(
            f'<line class="zero" x1="{place(0)}%" x2="{place(0)}%" y1="28" y2="{bottom}"/>'
        )
    for index, estimate in enumerate(estimates):
        parts.append(_estimate(estimate, place, _ROW_PX * index, as_text))
    height = bottom + _AXIS_PX
    if sides:
        height += 18
        for text, anchor, x in ((f"← {sides[0]}", "start", 0), (f"{sides[1]} →", "end", 100)):
            parts.append(lettering(x, height - 4, text, anchor=anchor, role="side"))
    return picture(label, height, parts)


def bars(
    groups: Sequence[tuple[str, Sequence[Bar]]],
    *,
    label: str,
    as_text: Callable[[float], str] = "{:,.0f}".format,
) -> str:
    """Horizontal bars in named groups, on one scale that starts at zero."""
    values = [bar.value for _, group in groups for bar in group]
    if not values or not all(map(math.isfinite, values)):
        return ""
    # The rest of the width is for the figure and the name behind the longest bar.
    place = scale(0.0, max(values) or 1.0, 0.0, 62.0)
    parts, y = [], 0
    for name, group in groups:
        if name:
            parts.append(lettering(0, y + 15, name, role="name"))
            y += 24
        for bar in group:
            # Even nothing leaves a trace, so that a bar of 0 does not look forgotten.
            width = max(place(bar.value), 0.4)
            parts.append(
                f'<rect class="bar {bar.role}" x="0" y="{y}" width="{plain(width)}%" height="16"'
                ' rx="2"/>'
            )
            figure = escape(as_text(bar.value))
            words = f"<tspan class='strong'>{figure}</tspan> {escape(bar.name)}"
            parts.append(
                f'<text class="value" x="{plain(width)}%" dx="8" y="{y + 12.5}">{words}</text>'
            )
            y += 21
        y += 15
    return picture(label, y - 15, parts)


def outcome_rows(rows: Sequence[OutcomeRow], *, label: str) -> str:
    """A row of marks for each name, oldest at the left: a dot where it passed, else a cross.

    Only the newest that have room are drawn.
    """
    if not rows:
        return ""
    longest = min(max(len(row.passed) for row in rows), _ROOM_FOR_MARKS)
    place = scale(0, max(longest, 12), 2.0, 100.0)
    parts = []
    for index, row in enumerate(rows):
        y = _ROW_PX * index
        shown = row.passed[-_ROOM_FOR_MARKS:]
        parts.append(lettering(0, y + 18, row.name, role="name halo"))
        parts.append(lettering(100, y + 18, row.note, anchor="end", role="value halo"))
        if len(shown) > 1:
            ends = f'x1="{place(0)}%" x2="{place(len(shown) - 1)}%" y1="{y + 40}" y2="{y + 40}"'
            parts.append(f'<line class="grid" {ends}/>')
        for number, passed in enumerate(shown):
            parts.append(_mark(place(number), y + 40, passed))
    return picture(label, _ROW_PX * len(rows), parts)


def swing(share: float, *, label: str) -> str:
    """A bar from the middle: to the right for a rise, to the left for a fall.

    `share` is of the way to the end, in [-1, 1]; what lies beyond stops there.
    """
    width = max(0.8, 50 * min(1.0, abs(share)))
    x = 50.0 if share >= 0 else 50 - width
    role = "bad" if share > 0 else "good" if share < 0 else "none"
    place = f'x="{plain(x)}%" y="3" width="{plain(width)}%" height="10"'
    parts = [
        f'<rect class="swing {role}" {place} rx="2"/>',
        '<line class="middle" x1="50%" x2="50%" y1="0" y2="16"/>',
    ]
    return picture(label, 16, parts)


def _mark(x: float, y: int, passed: bool) -> str:
    if passed:
        return f'<circle class="mark good" cx="{x}%" cy="{y}" r="6"/>'
    # A nested picture, since a path knows no percentages.
    cross = '<path class="mark bad" d="M-5 -5L5 5M5 -5L-5 5"/>'
    return f'<svg x="{x}%" y="{y}" width="1" height="1" overflow="visible">{cross}</svg>'


def _estimate(
    estimate: Estimate, place: Callable[[float], float], y: int, as_text: Callable[[float], str]
) -> str:
    middle, parts = y + 40, [lettering(0, y + 18, estimate.name, role="name halo")]
    words = f'<tspan class="strong">{escape(as_text(estimate.value))}</tspan>'
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        left, right = place(estimate.low), place(estimate.high)
        interval = f"{as_text(estimate.low)} to {as_text(estimate.high)}"
        words += f'<tspan dx="8">{escape(interval)}</tspan>'
        line = f'x1="{left}%" x2="{right}%" y1="{middle}" y2="{middle}"'
        parts.append(f'<line class="whisker {estimate.role}" {line}/>')
    if math.isfinite(estimate.value):
        x = place(estimate.value)
        parts.append(f'<circle class="dot {estimate.role}" cx="{x}%" cy="{middle}" r="6.5"/>')
    parts.append(f'<text class="value halo" x="100%" y="{y + 18}" text-anchor="end">{words}</text>')
    return "".join(parts)


def _vertical(x: float, bottom: int, text: str) -> str:
    line = f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="{bottom}"/>'
    return line + lettering(x, bottom + 18, text, anchor="middle", role="tick")
