"""A bucket's address belongs to one workspace: to one database, whoever works on that."""

from __future__ import annotations

import json
import secrets

from sqlalchemy import Engine, select

from misheard.blobs.bucket import Bucket
from misheard.database import audit
from misheard.database.claims import CLAIM, claimed
from misheard.database.engine import writing
from misheard.database.schema import audit as audit_table
from misheard.errors import BlobNotFoundError, BucketTakenError, ObjectExistsError

MARKER = "workspace.json"
"""The object that says whose files these are."""


def claim(engine: Engine, bucket: Bucket) -> None:
    """Take the address for this database, or see that it is this one's.

    Files are named by their content, so that two workspaces would have the same names for the same
    recordings and models: what one of them lets go of, the other would have lost. Machines that
    share a database share its files. Raises `BucketTakenError`.
    """
    ours = _known(engine, bucket.url)
    theirs = _marked(bucket)
    if theirs is None and ours is None:
        ours = _note(engine, bucket.url)
    if theirs is None:
        theirs = _mark(bucket, ours or "")
    if theirs != ours:
        raise BucketTakenError(
            f"{bucket.url} has the files of another one. Choose an address of its own: "
            f"{bucket.url}/NAME. Were it this workspace's, under an older or an emptied database: "
            f"delete {bucket.url}/{MARKER}, then try again."
        )
    if not claimed(engine).get(bucket.url, False):
        _record(engine, bucket.url, ours or "")


def _known(engine: Engine, url: str) -> str | None:
    query = select(audit_table.c.to_value).order_by(audit_table.c.number.desc()).limit(1)
    query = query.where(audit_table.c.action == CLAIM, audit_table.c.subject == url)
    with engine.connect() as connection:
        return connection.execute(query).scalar()


def _note(engine: Engine, url: str) -> str:
    """Row first: killed before the marker is there, the next one puts it."""
    with writing(engine) as connection:
        query = select(audit_table.c.to_value)
        query = query.where(audit_table.c.action == CLAIM, audit_table.c.subject == url)
        known: str | None = connection.execute(query).scalar()
        if known is None:
            known = secrets.token_hex(16)
            audit.record(connection, _entry(url, known, "the first use of this bucket"))
    return known


def _record(engine: Engine, url: str, ours: str) -> None:
    with writing(engine) as connection:
        audit.record(connection, _entry(url, ours, "used again after it was released"))


def _entry(url: str, ours: str, reason: str) -> audit.AuditEntry:
    return audit.AuditEntry(
        actor="misheard", action=CLAIM, subject=url, to_value=ours, reason=reason
    )


def _marked(bucket: Bucket) -> str | None:
    try:
        data = bucket.get(MARKER)
    except BlobNotFoundError:
        return None
    try:
        return str(json.loads(data)["workspace"])
    except (ValueError, KeyError, TypeError):
        return ""


def _mark(bucket: Bucket, ours: str) -> str | None:
    try:
        bucket.put(MARKER, json.dumps({"workspace": ours}).encode(), create_only=True)
    except ObjectExistsError:
        return _marked(bucket)
    return ours
