"""Look at all of it, and say what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DatabaseError

from misheard.blobs.store import BlobStore
from misheard.blobs.together import Presence, each, stores_of
from misheard.database.discarded import unknown_blobs
from misheard.database.schema import REVISION, metadata
from misheard.datasets.datasets import Datasets
from misheard.errors import BlobCorruptError, BlobNotFoundError
from misheard.integrity import counts, mending
from misheard.integrity.difference import Difference
from misheard.integrity.files import Reference, had_deleted, references
from misheard.integrity.flaws import Findings, Part, Soundness

_RESTORE = (
    "Stop whatever uses the workspace, and put back the newest copy that is sound: "
    "misheard restore FILE"
)
_RESTORE_SERVER = "Put the newest dump back that is sound: pg_restore --clean --if-exists"
_MEND = (
    "Count it again from the rows: misheard check --mend. Rows were changed by other means than "
    "misheard, or misheard has made a mistake, of which its makers would like to hear."
)
_CANNOT_MEND = (
    "It cannot be counted again, since {}. A sound backup from before may have it right; else it "
    "has to stay."
)
_ABSENT = "the file is not there"
_READ = 200
_LOOKED_UP = 2_000
"""Files that are looked up together."""
Looked = Callable[[int], None]
"""Called with how many files were looked at since the last call."""


class Integrity:
    """Checks a workspace, while others may go on writing; only `mend` changes anything."""

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        model_blobs: BlobStore | None = None,
        *,
        place: str = "'blobs'",
    ) -> None:
        """`model_blobs`, where files of models are in a store of their own.

        `place`: what people call where the files are.
        """
        self._place = place
        self._engine = engine
        self._blobs = blobs
        self._model_blobs = model_blobs or blobs
        self._restore = _RESTORE if engine.dialect.name == "sqlite" else _RESTORE_SERVER

    def check(
        self, *, deep: bool = False, recount: bool = False, progress: Looked = lambda _: None
    ) -> Soundness:
        """Look at the database, and whether every file is there that a row points at.

        With `recount`, what is counted as it comes is counted again, which reads the whole log;
        with `deep`, every file is read and compared with its SHA-256 besides, and files that
        nothing points at are named.
        """
        found = Findings()
        parts: list[Callable[[Connection, Findings], None]] = [self._database, self._schema]
        parts.append(lambda connection, to: self._files(connection, to, deep, progress))
        parts.append(self._counts if deep or recount else self._mark)
        if deep:
            parts.append(self._unknown)
        for part in parts:
            try:
                with self._engine.connect() as connection:
                    part(connection, found)
            except DatabaseError as error:
                name = self._engine.url.render_as_string()
                found.add(Part.DATABASE, name, f"{error.orig}", self._restore)
        return found.soundness(deep=deep)

    def mend(self, *, actor: str, progress: Looked = lambda _: None) -> mending.Mended:
        """Count again, from the rows, what is not what they come to; see `misheard.audit`.

        What they cannot tell, since transcripts were let go, stays as it is; so do the sums over
        suspicion, which no row has, unless they cannot be: then they are taken out.
        """
        return mending.mend(self._engine, actor=actor, progress=progress)

    def missing_files(self) -> list[Reference]:
        """The files that are not there though a row points at them."""
        with self._engine.connect() as connection:
            return [one for one, is_there in self._looked_up(connection) if not is_there]

    def _looked_up(self, connection: Connection) -> Iterator[tuple[Reference, bool]]:
        """Files that rows point at, and whether each is there; less what somebody had deleted."""
        pointed_at, gone = references(connection, self._blobs), had_deleted(connection)
        looked = {of_model: Presence(self._store(of_model)) for of_model in (False, True)}
        while some := list(islice(pointed_at, _LOOKED_UP)):
            there = {
                of_model: presence.of({one.sha256 for one in some if one.is_of_model is of_model})
                for of_model, presence in looked.items()
            }
            for one in some:
                is_there = one.sha256 in there[one.is_of_model]
                if is_there or one.sha256 not in gone:
                    yield one, is_there

    def _store(self, of_model: bool) -> BlobStore:
        return self._model_blobs if of_model else self._blobs

    def _database(self, connection: Connection, found: Findings) -> None:
        found.looked_at["tables"] = len(inspect(connection).get_table_names())
        if connection.dialect.name != "sqlite":
            self._server(connection, found)
            return
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
            if line != "ok":
                found.add(Part.DATABASE, "integrity check", line, self._restore)
        for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            detail = f"row {row} refers to one of {parent} that is not there"
            found.add(Part.DATABASE, table, detail, self._restore)

    def _server(self, connection: Connection, found: Findings) -> None:
        """PostgreSQL holds foreign keys itself, unless somebody has switched that off."""
        query = """SELECT conrelid::regclass::text, conname FROM pg_constraint
            WHERE NOT convalidated AND connamespace = current_schema()::regnamespace"""
        for table, name in connection.execute(text(query)):
            remedy = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
            found.add(Part.DATABASE, table, f"the constraint {name} is not held", remedy)
        query = """SELECT indexrelid::regclass::text FROM pg_index
            JOIN pg_class ON pg_class.oid = indexrelid
            WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"""
        for (name,) in connection.execute(text(query)):
            found.add(Part.DATABASE, name, "the index is not valid", f"REINDEX INDEX {name}")

    def _schema(self, connection: Connection, found: Findings) -> None:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if revision != REVISION:
            detail = f"its revision is '{revision}', that of this misheard '{REVISION}'"
            found.add(Part.SCHEMA, "alembic_version", detail, self._restore)
        inspector = inspect(connection)
        there = set(inspector.get_table_names())
        for name, table in metadata.tables.items():
            if name not in there:
                found.add(Part.SCHEMA, name, "the table is not there", self._restore)
                continue
            columns = {one["name"] for one in inspector.get_columns(name)}
            indices = {one["name"] for one in inspector.get_indexes(name)}
            for missing in sorted({one.name for one in table.columns} - columns):
                detail = f"the column {missing} is not there"
                found.add(Part.SCHEMA, name, detail, self._restore)
            for missing in sorted({str(one.name) for one in table.indexes} - indices):
                detail = f"the index {missing} is not there"
                found.add(Part.SCHEMA, name, detail, self._restore)

    def _files(self, connection: Connection, found: Findings, deep: bool, progress: Looked) -> None:
        looked_up = self._looked_up(connection)
        for one, problem in self._read(looked_up) if deep else map(_absence, looked_up):
            if problem:
                found.add(
                    Part.FILES, one.sha256, f"{one.owner}: {problem}", _remedy(one, self._place)
                )
            found.looked_at["files"] += 1
            progress(1)

    def _unknown(self, connection: Connection, found: Findings) -> None:
        del connection  # which may be of a moment before the file came
        in_use = Datasets(self._engine, self._blobs).in_use
        keys = chain.from_iterable(stores_of(self._blobs, self._model_blobs))
        found.unused_files = len(set(unknown_blobs(self._engine, keys, in_use)))

    def _read(self, looked_up: Iterator[tuple[Reference, bool]]) -> Iterator[tuple[Reference, str]]:
        """What is wrong with each; as many are read at once as the store bears."""
        while some := list(islice(looked_up, _READ)):
            for (one, _), problem in each(self._blobs, self._problem, some):
                yield one, problem

    def _problem(self, looked_up: tuple[Reference, bool]) -> str:
        one, is_there = looked_up
        if not is_there:
            return _ABSENT
        try:
            self._store(one.is_of_model).verify(one.sha256)
        except BlobNotFoundError:
            return _ABSENT
        except BlobCorruptError:
            return "the file is not what it was"
        except OSError as error:
            return f"the file cannot be read: {error.strerror}"
        return ""

    def _mark(self, connection: Connection, found: Findings) -> None:
        for one in counts.of_mark(connection):
            _add(found, one)
        found.looked_at["counts"] += 1

    def _counts(self, connection: Connection, found: Findings) -> None:
        for one in mending.wrong(connection):
            _add(found, one)
        found.looked_at["counts"] += 4


def _add(found: Findings, one: Difference) -> None:
    remedy = _CANNOT_MEND.format(one.why_not) if one.why_not else _MEND
    found.add(Part.COUNTS, one.subject, one.detail, remedy)


def _absence(looked_up: tuple[Reference, bool]) -> tuple[Reference, str]:
    one, is_there = looked_up
    return one, "" if is_there else _ABSENT


def _remedy(one: Reference, place: str) -> str:
    path = f"{one.sha256[:2]}/{one.sha256}"
    if one.is_audio:
        return (
            f"Put {path} back from a copy of {place}. Until then nothing that needs this recording "
            "can be trained or judged."
        )
    return f"Put {path} back from a copy of {place}" + (
        ", or register the same model again." if one.owner.startswith("version") else "."
    )
