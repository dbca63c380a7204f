"""Every room of the loop, each built with what it needs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine

from misheard.backups import Backups, require_sqlite
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.capture.retention import CaptureRetention, KeepRules
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.review import ReviewQueue
from misheard.cycle.cycles import Cycles
from misheard.cycle.stages import CycleRules, Stages
from misheard.cycle.states import CycleState
from misheard.cycle.watching import WatchRules
from misheard.database.audit import AuditLog
from misheard.database.engine import migrate, open_engine
from misheard.datasets.datasets import Datasets
from misheard.datasets.split import SplitShares
from misheard.deployment import Deployment, Deployments
from misheard.errors import MisheardError, WorkspaceNotFoundError
from misheard.finetune.backends.backend import TrainingBackend
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.jobs import Jobs
from misheard.finetune.recipe import Recipe
from misheard.forgetting.forgetting import Forgetting
from misheard.gates.contender import Contender, from_function
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.infrastructure import Infrastructure, InfrastructureCheck
from misheard.gates.judging import ValidationRules
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import RegressionRules
from misheard.gates.validation import Validations
from misheard.integrity.check import Integrity
from misheard.monitoring.activity import Monitor
from misheard.monitoring.alerts import Alerts
from misheard.monitoring.channels.configured import configured
from misheard.monitoring.metrics import Metrics
from misheard.monitoring.observations import Observations
from misheard.monitoring.rules import Rule
from misheard.monitoring.trends import Trends
from misheard.registry import Registry
from misheard.retention import Retention
from misheard.scoring.normalize import Normalizer, normalizer
from misheard.settings import Settings
from misheard.speech.decoding import DecodingOptions
from misheard.speech.engines import open_transcriber
from misheard.speech.transcriber import Transcriber
from misheard.triggers import Drift

TranscribeFunction = Callable[[Any], Any]
"""Takes an audio path or an array; gives a str, or a dict with `transcript`."""


@dataclass
class TranscribeFunctions:
    """How the gates hear versions whose engine is not one of ours; None: with ours."""

    baseline: TranscribeFunction | None = None
    """The live version."""
    of_model: Callable[[str], TranscribeFunction] | None = None
    """Any other version, from the directory with its files."""


class Rooms:
    """Opens database and blobs, and hands out the rooms; `Workspace` does things with them."""

    def __init__(self, root: Path, settings: Settings, *, is_new: bool = False) -> None:
        """Use `open` or `create`."""
        self.root = root
        self.settings = settings
        self.functions = TranscribeFunctions()
        self._contenders: dict[tuple[str, Callable[..., Any]], Contender] = {}
        file = root / "misheard.db"
        # SQLite would make an empty database of a file that is lost or was cut to nothing.
        if not (is_new or settings.database.url or (file.exists() and file.stat().st_size)):
            raise WorkspaceNotFoundError(
                f"'{file}' is missing or empty, so what it held is lost. Put a backup in its "
                f"place, one of '{root / 'backups'}': misheard -w {root} restore FILE"
            )
        in_workspace = URL.create("sqlite", database=str(file))
        url = settings.database.url or in_workspace
        self._engine = open_engine(url)
        # What production heard comes by the thousand, and is telemetry; all else is control state.
        self._log_engine = open_engine(url, telemetry=not settings.capture.durable)
        migrate(self._engine, may_be_new=is_new)
        self._blobs = DirectoryBlobs(root / "blobs")

    # The rooms, in the order of the walk.

    @cached_property
    def normalizer(self) -> Normalizer:
        """What references and transcripts go through before they are compared."""
        scoring = self.settings.scoring
        return normalizer(scoring.normalizer, scoring.equivalents)

    @cached_property
    def inferences(self) -> InferenceLog:
        """What production heard."""
        return InferenceLog(self._log_engine, self._blobs)

    @cached_property
    def suspicions(self) -> Suspicions:
        """How suspicious transcripts are, and what corrections have taught about that."""
        return Suspicions(self._engine, normalize=self.normalizer)

    @cached_property
    def digest(self) -> Digest:
        """Counts what came, and chooses what a person should look at."""
        rules = self.settings.capture
        return Digest(
            self._engine,
            rules=DigestRules(
                slices=rules.slices,
                audit_share=rules.audit_share,
                min_suspicion=rules.min_suspicion,
            ),
            scorer=self.suspicions.score,
        )

    @cached_property
    def cases(self) -> Cases:
        """Error cases and corrections."""
        return Cases(
            self._engine, normalizer=self.normalizer, fetch_audio=self.inferences.fetch_audio
        )

    @cached_property
    def review(self) -> ReviewQueue:
        """What a person should listen to next."""
        return ReviewQueue(self._engine)

    @cached_property
    def labels(self) -> Labels:
        """What people's labels say of the traffic, and of each other."""
        return Labels(self._engine, normalizer=self.normalizer)

    @cached_property
    def datasets(self) -> Datasets:
        """Dataset versions."""
        return Datasets(self._engine, self._blobs)

    @cached_property
    def registry(self) -> Registry:
        """Model versions."""
        return Registry(self._engine, self._blobs, self.root / "models")

    @cached_property
    def jobs(self) -> Jobs:
        """Training jobs."""
        backends: dict[str, type[TrainingBackend]] = {
            "local": LocalBackend,
            "inprocess": InProcessBackend,
        }
        return Jobs(
            self._engine,
            self.datasets,
            self.registry,
            backends[self.settings.backend](),
            self.root / "jobs",
            normalizer=self.normalizer,
            general_margin=self.settings.validation.general_margin,
            decoding=self._decoding(),
            compute_type=self.settings.speech.compute_type,
        )

    @cached_property
    def hypotheses(self) -> Hypotheses:
        """What versions make of clips."""
        speech = self.settings.speech
        return Hypotheses(
            self._engine,
            self._blobs,
            self.transcriber,
            decoding=(
                f"{speech.language} beam={speech.beam_size} {speech.compute_type}"
                f"{self._decoding().changed_label}"
            ),
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
            options=self._decoding(),
            compute_type=speech.compute_type,
            threads=speech.threads,
            max_latency_s=self.settings.deployment.max_latency_s,
        )

    @cached_property
    def deployments(self) -> Deployments:
        """What is live, and what was."""
        return Deployments(self._engine)

    @cached_property
    def cycles(self) -> Cycles:
        """The loop itself."""
        rules = self.settings.datasets
        stages = Stages(
            cases=self.cases,
            datasets=self.datasets,
            jobs=self.jobs,
            registry=self.registry,
            validations=self.validations,
            suites=self.suites,
            deployments=self.deployments,
            observations=self.observations,
            contender=self.contender,
            check_files=self.check_files,
            before_deployment=self._back_up,
            after_deployment=lambda: self._prune("retention"),
            rules=CycleRules(
                triggers=self.settings.triggers,
                shares=SplitShares(
                    train_percent=rules.train_percent,
                    validation_percent=rules.validation_percent,
                    test_percent=rules.test_percent,
                ),
                replay_per_error=rules.replay_per_error,
                balance_error_types=rules.balance_error_types,
                min_quality=rules.min_quality,
                recipe=Recipe.from_dict(dict(self.settings.recipe)),
                require_approval=self.settings.deployment.require_approval,
                run_suites=self.settings.regression.run_on_deploy,
                normalizer=self.normalizer,
                watch=WatchRules(
                    hours=self.settings.deployment.watch_hours,
                    inferences=self.settings.deployment.watch_inferences,
                ),
            ),
        )
        return Cycles(
            self._engine,
            observations=self.observations,
            deployments=self.deployments,
            stages=stages,
            drift=self._suspicion_drift,
        )

    def _suspicion_drift(self) -> Drift | None:
        """Whether the live version's suspicion is known to have risen: an alert of it is open."""
        if "suspicion" not in self.settings.alerts.drift_of:
            return None
        live = self.deployments.live().version_id
        for alert in self.alerts.listed(open_only=True):
            if alert.rule == Rule.DRIFT_SUSPICION and alert.subject == live:
                return Drift(detail=alert.detail, has_drifted=True)
        return Drift(detail="the suspicion of what is heard has not risen", has_drifted=False)

    @cached_property
    def observations(self) -> Observations:
        """Figures that were told to us, and those of the traffic."""
        return Observations(self._engine)

    @cached_property
    def backups(self) -> Backups:
        """Copies of the database, made before deployments."""
        return Backups(self._engine, self.registry, self.root / "backups")

    @cached_property
    def integrity(self) -> Integrity:
        """Looks whether everything is there and whole."""
        return Integrity(self._engine, self._blobs)

    @cached_property
    def retention(self) -> Retention:
        """Lets go of the files of versions that are long gone."""
        final = [state for state in CycleState if state.is_decided]
        return Retention(self._engine, self._blobs, self.registry, final_cycle_states=final)

    @cached_property
    def capture_retention(self) -> CaptureRetention:
        """Lets go of audio and transcripts that nobody needs any more."""
        rules = self.settings.capture
        return CaptureRetention(
            self._engine,
            self._blobs,
            rules=KeepRules(
                audio_days=rules.keep_audio_days,
                audio_gb=rules.keep_audio_gb,
                text_days=rules.keep_text_days,
            ),
            in_datasets=self.datasets.in_use,
        )

    @cached_property
    def forgetting(self) -> Forgetting:
        """Deletes what belongs to one person."""
        return Forgetting(
            self._engine,
            self._blobs,
            jobs_root=self.root / "jobs",
            copies=self._copies,
        )

    def _copies(self) -> list[Path]:
        """Files that hold the whole database as it was."""
        by_hand = sorted((self.root / "backups").glob("by-hand-*.db"))
        aside = sorted(self.root.glob("misheard.db.before-restore-*"))
        return [*self.backups.listed(), *by_hand, *aside]

    @cached_property
    def monitor(self) -> Monitor:
        """What production did."""
        return Monitor(self._engine)

    @cached_property
    def trends(self) -> Trends:
        """How the traffic went."""
        return Trends(self._engine)

    @cached_property
    def alerts(self) -> Alerts:
        """What is wrong, and who was told."""
        alerts = self.settings.alerts
        return Alerts(self._engine, settings=alerts, channels=configured(alerts), root=self.root)

    @cached_property
    def metrics(self) -> Metrics:
        """Figures for Prometheus."""
        return Metrics(self._engine)

    @cached_property
    def audit(self) -> AuditLog:
        """Who did what, and why."""
        return AuditLog(self._engine)

    def recording(self, audio_sha256: str) -> bytes:
        """The encoded audio of an utterance; `BlobNotFoundError` where it is not kept."""
        return self._blobs.get_bytes(audio_sha256)

    def transcriber(self, version_id: str) -> Transcriber:
        """The engine of a model version, loaded; the last two stay loaded."""
        made: Transcriber = self._load(version_id)
        return made

    @cached_property
    def _load(self) -> Any:
        speech = self.settings.speech

        @lru_cache(maxsize=2)
        def load(version_id: str) -> Transcriber:
            return open_transcriber(
                self.registry.directory(version_id),
                name=version_id,
                options=self._decoding(),
                compute_type=speech.compute_type,
                threads=speech.threads,
            )

        return load

    def _decoding(self, **changes: Any) -> DecodingOptions:
        """The options of `[speech]`, some of them changed."""
        set_here = self.settings.speech.model_dump(exclude={"model", "compute_type", "threads"})
        return DecodingOptions(**set_here | changes)

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

    def _back_up(self, live: Deployment | None) -> None:
        rules = self.settings.deployment
        if rules.auto_backup_before_deploy:
            self.backups.make(
                version_id=live.version_id if live else None,
                number=live.number if live else 0,
                keep=rules.keep_previous_versions,
                one_a_number=True,
            )

    def _prune(self, actor: str) -> None:
        try:
            self.retention.prune(keep=self.settings.deployment.keep_previous_versions, actor=actor)
        except MisheardError as error:
            # The deployment is done; what is left over is let go of after the next one.
            logging.getLogger("misheard").warning("Old versions were kept. %s", error)


def database_file(root: Path, settings: Settings) -> Path:
    """The SQLite file of the workspace in `root`; `BadInputError` where it is on a server."""
    if not settings.database.url:
        return root / "misheard.db"
    engine = create_engine(settings.database.url)
    require_sqlite(engine)
    return Path(engine.url.database or "")
