"""What every chart is made of: round ticks, places, texts, and the picture around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape


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


def lettering(x: float, y: float, words: str, *, anchor: str = "start", role: str) -> str:
    """Words at `x` per cent and `y` pixels; `role` is their class."""
    return (
        f'<text class="{role}" x="{plain(x)}%" y="{plain(y)}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def picture(label: str, height: int, parts: Sequence[str]) -> str:
    """The whole chart: `label` is for those who cannot see it, `height` in pixels."""
    return (
        f'<svg class="chart" role="img" aria-label="{escape(label)}" width="100%"'
        f' height="{height}">{"".join(parts)}</svg>'
    )


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A function from [low, high] to [start, end], to a thousandth."""
    return lambda value: round(start + (end - start) * (value - low) / (high - low), 3)


def plain(value: float) -> str:
    """A coordinate without needless digits."""
    return f"{value:g}"
