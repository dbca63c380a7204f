"""A workspace that is told where its files are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.blobs.deferred import AGAIN_S
from misheard.errors import BucketUnavailableError, InvalidSettingError
from misheard.settings import parse_settings
from misheard.settings.storage import storage_of
from misheard.workspace import Workspace
from tests import tiny
from tests.emulators import GcsEmulator, S3Emulator
from tests.loopback import free_port
from tests.storage.conftest import keys


def misheard(*arguments: str) -> Result:
    from misheard.cli.group import cli  # noqa: PLC0415

    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def first(tmp_path: Path) -> str:
    """A directory that looks like a model."""
    return str(tiny.model(tmp_path / "first"))


def test_init_makes_it_in_the_bucket_that_is_named(
    tmp_path: Path, address: str, first: str
) -> None:
    root = str(tmp_path / "ws")
    made = misheard("init", root, "--model", first, "--bucket", address)
    assert made.exit_code == 0, made.output
    assert address in made.output
    assert list((tmp_path / "ws" / "blobs").glob("??/*")) == []
    (version,) = Workspace.open(root).registry.listed()
    assert keys(address) == set(version.files.values())
    assert f'blobs = "{address}"' in (tmp_path / "ws" / "misheard.toml").read_text()


def test_init_with_a_project_uses_its_two_buckets(
    tmp_path: Path, address: str, first: str, gcs: GcsEmulator
) -> None:
    project = gcs.new_bucket()
    for what in ("datasets", "models"):
        gcs.new_bucket(f"{project}-{what}")
    made = misheard("init", str(tmp_path / "ws"), "--model", first, "--project-id", project)
    assert made.exit_code == 0, made.output
    assert len(keys(f"gs://{project}-models/deployed_models")) == 3
    assert keys(f"gs://{project}-datasets") == set()


def test_init_makes_nothing_where_there_is_no_such_bucket(
    tmp_path: Path, address: str, first: str
) -> None:
    assert address
    made = misheard("init", str(tmp_path / "no"), "--model", first, "--bucket", "gs://no-such")
    assert made.exit_code == 1
    assert "gcloud storage buckets create gs://no-such" in made.stderr
    assert not (tmp_path / "no").exists()


def test_s3_serves_as_well(
    tmp_path: Path, first: str, s3: S3Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    address = f"s3://{s3.new_bucket()}/calls"
    root = str(tmp_path / "ws")
    made = misheard("init", root, "--model", first, "--bucket", address)
    assert made.exit_code == 0, made.output
    assert len(keys(address)) == 3
    assert misheard("-w", root, "check", "--deep").exit_code == 0
    home = json.loads(misheard("-w", root, "sync", "--home", "--json").stdout)
    assert (home["files"], home["failed"]) == (3, [])
    monkeypatch.setenv("MISHEARD_STORAGE__BLOBS", "")
    assert misheard("-w", root, "check", "--deep").exit_code == 0


def test_status_and_settings_say_where_its_files_are(
    tmp_path: Path, address: str, first: str
) -> None:
    local, remote = str(tmp_path / "one"), str(tmp_path / "two")
    assert misheard("init", local, "--model", first).exit_code == 0
    given = ("--bucket", address, "--models-bucket", "local")
    assert misheard("init", remote, "--model", first, *given).exit_code == 0
    assert "Files" not in misheard("-w", local, "status").stdout
    told = misheard("-w", remote, "status").stdout
    assert f"Files   {address}\n        {remote}/blobs (models)" in told
    storage = json.loads(misheard("-w", remote, "status", "--json").stdout)["storage"]
    assert storage == {"blobs": address, "models": f"{remote}/blobs"}
    settings = json.loads(misheard("-w", remote, "settings", "--json").stdout)["storage"]
    assert settings == {"blobs": address, "models": "local", "project_id": ""}
    shown = "".join(misheard("-w", local, "settings").stdout.split())
    assert f"storage.blobs{local}/blobs" in shown


def test_a_bucket_that_cannot_be_reached_stops_only_what_needs_it(
    tmp_path: Path, address: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "ws")
    assert misheard("init", root, "--model", first, "--bucket", address).exit_code == 0
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in (["status"], ["versions"], ["settings"], ["cases"], ["audit"]):
        assert misheard("-w", root, *command).exit_code == 0
    refused = misheard("-w", root, "check")
    assert refused.exit_code == 1
    assert "gcloud auth application-default login" in refused.stderr


def test_a_server_that_does_not_answer_is_told_of_within_seconds(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tiny.make(tmp_path / "ws", storage={"blobs": address})
    again = Workspace.open(workspace.root)
    with monkeypatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
        started = time.monotonic()
        with pytest.raises(BucketUnavailableError, match="cannot be reached"):
            again._blobs.put_bytes(b"x")
        # A bucket that was there before is asked for two minutes.
        assert time.monotonic() - started < 60
    time.sleep(AGAIN_S)
    # It was not given up for ever.
    assert again._blobs.put_bytes(b"x") in keys(address)


@pytest.mark.parametrize(
    "given",
    [
        {"blobs": "calls"},
        {"blobs": "http://acme/calls"},
        {"models": "gs://"},
        {"blobs": "gs://a b"},
        {"bucket": "gs://acme"},
    ],
)
def test_what_is_no_address_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError):
        parse_settings({"storage": given}, source="misheard.toml")


@pytest.mark.parametrize(
    ("given", "blobs", "models", "buckets"),
    [
        ({}, "", "", ()),
        ({"blobs": "local"}, "", "", ()),
        ({"blobs": "gs://a/b/"}, "gs://a/b", "gs://a/b", ("gs://a/b",)),
        ({"blobs": "gs://a", "models": "local"}, "gs://a", "", ("gs://a",)),
        ({"models": "s3://m/x"}, "", "s3://m/x", ("s3://m/x",)),
        (storage_of("p"), *(two := ("gs://p-datasets", "gs://p-models/deployed_models")), two),
    ],
)
def test_where_blobs_and_models_are(
    given: dict[str, str], blobs: str, models: str, buckets: tuple[str, ...]
) -> None:
    storage = parse_settings({"storage": given}, source="x").storage
    assert (storage.blobs, storage.of_models, storage.buckets) == (blobs, models, buckets)
