from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from misheard.blobs.directory import DirectoryBlobs
from misheard.errors import BlobCorruptError

PUT_FOR_EVER = """
import sys
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
store = DirectoryBlobs(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.put_bytes(b"%d" % number * 400_000)
    if number == 1:
        print("ready", flush=True)
"""

PUT_ONE = """
import sys
from pathlib import Path
from misheard.blobs.directory import DirectoryBlobs
DirectoryBlobs(Path(sys.argv[1])).put_file(Path(sys.argv[2]))
"""


def putting_half(root: Path) -> subprocess.Popen[bytes]:
    """A process in the midst of putting a file whose second half does not come."""
    pipe = root.parent / "pipe"
    os.mkfifo(pipe)
    child = subprocess.Popen([sys.executable, "-c", PUT_ONE, str(root), str(pipe)])
    # Stays open until this process ends: so the child waits for more.
    os.write(os.open(pipe, os.O_WRONLY), b"half of it")
    deadline = time.monotonic() + 300
    while not any(map(is_locked, root.glob(".put-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return child


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def blob_path(root: Path, key: str) -> Path:
    return root / key[:2] / key


def test_a_process_killed_while_putting_leaves_no_wrong_blob(tmp_path: Path) -> None:
    for wait_s in (0.02, 0.05, 0.11):
        child = subprocess.Popen(
            [sys.executable, "-c", PUT_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        # One is there; it is killed while it puts others.
        assert child.stdout.readline() == b"ready\n"
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    store = DirectoryBlobs(tmp_path)
    keys = list(store)
    assert keys
    for key in keys:
        assert hashlib.sha256(store.get_bytes(key)).hexdigest() == key


def test_what_a_killed_process_left_is_no_blob(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    store = DirectoryBlobs(root)
    child = putting_half(root)
    assert list(store) == []
    # Its writer is alive, and may yet finish.
    assert store.sweep() == 0
    child.kill()
    child.wait()
    assert len(list(root.glob(".put-*"))) == 1
    assert store.sweep() == 1
    assert list(root.iterdir()) == []
    assert store.sweep() == 0


def test_what_was_killed_once_it_was_read_only_is_swept_as_well(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path)
    (tmp_path / ".put-whole").write_bytes(b"all of it")
    (tmp_path / ".put-whole").chmod(0o444)
    assert store.sweep() == 1
    assert list(tmp_path.iterdir()) == []


def test_writers_lose_nothing_to_one_that_sweeps_all_the_time(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path)
    is_over = threading.Event()

    def sweep() -> None:
        while not is_over.is_set():
            store.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        keys = [store.put_bytes(b"%d" % number) for number in range(400)]
    finally:
        is_over.set()
        sweeper.join()
    assert sorted(store) == sorted(keys)
    assert [store.get_bytes(key) for key in keys] == [b"%d" % number for number in range(400)]


def test_a_changed_blob_is_noticed(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path / "blobs")
    key = store.put_bytes(b"content")
    path = blob_path(tmp_path / "blobs", key)
    path.chmod(0o644)
    path.write_bytes(b"c0ntent")
    with pytest.raises(BlobCorruptError):
        store.get_bytes(key)
    with pytest.raises(BlobCorruptError):
        store.verify(key)
    with pytest.raises(BlobCorruptError):
        store.fetch(key, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_truncated_blob_is_noticed(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path)
    key = store.put_bytes(b"content")
    path = blob_path(tmp_path, key)
    path.chmod(0o644)
    path.write_bytes(b"")
    with pytest.raises(BlobCorruptError):
        store.get_bytes(key)


def test_blobs_are_read_only_files(tmp_path: Path) -> None:
    key = DirectoryBlobs(tmp_path).put_bytes(b"content")
    assert blob_path(tmp_path, key).stat().st_mode & 0o222 == 0


def test_a_file_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path / "blobs")
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "missing")
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_second_store_on_the_directory_sees_the_same_blobs(tmp_path: Path) -> None:
    key = DirectoryBlobs(tmp_path).put_bytes(b"content")
    assert DirectoryBlobs(tmp_path).get_bytes(key) == b"content"


def test_what_somebody_else_has_left_there_is_no_blob(tmp_path: Path) -> None:
    store = DirectoryBlobs(tmp_path)
    key = store.put_bytes(b"content")
    for stray in (".DS_Store", f".{key}.Xy12ab", key.upper()):
        (tmp_path / key[:2] / stray).write_bytes(b"x")
    assert list(store) == [key]
