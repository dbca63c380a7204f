"""Recordings with their references, as a user hands them over: a file of JSON, or a list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from misheard import audio
from misheard.errors import InvalidManifestError
from misheard.scoring.normalize import require_text


@dataclass(frozen=True, kw_only=True)
class Sample(audio.Recording):
    """A recording and what is spoken in it."""

    reference: str
    """Empty when nobody speaks."""
    path: Path | None = None
    """Where it was read from."""
    array: Any = field(default=None, repr=False, compare=False)
    """What it was made from, where it came as samples."""


def read_samples(path: Path) -> list[Sample]:
    """Recordings and references listed in a .jsonl, or a .json (a list or `{"samples": […]}`).

    Each has `audio_path` (relative to the file, or to the working directory) and one of
    `reference`, `text`, `target_text`; `speaker_group` and `tags` ({"channel": "mobile"}) are
    optional.
    """
    try:
        text = path.read_text(encoding="utf-8")
        listed = _lines(text, path) if path.suffix == ".jsonl" else json.loads(text)
    except OSError as error:
        raise InvalidManifestError(f"'{path}': {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"'{path}': {error}.") from error
    if isinstance(listed, dict):
        listed = listed.get("samples")
    if not isinstance(listed, list):
        raise InvalidManifestError(f"'{path}' holds no list of samples.")
    return parse_samples(listed, where=f"'{path}'", beside=path.parent)


def _lines(text: str, path: Path) -> list[Any]:
    listed = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                listed.append(json.loads(line))
            except json.JSONDecodeError as error:
                told = f"'{path}', line {number}: {error.msg} at column {error.colno}."
                raise InvalidManifestError(told) from error
    return listed


def parse_samples(
    items: Sequence[Any], *, where: str = "the evaluation set", beside: Path | None = None
) -> list[Sample]:
    """Recordings and references from dicts.

    Each has `audio_path`, or `audio` (a path, bytes, or samples at `sampling_rate`, 16 kHz where it
    is missing), and one of `reference`, `text`, `target_text`; `speaker_group` is optional.
    `beside` is where relative paths are looked for first.
    """
    return [
        _sample(item, f"{where}, sample {number}", beside) for number, item in enumerate(items, 1)
    ]


def _sample(item: Any, where: str, beside: Path | None) -> Sample:
    if not isinstance(item, Mapping):
        raise InvalidManifestError(f"{where}: expected an object with an 'audio_path'.")
    source = item.get("audio_path", item.get("audio"))
    if source is None:
        raise InvalidManifestError(f"{where}: expected an object with an 'audio_path'.")
    keys = [key for key in ("reference", "text", "target_text") if key in item]
    if not keys:
        raise InvalidManifestError(f"{where}: no 'reference' (or 'text', or 'target_text').")
    group = item.get("speaker_group")
    told: dict[str, Any] = {
        "reference": require_text(item[keys[0]], what=where),
        "speaker_group": "" if group is None else require_text(str(group), what=where),
        "tags": _tags(item.get("tags"), where),
    }
    if isinstance(source, str | Path):
        near = (beside or Path()) / source
        found = near if near.exists() else Path(source)
        return Sample(data=audio.read_bytes(found), name=str(found), path=found, **told)
    if isinstance(source, bytes):
        return Sample(data=source, name=where, **told)
    rate_hz = item.get("sampling_rate", item.get("sample_rate", audio.SAMPLE_RATE_HZ))
    data = audio.encode_wav(source, rate_hz, name=where)
    return Sample(data=data, name=where, array=source, **told)


def _tags(given: Any, where: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidManifestError(f"{where}: 'tags' must be names and values of an object.")
    return {
        require_text(str(key), what=where): require_text(
            str(value).lower() if isinstance(value, bool) else str(value), what=where
        )
        for key, value in given.items()
    }
