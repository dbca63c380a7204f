"""What is known of an error case, and what a person says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

AUDIT_METHOD = "audit"
"""The method of a correction that answers an audit, whatever else is known of its transcript."""
UNASKED_METHODS = frozenset({"feedback", "import", "reported"})
"""Methods of people who came because something is wrong: they answer no audit."""


class CaseStatus(StrEnum):
    """Where an error case stands."""

    OPEN = "open"
    """Believed to be wrong; nobody has said what was spoken."""
    CORRECTED = "corrected"
    CONFIRMED = "confirmed"
    """A person found nothing wrong with it."""

    @property
    def is_final(self) -> bool:
        """Whether a person has decided."""
        return self is not CaseStatus.OPEN


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person says of one transcript; the newest of an utterance counts."""

    inference_id: str
    reference: str
    author: str
    method: str = "manual"
    """How it came about: manual, audit, import, feedback, …; an audit goes by it, see
    `UNASKED_METHODS`."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever its author wants remembered."""


@dataclass(frozen=True, kw_only=True)
class GivenCorrection(Correction):
    """A correction as it is kept."""

    number: int
    """Counts corrections."""
    created_at: datetime
    is_error: bool
    """False: it confirms what was heard, formatting aside."""


@dataclass(frozen=True, kw_only=True)
class ErrorCase:
    """An utterance believed or known to be mis-transcribed."""

    id: str
    inference_id: str
    created_at: datetime
    audio_sha256: str
    source: str
    """Where its audio came from."""
    hypothesis: str
    reference: str | None
    """The newest correction; None while the case is open."""
    status: CaseStatus
    suspicion: float | None
    """The chance that it is wrong, as its reporter saw it; None where none was given."""
    score: float | None
    """Word errors over reference words, at most 1; None while the case is open."""
    error_types: list[str]
    """As reported, then as measured against the newest correction."""
    speaker: str | None
    speaker_group: str
    """All that may sound alike: it is never in two splits."""
    tags: dict[str, str]
    """Whatever slices are cut by: channel=mobile."""
    details: dict[str, Any]
    """Whatever its reporter wants remembered."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """An utterance that a person has corrected or confirmed."""

    inference_id: str
    audio_sha256: str
    duration_s: float
    speaker_group: str
    hypothesis: str
    reference: str
    is_error: bool
    tags: Mapping[str, str] = field(default_factory=dict)
    error_types: tuple[str, ...] = ()
    other_references: tuple[str, ...] = ()
    """What other people said last of the same transcript."""


@dataclass(frozen=True, kw_only=True)
class CaseCounts:
    """How many cases there are, and of which kind."""

    error_cases: int
    """Open and corrected ones; confirmed ones are no errors."""
    corrected: int
    confirmations: int
    """Utterances that were confirmed as right, whether a case was opened or not."""
    confirmed_cases: int
    """Cases in which a person found nothing wrong."""
    by_type: dict[str, int]

    @property
    def uncorrected(self) -> int:
        """Cases that wait for a person."""
        return self.error_cases - self.corrected


@dataclass(frozen=True, kw_only=True)
class CaseStandings:
    """How many cases stand how, of all that there ever were."""

    error_cases: int
    """Open and corrected ones; confirmed ones are no errors."""
    corrected: int
    confirmed: int

    @property
    def open(self) -> int:
        """Cases that wait for a person."""
        return self.error_cases - self.corrected


@dataclass(frozen=True, kw_only=True)
class CaseTotals:
    """Everything that was ever kept, whatever people found."""

    cases: int
    labelled_cases: int
    """Those that a person has corrected or confirmed."""
    corrections: int
    """Corrections and confirmations, earlier ones of the same utterance among them."""
    by_type: dict[str, int]
    last_changed: datetime | None
