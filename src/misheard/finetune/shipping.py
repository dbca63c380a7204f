"""From trained weights to the artefact: how far to go, what it hears elsewhere, and its card."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from misheard.finetune.examples import Utterance, read_rows
from misheard.finetune.families.family import Family
from misheard.finetune.order import Order
from misheard.finetune.paths import JobPaths
from misheard.finetune.served import Heard, Listener
from misheard.finetune.sweep import SHARES, Point, choose
from misheard.speech.context import ModelCard

_TRAINED = 1.0


class Shipping:
    """Chooses the weights of a job that has been trained, and exports them."""

    def __init__(
        self, paths: JobPaths, order: Order, family: Family, report: Callable[..., None]
    ) -> None:
        """`family` holds the weights that training began from."""
        self._paths = paths
        self._order = order
        self._family = family
        self._report = report
        self._listener = Listener(order)
        self._validation = read_rows(paths.data / "validation.jsonl")
        # Only the part that is for choosing: the gate judges on the rest.
        self._general = read_rows(paths.general / "validation.jsonl")
        self._old = {
            name: value.detach().clone() for name, value in family.model.state_dict().items()
        }
        # Weights that are tied to others are stored once.
        self._new = load_file(paths.best)

    def run(self) -> dict[str, Any]:
        """Write the artefact with its card; the figures of the sweep and of the checks."""
        figures: dict[str, Any] = {"share": _TRAINED, "sweep": []}
        heard: Heard | None = None
        if self._order.recipe.sweep and (self._validation or self._general):
            points = self._sweep()
            chosen = choose(points, general_margin=self._order.general_margin)
            figures = {"share": chosen.share, "sweep": [point.to_dict() for point in points]}
            heard = chosen.validation
        self._put(figures["share"])
        checked = self._check(heard)
        self._export(checked)
        tried, model = self._paths.tried, self._paths.model
        shutil.rmtree(model, ignore_errors=True)
        tried.rename(model)
        return figures | {"checked": checked}

    def _sweep(self) -> list[Point]:
        points = []
        for number, share in enumerate(SHARES, 1):
            # The old model is heard as it is served today.
            directory = self._paths.base
            if share:
                self._put(share)
                self._export({})
                directory = self._paths.tried
            point = Point(
                share=share,
                validation=self._hear(directory, self._validation),
                general=self._hear(directory, self._general),
            )
            points.append(point)
            told = {} if point.validation is None else {"validation_wer": point.validation.wer}
            self._report(phase="sweep", step=number, steps=len(SHARES), share=share, **told)
        return points

    def _hear(self, directory: Any, rows: list[Utterance]) -> Heard | None:
        return self._listener.hear(directory, rows) if rows else None

    def _put(self, share: float) -> None:
        """Load the mean of old and new weights."""
        mean = {
            name: torch.lerp(old, self._new[name], share)
            for name, old in self._old.items()
            if name in self._new and old.dtype.is_floating_point
        }
        self._family.model.load_state_dict(mean, strict=False)

    def _check(self, right_sized: Heard | None) -> dict[str, float]:
        """Word error rates in the learnt window, in the whole one, and on long recordings.

        `right_sized` is the first where it is known already.
        """
        if self._family.context is None or not self._validation:
            return {}
        self._export({})
        kinds: dict[str, Callable[[Path, list[Utterance]], Heard | None]] = {
            "right_sized": lambda *given: right_sized or self._listener.hear(*given),
            "full_window": self._listener.hear_in_full_window,
            "long": self._listener.hear_joined,
        }
        made = {}
        for number, (name, hear) in enumerate(kinds.items(), 1):
            heard = hear(self._paths.tried, self._validation)
            if heard is not None and not math.isnan(heard.wer):
                made[name] = heard.wer
            self._report(phase="check", step=number, steps=len(kinds))
        return made

    def _export(self, checked: dict[str, float]) -> None:
        tried = self._paths.tried
        shutil.rmtree(tried, ignore_errors=True)
        self._family.export(self._family.model, tried)
        card(self._order, self._family, checked).write(tried)


def card(order: Order, family: Family, checked: dict[str, float] | None = None) -> ModelCard:
    """What the artefact of a job says of itself."""
    return ModelCard(
        base=order.base_name,
        dataset_id=order.dataset_id,
        recipe_id=order.recipe.id,
        context=family.context,
        checked=checked or {},
    )
