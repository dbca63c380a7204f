"""The composition root: opens database and blobs, and hands out every room."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.inferences import Heard, Inference, InferenceLog
from misheard.cases.cases import CaseCounts, Cases
from misheard.cycle.cycles import Cycles
from misheard.cycle.stages import CycleRules, Stages
from misheard.cycle.states import Cycle
from misheard.database.audit import AuditLog
from misheard.database.engine import migrate, open_engine
from misheard.datasets.datasets import Datasets
from misheard.datasets.split import SplitShares
from misheard.deployment import PRODUCTION, Deployment, Deployments
from misheard.errors import WorkspaceExistsError, WorkspaceNotFoundError
from misheard.finetune.backends.backend import TrainingBackend
from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.jobs import Jobs
from misheard.finetune.recipe import Recipe
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.regression import RegressionRules, RegressionSuites
from misheard.gates.validation import ValidationRules, Validations
from misheard.monitoring.activity import Monitor, VersionActivity
from misheard.registry import Registry
from misheard.scoring.normalize import normalizer
from misheard.settings import FILE_NAME, Settings, load_settings, parse_settings
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.transcriber import Progress, Transcriber, no_progress
from misheard.triggers import TriggerDecision, TriggerRules

DEFAULT_DIRECTORY = "data"


class Workspace:
    """A directory with settings, database, blobs and models, and every room of the loop."""

    def __init__(self, root: Path, settings: Settings) -> None:
        """Use `open` or `create`."""
        self.root = root
        self.settings = settings
        in_workspace = URL.create("sqlite", database=str(root / "misheard.db"))
        self._engine = open_engine(settings.database.url or in_workspace)
        migrate(self._engine)
        self._blobs = DirectoryBlobs(root / "blobs")

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """The workspace in `directory`."""
        root = Path(directory)
        if not (root / FILE_NAME).exists():
            raise WorkspaceNotFoundError(
                f"'{directory}' has no {FILE_NAME}. Make one: misheard init {directory}"
            )
        settings = load_settings(root / FILE_NAME)
        _check(settings)
        return cls(root, settings)

    @classmethod
    def create(
        cls,
        directory: str | Path,
        *,
        model: str = DEFAULT_MODEL,
        settings: dict[str, Any] | None = None,
        actor: str = "",
    ) -> Self:
        """Make a workspace with `model` live in it; `settings` are sections for its file.

        The settings file is written last: without it there is no workspace, and a creation that
        was interrupted is simply started again.
        """
        root = Path(directory)
        if (root / FILE_NAME).exists():
            raise WorkspaceExistsError(f"'{directory}' has a {FILE_NAME}.")
        if root.exists() and not root.is_dir():
            raise WorkspaceExistsError(f"'{directory}' is a file.")
        wanted = {**(settings or {})}
        wanted["speech"] = {**wanted.get("speech", {}), "model": model}
        checked = parse_settings(wanted, source=FILE_NAME)
        _check(checked)
        with served_directory(model) as files:
            root.mkdir(parents=True, exist_ok=True)
            made = cls(root, checked)
            who = actor or current_actor()
            version = made.registry.register(
                files, name=model.rpartition(":")[2].rpartition("/")[2], source=model, actor=who
            )
        made.deployments.deploy(version.id, actor=who, reason="the first model")
        _write_settings(root / FILE_NAME, wanted)
        return cls.open(root)

    # The rooms, in the order of the walk.

    @cached_property
    def inferences(self) -> InferenceLog:
        """What production heard."""
        return InferenceLog(self._engine, self._blobs)

    @cached_property
    def cases(self) -> Cases:
        """Error cases and corrections."""
        return Cases(self._engine, normalizer_name=self.settings.scoring.normalizer)

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
            normalizer_name=self.settings.scoring.normalizer,
            language=self.settings.speech.language,
        )

    @cached_property
    def validations(self) -> Validations:
        """The first gate."""
        speech, gate = self.settings.speech, self.settings.validation
        return Validations(
            self._engine,
            self.datasets,
            Hypotheses(
                self._engine,
                self._blobs,
                self.transcriber,
                decoding=f"{speech.language} beam={speech.beam_size} {speech.compute_type}",
            ),
            rules=ValidationRules(**gate.model_dump()),
            normalizer_name=self.settings.scoring.normalizer,
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
        )

    @cached_property
    def deployments(self) -> Deployments:
        """What is live, and what was."""
        return Deployments(self._engine)

    @cached_property
    def cycles(self) -> Cycles:
        """The loop itself."""
        shares = self.settings.datasets.model_dump()
        replay = shares.pop("replay_per_error")
        stages = Stages(
            cases=self.cases,
            datasets=self.datasets,
            jobs=self.jobs,
            registry=self.registry,
            validations=self.validations,
            suites=self.suites,
            rules=CycleRules(
                triggers=TriggerRules(**self.settings.triggers.model_dump()),
                shares=SplitShares(**shares),
                replay_per_error=replay,
                recipe=Recipe.from_dict(dict(self.settings.recipe)),
                require_approval=self.settings.deployment.require_approval,
                normalizer_name=self.settings.scoring.normalizer,
            ),
        )
        return Cycles(
            self._engine, inferences=self.inferences, deployments=self.deployments, stages=stages
        )

    @cached_property
    def monitor(self) -> Monitor:
        """What production did."""
        return Monitor(self._engine)

    @cached_property
    def audit(self) -> AuditLog:
        """Who did what, and why."""
        return AuditLog(self._engine)

    def transcriber(self, version_id: str) -> Transcriber:
        """The engine of a model version, loaded; the last two stay loaded."""
        made: Transcriber = self._load(version_id)
        return made

    @cached_property
    def _load(self) -> Any:
        from misheard.speech.whisper import (  # noqa: PLC0415 - CTranslate2
            DecodingOptions,
            WhisperTranscriber,
        )

        speech = self.settings.speech

        @lru_cache(maxsize=2)
        def load(version_id: str) -> Transcriber:
            return WhisperTranscriber(
                self.registry.directory(version_id),
                name=version_id,
                options=DecodingOptions(
                    beam_size=speech.beam_size,
                    batch_size=speech.batch_size,
                    language=speech.language,
                ),
                compute_type=speech.compute_type,
                threads=speech.threads,
            )

        return load

    # What takes more than one room.

    def transcribe(
        self,
        recordings: Sequence[audio.Recording],
        *,
        slot: str = PRODUCTION,
        progress: Progress = no_progress,
    ) -> list[Inference]:
        """Transcribe with the live version and log every result.

        All audio is decoded first: if one file is bad, nothing is transcribed or logged.
        """
        clips = [audio.decode(one.data, name=one.name) for one in recordings]
        live = self.deployments.live(slot)
        transcripts = self.transcriber(live.version_id).transcribe(clips, progress=progress)
        heard = [
            Heard(
                data=one.data,
                audio=clip,
                transcript=transcript,
                speaker_group=one.speaker_group,
            )
            for one, clip, transcript in zip(recordings, clips, transcripts, strict=True)
        ]
        return self.inferences.record(live.version_id, heard)

    def status(self) -> Status:
        """What is live, what is waiting on whom, what happens next."""
        newest = self.cycles.latest()
        decision = self.cycles.check_trigger()
        cases = self.cases.counts()
        return Status(
            live=self.deployments.live(),
            activity=self.monitor.activity(),
            cases=cases,
            trigger=decision,
            cycle=newest,
            next_step=_next_step(newest, decision, cases),
        )

    def deploy(
        self, version_id: str, *, actor: str, reason: str, slot: str = PRODUCTION
    ) -> Deployment:
        """Make a version live by hand."""
        known = self.registry.get(version_id)
        made = self.deployments.deploy(known.id, actor=actor, reason=reason, slot=slot)
        if slot == PRODUCTION:
            self.cycles.note_live(known.id, actor=actor, reason=reason)
        return made

    def roll_back(self, *, actor: str, reason: str, slot: str = PRODUCTION) -> Deployment:
        """Make live again what was live before."""
        left = self.deployments.live(slot).version_id
        made = self.deployments.roll_back(actor=actor, reason=reason, slot=slot)
        if slot == PRODUCTION:
            self.cycles.note_left(left, actor=actor, reason=reason)
        return made


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where the loop stands."""

    live: Deployment
    activity: list[VersionActivity]
    cases: CaseCounts
    trigger: TriggerDecision
    cycle: Cycle | None
    """The newest one."""
    next_step: str
    """What happens next, and who has to do it."""


def _next_step(newest: Cycle | None, decision: TriggerDecision, cases: CaseCounts) -> str:
    if newest is not None and newest.state.waits_for_person:
        return f"somebody decides: misheard cycle approve {newest.id}, or reject"
    if newest is not None and not newest.state.is_final:
        return f"the cycle goes on: misheard cycle run {newest.id}"
    if decision.should_trigger:
        return "it is worth training: misheard cycle begin"
    if cases.uncorrected:
        return f"{cases.uncorrected} error cases wait for a person: misheard cases --status open"
    return "more transcripts and corrections: " + "; ".join(decision.objections)


def workspace_directory(given: str | None = None) -> Path:
    """The directory that is meant: as given, `MISHEARD_WORKSPACE`, the current one, or `./data`."""
    if given:
        return Path(given)
    if "MISHEARD_WORKSPACE" in os.environ:
        return Path(os.environ["MISHEARD_WORKSPACE"])
    return Path() if Path(FILE_NAME).exists() else Path(DEFAULT_DIRECTORY)


def current_actor() -> str:
    """Who is acting: `MISHEARD_ACTOR`, else the login name."""
    return os.environ.get("MISHEARD_ACTOR") or os.environ.get("USER") or f"uid {os.getuid()}"


def _check(settings: Settings) -> None:
    """What only the rooms know of their settings; an error now rather than in the night."""
    Recipe.from_dict(dict(settings.recipe))
    normalizer(settings.scoring.normalizer)


_HEADER = """\
# Settings of this misheard workspace. What is not set here has its default;
# `misheard settings` shows all of them. An environment variable wins over this file:
# MISHEARD_TRIGGERS__MIN_ERROR_CASES=20
"""


def _write_settings(path: Path, sections: dict[str, Any]) -> None:
    lines = [_HEADER]
    plain = {key: value for key, value in sections.items() if not isinstance(value, dict)}
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"\n[{name}]"] + [f"{key} = {_toml(value)}" for key, value in section.items()]
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".settings-", delete=False, encoding="utf-8"
    ) as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).rename(path)


def _toml(value: bool | int | float | str) -> str:
    """A scalar as TOML writes it: JSON's way is valid there too, but for the character DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
