"""What a machine needs for a job goes to the bucket, and from there into a directory like ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from misheard.blobs.bucket import Sent, unwatched
from misheard.blobs.store import is_key
from misheard.blobs.transfers import fetch_all, put_all
from misheard.errors import BlobNotFoundError, BundleError, ObjectExistsError
from misheard.finetune.paths import JobPaths
from misheard.finetune.rented.homecoming import clean
from misheard.finetune.rented.layout import RentedJob, is_plain, key_of
from misheard.finetune.rented.sealed import read_sealed, sealed

_FORMAT = 1
_BASE = "base"
_ORDER = "order.json"
_INPUTS = (_ORDER, "data/", "general/")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What the directory of a job is made of, by the path in it."""

    shared: Mapping[str, str]
    """Files of the base model: blobs of `RentedJob.shared`."""
    inputs: Mapping[str, str]
    """All others: blobs of `RentedJob.inputs`."""
    size_bytes: int
    """Of all files together."""
    wheel_name: str
    """As pip wants the file to be called."""
    wheel_sha256: str
    """misheard itself: the blob of `RentedJob.shared`, in the object `shared_name` of it."""

    def check(self, where: str) -> None:
        """Raise `BundleError` unless it may be made a directory."""
        wrong = [name for name in self.shared if not name.startswith(f"{_BASE}/")]
        wrong += [name for name in self.inputs if not name.startswith(_INPUTS)]
        files = {**self.shared, **self.inputs}
        wrong += [name for name, key in files.items() if not (is_plain(name) and is_key(key))]
        if wrong or _ORDER not in files:
            raise BundleError(f"{where} is no bundle: {wrong[0] if wrong else 'it has no order.'}")


def send_bundle(
    paths: JobPaths, job: RentedJob, wheel: Path, *, progress: Sent = unwatched
) -> Bundle:
    """Send what is not in the bucket yet; `progress` is told of the bytes as they go.

    Killed anywhere, it can be called again and goes on. Where the bucket holds another job of this
    id (other inputs), all that is left of that one is deleted first.
    """
    shared, inputs = dict(_base(paths)), dict(_inputs(paths))
    bundle = Bundle(
        shared={name: key_of(path) for name, path in shared.items()},
        inputs={name: key_of(path) for name, path in inputs.items()},
        size_bytes=bundle_bytes(paths),
        wheel_name=wheel.name,
        wheel_sha256=key_of(wheel),
    )
    there = read_bundle(job)
    if there is not None and (there.shared, there.inputs) != (bundle.shared, bundle.inputs):
        clean(job)
    put_all(job.shared, [*shared.values(), wheel], progress)
    put_all(job.inputs, list(inputs.values()), progress)
    job.bucket.put(job.bundle, sealed({"format": _FORMAT} | asdict(bundle)))
    return bundle


def bundle_bytes(paths: JobPaths) -> int:
    """How many bytes the inputs of a job have: what `send_bundle` sends at most, less the wheel."""
    return sum(path.stat().st_size for _, path in [*_base(paths), *_inputs(paths)])


def read_bundle(job: RentedJob) -> Bundle | None:
    """The bundle that is in the bucket; None before one is complete.

    Raises `BundleError` where it is not what this version of misheard makes, `BlobCorruptError`
    where it is damaged.
    """
    where = f"{job.bucket.url}/{job.bundle}"
    try:
        values = read_sealed(job.bucket, job.bundle)
    except BlobNotFoundError:
        return None
    if values.pop("format", None) != _FORMAT:
        raise BundleError(f"{where} was made by another version of misheard.")
    bundle = Bundle(**values)
    bundle.check(where)
    return bundle


def fetch_bundle(job: RentedJob, paths: JobPaths, *, progress: Sent = unwatched) -> Bundle:
    """Make the directory of a job; each file is verified, and `JobPaths.order` comes last.

    What is there already stays if it is right. Raises `BlobNotFoundError` where there is no bundle,
    or something that it names is missing.
    """
    bundle = read_bundle(job)
    if bundle is None:
        raise BlobNotFoundError(f"{job.bucket.url}/{job.bundle}")
    order = bundle.inputs[_ORDER]
    others = {name: key for name, key in bundle.inputs.items() if name != _ORDER}
    for store, files in ((job.shared, bundle.shared), (job.inputs, others)):
        fetch_all(store, _missing(paths, files), progress)
    if not _is_there(paths.order, order):
        partial = paths.order.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        job.inputs.fetch(order, partial)
        partial.rename(paths.order)
    return bundle


def release(job: RentedJob) -> None:
    """Say that training may begin; said twice, nothing happens."""
    told = json.dumps({"at": datetime.now(UTC).isoformat()}).encode()
    try:
        job.bucket.put(job.go, told, create_only=True)
    except ObjectExistsError:
        return


def is_released(job: RentedJob) -> bool:
    """Whether training may begin."""
    return job.bucket.stat(job.go) is not None


def _base(paths: JobPaths) -> Iterator[tuple[str, Path]]:
    # At home it is a link to where the model is kept.
    yield from _below(paths.base, _BASE)


def _inputs(paths: JobPaths) -> Iterator[tuple[str, Path]]:
    yield _ORDER, paths.order
    yield from _below(paths.data, "data")
    yield from _below(paths.general, "general")


def _below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _missing(paths: JobPaths, files: Mapping[str, str]) -> dict[Path, str]:
    """Where the files go that are not there; what is wrong there goes."""
    missing = {}
    for name, key in files.items():
        path = paths.root / name
        if _is_there(path, key):
            continue
        path.unlink(missing_ok=True)
        missing[path] = key
    return missing


def _is_there(path: Path, key: str) -> bool:
    return path.is_file() and key_of(path) == key
