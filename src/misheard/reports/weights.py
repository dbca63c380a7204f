"""Between old weights and new: what each point of a job's sweep came to, which is shipped, and why.

Pure: from the result of a job to what stands on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from misheard.finetune.served import Heard
from misheard.finetune.sweep import Point, keeping, lost
from misheard.reports import curves, figures
from misheard.reports.page import drawn

_NAMES = {0.0: "old", 0.25: "¼", 0.5: "½", 0.75: "¾", 1.0: "new"}
_MIXED = {
    0.25: "a quarter new weights, three quarters old",
    0.5: "half new weights, half old",
    0.75: "three quarters new weights, a quarter old",
}
_SHIPPED = "shipped"
_HEADROOM = 2.0
"""A point of more than so many times what matters is beyond the chart, so that the rest is seen."""
_LEAST_TOP = 0.05


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One point as a row of the table."""

    name: str
    wer: str
    cer: str
    silent_with_text: str
    general: str
    rise: str
    """Of the WER on the general set, over the old model's; empty for that one."""
    is_kept: bool
    """Whether the general set is kept there, as far as that is known."""
    is_shipped: bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The way from the old weights to the new."""

    why: str
    """Which point is shipped, and for which reason."""
    rows: tuple[PointRow, ...] = ()
    validation: str = ""
    general: str = ""
    limit: str = ""
    """What the WER on the general set may be at most; empty where that is not known."""
    is_cut: bool = False
    """Whether some point is beyond the chart."""


def sweep(result: dict[str, Any], *, margin: float | None) -> Sweep | None:
    """What a job found between old and new weights; None where it did not ship by that.

    `margin` is what the job was allowed to lose on the general set, absolute; None where that is
    not known any more.
    """
    if "share" not in result:
        return None
    points = [Point.from_dict(one) for one in result["sweep"]]
    if not points:
        return Sweep(why="The trained weights are shipped as they are; no mean was tried.")
    chosen = next(point for point in points if point.share == result["share"])
    old = next(point for point in points if point.share == 0.0)
    kept = None if margin is None else keeping(points, general_margin=margin)
    limit = None
    if margin is not None and old.general is not None and math.isfinite(old.general.wer):
        limit = old.general.wer + margin
    on_validation, on_general = _wers(points, "validation"), _wers(points, "general")
    mark = curves.Mark(x=points.index(chosen), text=_SHIPPED)
    return Sweep(
        why=_why(points, chosen, kept, margin),
        rows=tuple(_row(point, old, kept, is_shipped=point is chosen) for point in points),
        validation=_chart(on_validation, "the validation split", mark, None),
        general=_chart(on_general, "the general set", mark, limit),
        limit="" if limit is None else figures.percent(limit),
        is_cut=any(
            wer > curves.reach(_top(wers, mark, bound))
            for wers, bound in ((on_validation, None), (on_general, limit))
            for _, wer in wers
        ),
    )


def name_of(share: float) -> str:
    """A point's name: old, new, or the share of the new weights."""
    return _NAMES.get(share, f"{share:g}")


def _wers(points: Sequence[Point], where: str) -> list[tuple[str, float]]:
    heard: list[Heard | None] = [getattr(point, where) for point in points]
    return [
        (name_of(point.share), math.nan if one is None else one.wer)
        for point, one in zip(points, heard, strict=True)
    ]


def _chart(
    wers: Sequence[tuple[str, float]], where: str, mark: curves.Mark, limit: float | None
) -> Markup:
    named = ", ".join(f"{name} {figures.percent(wer)}" for name, wer in wers)
    shipped, _ = wers[int(mark.x)]
    return drawn(
        curves.stops_chart(
            wers,
            label=f"Word error rate on {where} from old weights to new: {named}; "
            f"{shipped} is shipped",
            as_text=figures.percent,
            tick_text=figures.tick_percent,
            top=_top(wers, mark, limit),
            mark=mark,
            limit=limit,
        )
    )


def _top(wers: Sequence[tuple[str, float]], mark: curves.Mark, limit: float | None) -> float:
    """The highest rate that is drawn to scale.

    Between old weights and new a model may hear nothing right, and give ten wrong words for each
    that was spoken; drawn to scale, what matters would be a flat line below it.
    """
    known = [wer for _, wer in wers]
    matters = [wer for wer in (known[0], known[int(mark.x)]) if math.isfinite(wer)]
    most = max([*matters, limit or 0.0])
    # What is no number compares false.
    return max([most, *(wer for wer in known if wer <= max(_LEAST_TOP, _HEADROOM * most))])


def _row(point: Point, old: Point, kept: Sequence[Point] | None, *, is_shipped: bool) -> PointRow:
    heard, general = point.validation, point.general
    rise = "" if point is old or general is None or old.general is None else _points(point, old)
    return PointRow(
        name=name_of(point.share),
        wer=figures.percent(heard.wer) if heard else "",
        cer=figures.percent(heard.cer) if heard else "",
        silent_with_text=figures.count(heard.silent_with_text) if heard else "",
        general=figures.percent(general.wer) if general else "",
        rise=rise,
        is_kept=kept is None or point is old or point in kept,
        is_shipped=is_shipped,
    )


def _points(point: Point, old: Point) -> str:
    return f"{100 * lost(point, old):+.1f} pts".replace("-", "−")


def _why(
    points: Sequence[Point], chosen: Point, kept: Sequence[Point] | None, margin: float | None
) -> str:
    """Which point is shipped, and why, in sentences."""
    shipped = "Shipped are the trained weights as they are"
    if chosen.share in _MIXED:
        shipped = f"Shipped is the mean at {name_of(chosen.share)}: {_MIXED[chosen.share]}"
    old = next(point for point in points if point.share == 0.0)
    has_general = old.general is not None
    if kept is None:
        by = " and by what is lost on the general set" if has_general else ""
        return f"{shipped}. It was chosen by the WER on validation{by}."
    bound = f"less than {100 * margin:.1f} points" if margin else "nothing"
    if not kept:
        none = f"No point loses {bound}" if margin else "Every point loses something"
        return (
            f"{shipped}. {none} on the general set; this one loses least there "
            f"({_points(chosen, old)})."
        )
    among = f" of those that lose {bound} on the general set" if has_general else ""
    if chosen.validation is None:
        return f"{shipped}. It is the nearest to the training{among}; no clip was set aside."
    how = "It hears the validation split best"
    if any(_rank(one) < _rank(chosen) for one in kept):
        how = (
            "It is the nearest to the training of those that hear the validation split equally "
            "well, but for chance,"
        )
    said = f"{shipped}. {how}{among}: {_rates(chosen, old)}."
    return " ".join([said, *_tie(chosen, kept), *_rivals(points, chosen, kept)])


def _rates(chosen: Point, old: Point) -> str:
    if chosen.validation is None or old.validation is None:
        return ""
    before = figures.percent(old.validation.wer)
    return f"{figures.percent(chosen.validation.wer)} WER, where the old model has {before}"


def _tie(chosen: Point, kept: Sequence[Point]) -> list[str]:
    """What decided between points of the same WER."""
    mine = _rank(chosen)
    equal = [one for one in kept if one is not chosen and _rank(one)[:1] == mine[:1]]
    if not equal:
        return []
    names = _listed([_called(one) for one in equal])
    verb = "has" if len(equal) == 1 and equal[0].share in _MIXED else "have"
    told = f"{names[:1].upper()}{names[1:]} {verb} the same WER"
    return [f"{told}, and it is the nearest to the training."]


def _rivals(points: Sequence[Point], chosen: Point, kept: Sequence[Point]) -> list[str]:
    """Points that hear the validation split better still, and why they are not shipped."""
    old = next(point for point in points if point.share == 0.0)
    better = [one for one in points if _rank(one) < _rank(chosen) and one not in kept]
    made = [
        f"With {_called(one)} it would be {figures.percent(one.validation.wer)}, but "
        f"{_points(one, old)} on the general set."
        for one in better
        if one is not old and one not in kept and one.validation is not None
    ]
    if old in better:
        made.append(
            "The old model hears it better still; whether the new one replaces it is for the "
            "gates to say."
        )
    return made


def _called(point: Point) -> str:
    return name_of(point.share) if point.share in _MIXED else "the trained weights"


def _rank(point: Point) -> tuple[float, ...]:
    return () if point.validation is None else point.validation.rank


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
