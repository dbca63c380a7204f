"""A transcript as somebody's recogniser tells of it, and what becomes of it in the log. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from numbers import Real
from operator import attrgetter
from typing import Any

from misheard.database.bulk import Row, stored_json, stored_time
from misheard.errors import BadInputError
from misheard.scoring.normalize import require_text
from misheard.tags import require_tags

_CLOCKS_APART = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One transcript that a recogniser made, ours or not; the first three are what is needed.

    Raises `BadInputError` for what cannot be, so that whatever exists can be logged.
    """

    audio: str
    """Where the recording is: a path, an address, or the id that its owner knows it by."""
    text: str
    heard_at: datetime
    """Aware."""
    recogniser: str = ""
    """Who heard it, where that is not the live version."""
    client_id: str | None = None
    """Its sender's own id: sent twice, it is logged once."""
    speaker: str | None = None
    session: str | None = None
    """Whose data it is: a request to delete names one of the two."""
    speaker_group: str = ""
    """What moves together in statistics; else the speaker, the session or the recording."""
    duration_s: float | None = None
    second_text: str | None = None
    """What another model heard: where the two differ, one is wrong."""
    avg_logprob: float | None = None
    """Mean log-probability a token, natural logarithm."""
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    latency_s: float | None = None
    """How long its caller waited."""
    compute_s: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check it."""
        for name in ("text", "audio", "recogniser", "speaker_group"):
            require_text(getattr(self, name), what=f"the {name} of a transcript")
        for name in ("client_id", "speaker", "session", "second_text"):
            value = getattr(self, name)
            if value is not None:
                require_text(value, what=f"the {name} of a transcript")
        if not isinstance(self.heard_at, datetime) or self.heard_at.tzinfo is None:
            raise BadInputError(f"heard_at must be a time with its zone, got {self.heard_at!r}.")
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _number(name, value))
        if self.tags or not isinstance(self.tags, dict):
            require_tags(self.tags, what="the tags of a transcript")

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, what: str) -> Captured:
        """From names and values, as a line of a file has them; `what` names it in errors."""
        unknown = sorted(record.keys() - FIELDS)
        if unknown:
            raise BadInputError(
                f"{what} has '{unknown[0]}'. Known: {', '.join(sorted(FIELDS))}. Another name is "
                "given as --column text=transcript, and what is not needed as --ignore NAME."
            )
        given = {name: value for name, value in record.items() if value is not None}
        if missing := [name for name in ("audio", "text", "heard_at") if name not in given]:
            raise BadInputError(f"{what} has no '{missing[0]}'.")
        given["heard_at"] = _moment(given["heard_at"], what=what)
        try:
            return cls(**given)
        except BadInputError as error:
            raise type(error)(f"{what}: {error.detail}") from error


FIELDS = frozenset(one.name for one in fields(Captured))
_NOT_AS_GIVEN = ("heard_at", "recogniser", "speaker_group", "tags")
_AS_GIVEN = [one.name for one in fields(Captured) if one.name not in _NOT_AS_GIVEN]
_CALLED_OTHERWISE = {"audio": "source"}
COLUMNS = (
    "id",
    "created_at",
    "speaker_group",
    "audio_sha256",
    "audio_bytes",
    "version_id",
    "reported",
    "tags",
    *(_CALLED_OTHERWISE.get(name, name) for name in _AS_GIVEN),
)
"""Of `inferences`, in the order of `row`."""
_as_given = attrgetter(*_AS_GIVEN)
_NUMBERS = (
    "duration_s",
    "avg_logprob",
    "no_speech_prob",
    "compression_ratio",
    "latency_s",
    "compute_s",
)
_NOT_NEGATIVE = ("duration_s", "compression_ratio", "latency_s", "compute_s")


def row(
    item: Captured,
    inference_id: str,
    *,
    live: str,
    latest: datetime,
    on_sqlite: bool,
    audio_sha256: str = "",
    audio_bytes: int | None = None,
) -> Row:
    """The row of `item` for `COLUMNS`; `latest` is the time that nothing may be after.

    A microsecond of it is noticed: it is done for every transcript there is.
    """
    if item.heard_at > latest:
        raise BadInputError(f"heard_at = {item.heard_at} is in the future.")
    return (
        inference_id,
        stored_time(item.heard_at, on_sqlite=on_sqlite),
        item.speaker_group or item.speaker or item.session or audio_sha256 or item.audio,
        audio_sha256,
        audio_bytes,
        item.recogniser or live,
        False,
        stored_json(dict(item.tags), on_sqlite=on_sqlite) if item.tags or not on_sqlite else "{}",
        *_as_given(item),
    )


def latest_time(moment: datetime) -> datetime:
    """What nothing may be after at `moment`: clocks differ, but not by more than a day."""
    return moment + _CLOCKS_APART


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadInputError(f"{name} = {value!r} of a transcript is no number.")
    number = float(value)
    if not math.isfinite(number):
        raise BadInputError(f"{name} of a transcript is {number}; leave it out instead.")
    if number < 0 and name in _NOT_NEGATIVE:
        raise BadInputError(f"{name} of a transcript is {number:g}; it cannot be below 0.")
    return number


def _moment(value: Any, *, what: str) -> datetime:
    """A time as files have it: ISO 8601, or seconds since 1970; without a zone it is UTC."""
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, Real) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value), UTC)
        else:
            moment = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise BadInputError(
            f"{what}: heard_at = {value!r} is no time. Write 2026-01-31T09:30:00Z, or seconds "
            "since 1970."
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
