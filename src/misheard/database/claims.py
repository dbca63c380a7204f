"""Which buckets this database has used: what they hold, only a process that knows them deletes."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Engine, select

from misheard.database import audit
from misheard.database.engine import writing
from misheard.database.schema import audit as audit_table
from misheard.errors import BadInputError, BucketLeftError

CLAIM = "claim_bucket"
_RELEASE = "release_bucket"


def claimed(engine: Engine) -> dict[str, bool]:
    """Every address that was ever used; False for those that were released since."""
    query = select(audit_table.c.subject, audit_table.c.action).order_by(audit_table.c.number)
    query = query.where(audit_table.c.action.in_((CLAIM, _RELEASE)))
    with engine.connect() as connection:
        return {row.subject: row.action == CLAIM for row in connection.execute(query)}


def left_behind(engine: Engine, buckets: Collection[str]) -> list[str]:
    """Those that are in use and none of `buckets`."""
    used = claimed(engine).items()
    return sorted(url for url, is_ours in used if is_ours and url not in buckets)


def require_known(engine: Engine, buckets: Collection[str]) -> None:
    """Raise `BucketLeftError` where files may be in a bucket that is none of `buckets`.

    Before anything is deleted: it would not be deleted there, and never be looked for again.
    """
    if left := left_behind(engine, buckets):
        raise BucketLeftError(
            f"{', '.join(left)}: this workspace has used it, and its settings here do not "
            "name it. Is it used? Name it in misheard.toml: [storage] blobs, or models. "
            "Is it not any more? Copy home what is in it (misheard sync --home, while it is "
            f"named), empty it, then: misheard sync --release {left[0]}"
        )


def release(engine: Engine, url: str, buckets: Collection[str], *, actor: str) -> None:
    """Note that a bucket is empty, and used no more; `BadInputError` where it cannot be."""
    url = url.rstrip("/")
    if url in buckets:
        raise BadInputError(f"{url} is in use: take it out of misheard.toml first, [storage].")
    if not claimed(engine).get(url, False):
        raise BadInputError(f"{url} is none that this workspace has used.")
    entry = audit.AuditEntry(
        actor=actor, action=_RELEASE, subject=url, reason="it is empty, and used no more"
    )
    with writing(engine) as connection:
        audit.record(connection, entry)
