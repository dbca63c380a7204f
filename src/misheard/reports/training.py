"""What a training job did, from its order to its artefact, as the page tells it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from misheard.finetune.events import TrainingEvent
from misheard.finetune.jobs import Job
from misheard.reports import curves, figures
from misheard.reports.page import drawn
from misheard.reports.weights import Sweep, sweep

_HASH_SHOWN = 12
_CHECKS = (
    ("right_sized", "Right-sized", "each clip in a window of its own length, as it is served"),
    ("full_window", "At 30 s", "clips in Whisper’s whole window, a sample where there are many"),
    ("long", "Over 30 s", "the same, joined to long recordings that are cut at the pauses"),
)
"""What `ModelCard.checked` calls them, what the page does, and what was done."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """One figure of the training."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """How well the artefact hears recordings of one length."""

    name: str
    wer: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Rows that could not be learnt from."""

    total: int
    of: int
    """All rows of the training split."""
    known: tuple[tuple[str, str], ...]
    """The audio, shortened, and the reason; a job keeps the first hundred."""

    @property
    def more(self) -> int:
        """How many are not on the page."""
        return self.total - len(self.known)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the page says of a job; empty where the job did not tell."""

    loss: str
    validation_wer: str
    notes: tuple[Note, ...] = ()
    left_out: LeftOut | None = None
    sweep: Sweep | None = None
    checks: tuple[Check, ...] = ()


def training(job: Job, events: Sequence[TrainingEvent], *, margin: float | None) -> Training:
    """The job with its curves; `events` are those of training, as `events.course` gives them.

    `margin` is what the job was allowed to lose on the general set, absolute, where that is known.
    A job of an earlier misheard reported less, and less is told of it.
    """
    result = job.result or {}
    rates = _rates(events, result)
    return Training(
        loss=_loss(events),
        validation_wer=_validation(rates, result.get("best_epoch")),
        notes=_notes(job, rates),
        left_out=_left_out(result),
        sweep=sweep(result, margin=margin),
        checks=tuple(
            Check(name=name, wer=figures.percent(result["checked"][key]), detail=detail)
            for key, name, detail in _CHECKS
            if key in result.get("checked", {})
        ),
    )


def _rates(events: Sequence[TrainingEvent], result: dict[str, Any]) -> list[tuple[float, float]]:
    """Epochs with their WER on the validation split."""
    told = [
        (event.epoch, event.validation_wer) for event in events if event.validation_wer is not None
    ]
    if told:
        return told
    # The events are files of the job, and may be gone.
    kept = enumerate(result.get("validation_wer", []), 1)
    return [(float(epoch), wer) for epoch, wer in kept if wer is not None]


def _loss(events: Sequence[TrainingEvent]) -> str:
    losses = [(event.epoch, event.loss) for event in events if event.loss is not None]
    return drawn(
        curves.line_chart(
            losses,
            label=_from_to("Training loss", [loss for _, loss in losses], figures.number),
            as_text=figures.number,
            tick_text=figures.number,
            x_name="epoch",
        )
    )


def _validation(rates: Sequence[tuple[float, float]], best: int | None) -> str:
    found = [wer for epoch, wer in rates if epoch == best]
    label = _from_to("Validation word error rate", [wer for _, wer in rates], figures.percent)
    mark = None
    if best is not None and found:
        told = figures.percent(found[0])
        # The first and the last have their values already.
        is_end = best in (rates[0][0], rates[-1][0])
        mark = curves.Mark(x=best, text="kept" if is_end else f"kept: {told}")
        label += f"; the weights of epoch {best} are kept, with {told}"
    return drawn(
        curves.line_chart(
            rates,
            label=label,
            as_text=figures.percent,
            tick_text=figures.tick_percent,
            x_name="epoch",
            dots=True,
            mark=mark,
        )
    )


def _from_to(name: str, values: Sequence[float], as_text: Any) -> str:
    known = [value for value in values if math.isfinite(value)]
    return f"{name}, from {as_text(known[0])} to {as_text(known[-1])}" if known else name


def _notes(job: Job, rates: Sequence[tuple[float, float]]) -> tuple[Note, ...]:
    result, made = job.result or {}, []
    if result.get("best_epoch") is not None:
        last = round(max((epoch for epoch, _ in rates), default=job.recipe.epochs))
        made.append(
            Note(
                name="Kept epoch",
                value=f"{result['best_epoch']} of {last}",
                detail=_ended(job, result["best_epoch"], last),
            )
        )
    if "shown_an_epoch" in result:
        made.append(
            Note(
                name="Shown an epoch",
                value=figures.plural(result["shown_an_epoch"], "clip"),
                detail=f"made from {figures.plural(result['training_clips'], 'clip')}: some "
                "joined, repeated or drawn, and some without speech besides",
            )
        )
    if "peak_memory_mb" in result:
        processes = result.get("processes", 1)
        made.append(
            Note(
                name="Peak memory",
                value=figures.memory(result["peak_memory_mb"]),
                detail="of the training program"
                if processes == 1
                else f"of the first of {processes} processes",
            )
        )
    if "precision" in result:
        made.append(
            Note(name="Precision", value=result["precision"], detail="in which it was computed")
        )
    return tuple(made)


def _ended(job: Job, best: int, last: int) -> str:
    if last < job.recipe.epochs:
        since = figures.plural(last - best, "epoch")
        return (
            f"stopped early: {since} brought nothing better, and {job.recipe.epochs} were planned"
        )
    return "trained to the end; kept is the last epoch that hears as well as any, but for chance"


def _left_out(result: dict[str, Any]) -> LeftOut | None:
    if not result.get("left_out"):
        return None
    known = [(one["audio"], one["reason"]) for one in result.get("refused", [])]
    return LeftOut(
        total=result["left_out"],
        of=result["training_clips"] + result["left_out"],
        known=tuple((name[:_HASH_SHOWN], _sentences(reason)) for name, reason in known),
    )


def _sentences(text: str) -> str:
    """An error's message and its detail, each as a sentence: a detail may begin small."""
    return ". ".join(part[:1].upper() + part[1:] for part in text.removesuffix(".").split(". "))
