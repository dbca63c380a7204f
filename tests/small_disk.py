"""Real file systems of a few bytes, for what happens when a disk is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MountsDisk = Callable[[Path, str], Path]


@pytest.fixture
def mount_disk() -> Iterator[MountsDisk]:
    """Mounts an empty file system of a size ("64k", "6m") at a folder, and gives the folder."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> Path:
        if os.getuid():
            pytest.skip("only root may mount a disk")
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nobody may mount a disk here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    # Whatever still has a file open there does not keep it; one may lie on another.
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(disk: Path, size: str) -> None:
    """What an operator does about a full one."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
