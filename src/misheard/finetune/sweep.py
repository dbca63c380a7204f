"""How far from the old weights to the new: the straight line between them, tried at five points.

The mean of a model and its fine-tune keeps most of what both know (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models"). Point 0 is the model that training began from, as it is served;
every other point is served in the window that training has taught.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from misheard.finetune.served import Heard
from misheard.finetune.written import finite

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mean of old and new weights, and how well it hears."""

    share: float
    """Of the new weights: 0 is the old model, 1 the trained one."""
    validation: Heard | None
    general: Heard | None
    """On the part of the general set that is for choosing; None where there is none."""

    def to_dict(self) -> dict[str, Any]:
        """For the job's result; a rate that cannot be told, for nobody speaks, is None."""
        made = asdict(self)
        for heard in (made["validation"], made["general"]):
            for rate in ("wer", "cer"):
                if heard is not None:
                    heard[rate] = finite(heard[rate])
        return made

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` made."""
        return cls(
            share=values["share"],
            validation=_heard(values["validation"]),
            general=_heard(values["general"]),
        )


def _heard(values: dict[str, Any] | None) -> Heard | None:
    if values is None:
        return None
    unknown = {rate: math.nan for rate in ("wer", "cer") if values[rate] is None}
    return Heard(**values | unknown)


def lost(point: Point, old: Point) -> float:
    """How much higher the WER on the general set is than the old model's, absolute.

    0 where there is no such set, or nobody speaks in it: nothing can be lost there.
    """
    if point.general is None or old.general is None:
        return 0.0
    rise = point.general.wer - old.general.wer
    return 0.0 if math.isnan(rise) else rise


def keeping(points: Sequence[Point], *, general_margin: float) -> list[Point]:
    """The points of new weights that keep the general set.

    A point keeps it when its WER there is not above that of the old model, or by less than
    `general_margin` (absolute).
    """
    old = next(point for point in points if point.share == 0.0)
    return [
        point
        for point in points
        if point.share > 0.0 and (lost(point, old) <= 0.0 or lost(point, old) < general_margin)
    ]


def choose(points: Sequence[Point], *, general_margin: float) -> Point:
    """The point to ship: the best on validation of those that keep the general set.

    Of those whose difference to the best may be chance it is the nearest to the trained weights,
    where the window is best known. Where none keeps the general set, it is the one that comes
    closest. The old model itself is never chosen: whether the new one is good enough to replace it
    is for the gates to say.
    """
    old = next(point for point in points if point.share == 0.0)
    kept = keeping(points, general_margin=general_margin)
    if not kept:
        new = [point for point in points if point.share > 0.0]
        return min(new, key=lambda point: (lost(point, old), -point.share))
    heard = [point.validation for point in kept if point.validation is not None]
    if heard:
        best = min(heard, key=lambda one: one.rank)
        kept = [one for one in kept if one.validation and one.validation.is_as_good_as(best)]
    return max(kept, key=lambda point: point.share)
