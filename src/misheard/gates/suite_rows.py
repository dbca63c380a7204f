"""How suites, their runs and every utterance of a run stand in the database."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, select

from misheard.database.schema import suite_runs
from misheard.gates.comparison import DEGRADATION
from misheard.gates.suites import Suite, SuiteKind, SuiteRun
from misheard.gates.verdict import from_columns, to_columns

# What a run has beyond the columns of its table; kept in `figures`.
_RATES = ("baseline_wer", "baseline_cer", "sample_degradation_threshold")
_HELD_TO = (*_RATES, "baseline_silent", "held_to_version")


def newest_runs_first() -> Select[Any]:
    """Every run; to be narrowed down."""
    return select(suite_runs).order_by(suite_runs.c.created_at.desc(), suite_runs.c.id.desc())


def run_columns(run: SuiteRun) -> dict[str, Any]:
    """The columns of a run."""
    values = to_columns(run)
    flaky = list(values.pop("flaky"))
    held_to = {key: values.pop(key) for key in _HELD_TO}
    held_to |= {key: number_or_none(held_to[key]) for key in _RATES}
    return values | {"figures": values["figures"] | {"held_to": held_to, "flaky": flaky}}


def run_of(row: dict[str, Any]) -> SuiteRun:
    """The run that `run_columns` was given."""
    figures = dict(row["figures"])
    held_to = figures.pop("held_to", None)
    flaky = tuple(figures.pop("flaky", ()))
    fields = from_columns(row | {"figures": figures})
    live = fields["comparison"].baseline
    if held_to is None:
        # Kept when every suite was held to the live version.
        held_to = dict(zip(_RATES, (live.wer, live.cer, DEGRADATION), strict=True))
    # Kept when only rates could be given.
    held_to = {"baseline_silent": live.silent_with_text} | held_to
    held_to |= {key: math.nan if held_to[key] is None else held_to[key] for key in _RATES}
    return SuiteRun(**fields, **held_to, flaky=flaky)


def suite_of(row: dict[str, Any]) -> Suite:
    """A suite from its columns."""
    return Suite(**row | {"kind": SuiteKind(row["kind"])})


def result_rows(run_id: str, utterances: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each recording: of one that a set has twice, the one with most errors."""
    worst: dict[str, dict[str, Any]] = {}
    for one in utterances:
        known = worst.get(one["audio_sha256"])
        if known is None or one["candidate_errors"] > known["candidate_errors"]:
            worst[one["audio_sha256"]] = one
    return [
        {
            "run_id": run_id,
            "audio_sha256": key,
            "reference": one["reference"],
            "words": one["words"],
            "baseline_errors": one["baseline_errors"],
            "candidate_errors": one["candidate_errors"],
            "baseline_text": one["baseline"],
            "candidate_text": one["candidate"],
        }
        for key, one in worst.items()
    ]


def number_or_none(value: float) -> float | None:
    """Neither JSON nor a column has a word for not-a-number."""
    return value if math.isfinite(value) else None
