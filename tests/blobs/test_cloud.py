"""Without credentials or a store, whoever asks for a bucket is told, and nothing falls back."""

from __future__ import annotations

from pathlib import Path

import pytest

from misheard.blobs.cloud import refuse_bucket
from misheard.errors import BucketUnavailableError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return tmp_path


def said(project_id: str | None = None) -> str:
    with pytest.raises(BucketUnavailableError) as caught:
        refuse_bucket(project_id)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_without_credentials_it_says_how_to_get_them_or_do_without(home: Path) -> None:
    message = said("project-7")
    assert "There are no Google credentials." in message
    assert "gcloud auth application-default login" in message
    assert "GOOGLE_APPLICATION_CREDENTIALS" in message
    assert "use_gcs=False" in message


def test_with_credentials_it_names_the_buckets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
    message = said("project-7")
    assert "gs://project-7-datasets and gs://project-7-models" in message
    assert "use_gcs=False" in message
    assert "no Google credentials" not in message


def test_a_login_is_a_credential_as_well(home: Path) -> None:
    folder = home / ".config/gcloud"
    folder.mkdir(parents=True)
    (folder / "application_default_credentials.json").write_text("{}", encoding="utf-8")
    message = said()
    assert "There are credentials" in message
    assert "None" not in message


def test_an_empty_variable_is_no_credential(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    assert "There are no Google credentials." in said()
