"""Datasets, what is trained on them, what comes of it, and which of that is live."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from misheard import audio
from misheard.datasets.datasets import Datasets
from misheard.deployment import PRODUCTION, Deployments
from misheard.finetune.backends.backend import TrainingBackend
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.jobs import Jobs
from misheard.finetune.recipe import Recipe
from misheard.finetune.rented.costs import Estimate, estimate
from misheard.finetune.rented.renting import wanted_for
from misheard.fleet import Fleet, Ready, Watching, unwatched
from misheard.registry import Registry
from misheard.rooms.rented import RentedRooms
from misheard.speech.decoding import DecodingOptions
from misheard.speech.engines import open_transcriber
from misheard.speech.transcriber import Transcriber

_OF_THE_ENGINE = {"model", "compute_type", "device", "threads"}
"""What `[speech]` holds besides options of decoding."""


class ModelRooms(RentedRooms):
    """The rooms from datasets to live versions, and the engines of these."""

    @cached_property
    def datasets(self) -> Datasets:
        """Dataset versions."""
        return Datasets(self._engine, self._blobs)

    @cached_property
    def registry(self) -> Registry:
        """Model versions."""
        return Registry(self._engine, self._model_blobs, self.root / "models")

    @cached_property
    def jobs(self) -> Jobs:
        """Training jobs."""
        backends: dict[str, Callable[[], TrainingBackend]] = {
            "local": LocalBackend,
            "inprocess": InProcessBackend,
            "gce": lambda: self.gce,
        }
        return Jobs(
            self._engine,
            self.datasets,
            self.registry,
            backends[self.settings.backend](),
            self._jobs_root,
            normalizer=self.normalizer,
            general_margin=self.settings.validation.general_margin,
            decoding=self.decoding(),
            compute_type=self.settings.speech.compute_type,
            device=self.settings.speech.device,
        )

    def estimate_rent(self, dataset_id: str | None = None) -> Estimate:
        """What the next training on a rented machine may cost, and with a dataset: probably."""
        rules, audio_s = self.settings.gce, 0.0
        if dataset_id is not None:
            audio_s = self.datasets.get(dataset_id).duration_s
        return estimate(
            self.rentals,
            wanted_for(rules, "next", 1),
            budget_usd=rules.monthly_budget_usd,
            audio_hours=audio_s / 3600,
            epochs=Recipe.from_dict(dict(self.settings.recipe)).epochs,
        )

    @cached_property
    def deployments(self) -> Deployments:
        """What is live, and what was."""
        return Deployments(self._engine)

    @cached_property
    def fleet(self) -> Fleet:
        """The servers that are running."""
        return Fleet(self._engine, self._log_engine)

    def get_ready(
        self,
        version_id: str,
        actor: str,
        watching: Watching = unwatched,
        *,
        slot: str = PRODUCTION,
    ) -> Ready:
        """Have the servers of `slot` load a version before it goes live.

        Raises `StagingFailedError` where one cannot.
        """
        return self.fleet.get_ready(
            version_id,
            slot=slot,
            actor=actor,
            within_s=self.settings.deployment.max_staging_s,
            watching=watching,
        )

    def transcriber(self, version_id: str) -> Transcriber:
        """The engine of a model version, loaded; the last two stay loaded."""
        made: Transcriber = self._load(version_id)
        return made

    def open_engine(self, version_id: str) -> Transcriber:
        """The engine of a model version, loaded anew from files whose hashes were checked."""
        speech = self.settings.speech
        return open_transcriber(
            self.registry.directory(version_id),
            name=version_id,
            options=self.decoding(),
            compute_type=speech.compute_type,
            device=speech.device,
            threads=speech.threads,
        )

    def transcribe_function(self, version_id: str) -> Callable[[Any], dict[str, Any]]:
        """A model version as a plain function of an audio path, bytes, or samples at 16 kHz.

        It gives a dict with `transcript` and `confidence` (mean probability a token, 0 to 1, or
        None).
        """
        self.registry.get(version_id)

        def transcribe(source: Any) -> dict[str, Any]:
            (heard,) = self.transcriber(version_id).transcribe([_clip(source)])
            sure = None if heard.avg_logprob is None else math.exp(heard.avg_logprob)
            return {"transcript": heard.text, "confidence": sure}

        return transcribe

    @cached_property
    def _load(self) -> Any:
        return lru_cache(maxsize=2)(self.open_engine)

    def decoding(self, **changes: Any) -> DecodingOptions:
        """The options of `[speech]`, some of them changed."""
        set_here = self.settings.speech.model_dump(exclude=_OF_THE_ENGINE)
        return DecodingOptions(**set_here | changes)


def _clip(source: Any) -> audio.Audio:
    if isinstance(source, str | Path):
        return audio.read(source)
    if isinstance(source, bytes):
        return audio.decode(source)
    return audio.from_samples(source, audio.SAMPLE_RATE_HZ)
