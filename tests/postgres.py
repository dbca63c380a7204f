"""A PostgreSQL of the tests' own, and tests that are run on both databases.

The server is Debian's `postgresql`, with a cluster in a temporary directory that listens on a
socket there and nowhere else. It does not sync its files unless it is asked to: what a power cut
does is not under test here, and everything else is as in production.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError

from misheard.database.engine import migrate, open_engine

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
_NOT_SAFE_BUT_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# No server runs as root.
_AS_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
_AS_USER = _AS_USER if os.getuid() == 0 else []
_databases = count(1)
_IN_USE = "55006"
_ATTEMPTS = 20


class Cluster:
    """A running server."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """`durable`: what is committed survives a power cut, as in production."""
        self.folder = folder
        self._durable = durable
        self._server: subprocess.Popen[bytes] | None = None
        self._migrated = ""

    def url(self, database: str = "postgres") -> URL:
        query = {"host": str(self.folder)}
        return URL.create("postgresql+psycopg", username="tests", database=database, query=query)

    def new_database(self, *, migrated: bool = False, like: URL | None = None) -> URL:
        """The address of an empty database; `migrated`: with the tables of misheard.

        Or of a copy of `like`, see `create`.
        """
        name = f"tests_{next(_databases)}"
        template = self._template() if migrated else "template1"
        template = like.database or template if like else template
        return self.create(name, like=template)

    def create(self, name: str, *, like: str = "template1") -> URL:
        """A new database, a copy of `like`; whoever is still connected to that is cut off."""
        if like != "template1":
            self.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{like}' AND pid <> pg_backend_pid()"
            )
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        return self.url(name)

    def _template(self) -> str:
        """Made once by the migrations; a copy of it takes a fifth of the time."""
        if not self._migrated:
            self._migrated = "migrated"
            self.run(f"CREATE DATABASE {self._migrated}")
            engine = open_engine(self.url(self._migrated))
            migrate(engine)
            engine.dispose()
        return self._migrated

    def drop(self, url: URL) -> None:
        self.run(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Again, where others have not yet let go of a database: the server waits for 5 s alone."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        for left in reversed(range(_ATTEMPTS)):
            try:
                with engine.connect() as connection:
                    connection.execute(text(statement))
                break
            except OperationalError as error:
                if not left or getattr(error.orig, "sqlstate", None) != _IN_USE:
                    raise
        engine.dispose()

    def make(self) -> None:
        if _AS_USER:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        made = [PROGRAMS[-1].parent / "initdb", "-D", self.folder / "data", "-U", "tests"]
        made += ["-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run([*_AS_USER, *map(str, made)], check=True, capture_output=True)

    def start(self) -> None:
        programs, data = PROGRAMS[-1].parent, self.folder / "data"
        command = [programs / "postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses="]
        command += ["-c", "max_connections=60"]
        quick = () if self._durable else _NOT_SAFE_BUT_QUICK
        command += [part for one in quick for part in ("-c", one)]
        log = (self.folder / "log").open("wb")
        self._server = subprocess.Popen([*_AS_USER, *map(str, command)], stdout=log, stderr=log)
        ready = [programs / "pg_isready", "-q", "-h", self.folder, "-U", "tests", "-t", "30"]
        for _ in range(1_800):
            if subprocess.run(list(map(str, ready)), check=False).returncode == 0:
                return
            if self._server.poll() is not None:
                break
            subprocess.run(["sleep", "0.1"], check=True)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._server is not None:
            # SIGINT is a fast shutdown, which waits for nobody.
            self._server.send_signal(2)
            self._server.wait(timeout=300)


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A server that runs while the block does."""
    # Not in pytest's own directory: the name of a socket has room for a hundred letters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    made = Cluster(folder, durable=durable)
    try:
        made.make()
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A server; skipped where it is not installed."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL here; CI installs it (apt-get install postgresql)")
    with cluster() as made:
        yield made
