"""Charts as inline SVG: data in, markup out, nothing else needed.

Horizontal positions are percentages and vertical ones pixels, so a chart fills whatever width the
page gives it while its lettering keeps its size. Colours come from the page's style sheet by class.
A chart of nothing is the empty string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

_LEFT, _RIGHT = 2.0, 98.0
_ROW_PX, _AXIS_PX = 58, 26
_ROOM_FOR_DOTS, _ROOM_FOR_MARKS = 40, 30


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


def ticks(low: float, high: float, *, about: int = 4) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, some `about` steps apart.

    >>> ticks(0.0, 0.31)
    [0.0, 0.1, 0.2, 0.3, 0.4]
    >>> ticks(-3, 11)
    [-5.0, 0.0, 5.0, 10.0, 15.0]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda s: abs(span / s - about))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    return [round(i * step, 12) for i in range(first, last + 1)]


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
    place = _scale(axis[0], axis[-1], _LEFT, _RIGHT)
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
            parts.append(_text(x, height - 4, text, anchor=anchor, role="side"))
    return _svg(label, height, parts)


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
    place = _scale(0.0, max(values) or 1.0, 0.0, 62.0)
    parts, y = [], 0
    for name, group in groups:
        if name:
            parts.append(_text(0, y + 15, name, role="name"))
            y += 24
        for bar in group:
            # Even nothing leaves a trace, so that a bar of 0 does not look forgotten.
            width = max(place(bar.value), 0.4)
            parts.append(
                f'<rect class="bar {bar.role}" x="0" y="{y}" width="{_n(width)}%" height="16"'
                ' rx="2"/>'
            )
            figure = escape(as_text(bar.value))
            words = f"<tspan class='strong'>{figure}</tspan> {escape(bar.name)}"
            parts.append(
                f'<text class="value" x="{_n(width)}%" dx="8" y="{y + 12.5}">{words}</text>'
            )
            y += 21
        y += 15
    return _svg(label, y - 15, parts)


def line_chart(
    line: Sequence[tuple[float, float]],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    x_name: str,
    dots: bool = False,
) -> str:
    """One line over `(x, y)` points, both axes from zero; points that are no numbers are left out.

    `dots` marks each point; the first and the last are always marked and named.
    """
    known = [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
    if not known:
        return ""
    whole = [tick for tick in ticks(0, max(1.0, *(x for x, _ in known))) if tick == int(tick)]
    end = max(whole[-1], *(x for x, _ in known))
    marks = [(tick, f"{tick:g}", "middle") for tick in whole[:-1]]
    marks.append((whole[-1], f"{x_name} {whole[-1]:g}", "end"))
    return _curve(
        known, marks, (0, end), label=label, as_text=as_text, tick_text=tick_text, dots=dots
    )


def time_chart(
    line: Sequence[tuple[datetime, float]],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    time_text: Callable[[datetime], str],
) -> str:
    """One line over `(time, y)` points, y from zero; points that are no numbers are left out.

    The first and the last time are named; while there is room, each point has its dot.
    """
    known = [(at.timestamp(), at, y) for at, y in line if math.isfinite(y)]
    if not known:
        return ""
    (first, begin, _), (last, end, _) = known[0], known[-1]
    if first == last:
        # One moment stands at the right, where the newest value always stands.
        first -= 1.0
        marks = [(last, time_text(end), "end")]
    else:
        marks = [(first, time_text(begin), "start"), (last, time_text(end), "end")]
    return _curve(
        [(x, y) for x, _, y in known],
        marks,
        (first, last),
        label=label,
        as_text=as_text,
        tick_text=tick_text,
        dots=len(known) <= _ROOM_FOR_DOTS,
    )


def outcome_rows(rows: Sequence[OutcomeRow], *, label: str) -> str:
    """A row of marks for each name, oldest at the left: a dot where it passed, else a cross.

    Only the newest that have room are drawn.
    """
    if not rows:
        return ""
    longest = min(max(len(row.passed) for row in rows), _ROOM_FOR_MARKS)
    place = _scale(0, max(longest, 12), 2.0, 100.0)
    parts = []
    for index, row in enumerate(rows):
        y = _ROW_PX * index
        shown = row.passed[-_ROOM_FOR_MARKS:]
        parts.append(_text(0, y + 18, row.name, role="name halo"))
        parts.append(_text(100, y + 18, row.note, anchor="end", role="value halo"))
        if len(shown) > 1:
            ends = f'x1="{place(0)}%" x2="{place(len(shown) - 1)}%" y1="{y + 40}" y2="{y + 40}"'
            parts.append(f'<line class="grid" {ends}/>')
        for number, passed in enumerate(shown):
            parts.append(_mark(place(number), y + 40, passed))
    return _svg(label, _ROW_PX * len(rows), parts)


def swing(share: float, *, label: str) -> str:
    """A bar from the middle: to the right for a rise, to the left for a fall.

    `share` is of the way to the end, in [-1, 1]; what lies beyond stops there.
    """
    width = max(0.8, 50 * min(1.0, abs(share)))
    x = 50.0 if share >= 0 else 50 - width
    role = "bad" if share > 0 else "good" if share < 0 else "none"
    parts = [
        f'<rect class="swing {role}" x="{_n(x)}%" y="3" width="{_n(width)}%" height="10" rx="2"/>',
        '<line class="middle" x1="50%" x2="50%" y1="0" y2="16"/>',
    ]
    return _svg(label, 16, parts)


def _mark(x: float, y: int, passed: bool) -> str:
    if passed:
        return f'<circle class="mark good" cx="{x}%" cy="{y}" r="6"/>'
    # A nested picture, since a path knows no percentages.
    cross = '<path class="mark bad" d="M-5 -5L5 5M5 -5L-5 5"/>'
    return f'<svg x="{x}%" y="{y}" width="1" height="1" overflow="visible">{cross}</svg>'


def _curve(
    known: Sequence[tuple[float, float]],
    marks: Sequence[tuple[float, str, str]],
    span: tuple[float, float],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    dots: bool,
) -> str:
    """A line within `span`; `marks` are the named places below it: x, text and anchor."""
    top_px, bottom_px = 18.0, 178.0
    y_axis = ticks(0, max(y for _, y in known), about=3)
    across = _scale(*span, 13.0, 97.0)
    down = _scale(y_axis[0], y_axis[-1], bottom_px, top_px)
    parts = []
    for tick in y_axis:
        y = down(tick)
        parts.append(f'<line class="grid" x1="13%" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(_text(0, y + 4, tick_text(tick), role="tick"))
    for x, words, anchor in marks:
        parts.append(_text(across(x), bottom_px + 20, words, anchor=anchor, role="tick"))
    # Percentages are not allowed in a path, so the line has its own stretched coordinates.
    path = " ".join(f"{across(x)},{down(y)}" for x, y in known)
    parts.append(
        f'<svg x="0" y="0" width="100%" height="{bottom_px}" viewBox="0 0 100 {bottom_px}"'
        f' preserveAspectRatio="none"><polyline class="curve" points="{path}"/></svg>'
    )
    ends = [known[0], known[-1]] if len(known) > 1 else [known[-1]]
    for x, y in known if dots else ends:
        parts.append(f'<circle class="dot candidate" cx="{across(x)}%" cy="{down(y)}" r="4"/>')
    for index, (x, y) in enumerate(ends):
        anchor = "start" if len(ends) > 1 and index == 0 else "end"
        parts.append(
            _text(across(x), down(y) - 10, as_text(y), anchor=anchor, role="value strong halo")
        )
    return _svg(label, int(bottom_px) + 26, parts)


def _estimate(
    estimate: Estimate, place: Callable[[float], float], y: int, as_text: Callable[[float], str]
) -> str:
    middle, parts = y + 40, [_text(0, y + 18, estimate.name, role="name halo")]
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
    return line + _text(x, bottom + 18, text, anchor="middle", role="tick")


def _text(x: float, y: float, text: str, *, anchor: str = "start", role: str) -> str:
    return (
        f'<text class="{role}" x="{_n(x)}%" y="{_n(y)}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(label: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{escape(label)}" width="100%"'
        f' height="{height}">{"".join(parts)}</svg>'
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A function from [low, high] to [start, end], to a thousandth."""
    return lambda value: round(start + (end - start) * (value - low) / (high - low), 3)


def _n(value: float) -> str:
    return f"{value:g}"
