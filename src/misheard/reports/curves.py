"""Lines as inline SVG: by epoch, by day, and on the way between two models.

As in `charts`, horizontal positions are percentages and vertical ones pixels, and a chart of
nothing is the empty string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from misheard.reports.svg import lettering, picture, scale, ticks

_TOP_PX, _BOTTOM_PX = 18.0, 178.0
_LETTER_PX = 26.0
_ROOM_FOR_DOTS = 40
_NAMED = 0.75
"""Of the way along an axis: what is beyond would run into the name at its end on a telephone."""
_STEEP_PX = 10.0
"""From one stop to the next: there the line would run through a value above the dot."""
_NAMES_PX, _MARK_PX = 20, 38
"""Below the axis: its names, and what the marked point is called."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The point of a line that matters."""

    x: float
    text: str
    """What stands below it, under the axis."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """A line and everything that is drawn with it."""

    points: Sequence[tuple[float, float]]
    names: Sequence[tuple[float, str, str]]
    """Places below the line: x, text and anchor."""
    across: Callable[[float], float]
    """From x to per cent of the width."""
    top: float
    """What is higher is beyond the chart."""
    label: str
    as_text: Callable[[float], str]
    tick_text: Callable[[float], str]
    dots: bool
    """Whether each point has one, or only the first and the last."""
    told: bool = False
    """Whether each point has its value, or only the first and the last."""
    mark: Mark | None = None
    limit: float | None = None
    """Where there is a line that should not be crossed."""


def line_chart(
    line: Sequence[tuple[float, float]],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    x_name: str,
    dots: bool = False,
    mark: Mark | None = None,
) -> str:
    """One line over `(x, y)` points, both axes from zero; points that are no numbers are left out.

    `dots` marks each point; the first and the last are always marked and named.
    """
    known = [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
    if not known:
        return ""
    whole = [tick for tick in ticks(0, max(1.0, *(x for x, _ in known))) if tick == int(tick)]
    end = max(whole[-1], *(x for x, _ in known))
    names = [(tick, f"{tick:g}", "middle") for tick in whole[:-1] if tick <= _NAMED * whole[-1]]
    names.append((whole[-1], f"{x_name} {whole[-1]:g}", "end"))
    return _drawn(
        _Curve(
            points=known,
            names=names,
            across=scale(0, end, 13.0, 97.0),
            top=max(y for _, y in known),
            label=label,
            as_text=as_text,
            tick_text=tick_text,
            dots=dots,
            mark=mark,
        )
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
        names = [(last, time_text(end), "end")]
    else:
        names = [(first, time_text(begin), "start"), (last, time_text(end), "end")]
    return _drawn(
        _Curve(
            points=[(x, y) for x, _, y in known],
            names=names,
            across=scale(first, last, 13.0, 97.0),
            top=max(y for _, _, y in known),
            label=label,
            as_text=as_text,
            tick_text=tick_text,
            dots=len(known) <= _ROOM_FOR_DOTS,
        )
    )


def stops_chart(
    stops: Sequence[tuple[str, float]],
    *,
    label: str,
    as_text: Callable[[float], str],
    tick_text: Callable[[float], str],
    top: float,
    mark: Mark | None = None,
    limit: float | None = None,
) -> str:
    """A line over named stops, equally far apart, each with its value; y from zero.

    What is higher than the `reach` of `top` is beyond the chart: an arrow with its value. A
    `mark`'s x is the number of its stop, from 0; `limit` is a dashed line.
    """
    known = [(float(number), y) for number, (_, y) in enumerate(stops) if math.isfinite(y)]
    if not known:
        return ""
    return _drawn(
        _Curve(
            points=known,
            names=[(number, name, "middle") for number, (name, _) in enumerate(stops)],
            # Values stand above the middle of their dots, so the ends need room beside them.
            across=scale(0, max(1, len(stops) - 1), 21.0, 93.0),
            top=top,
            label=label,
            as_text=as_text,
            tick_text=tick_text,
            dots=True,
            told=True,
            mark=mark,
            limit=limit,
        )
    )


def reach(top: float) -> float:
    """The highest tick of an axis that shows `top`: what is higher is beyond the chart."""
    return _axis(top)[-1]


def _axis(top: float) -> list[float]:
    return ticks(0, top, about=3)


def _drawn(curve: _Curve) -> str:
    across, axis = curve.across, _axis(curve.top)
    down = scale(axis[0], axis[-1], _BOTTOM_PX, _TOP_PX)
    parts = []
    for tick in axis:
        y = down(tick)
        parts.append(f'<line class="grid" x1="13%" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(lettering(0, y + 4, curve.tick_text(tick), role="tick"))
    for x, words, anchor in curve.names:
        place = across(x)
        parts.append(lettering(place, _BOTTOM_PX + _NAMES_PX, words, anchor=anchor, role="tick"))
    if curve.limit is not None and curve.limit <= axis[-1]:
        y = down(curve.limit)
        parts.append(f'<line class="limit" x1="13%" x2="100%" y1="{y}" y2="{y}"/>')
    if curve.mark is not None:
        parts.append(_marked(curve.mark, curve, down))
    shown = [(across(x), down(y)) for x, y in curve.points]
    parts += [_line(stretch) for stretch in _stretches(shown)]
    ends = {0, len(shown) - 1}
    for number, ((x, y), (value_x, value)) in enumerate(zip(shown, curve.points, strict=True)):
        is_marked = curve.mark is not None and value_x == curve.mark.x
        if curve.dots or is_marked or number in ends:
            parts.append(_dot(x, y, is_marked=is_marked))
        if curve.told or number in ends:
            role = "value strong halo" if is_marked or not curve.told else "value halo"
            limit = None if curve.limit is None else down(curve.limit)
            anchor, height = _beside(shown, number, limit) if curve.told else _above(shown, number)
            parts.append(lettering(x, height, curve.as_text(value), anchor=anchor, role=role))
    below = _NAMES_PX if curve.mark is None else _MARK_PX
    return picture(curve.label, int(_BOTTOM_PX) + below + 6, parts)


def _above(points: Sequence[tuple[float, float]], number: int) -> tuple[str, float]:
    """Anchor and height of the value of the first or the last point."""
    anchor = "start" if number == 0 and len(points) > 1 else "end"
    return anchor, points[number][1] - 10


def _beside(
    points: Sequence[tuple[float, float]], number: int, limit: float | None
) -> tuple[str, float]:
    """Anchor and height of the value of a stop: where neither line runs through it."""
    _, y = points[number]
    if y < _TOP_PX:
        return "middle", _TOP_PX - 10
    to_limit = math.inf if limit is None else y - limit
    has_room_below = y < _BOTTOM_PX - _LETTER_PX and not -_LETTER_PX < to_limit < 0
    if 0 <= to_limit < _LETTER_PX and has_room_below:
        return "middle", y + 20
    before, after = (
        points[other][1] if 0 <= other < len(points) and points[other][1] >= _TOP_PX else None
        for other in (number - 1, number + 1)
    )
    if before is not None and y - before > _STEEP_PX:
        goes_on = after is not None and after - y > _STEEP_PX
        side = "start"
    elif after is not None and y - after > _STEEP_PX:
        goes_on = before is not None and before - y > _STEEP_PX
        side = "end"
    else:
        return "middle", y - 10
    if goes_on:
        return side, y - 8
    return "middle", y + 20 if has_room_below else y - 10


def _stretches(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The parts of a line that are on the chart; one that leads beyond it would be a wall."""
    made: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y >= _TOP_PX:
            made[-1].append((x, y))
        elif made[-1]:
            made.append([])
    return [stretch for stretch in made if len(stretch) > 1]


def _line(points: Sequence[tuple[float, float]]) -> str:
    # Percentages are not allowed in a path, so the line has its own stretched coordinates.
    path = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<svg x="0" y="0" width="100%" height="{_BOTTOM_PX}" viewBox="0 0 100 {_BOTTOM_PX}"'
        f' preserveAspectRatio="none" overflow="visible">'
        f'<polyline class="curve" points="{path}"/></svg>'
    )


def _dot(x: float, y: float, *, is_marked: bool) -> str:
    if y < _TOP_PX:
        # A nested picture, since a path knows no percentages.
        arrow = '<path class="beyond" d="M0 -6L6 4H-6Z"/>'
        return f'<svg x="{x}%" y="{_TOP_PX}" width="1" height="1" overflow="visible">{arrow}</svg>'
    radius = 6.5 if is_marked else 4
    return f'<circle class="dot candidate" cx="{x}%" cy="{y}" r="{radius}"/>'


def _marked(mark: Mark, curve: _Curve, down: Callable[[float], float]) -> str:
    """The name of a point below the axis, and a line that leads up to it."""
    place = curve.across(mark.x)
    parts = [
        f'<line class="guide" x1="{place}%" x2="{place}%" y1="{down(y)}" y2="{_BOTTOM_PX}"/>'
        for x, y in curve.points
        if x == mark.x
    ]
    anchor = "middle" if curve.told or 25 < place < 75 else "start" if place <= 25 else "end"
    words = lettering(place, _BOTTOM_PX + _MARK_PX, mark.text, anchor=anchor, role="name")
    return "".join(parts) + words
