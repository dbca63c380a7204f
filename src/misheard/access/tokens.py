"""Tokens by which a server knows who asks: made, listed, revoked, looked up."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, or_, select, update

from misheard.access.roles import Role
from misheard.database import audit
from misheard.database.audit import AuditEntry
from misheard.database.engine import now, writing
from misheard.database.schema import tokens
from misheard.errors import (
    BadInputError,
    ExpiredTokenError,
    RevokedTokenError,
    UnknownIdError,
    UnknownTokenError,
)

LOCAL = "local"
"""Who asks where no token is needed; no token has this name."""
MAX_RATE_PER_MINUTE = 10_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_SECRET = re.compile(rf"mh_({_ID.pattern})_[A-Za-z0-9_-]{{43}}", re.ASCII)
_RANDOM_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Token:
    """What is kept of a token; its secret is not."""

    id: str
    created_at: datetime
    name: str
    """Unique for ever: it stands as the actor in the audit log."""
    role: Role
    rate_per_minute: int | None
    """Requests a minute; 0: no limit; None: as the settings have it."""
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """The hour in which it was last used."""

    def is_expired(self, moment: datetime) -> bool:
        """Whether its time is over at `moment`."""
        return self.expires_at is not None and self.expires_at <= moment

    def is_due(self, moment: datetime) -> bool:
        """Whether it is not noted yet that it was used in the hour of `moment`."""
        return self.last_used_at is None or self.last_used_at < _hour_of(moment)


class Tokens:
    """Keeps tokens, and knows them by their secrets."""

    def __init__(self, engine: Engine, *, asking: Engine | None = None) -> None:
        """`asking` has connections for looking tokens up, which nobody else can hold."""
        self._engine = engine
        self._asking = asking or engine

    def create(
        self,
        name: str,
        role: Role,
        *,
        actor: str,
        rate_per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """A new token and its secret, which is told this once.

        `rate_per_minute` is of each server process; 0: no limit; None: as the settings have it.
        Raises `BadInputError` for a name that cannot be or was used before.
        """
        made = Token(
            id=secrets.token_hex(6),
            created_at=now(),
            name=_checked_name(name),
            role=Role(role),
            rate_per_minute=_checked_rate(rate_per_minute),
            expires_at=expires_at,
            revoked_at=None,
            last_used_at=None,
        )
        if expires_at is not None and expires_at.tzinfo is None:
            raise BadInputError(f"When a token expires is a time with a zone: {expires_at}.")
        if made.is_expired(made.created_at):
            raise BadInputError(f"The token '{name}' would have expired already: {expires_at}.")
        secret = f"mh_{made.id}_{secrets.token_urlsafe(_RANDOM_BYTES)}"
        with writing(self._engine) as connection:
            if _find(connection, tokens.c.name == name) is not None:
                raise BadInputError(
                    f"There is or was a token '{name}', and the audit log knows it by that name. "
                    f"Choose another: '{name}-2', say."
                )
            connection.execute(insert(tokens).values(**vars(made), secret_sha256=_hash(secret)))
            evidence = {
                "token_id": made.id,
                "rate_per_minute": rate_per_minute,
                "expires_at": expires_at.isoformat() if expires_at else None,
            }
            entry = AuditEntry(
                actor=actor,
                action="create_token",
                subject=name,
                to_value=made.role,
                evidence=evidence,
            )
            audit.record(connection, entry)
        return made, secret

    def listed(self) -> list[Token]:
        """All of them, newest first; those that were revoked or have expired, too."""
        query = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.id)
        with self._engine.connect() as connection:
            return [_token(dict(row)) for row in connection.execute(query).mappings()]

    def revoke(self, name_or_id: str, *, actor: str) -> Token:
        """End a token, for ever; nothing happens when it was revoked before.

        A server that has just seen it refuses it within 2 s. `UnknownIdError` where there is none.
        """
        with writing(self._engine) as connection:
            column = tokens.c.id if _ID.fullmatch(name_or_id) else tokens.c.name
            row = _find(connection, column == name_or_id)
            if row is None:
                raise UnknownIdError(f"There is no token '{name_or_id}'. See: misheard token list")
            if row["revoked_at"] is not None:
                return _token(row)
            at, this = now(), tokens.c.id == row["id"]
            connection.execute(update(tokens).where(this).values(revoked_at=at))
            entry = AuditEntry(
                actor=actor,
                action="revoke_token",
                subject=row["name"],
                from_value=row["role"],
                evidence={"token_id": row["id"]},
            )
            audit.record(connection, entry)
        return _token({**row, "revoked_at": at})

    def any(self) -> bool:
        """Whether there ever was one; from then on they are required.

        That includes the revoked: whoever revokes the last one means to close the door, and not to
        let everyone in.
        """
        with self._asking.connect() as connection:
            count = connection.scalar(select(func.count()).select_from(tokens))
        return bool(count)

    def check(self, secret: str) -> Token:
        """The token of a secret; it only reads, see `note_used`.

        Raises `UnknownTokenError`, `RevokedTokenError` or `ExpiredTokenError`: the latter two only
        to who knows the secret.
        """
        told = _SECRET.fullmatch(secret)
        if told is None:
            raise UnknownTokenError("A token looks like mh_0123456789ab_… and has 59 characters.")
        with self._asking.connect() as connection:
            row = _find(connection, tokens.c.id == told[1])
        # Whether an id exists may show in the time this takes: ids are no secret.
        if row is None or not hmac.compare_digest(row["secret_sha256"], _hash(secret)):
            raise UnknownTokenError(f"Its id would be '{told[1]}'. See: misheard token list")
        token, moment = _token(row), now()
        make = f"Make another: misheard token create NAME --role {token.role}"
        if token.revoked_at is not None:
            raise RevokedTokenError(f"'{token.name}', {token.revoked_at:%Y-%m-%d}. {make}")
        if token.is_expired(moment):
            raise ExpiredTokenError(f"'{token.name}', {token.expires_at:%Y-%m-%d}. {make}")
        return token

    def note_used(self, ids: Collection[str]) -> None:
        """Keep that these tokens were used in this hour; `Uses` does so, and no request waits.

        Raises `StorageBusyError`, and what else keeps one from writing.
        """
        hour, used = _hour_of(now()), tokens.c.last_used_at
        since = update(tokens).where(tokens.c.id.in_(ids), or_(used.is_(None), used < hour))
        with writing(self._asking) as connection:
            connection.execute(since.values(last_used_at=hour))


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _hash(secret: str) -> str:
    """What is kept of a secret.

    A slow hash (scrypt, Argon2) makes guessing dear where people choose passwords. These secrets
    are 256 random bits: nobody gets through them at any price, and each request pays for the hash.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"'{name[:100]}' cannot be the name of a token: up to 64 letters and digits of ASCII, "
            "also . _ @ + - after the first."
        )
    if name == LOCAL or _ID.fullmatch(name):
        raise BadInputError(f"No token can be called '{name}': it would be taken for another.")
    return name


def _checked_rate(rate: int | None) -> int | None:
    if rate is not None and not 0 <= rate <= MAX_RATE_PER_MINUTE:
        raise BadInputError(f"A token has 0 to {MAX_RATE_PER_MINUTE:,} requests a minute: {rate}.")
    return rate


def _find(connection: Connection, condition: Any) -> Mapping[str, Any] | None:
    row = connection.execute(select(tokens).where(condition)).mappings().one_or_none()
    return None if row is None else dict(row)


def _token(row: Mapping[str, Any]) -> Token:
    kept = {key: value for key, value in row.items() if key != "secret_sha256"}
    return Token(**kept | {"role": Role(row["role"])})
