"""Numbers, times and spans as people read them; what is not a number reads as a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NOTHING = "–"


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.2461), percent(-0.5), percent(float("nan"))
    ('24.6%', '−50.0%', '–')
    """
    return _signed(f"{100 * value:.{digits}f}%") if math.isfinite(value) else NOTHING


def signed_percent(value: float) -> str:
    """A difference of two shares.

    >>> signed_percent(0.02), signed_percent(-0.013)
    ('+2.0%', '−1.3%')
    """
    return _signed(f"{100 * value:+.1f}%") if math.isfinite(value) else NOTHING


def tick_percent(value: float) -> str:
    """A round share on an axis.

    >>> tick_percent(0.05), tick_percent(0.025)
    ('5%', '2.5%')
    """
    return _signed(f"{100 * value:g}%")


def signed_tick_percent(value: float) -> str:
    """A round difference of two shares on an axis.

    >>> signed_tick_percent(0.0), signed_tick_percent(-0.02)
    ('0%', '−2%')
    """
    return _signed(f"{100 * value:+g}%") if value else "0%"


def times(value: float) -> str:
    """A factor.

    >>> times(2.345)
    '2.3×'
    """
    return f"{value:.2g}×" if math.isfinite(value) and value < 10 else _whole_times(value)


def p_value(value: float) -> str:
    """A probability to two figures, as the gates write it; far below chance, only that.

    >>> p_value(0.0213), p_value(3e-9)
    ('0.021', '< 0.0001')
    """
    if not math.isfinite(value):
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def p_equals(value: float) -> str:
    """A probability as it stands behind a p.

    >>> p_equals(0.0213), p_equals(3e-9)
    ('= 0.021', '< 0.0001')
    """
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def count(value: float) -> str:
    """A whole number with its thousands apart.

    >>> count(12345)
    '12,345'
    """
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def signed(value: int) -> str:
    """A difference of two whole numbers.

    >>> signed(3), signed(-1200), signed(0)
    ('+3', '−1,200', '0')
    """
    return _signed(f"{value:+,}") if value else "0"


def number(value: float) -> str:
    """Any number to three figures; a setting as it would be typed.

    >>> number(8), number(2e-5), number(1.62528)
    ('8', '2e-05', '1.63')
    """
    return _signed(f"{value:.3g}") if math.isfinite(value) else NOTHING


def setting(value: Any) -> str:
    """A value of a settings file, as one would say it.

    >>> setting(True), setting(0.05), setting(""), setting({}), setting({"noise": 0.01})
    ('yes', '0.05', '–', '–', 'noise: 0.01')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or NOTHING
    return str(value) or NOTHING


def seconds(value: float) -> str:
    """The length of a recording.

    >>> seconds(0.44), seconds(75)
    ('0.4 s', '75.0 s')
    """
    return f"{value:,.1f} s" if math.isfinite(value) else NOTHING


def latency(value: float) -> str:
    """How long somebody waited.

    >>> latency(0.2134), latency(12.31)
    ('0.21 s', '12.3 s')
    """
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def minutes(seconds: float) -> str:
    """An amount of speech.

    >>> minutes(42.4), minutes(205), minutes(7300)
    ('42 s', '3.4 min', '2.0 h')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def duration(seconds: float) -> str:
    """How long something took.

    >>> duration(0.04), duration(7.25), duration(125), duration(3840), duration(200000)
    ('< 0.1 s', '7.2 s', '2 min 05 s', '1 h 04 min', '2 d 7 h')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def memory(megabytes: float) -> str:
    """An amount of memory.

    >>> memory(640), memory(3860)
    ('640 MB', '3.8 GB')
    """
    if not math.isfinite(megabytes):
        return NOTHING
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"


def when(moment: datetime) -> str:
    """A time to the minute, in UTC.

    >>> when(datetime(2026, 3, 5, 14, 2, 59, tzinfo=UTC))
    '5 Mar 2026, 14:02 UTC'
    """
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def plural(amount: int, noun: str) -> str:
    """An amount with its noun.

    >>> plural(1, "word"), plural(1200, "word")
    ('1 word', '1,200 words')
    """
    return f"{count(amount)} {noun}" + ("" if amount == 1 else "s")


def _whole_times(value: float) -> str:
    return f"{value:,.0f}×" if math.isfinite(value) else NOTHING


def _signed(text: str) -> str:
    # A hyphen would be shorter than the plus that it stands below.
    return text.replace("-", "−", 1) if text.startswith("-") else text
