"""What production heard, and what people say of it."""

from __future__ import annotations

from functools import cached_property

from misheard.capture.digest import Digest, DigestRules
from misheard.capture.inferences import InferenceLog
from misheard.capture.suspicions import Suspicions
from misheard.cases.cases import Cases
from misheard.cases.labels import Labels
from misheard.cases.review import ReviewQueue
from misheard.rooms.opened import Opened


class CaptureRooms(Opened):
    """The rooms of `capture` and `cases`."""

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

    def recording(self, audio_sha256: str) -> bytes:
        """The encoded audio of an utterance; `BlobNotFoundError` where it is not kept."""
        return self._blobs.get_bytes(audio_sha256)
