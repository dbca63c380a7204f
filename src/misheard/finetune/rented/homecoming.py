"""What a rented machine tells, and what it has made, comes home."""

from __future__ import annotations

from misheard.blobs.bucket import Sent, unwatched
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.manifest import Manifest


def follow(job: RentedJob, paths: JobPaths) -> bool:
    """Append what is new in the bucket to `JobPaths.events` and `log`; whether anything was.

    Attempts follow each other; what came home once never comes again, wherever this was killed.
    """
    raise NotImplementedError


def bring_home(job: RentedJob, paths: JobPaths, *, progress: Sent = unwatched) -> Manifest:
    """Make the model and the result of a job that has succeeded files of `paths`.

    Events and log come first, `JobPaths.result` last. Interrupted anywhere, it can be called again;
    what has arrived does not travel twice. Of a job that has failed only events and log come: look
    at the `outcome`.

    Raises `HomecomingError` where there is no manifest, it is damaged, or a file is missing or was
    wrong twice; `DiskFullError` where there is no room.
    """
    raise NotImplementedError


def clean(job: RentedJob) -> int:
    """Delete all of a job from the bucket, recordings first; how many objects there were."""
    raise NotImplementedError
