"""A dataset version: an immutable list of utterances whose id is its hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from misheard.datasets.split import Split
from misheard.errors import InvalidManifestError

PERMANENT = "permanent"
"""Kind of a row that is a suite's for good, since somebody corrected it: see `suite_cases`."""
_AUDIO = re.compile(rb'"audio_sha256": "([0-9a-f]{64})"')


@dataclass(frozen=True, kw_only=True, order=True)
class Row:
    """One utterance of a dataset."""

    audio_sha256: str
    reference: str
    """What was spoken; empty when nobody speaks."""
    split: Split
    kind: str
    """error, replay (confirmed, so that nothing is forgotten), evaluation or `PERMANENT`."""
    speaker_group: str
    duration_s: float
    weight: float = 1.0
    """How often an epoch of training shows it; never less than once."""
    tags: tuple[tuple[str, str], ...] = ()
    """What slices are cut by, as sorted pairs: (("channel", "mobile"), ("noise", "street"))."""

    @property
    def is_silent(self) -> bool:
        """Whether nobody speaks."""
        return not self.reference


def to_jsonl(rows: Iterable[Row]) -> bytes:
    """The canonical bytes of a manifest: sorted rows, sorted keys, one a line."""
    lines = (json.dumps(_values(row), sort_keys=True, ensure_ascii=False) for row in sorted(rows))
    return "".join(line + "\n" for line in lines).encode()


def _values(row: Row) -> dict[str, Any]:
    values = asdict(row)
    # Without tags a row is what it was before there were any, and so is the id of its dataset.
    tags = dict(values.pop("tags"))
    return values | ({"tags": tags} if tags else {})


def from_jsonl(data: bytes) -> list[Row]:
    """The rows of a manifest."""
    try:
        # Not splitlines: a transcript may hold U+2028, which is no end of a line in JSON.
        values = [json.loads(line) for line in data.decode().split("\n") if line]
        return [_row(value) for value in values]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidManifestError(f"{error}.") from error


def _row(value: dict[str, Any]) -> Row:
    tags = tuple(sorted(value.get("tags", {}).items()))
    return Row(**value | {"split": Split(value["split"]), "tags": tags})


def dataset_id(manifest: bytes) -> str:
    """The id of the dataset with this manifest: the same rows give the same id."""
    return "ds-" + hashlib.sha256(manifest).hexdigest()[:16]


def recordings_in(lines: bytes) -> set[str]:
    """The recordings that a manifest names, or any other file that names them as it does."""
    return {key.decode() for key in _AUDIO.findall(lines)}
