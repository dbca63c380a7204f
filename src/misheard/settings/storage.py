"""The section `[storage]`."""

from __future__ import annotations

import re

from pydantic import field_validator

from misheard.settings.section import Section

LOCAL = "local"
"""For `models`: in the workspace's own directory, though all else is in a bucket."""
_ADDRESS = re.compile(r"(gs|s3)://[^/\s]+(/\S*)?$")


def storage_of(
    project_id: str | None, *, blobs: str | None = None, models: str | None = None
) -> dict[str, str]:
    """What the section holds for a project of Google Cloud, or for addresses that are given.

    >>> storage_of("acme")["blobs"], storage_of("acme")["models"]
    ('gs://acme-datasets', 'gs://acme-models/deployed_models')
    >>> storage_of(None, blobs="s3://acme/calls")
    {'blobs': 's3://acme/calls'}
    """
    if project_id and not blobs:
        blobs = f"gs://{project_id}-datasets"
        models = models or f"gs://{project_id}-models/deployed_models"
    given = {"blobs": blobs, "models": models, "project_id": project_id}
    return {name: value for name, value in given.items() if value}


class StorageSettings(Section):
    """Where files are. Empty: in the directory blobs/ of the workspace."""

    blobs: str = ""
    """A bucket for audio, manifests and transcripts: gs://bucket/folder, s3://bucket/folder."""
    models: str = ""
    """A bucket for the files of models; empty: where `blobs` are; "local": in this workspace."""
    project_id: str = ""
    """Of Google Cloud, where what is found with the credentials is not the one that is meant."""

    @field_validator("blobs", "models")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and value != LOCAL and not _ADDRESS.match(value):
            raise ValueError("an address is gs://BUCKET/FOLDER or s3://BUCKET/FOLDER")
        return value.rstrip("/")

    @field_validator("blobs")
    @classmethod
    def _is_not_local(cls, value: str) -> str:
        return "" if value == LOCAL else value

    @property
    def of_models(self) -> str:
        """The address where models are; empty for this workspace's own directory."""
        return "" if self.models == LOCAL else self.models or self.blobs

    @property
    def place(self) -> str:
        """Where files are, in words."""
        return " and ".join(self.buckets) or "'blobs'"

    @property
    def buckets(self) -> tuple[str, ...]:
        """Each address once."""
        return tuple(dict.fromkeys(one for one in (self.blobs, self.of_models) if one))
