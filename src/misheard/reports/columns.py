"""Columns over time as inline SVG, drawn as the charts of `charts.py` are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from misheard.reports.svg import lettering, picture, plain, scale, ticks

_PLOT_PX, _TOP_PX, _AXIS_PX = 116, 14, 26
_WIDTH = 0.68
"""Of the room that a column has."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One period."""

    name: str
    """What it says when it is pointed at."""
    values: Sequence[tuple[float, str]]
    """From the back to the front: how high, and the class that colours it; NaN: nothing."""
    tick: str = ""
    """What stands below it."""


def columns(shown: Sequence[Column], *, label: str, tick_text: Callable[[float], str]) -> str:
    """A column for each period, oldest at the left, on one scale that starts at zero.

    Empty where nothing is higher than that.
    """
    heights = [value for one in shown for value, _ in one.values if math.isfinite(value)]
    if not any(heights):
        return ""
    axis = ticks(0.0, max(heights), about=3)
    top, bottom = _TOP_PX, _TOP_PX + _PLOT_PX
    place = scale(axis[0], axis[-1], bottom, top)
    parts = []
    for tick in axis:
        y = plain(place(tick))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    each = 100 / len(shown)
    for index, one in enumerate(shown):
        left, drawn = each * (index + (1 - _WIDTH) / 2), []
        for value, role in one.values:
            if not (math.isfinite(value) and value > 0):
                continue
            # Even little leaves a trace.
            height = max(bottom - place(value), 1.5)
            drawn.append(
                f'<rect class="bar {role}" x="{left:.3f}%" y="{bottom - height:.2f}"'
                f' width="{each * _WIDTH:.3f}%" height="{height:.2f}" rx="1.5"/>'
            )
        # The whole of its room answers to the pointer, however low the column is.
        room = (
            f'<rect class="room" x="{each * index:.3f}%" y="{top}" width="{each:.3f}%"'
            f' height="{_PLOT_PX}"/>'
        )
        parts.append(f"<g>{''.join(drawn)}{room}<title>{escape(one.name)}</title></g>")
        if one.tick:
            middle = each * (index + 0.5)
            parts.append(lettering(middle, bottom + 18, one.tick, anchor="middle", role="tick"))
    for tick in axis[1:]:
        words = tick_text(tick)
        parts.append(lettering(0, place(tick) - 4, words, role="tick halo"))
    return picture(label, bottom + _AXIS_PX, parts)
