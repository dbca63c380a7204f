"""Workspaces whose files are in a bucket, of a server on this machine."""

from __future__ import annotations

import pytest

from misheard.blobs.opening import open_bucket
from misheard.rooms.claiming import MARKER
from tests.emulators import GcsEmulator


@pytest.fixture
def _google(gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def address(gcs: GcsEmulator, _google: None) -> str:
    """A folder of a bucket that no test had before."""
    return f"gs://{gcs.new_bucket()}/calls"


def contents(address: str) -> dict[str, bytes]:
    """Every object below an address, but for the one that says whose they are."""
    bucket = open_bucket(address)
    return {one.name: bucket.get(one.name) for one in bucket.listed() if one.name != MARKER}


def keys(address: str) -> set[str]:
    """The keys of the blobs below an address."""
    found = {one.name for one in open_bucket(address).listed()} - {MARKER}
    return {name.partition("/")[2] for name in found}


def spoil(address: str, key: str) -> None:
    """Make a blob something else, as no writer of ours would."""
    open_bucket(address).put(f"{key[:2]}/{key}", b"something else")
