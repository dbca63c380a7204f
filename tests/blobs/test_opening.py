"""A bucket by its address."""

from __future__ import annotations

from pathlib import Path

import pytest

from misheard.blobs.gcs import GcsBucket
from misheard.blobs.opening import open_bucket
from misheard.blobs.s3 import S3Bucket
from misheard.errors import InvalidSettingError
from tests.emulators import GcsEmulator, S3Emulator


def test_addresses_of_google(gcs: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url.removeprefix("http://"))
    name = gcs.new_bucket()
    whole, folder = open_bucket(f"gs://{name}"), open_bucket(f"gs://{name}/a/b/")
    assert isinstance(whole, GcsBucket)
    assert (whole.url, folder.url) == (f"gs://{name}", f"gs://{name}/a/b")
    folder.put("c", b"content")
    assert whole.get("a/b/c") == b"content"
    assert [one.name for one in folder.listed()] == ["c"]


def test_addresses_of_s3(s3: S3Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    name = s3.new_bucket()
    whole, folder = open_bucket(f"s3://{name}/"), open_bucket(f"s3://{name}/a/b")
    assert isinstance(whole, S3Bucket)
    assert (whole.url, folder.url) == (f"s3://{name}", f"s3://{name}/a/b")
    folder.put("c", b"content")
    assert whole.get("a/b/c") == b"content"
    assert [one.name for one in folder.listed()] == ["c"]


@pytest.mark.parametrize(
    "url",
    ["", "bucket", "/srv/blobs", "gs://", "gs:///folder", "http://x/y", "gs://b/a//b", "s3://b?x"],
)
def test_anything_else_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="no address of a bucket, such as gs://"):
        open_bucket(url, state=tmp_path)
