"""A transcript as somebody's recogniser tells of it, and what becomes of it in the log. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from numbers import Real
from operator import attrgetter
from typing import Any

from misheard.database.bulk import Row, stored_json, stored_time
from misheard.errors import BadInputError
from misheard.scoring.normalize import require_text
from misheard.tags import require_tags

LIMITS: Mapping[str, tuple[float, float]] = {
    "duration_s": (0.0, 365 * 86_400.0),
    "latency_s": (0.0, 365 * 86_400.0),
    "compute_s": (0.0, 365 * 86_400.0),
    "avg_logprob": (-1_000.0, 1_000.0),
    "no_speech_prob": (0.0, 1.0),
    "compression_ratio": (0.0, 10_000.0),
}
"""The least and the most of each number. Sums of years stay far from what a database can add."""
NAME_CHARACTERS = 250
"""The longest name of a recogniser or a slice: two of them fit into a key of PostgreSQL."""
_ID_CHARACTERS = 500
_TAG_CHARACTERS = 2_000
_CLOCKS_APART = timedelta(days=1)
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_FIRST_EPOCH_S = 1e8
"""March 1973. A smaller number is not seconds since 1970 but a date, as in 20260131."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One transcript that a recogniser made, ours or not; the first three are what is needed.

    An id that is empty is none. Raises `BadInputError` for what cannot be, so that whatever exists
    can be logged: seconds are 0 to those of a year, `avg_logprob` is within ±1,000,
    `no_speech_prob` 0 to 1, `compression_ratio` 0 to 10,000; `heard_at` is not before 1900; ids
    have at most 500 characters, names of recognisers and of tags 250, values of tags 2,000.
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
        for name in ("text", "audio"):
            require_text(getattr(self, name), what=f"the {name} of a transcript")
        if self.second_text is not None:
            require_text(self.second_text, what="the second_text of a transcript")
        require_name(self.recogniser, what="the recogniser of a transcript")
        if self.speaker_group:
            require_id(self.speaker_group, what="the speaker_group of a transcript")
        for name in ("client_id", "speaker", "session"):
            value = getattr(self, name)
            if value == "":
                object.__setattr__(self, name, None)
            elif value is not None:
                require_id(value, what=f"the {name} of a transcript")
        if not isinstance(self.heard_at, datetime) or self.heard_at.tzinfo is None:
            raise BadInputError(f"heard_at must be a time with its zone, got {self.heard_at!r}.")
        if self.heard_at < _EARLIEST:
            raise BadInputError(f"heard_at = {self.heard_at} is before 1900.")
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, number(name, value))
        if self.tags or not isinstance(self.tags, dict):
            require_short_tags(self.tags, what="the tags of a transcript")

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, what: str) -> Captured:
        """From names and values, as a line of a file has them; `what` names it in errors."""
        unknown = sorted(record.keys() - FIELDS)
        if unknown:
            raise BadInputError(
                f"{what} has '{unknown[0]}'. Known: {', '.join(sorted(FIELDS))}. Another name is "
                "given as --column text=transcript, and what is not needed as --ignore NAME."
            )
        given = {name: _told(name, value) for name, value in record.items() if value is not None}
        if missing := [name for name in ("audio", "text", "heard_at") if name not in given]:
            raise BadInputError(f"{what} has no '{missing[0]}'.")
        given["heard_at"] = _moment(given["heard_at"], what=what)
        try:
            made = cls(**given)
            require_past(made.heard_at, latest_time(datetime.now(UTC)))
        except BadInputError as error:
            raise type(error)(f"{what}: {error.detail}") from error
        return made


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
    require_past(item.heard_at, latest)
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


def require_past(heard_at: datetime, latest: datetime) -> None:
    """Raises `BadInputError` for what was heard after `latest_time`."""
    if heard_at > latest:
        raise BadInputError(f"heard_at = {heard_at} is in the future.")


def require_id(value: object, *, what: str) -> None:
    """Raises `BadInputError` unless it is a text that can be stored and looked up."""
    _require_short(require_text(value, what=what), _ID_CHARACTERS, what)


def require_name(value: object, *, what: str) -> None:
    """Raises `BadInputError` unless it is a text that figures can be kept under."""
    _require_short(require_text(value, what=what), NAME_CHARACTERS, what)


def number(name: str, value: Any) -> float:
    """A number of a transcript; raises `BadInputError` for one that is outside of its `LIMITS`."""
    # Most are, and this is done six times for every transcript there is.
    made = value if type(value) is float else _as_float(name, value)
    least, most = LIMITS[name]
    if least <= made <= most:
        return made
    if not math.isfinite(made):
        raise BadInputError(f"{name} of a transcript is {made}; leave it out instead.")
    bound = f"below {least:g}" if made < least else f"above {most:,.0f}"
    raise BadInputError(f"{name} of a transcript is {made:g}; it cannot be {bound}.")


def _as_float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise BadInputError(f"{name} = {value!r} of a transcript is no number.")
    try:
        return float(value)
    except (OverflowError, ValueError) as error:
        raise BadInputError(f"{name} of a transcript is no number that can be kept.") from error


def require_short_tags(tags: Mapping[str, str], *, what: str) -> None:
    """Raises `BadInputError` unless names and values can be kept, and figures under them."""
    require_tags(tags, what=what)
    for name, value in tags.items():
        _require_short(name, NAME_CHARACTERS, "the name of a tag")
        _require_short(value, _TAG_CHARACTERS, f"the tag '{name}'")


def _require_short(text: str, most: int, what: str) -> None:
    if len(text) > most:
        raise BadInputError(
            f"{what} has {len(text):,} characters, '{text[:30]}…'; it cannot have more than "
            f"{most:,}."
        )


def _told(name: str, value: Any) -> Any:
    """A value as files have it: an id may be a whole number, and a tag that is null is none."""
    if name in _IDS and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if name == "tags" and isinstance(value, Mapping):
        return {tag: given for tag, given in value.items() if given is not None}
    return value


_IDS = frozenset({"audio", "client_id", "speaker", "session", "speaker_group"})


def _moment(value: Any, *, what: str) -> datetime:
    """A time as files have it: ISO 8601, or seconds since 1970; without a zone it is UTC."""
    try:
        if isinstance(value, datetime):
            moment = value
        elif (isinstance(value, Real | Decimal) and not isinstance(value, bool)) or (
            isinstance(value, str) and _is_epoch(value)
        ):
            return _since_1970(float(value))
        else:
            moment = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise BadInputError(
            f"{what}: heard_at = {value!r} is no time. Write 2026-01-31T09:30:00Z, or seconds "
            "since 1970."
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _is_epoch(value: Any) -> bool:
    if isinstance(value, str):
        whole, _, part = value.partition(".")
        return len(whole) >= len(f"{_FIRST_EPOCH_S:.0f}") and (whole + part).isdecimal()
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def _since_1970(seconds: float) -> datetime:
    if seconds < _FIRST_EPOCH_S:
        raise ValueError(f"{seconds:g} s since 1970")
    return datetime.fromtimestamp(seconds, UTC)
