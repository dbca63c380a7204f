"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from misheard.errors import DiskFullError

_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@contextmanager
def arriving(target: Path) -> Iterator[IO[bytes]]:
    """A file to write to and read from, which becomes `target` at the end of the block.

    Raises FileExistsError where there is a `target` already. After an error nothing is left, nor
    when the process is killed, on file systems that know files without a name. Raises
    `DiskFullError` where it does not fit.
    """
    try:
        with _whole(target) as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"'{target}' was not made. Make room, then go on.") from error


@contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    nameless = _nameless(target.parent)
    if nameless is None:
        with _hidden(target) as file:
            yield file
        return
    with nameless as file:
        yield file
        file.flush()
        folder = os.open("/proc/self/fd", os.O_RDONLY)
        try:
            # Only a call with a folder links to the file itself, not to its entry in /proc.
            os.link(str(file.fileno()), target, src_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)


def _nameless(folder: Path) -> IO[bytes] | None:
    """A file without a name, which the kernel deletes unless it is given one."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except OSError as error:
        if error.errno not in _NO_NAMELESS_FILES or not folder.is_dir():
            raise
        return None


@contextmanager
def _hidden(target: Path) -> Iterator[IO[bytes]]:
    path = target.with_name(f".arriving-{secrets.token_hex(8)}")
    with path.open("x+b") as file:
        try:
            yield file
            file.flush()
            try:
                os.link(path, target)
            except FileExistsError:
                raise
            except OSError:  # no links here
                path.rename(target)
        finally:
            path.unlink(missing_ok=True)
