"""A PostgreSQL server of one's own, in a temporary directory, reached by a socket in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
"""Where Debian's package `postgresql` puts the programs of a server."""


def is_installed() -> bool:
    """Whether there is a server to start."""
    return (_PROGRAMS / "initdb").exists()


class Cluster:
    """Databases on a server that is there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        """Of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def create(self, name: str, *, like: str = "template1") -> str:
        """A new database, a copy of `like`, to which nobody may be connected; its URL."""
        self._run("createdb", "-T", like, name)
        return self.url(name)

    def drop(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        self._run("dropdb", "--force", "--if-exists", name)

    def _run(self, program: str, *arguments: str) -> None:
        command = [_PROGRAMS / program, "-h", self._folder, "-U", "postgres", *arguments]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A server that runs while the block does.

    PostgreSQL refuses to run as root; then it runs as the user that Debian's package has made.
    """
    folder = Path(tempfile.mkdtemp(prefix="misheard-pg-"))
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    try:
        if as_other:
            shutil.chown(folder, "postgres")
        data, log = folder / "data", folder / "log"
        # Only its clients are killed, so that nothing depends on what a power cut would leave.
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        control = [*as_other, _PROGRAMS / "pg_ctl", "-D", data, "-w"]
        _quietly([*as_other, _PROGRAMS / "initdb", "-D", data, "-U", "postgres", "-A", "trust"])
        _quietly([*control, "-l", log, "-o", options, "start"])
        try:
            yield Cluster(folder)
        finally:
            _quietly([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quietly(command: list[object]) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
