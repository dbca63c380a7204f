"""Google's own client for one bucket, with errors of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from misheard.blobs.google.errors import GcsErrors
from misheard.blobs.google.login import anonymous, google_credentials
from misheard.blobs.patience import Patience
from misheard.optional import optional

_CONNECTIONS = 64
_NO_METADATA_OF_BUCKETS = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
_WHO_PAYS = "x-goog-user-project"
T = TypeVar("T")


class GcsClient:
    """What requests to a bucket need."""

    def __init__(
        self,
        bucket: str,
        folder: str,
        *,
        project_id: str,
        endpoint: str,
        credentials: Any,
        patience: Patience,
        page_objects: int,
    ) -> None:
        """See `misheard.blobs.gcs.GcsBucket`."""
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        if credentials is None:
            nobody = emulator and not endpoint
            credentials = anonymous() if nobody else google_credentials(endpoint)
        endpoint = endpoint or emulator
        self.url = f"gs://{bucket}/{folder}".rstrip("/")
        self.folder = f"{folder}/" if folder else ""
        self.connection = _connection(credentials)
        """A session of requests."""
        self.errors = GcsErrors(bucket, credentials, project_id)
        self.how = {"timeout": patience.answer_s, "retry": _retry(patience)}
        """What every call of Google's library takes."""
        # Else Google's library asks for the bucket itself, unasked and in a thread of its own; that
        # takes a permission which nothing else here needs.
        os.environ.setdefault(_NO_METADATA_OF_BUCKETS, "true")
        self._project_id = project_id
        self._page_objects = page_objects
        self._client = optional("google.cloud.storage", extra="gcp").Client(
            project=project_id or None,
            credentials=credentials,
            client_options={"api_endpoint": endpoint} if endpoint else None,
            _http=self.connection,
        )
        self._bucket = self._client.bucket(bucket)
        self._seen = False

    def blob(self, name: str, *, generation: int | None = None) -> Any:
        """Google's object of this name; nothing is asked."""
        return self._bucket.blob(self.folder + name, generation=generation)

    def there(self, name: str) -> Any:
        """The object as it is; `BlobNotFoundError` where it is not."""
        blob = self.blob(name)
        self.asked(lambda: blob.reload(**self.how), name)
        return blob

    def page(self, prefix: str, token: str | None) -> tuple[list[Any], str | None]:
        """Objects whose names begin so, a page of them, and the token of the next one."""

        def ask() -> tuple[list[Any], str | None]:
            found = self._client.list_blobs(
                self._bucket,
                prefix=self.folder + prefix,
                fields="items(name,size,generation),nextPageToken",
                page_size=self._page_objects,
                page_token=token,
                **self.how,
            )
            return list(next(found.pages, ())), found.next_page_token

        return self.asked(ask, prefix)

    def asked(self, do: Callable[[], T], name: str, *, writes: bool = False) -> T:
        """Do it, with errors of ours; `name` is the object that it is about.

        Where it writes, what is not found is the bucket: an object need not be there.
        """
        try:
            done = self._paid(do)
        except self.errors.kinds as error:
            name = self.folder + name
            is_there = _never if writes else self._is_there
            raise self.errors.translated(error, name, is_there=is_there) from error
        self._seen = True
        return done

    def _paid(self, do: Callable[[], T]) -> T:
        """Do it; at our project's cost where the bucket's owner does not bear it."""
        try:
            return do()
        except self.errors.kinds as error:
            headers = self.connection.headers
            if not self._project_id or _WHO_PAYS in headers or not self.errors.asks_who_pays(error):
                raise
            # Only then: it takes a permission in that project which nothing else here needs.
            headers[_WHO_PAYS] = self._project_id
            return do()

    def _is_there(self) -> bool:
        """Whether the bucket is: Google says "not found" of it as of an object."""
        if self._seen:
            return True
        try:
            next(iter(self._client.list_blobs(self._bucket, max_results=1, **self.how)), None)
        except self.errors.kinds as error:
            return not self.errors.is_not_found(error)
        self._seen = True
        return True


def _never() -> bool:
    return False


def _connection(credentials: Any) -> Any:
    """One session for all requests, with as many connections as there may be threads."""
    session = optional("google.auth.transport.requests", extra="gcp").AuthorizedSession(credentials)
    adapter = optional("requests.adapters", extra="gcp").HTTPAdapter
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter(pool_maxsize=_CONNECTIONS))
    return session


def _retry(patience: Patience) -> Any:
    """As Google's client wants to be told."""
    retry = optional("google.cloud.storage.retry", extra="gcp").DEFAULT_RETRY
    return retry.with_delay(
        initial=patience.first_s, maximum=patience.most_s, multiplier=2.0
    ).with_timeout(patience.deadline_s)
