"""Gathers what the expected gain of a training is estimated from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, func, select

from misheard.cases.audited import LATELY, audited_rate
from misheard.cases.queries import corrected_since
from misheard.cycle.states import Cycle
from misheard.database import tallies
from misheard.database.schema import hourly
from misheard.datasets.datasets import Dataset, Datasets
from misheard.deployment import Deployments
from misheard.gates.validation import Validations
from misheard.scoring.expected_gain import (
    ExpectedGain,
    GateSet,
    Live,
    PastGain,
    WordErrors,
    expect,
    word_errors,
)
from misheard.scoring.normalize import Normalizer

CASES = 500
"""Corrections that are looked at, the newest: what a part of a second can align."""
TRAININGS = 10
"""Cycles that are looked at, the newest, for what their trainings came to."""


@dataclass(frozen=True, kw_only=True)
class Expecting:
    """Looks at the newest corrections, the set that will decide, and what trainings came to."""

    engine: Engine
    datasets: Datasets
    validations: Validations
    deployments: Deployments
    normalizer: Normalizer
    min_audited: int
    """Labels of the audit from which on its WER is relied on."""

    def gain(self, corrected_cases: int, newest: list[Cycle]) -> ExpectedGain:
        """What training now may buy; see `scoring.expected_gain.expect`.

        `corrected_cases` were corrected since the last cycle, `newest` are the newest cycles. Of
        what grows with the years only the newest part is looked at.
        """
        with self.engine.connect() as connection:
            era = tallies.current_era(connection)
            pairs = corrected_since(connection, since=era.began_at, limit=CASES)
            traffic_h = _traffic_h(connection, era)
        corrected = word_errors(
            [reference for reference, _ in pairs],
            [hypothesis for _, hypothesis in pairs],
            normalizer=self.normalizer,
        )
        deciding = self._deciding(newest)
        heard = self._heard(deciding) if deciding else None
        rules = self.validations.rules
        return expect(
            corrected,
            traffic_h=traffic_h,
            corrected_cases=corrected_cases,
            live=self._live(deciding, heard),
            gate_set=self._gate_set(deciding, heard) if deciding else None,
            past=self._past(newest),
            alpha=rules.alpha,
            min_gain=rules.min_wer_improvement,
        )

    def _deciding(self, newest: list[Cycle]) -> Dataset | None:
        """The set that is held out; without one, that on which the newest cycle was judged."""
        held_out = self.datasets.latest("held-out")
        if held_out is not None:
            return held_out
        judged = next((one.held_out_id for one in newest if one.held_out_id is not None), None)
        return self.datasets.get(judged) if judged is not None else None

    def _heard(self, deciding: Dataset) -> WordErrors | None:
        """What the live version made of that set, where a gate has heard it."""
        live = self.deployments.live().version_id
        known = self.validations.newest_on(deciding.id, version_id=live)
        if known is None:
            return None
        side = "candidate" if known.candidate_id == live else "baseline"
        utterances = self.validations.utterances(known)
        if not utterances:
            return None
        # What is right need not be aligned.
        wrong = [one for one in utterances if one[f"{side}_errors"]]
        found = word_errors(
            [one["reference"] for one in wrong],
            [one[side] for one in wrong],
            normalizer=self.normalizer,
        )
        words = sum(one["words"] for one in utterances)
        return replace(found, utterances=len(utterances), words=words)

    def _live(self, deciding: Dataset | None, heard: WordErrors | None) -> Live:
        if deciding is not None and heard is not None and heard.words:
            wer = heard.errors / heard.words
            return Live(wer=wer, source=f"on '{deciding.name}'", heard=heard)
        live = next(iter(self.deployments.history(limit=1)), None)
        if live is None:
            return Live()
        with self.engine.connect() as connection:
            found = audited_rate(
                connection,
                live.created_at,
                live.version_id,
                newest=max(LATELY, self.min_audited),
                count_drawn=False,
            )
        if found.labelled < self.min_audited or math.isnan(found.wer.estimate):
            return Live()
        source = f"by {found.labelled} labels of the random audit"
        return Live(wer=found.wer.estimate, source=source)

    def _gate_set(self, deciding: Dataset, heard: WordErrors | None) -> GateSet:
        rows = self.datasets.test_rows(deciding)
        words = heard.words if heard else sum(len(row.reference.split()) for row in rows)
        groups = len({row.speaker_group for row in rows})
        return GateSet(name=deciding.name, words=words, groups=groups)

    def _past(self, newest: list[Cycle]) -> list[PastGain]:
        """All that were judged, refused ones as well: else the best of them would be the rule."""
        found = []
        for cycle in newest[:TRAININGS]:
            if cycle.validation_id is None:
                continue
            compared = self.validations.get(cycle.validation_id).comparison
            if compared.words and compared.baseline.errors:
                gain = PastGain(
                    words=compared.words,
                    errors_before=compared.baseline.errors,
                    errors_after=compared.candidate.errors,
                    standard_error=compared.reduction_se,
                )
                found.append(gain)
        return found


def _traffic_h(connection: Connection, era: tallies.Era) -> float:
    """Hours of audio that were heard since then, by whole hours of the day."""
    query = select(func.coalesce(func.sum(hourly.c.audio_s), 0.0)).where(hourly.c.slice == "")
    if era.began_at is not None:
        query = query.where(hourly.c.hour >= tallies.hour_of(era.began_at))
    return float(connection.execute(query).scalar_one()) / 3600
