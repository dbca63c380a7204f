"""A bucket by its address."""

from __future__ import annotations

from pathlib import Path

from misheard.blobs.bucket import Bucket
from misheard.blobs.patience import PATIENT, Patience
from misheard.errors import InvalidSettingError

_EXAMPLES = "gs://bucket/folder or s3://bucket/folder"


def open_bucket(
    url: str, *, state: Path | None = None, project_id: str = "", patience: Patience = PATIENT
) -> Bucket:
    """The bucket at gs://bucket/folder (Google Cloud Storage) or s3://bucket/folder.

    `state` is a directory where unfinished uploads are remembered, so that those of a process that
    was killed go on. `project_id` is who is billed where Google bills whoever asks. Raises
    `InvalidSettingError` for any other address, `BucketUnavailableError` without credentials,
    `MissingExtraError` without the library. Whether the bucket is there shows at its first use.
    """
    scheme, _, rest = url.strip().partition("://")
    bucket, _, folder = rest.partition("/")
    folder = folder.strip("/")
    if not bucket or "?" in rest or "#" in rest or "//" in folder:
        raise InvalidSettingError(f"'{url}' is no address of a bucket, such as {_EXAMPLES}.")
    if scheme == "gs":
        from misheard.blobs.gcs import GcsBucket  # noqa: PLC0415

        return GcsBucket(bucket, folder, state=state, project_id=project_id, patience=patience)
    if scheme == "s3":
        from misheard.blobs.s3 import S3Bucket  # noqa: PLC0415

        return S3Bucket(bucket, folder, patience=patience)
    raise InvalidSettingError(f"'{url}' is no address of a bucket, such as {_EXAMPLES}.")
