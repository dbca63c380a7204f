"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from misheard.blobs.arriving import arriving
from misheard.errors import DiskFullError
from tests.small_disk import MountsDisk


def test_a_file_is_there_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with arriving(target) as file:
        file.write(b"con")
        file.flush()
        assert not target.exists()
        file.write(b"tent")
    assert target.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [target]


def test_its_permissions_are_those_of_any_file(tmp_path: Path) -> None:
    with arriving(tmp_path / "target"):
        (tmp_path / "any").touch()
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyError), arriving(tmp_path / "target") as file:
        file.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_nothing_is_left(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from misheard.blobs.arriving import arriving\n"
        "with arriving(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "target")]
    assert subprocess.run(command, check=False).returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError), arriving(target):
        pass
    with pytest.raises(FileExistsError), arriving(tmp_path / "other") as file:
        file.write(b"theirs")
        (tmp_path / "other").write_bytes(b"mine")
    assert target.read_bytes() == (tmp_path / "other").read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"target", "other"}


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), arriving(tmp_path / "absent" / "target"):
        pass


def test_a_full_disk_is_told_as_such_and_nothing_is_left(
    mount_disk: MountsDisk, tmp_path: Path
) -> None:
    disk = mount_disk(tmp_path / "disk", "1m")
    with pytest.raises(DiskFullError, match="target"), arriving(disk / "target") as file:
        file.write(bytes(4 << 20))
    assert list(disk.iterdir()) == []
