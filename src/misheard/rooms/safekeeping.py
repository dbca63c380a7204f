"""What is kept for how long, who may and did do what, and whether all of it is there."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import cached_property

from misheard.access.tokens import Tokens
from misheard.backups import Backups
from misheard.capture.retention import CaptureRetention, KeepRules
from misheard.cycle.states import CycleState
from misheard.database.audit import AuditLog
from misheard.deployment import Deployment
from misheard.errors import MisheardError
from misheard.forgetting.forgetting import Forgetting
from misheard.integrity.check import Integrity
from misheard.retention import Retention
from misheard.rooms.models import ModelRooms
from misheard.syncing import Syncing


class SafekeepingRooms(ModelRooms):
    """Backups, checks, retention, deletion, tokens, and the audit log."""

    @cached_property
    def backups(self) -> Backups:
        """Copies of the database, made before deployments."""
        return Backups(self._engine, self.registry, self._backups_root)

    @cached_property
    def integrity(self) -> Integrity:
        """Looks whether everything is there and whole."""
        place = self.settings.storage.place
        return Integrity(self._engine, self._blobs, self._model_blobs, place=place)

    @cached_property
    def syncing(self) -> Syncing:
        """Moves files between the directory and the bucket."""
        return Syncing(
            self._engine,
            self._directory_blobs,
            self._blobs,
            self._model_blobs,
            in_use=self.datasets.in_use,
            buckets=self.settings.storage.buckets,
        )

    @cached_property
    def retention(self) -> Retention:
        """Lets go of the files of versions that are long gone."""
        final = [state for state in CycleState if state.is_decided]
        return Retention(
            self._engine,
            self._blobs,
            self.registry,
            final_cycle_states=final,
            model_blobs=self._model_blobs,
            buckets=self.settings.storage.buckets,
        )

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
            model_blobs=self._model_blobs,
            buckets=self.settings.storage.buckets,
        )

    @cached_property
    def forgetting(self) -> Forgetting:
        """Deletes what belongs to one person."""
        return Forgetting(
            self._engine,
            self._blobs,
            jobs_root=self._jobs_root,
            copies=self.backups.copies,
            buckets=self.settings.storage.buckets,
        )

    @cached_property
    def audit(self) -> AuditLog:
        """Who did what, and why."""
        return AuditLog(self._engine)

    @cached_property
    def tokens(self) -> Tokens:
        """By which a server knows who asks, and what they may."""
        return Tokens(self._engine, asking=self._token_engine)

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
            # What a server that died had loaded is not kept for it.
            self.fleet.forget(timedelta(days=self.settings.serving.unseen_days))
            self.retention.prune(keep=self.settings.deployment.keep_previous_versions, actor=actor)
        except MisheardError as error:
            # The deployment is done; what is left over is let go of after the next one.
            logging.getLogger("misheard").warning("Old versions were kept. %s", error)
