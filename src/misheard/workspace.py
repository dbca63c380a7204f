"""The composition root: opens database and blobs, and hands out every room."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from misheard import audio
from misheard.backups import restore
from misheard.capture.captured import Captured
from misheard.capture.inferences import Heard, Inference
from misheard.capture.intake import Intake, Logged
from misheard.cases.records import Correction
from misheard.database.audit import AuditEntry
from misheard.database.copying import Counted, Restored, not_counted
from misheard.database.engine import writing
from misheard.deployment import (
    PRODUCTION,
    Deployment,
    deploy_in,
    require_newest,
    roll_back_in,
    version_before_in,
)
from misheard.errors import (
    WorkspaceExistsError,
    WorkspaceNotFoundError,
)
from misheard.finetune.recipe import Recipe
from misheard.fleet import Watching, unwatched
from misheard.gatekeeping import Gatekeeping
from misheard.rollouts.judging import RolloutDecision
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Kind, Rollout, RolloutRules
from misheard.rooms.opened import database_file, require_buckets
from misheard.scoring.normalize import normalizer
from misheard.settings import FILE_NAME, Settings, load_settings, parse_settings, write_settings
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.transcriber import Progress, Transcript, no_progress

DEFAULT_DIRECTORY = "data"


class Workspace(Gatekeeping):
    """A directory with settings, database, blobs and models, and every room of the loop."""

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """The workspace in `directory`."""
        root = Path(directory)
        return cls(root, _settings_of(root))

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
        require_buckets(checked.storage)
        with served_directory(model) as files:
            root.mkdir(parents=True, exist_ok=True)
            made = cls(root, checked, is_new=True)
            who = actor or current_actor()
            version = made.registry.register(
                files, name=model.rpartition(":")[2].rpartition("/")[2], source=model, actor=who
            )
        # Where only the settings were lost, what is live stays live.
        if not made.deployments.history(limit=1):
            made.deployments.deploy(version.id, actor=who, reason="the first model")
        write_settings(root / FILE_NAME, wanted)
        return cls.open(root)

    @classmethod
    def open_or_create(
        cls,
        directory: str | Path,
        *,
        settings: dict[str, Any] | None = None,
        actor: str = "",
    ) -> Self:
        """The workspace in `directory`, made with the bundled model where there is none.

        `settings`: see `create`; those of a workspace that is there stay as they are.
        """
        if not (Path(directory) / FILE_NAME).exists():
            # Another process may be making it at this moment; then the one that is there is right.
            with suppress(WorkspaceExistsError):
                return cls.create(directory, settings=settings, actor=actor)
        return cls.open(directory)

    @classmethod
    def restore(
        cls,
        directory: str | Path,
        backup: Path,
        *,
        actor: str = "",
        progress: Counted = not_counted,
    ) -> tuple[Self, Restored]:
        """Put a copy in the place of the workspace's SQLite database, and open it.

        With it comes what has become of the present database and its tokens. See
        `misheard.database.copying.restore` for what is raised.
        """
        root = Path(directory)
        database = database_file(root, _settings_of(root))
        done = restore(backup, database, progress=progress)
        made = cls.open(root)
        made.audit.add(
            AuditEntry(
                actor=actor or current_actor(),
                action="restore",
                subject=database.name,
                to_value=str(backup),
                reason="by hand",
                evidence={
                    "aside": str(done.aside) if done.aside else "",
                    "revoked_tokens": None if done.revoked is None else list(done.revoked),
                },
            )
        )
        return made, done

    def configured(self, sections: Mapping[str, Mapping[str, Any] | str]) -> Self:
        """This workspace under other settings, by section or name; its file stays as it is."""
        values = self.settings.model_dump()
        for name, section in sections.items():
            values[name] = (
                section if isinstance(section, str) else {**values.get(name, {}), **section}
            )
        settings = parse_settings(values, source="the given configuration")
        _check(settings)
        other = copy.copy(self)
        # The rooms were built for the settings before; loaded models stay where they still fit,
        # and buckets stay open.
        stay = {"_blobs", "_model_blobs", "_load"}
        if settings.storage != self.settings.storage:
            stay = set()
        elif settings.speech != self.settings.speech:
            stay.discard("_load")
        for name, _ in inspect.getmembers(type(self), lambda one: isinstance(one, cached_property)):
            if name not in stay:
                vars(other).pop(name, None)
        other.settings = settings
        return other

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
        return [one for one, _ in self.hear(recordings, slot=slot, progress=progress)]

    def hear(
        self,
        recordings: Sequence[audio.Recording],
        *,
        slot: str = PRODUCTION,
        progress: Progress = no_progress,
        **changes: Any,
    ) -> list[tuple[Inference, Transcript]]:
        """As `transcribe`, with what is not logged: times of words and segments, the language.

        `changes` stand in for options of `[speech]` in this call, see `DecodingOptions`:
        language="de", prompt="…", word_timestamps=True. Raises `InvalidSettingError` for a value
        that cannot be.
        """
        options = self.decoding(**changes) if changes else None
        clips = [audio.decode(one.data, name=one.name) for one in recordings]
        live = self.deployments.live(slot)
        engine = self.transcriber(live.version_id)
        transcripts = engine.transcribe(clips, progress=progress, options=options)
        each = zip(recordings, clips, transcripts, strict=True)
        heard = [_heard(one, clip, transcript) for one, clip, transcript in each]
        logged = self.inferences.record(live.version_id, heard)
        return list(zip(logged, transcripts, strict=True))

    def capture(
        self,
        items: Iterable[Captured],
        *,
        copy_audio: bool = False,
        progress: Progress = no_progress,
    ) -> Logged:
        """Log what a recogniser heard, ours or not, one or millions; see `InferenceLog.capture`."""
        return self.intake(copy_audio=copy_audio, progress=progress).take(items)

    def intake(self, *, copy_audio: bool = False, progress: Progress = no_progress) -> Intake:
        """As `capture`, for a stream: what has come so far is kept whenever it is told to."""
        live = self.deployments.live().version_id
        return self.inferences.intake(live=live, copy_audio=copy_audio, progress=progress)

    def report_case(
        self,
        recording: audio.Recording,
        *,
        hypothesis: str,
        actor: str,
        reference: str | None = None,
        error_types: Sequence[str] = (),
        suspicion: float | None = None,
        method: str = "reported",
        version_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a transcript that somebody reports as wrong, all of it or nothing; its case's id.

        `hypothesis` is what was heard, `reference` what was said where that is known, `suspicion`
        the chance that it is wrong, 0 to 1. Its inference is looked for in the log first; where it
        is not there, `version_id` names who heard it, by default the live version.
        """
        clip = audio.decode(recording.data, name=recording.name)
        transcript = Transcript(text=hypothesis, latency_s=0.0, compute_s=0.0)
        heard = _heard(recording, clip, transcript)
        self.inferences.keep_audio([heard])
        said_by = version_id or self.deployments.live().version_id
        with writing(self._engine) as connection:
            inference_id = self.inferences.report_in(connection, said_by, heard)
            case_id = self.cases.open_in(
                connection,
                inference_id,
                error_types,
                actor=actor,
                suspicion=suspicion,
                details=details,
            )
            if reference is not None:
                correction = Correction(
                    inference_id=inference_id, reference=reference, author=actor, method=method
                )
                self.cases.correct_in(connection, [correction])
        return case_id

    def deploy(
        self,
        version_id: str,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        slot: str = PRODUCTION,
        expected: int | None = None,
        watching: Watching = unwatched,
    ) -> Deployment:
        """Make a version live by hand, once every server of `slot` has it loaded and checked.

        Where no server runs, a version that was never live is tried in a fresh process. `expected`
        is the number of the newest row of the log as the caller saw it, by default as it is now;
        `watching` is told how the servers stand that are waited for. Nothing happens where the
        version is live already.

        Raises `GateRefusedError` for one that was not live before and has not passed validation,
        fails a suite or does not work, unless `force` is on; `StagingFailedError` when a server
        cannot load it; `DeploymentConflictError` when somebody else has deployed or rolled back.
        """
        known = self.registry.get(version_id)
        newest = self.deployments.newest(slot)
        require_newest(newest, expected, slot)
        if newest is not None and newest.version_id == known.id:
            return newest
        is_trusted = self._is_trusted(known.id, slot, force)
        self._back_up(newest)
        ready = self.get_ready(known.id, actor, watching, slot=slot)
        if not ready.servers and not is_trusted:
            self.require_working(known.id)
        try:
            with writing(self._engine) as connection:
                made = deploy_in(
                    connection,
                    known.id,
                    actor=actor,
                    reason=reason,
                    slot=slot,
                    expected=newest.number if newest is not None else 0,
                )
                if slot == PRODUCTION:
                    self.cycles.note_live_in(connection, known.id, actor=actor, reason=reason)
        except BaseException:
            if ready.staging is not None:
                self.fleet.unstage(ready.staging)
            raise
        self._prune(actor)
        return made

    def roll_back(
        self,
        *,
        actor: str,
        reason: str,
        to: str | None = None,
        slot: str = PRODUCTION,
        leaving: int | None = None,
    ) -> Deployment:
        """Make live again what was live before, or the version `to`, which was live once.

        Only while `leaving` is the newest row of the log, by default what is so now: of two who
        call at once the other gets a `DeploymentConflictError`, and does not go back once more.
        """
        if leaving is None:
            newest = self.deployments.newest(slot)
            leaving = newest.number if newest is not None else 0
        with writing(self._engine) as connection:
            made = roll_back_in(
                connection, actor=actor, reason=reason, to=to, slot=slot, leaving=leaving
            )
            if slot == PRODUCTION:
                left = version_before_in(connection, made)
                self.cycles.note_left_in(connection, left, actor=actor, reason=reason)
                self.cycles.note_live_in(connection, made.version_id, actor=actor, reason=reason)
        return made

    def begin_canary(
        self,
        version_id: str,
        *,
        actor: str,
        reason: str,
        shares: Sequence[float] | None = None,
        force: bool = False,
        slot: str = PRODUCTION,
    ) -> Rollout:
        """Let a version answer a share of the sessions, step by step as `[rollouts]` has it.

        Every server of `slot` has it loaded by then. Raises as `deploy` does; see `Rollouts.begin`
        for the rest.
        """
        known = self.registry.get(version_id)
        is_trusted = self._is_trusted(known.id, slot, force)
        ready = self.get_ready(known.id, actor, slot=slot)
        if not ready.servers and not is_trusted:
            self.require_working(known.id)
        given = tuple(shares or self.settings.rollouts.shares)
        try:
            return self._begin_rollout(Kind.CANARY, known.id, given, actor, reason, slot)
        finally:
            # What is tried is loaded anyway.
            if ready.staging is not None:
                self.fleet.unstage(ready.staging)

    def begin_shadow(
        self,
        version_id: str,
        *,
        actor: str,
        reason: str,
        share: float | None = None,
        slot: str = PRODUCTION,
    ) -> Rollout:
        """Let a version hear a share of the sessions beside the live one; nobody is given that."""
        known = self.registry.get(version_id)
        given = self.settings.rollouts.shadow_share if share is None else share
        return self._begin_rollout(Kind.SHADOW, known.id, (given,), actor, reason, slot)

    def judge_rollout(
        self, *, actor: str, slot: str = PRODUCTION, moment: datetime | None = None
    ) -> RolloutDecision | None:
        """Look at what is tried in `slot`, and act: next step, promote, roll back, finish.

        None where nothing is tried. Safe from several processes at once.
        """
        return self.rollouts.judge(slot, actor=actor, moment=moment)

    def _is_trusted(self, version_id: str, slot: str, force: bool) -> bool:
        """Whether nothing is asked of it; raises `GateRefusedError` where the gates say no."""
        if force or version_id in self.deployments.ever_live(slot):
            return True
        self.require_gates(version_id)
        return False

    def _begin_rollout(
        self,
        kind: Kind,
        version_id: str,
        shares: tuple[float, ...],
        actor: str,
        reason: str,
        slot: str,
    ) -> Rollout:
        set_here = self.settings.rollouts
        rules = RolloutRules(
            alpha=set_here.alpha,
            tolerance=set_here.tolerance,
            step_sessions=(
                set_here.shadow_sessions if kind is Kind.SHADOW else set_here.step_sessions
            ),
            step_minutes=set_here.step_minutes,
            min_suspicion=self.settings.capture.min_suspicion,
            slow_s=set_here.slow_s,
            signals=tuple(map(Signal, set_here.signals)),
        )
        return self.rollouts.begin(
            kind, version_id, shares=shares, rules=rules, actor=actor, reason=reason, slot=slot
        )


def _heard(recording: audio.Recording, clip: audio.Audio, transcript: Transcript) -> Heard:
    return Heard(
        data=recording.data,
        audio=clip,
        transcript=transcript,
        speaker_group=recording.speaker_group,
        source=recording.name,
        tags=recording.tags,
    )


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
    normalizer(settings.scoring.normalizer, settings.scoring.equivalents)


def _settings_of(root: Path) -> Settings:
    if not (root / FILE_NAME).exists():
        raise WorkspaceNotFoundError(f"'{root}' has no {FILE_NAME}. Make one: misheard init {root}")
    settings = load_settings(root / FILE_NAME)
    _check(settings)
    return settings
