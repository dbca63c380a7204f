"""How far from the old weights to the new: the straight line between them, tried at five points.

The mean of a model and its fine-tune keeps most of what both know (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models"). Point 0 is the model that training began from, as it is served;
every other point is served in the window that training has taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from misheard.finetune.served import Heard

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
        """For the job's result."""
        return asdict(self)


def choose(points: Sequence[Point], *, general_margin: float) -> Point:
    """The point to ship: the best on validation of those that keep the general set.

    A point keeps it when its WER there is less than `general_margin` (absolute) above that of the
    old model. Where none does, it is the one that comes closest. The old model itself is never
    chosen: whether the new one is good enough to replace it is for the gates to say.
    """
    old = next(point for point in points if point.share == 0.0)
    new = [point for point in points if point.share > 0.0]

    def lost(point: Point) -> float:
        if point.general is None or old.general is None:
            return 0.0
        return point.general.wer - old.general.wer

    kept = [point for point in new if lost(point) < general_margin]
    if not kept:
        return min(new, key=lambda point: (lost(point), -point.share))
    return min(
        kept,
        key=lambda point: (
            point.validation.rank if point.validation is not None else (),
            # The nearer to the training, the better known is the window.
            -point.share,
        ),
    )
