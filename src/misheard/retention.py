"""Let go of the files of versions that were live long ago; their rows stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select, update

from misheard.blobs.store import BlobStore
from misheard.blobs.together import delete_all, require_reachable, stores_of
from misheard.database import audit
from misheard.database.claims import require_known
from misheard.database.discarded import referred_to
from misheard.database.engine import now, writing
from misheard.database.schema import (
    RUNNING,
    cycles,
    datasets,
    deployments,
    jobs,
    rollouts,
    servers,
    stagings,
    versions,
)
from misheard.database.schema import audit as audit_table
from misheard.errors import BadInputError
from misheard.registry import Registry

_PRUNE = "prune"
_DELETE = "delete"


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What one run let go of."""

    versions: tuple[str, ...]
    """Their files are gone; one that a killed run had begun with is among them."""
    files: int
    """Blobs that were deleted: those that nothing else refers to."""


class Retention:
    """Prunes versions in two steps, either of which may be killed.

    First the rows say that the versions are pruned, so that nobody deploys them any more; then
    their files are deleted. What a killed run leaves, the next one finishes.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        registry: Registry,
        *,
        final_cycle_states: Collection[str],
        model_blobs: BlobStore | None = None,
        buckets: Collection[str] = (),
    ) -> None:
        """A cycle in another state than `final_cycle_states` keeps its versions.

        `model_blobs`, where files of models are in a store of their own; `buckets`: addresses of
        those that the stores are in.
        """
        self._buckets = buckets
        self._engine = engine
        self._blobs = blobs
        self._model_blobs = model_blobs or blobs
        self._registry = registry
        self._final_cycle_states = final_cycle_states

    def prune(self, *, keep: int, actor: str) -> Pruned:
        """Keep the files of the `keep` versions that were live last before the live one.

        Counted for each slot. These always stay: what is live in any slot, the version before it
        (also with `keep=0`), the one that a rollback returns to next, what a running job or an
        unfinished cycle works with, what a server has loaded or is asked to load, what is tried on
        live traffic, and every version that was never live.
        """
        if keep < 0:
            raise BadInputError(f"Cannot keep {keep} versions.")
        require_known(self._engine, self._buckets)
        with writing(self._engine) as connection:
            kept = _kept(connection, keep) | self._in_use(connection)
            for version_id in sorted(_with_files_once_live(connection) - kept):
                row = versions.c.id == version_id
                connection.execute(update(versions).where(row).values(pruned_at=now()))
                reason = f"keeps {keep} previous versions"
                _record(connection, actor, _PRUNE, version_id, {"keep": keep}, reason)
        done = self._delete_files(actor)
        self._registry.sweep()
        return done

    def _in_use(self, connection: Connection) -> set[str]:
        """Bases of running jobs; baselines and candidates of cycles that have not ended.

        And what servers have loaded or are asked to, and what is tried on live traffic.
        """
        running = select(jobs.c.base_version_id).where(jobs.c.ended_at.is_(None))
        going = cycles.c.state.not_in(self._final_cycle_states)
        found = set(connection.scalars(running))
        for column in (cycles.c.baseline_id, cycles.c.version_id):
            found.update(connection.scalars(select(column).where(going, column.is_not(None))))
        for loaded in connection.scalars(select(servers.c.loaded)):
            found.update(loaded)
        found.update(
            connection.scalars(select(stagings.c.version_id).where(stagings.c.until > now()))
        )
        for column in (rollouts.c.version_id, rollouts.c.live_version_id):
            found.update(connection.scalars(select(column).where(RUNNING)))
        return found

    def _delete_files(self, actor: str) -> Pruned:
        with self._engine.connect() as connection:
            begun = _unfinished(connection)
            manifests = set(connection.scalars(select(datasets.c.manifest_sha256)))
        if not begun:
            return Pruned(versions=(), files=0)
        keys = {key for files in begun.values() for key in files}
        # Before the lock is taken: there may be many manifests, and they are large.
        in_manifests = self._named_in(manifests, keys)
        # A bucket's first use is written down, for which the lock has to be free.
        require_reachable(*stores_of(self._blobs, self._model_blobs))
        deleted: set[str] = set()
        with writing(self._engine) as connection:
            # One that was registered again meanwhile keeps its files.
            still = begun.keys() & _unfinished(connection).keys()
            newer = set(connection.scalars(select(datasets.c.manifest_sha256))) - manifests
            needed = referred_to(connection, keys) | in_manifests | self._named_in(newer, keys)
            for version_id in sorted(still):
                unused = sorted(set(begun[version_id]) - needed - deleted)
                self._registry.drop_directory(version_id)
                delete_all(self._model_blobs, unused)
                deleted.update(unused)
                _record(connection, actor, _DELETE, version_id, {"sha256": unused})
        return Pruned(versions=tuple(sorted(still)), files=len(deleted))

    def _named_in(self, manifests: Iterable[str], keys: Collection[str]) -> set[str]:
        """Which of `keys` a dataset's manifest names as its audio."""
        found: set[str] = set()
        for manifest in manifests:
            data = self._blobs.get_bytes(manifest)
            found.update(key for key in keys if key.encode() in data)
        return found


def _with_files_once_live(connection: Connection) -> set[str]:
    query = select(versions.c.id).where(
        versions.c.pruned_at.is_(None), versions.c.id.in_(select(deployments.c.version_id))
    )
    return set(connection.scalars(query))


def _kept(connection: Connection, keep: int) -> set[str]:
    """In each slot: what is live, at least one before it, and the aim of the next rollback."""
    newest = func.max(deployments.c.number)
    query = select(deployments.c.slot, deployments.c.version_id)
    query = query.group_by(deployments.c.slot, deployments.c.version_id).order_by(newest.desc())
    by_slot: dict[str, list[str]] = {}
    for row in connection.execute(query):
        by_slot.setdefault(row.slot, []).append(row.version_id)
    kept = {one for ids in by_slot.values() for one in ids[: 1 + max(keep, 1)]}
    last = select(newest).group_by(deployments.c.slot)
    undo = select(deployments.c.undo_number).where(deployments.c.number.in_(last))
    query_aims = select(deployments.c.version_id).where(deployments.c.number.in_(undo))
    return kept | set(connection.scalars(query_aims))


def _unfinished(connection: Connection) -> dict[str, list[str]]:
    """Version → its blobs, for each that was pruned and whose files were not deleted since."""

    def last(action: str) -> Any:
        query: Select[Any] = select(func.coalesce(func.max(audit_table.c.number), 0)).where(
            audit_table.c.action == action, audit_table.c.subject == versions.c.id
        )
        return query.correlate(versions).scalar_subquery()

    query = select(versions.c.id, versions.c.files).where(
        versions.c.pruned_at.is_not(None), last(_PRUNE) > last(_DELETE)
    )
    return {row.id: list(row.files.values()) for row in connection.execute(query)}


def _record(
    connection: Connection,
    actor: str,
    action: str,
    version_id: str,
    evidence: dict[str, Any],
    reason: str = "",
) -> None:
    entry = audit.AuditEntry(
        actor=actor, action=action, subject=version_id, reason=reason, evidence=evidence
    )
    audit.record(connection, entry)
