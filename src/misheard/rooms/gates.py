"""What judges versions, and how each is heard there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from misheard.gates.contender import Contender, TranscribeFunctions, from_function
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.infrastructure import Infrastructure, InfrastructureCheck
from misheard.gates.judging import ValidationRules
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import RegressionRules
from misheard.gates.validation import Validations
from misheard.rooms.models import ModelRooms
from misheard.settings import Settings
from misheard.speech.cuda import CPU


class GateRooms(ModelRooms):
    """The rooms of `gates`."""

    def __init__(self, root: Path, settings: Settings, *, is_new: bool = False) -> None:
        """Use `open` or `create`."""
        super().__init__(root, settings, is_new=is_new)
        self.functions = TranscribeFunctions()
        self._contenders: dict[tuple[str, Callable[..., Any]], Contender] = {}

    @cached_property
    def hypotheses(self) -> Hypotheses:
        """What versions make of clips."""
        speech = self.settings.speech
        ways = [speech.language, f"beam={speech.beam_size}", speech.compute_type]
        ways += [f"retry={speech.retry_margin_s:g}"]
        ways += [] if speech.device == CPU else [speech.device]
        return Hypotheses(
            self._engine,
            self._blobs,
            self.transcriber,
            decoding=" ".join(ways) + self.decoding().changed_label,
        )

    @cached_property
    def validations(self) -> Validations:
        """The first gate."""
        return Validations(
            self._engine,
            self.datasets,
            self.hypotheses,
            blobs=self._blobs,
            rules=ValidationRules(**self.settings.validation.model_dump()),
            normalizer=self.normalizer,
            replicates=self.settings.scoring.replicates,
        )

    @cached_property
    def suites(self) -> RegressionSuites:
        """The second gate."""
        return RegressionSuites(
            self._engine,
            self.datasets,
            self.validations,
            rules=RegressionRules(**self.settings.regression.model_dump()),
            contender=self.contender,
        )

    @cached_property
    def infrastructure(self) -> Infrastructure:
        """Whether an artefact works in a fresh process."""
        speech = self.settings.speech
        return Infrastructure(
            self._engine,
            self._blobs,
            self.registry,
            options=self.decoding(),
            compute_type=speech.compute_type,
            device=speech.device,
            threads=speech.threads,
            max_latency_s=self.settings.deployment.max_latency_s,
        )

    def contender(self, version_id: str) -> str | Contender:
        """How a version is heard in the gates: by its owner's function where one is set."""
        functions, live = self.functions, self.deployments.live().version_id
        function = functions.baseline if version_id == live else functions.of_model
        if function is None:
            return version_id
        # Kept, so that a model is loaded once, and no clip is heard twice.
        known = self._contenders.get((version_id, function))
        if known is None:
            heard = function
            if version_id != live:
                heard = function(str(self.registry.directory(version_id)))
            known = from_function(version_id, heard, self._blobs)
            self._contenders[version_id, function] = known
        return known

    def check_files(
        self, version_id: str, dataset_id: str | None, check_id: str | None = None
    ) -> InfrastructureCheck | None:
        """Try a version in a fresh process; None where that is off, or its engine is not ours.

        Whose verdict was reached without our engine is served by another one. A known `check_id`
        gives the check that is kept.
        """
        version = self.registry.get(version_id)
        judged = version.verdict is not None or self.validations.latest_of(version_id) is not None
        foreign = judged and not self.hypotheses.has_heard(version_id)
        if foreign or self.functions.of_model or not self.settings.deployment.check_files:
            return None
        rows = self.datasets.rows(self.datasets.get(dataset_id)) if dataset_id else []
        return self.infrastructure.check(version_id, rows, check_id=check_id)
