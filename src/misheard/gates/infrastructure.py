"""The blessing of the files: does an artefact load and transcribe where nothing is loaded yet?

A model may be better in every figure and still not start on the machine that is to serve it: a file
is missing, a format too new, memory too small. So it is tried in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Engine, Select, insert, select

from misheard import audio
from misheard.blobs.store import BlobStore
from misheard.blobs.together import get_all
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import infrastructure_checks
from misheard.datasets.manifest import Row
from misheard.registry import Registry

if TYPE_CHECKING:
    from misheard.speech.whisper import DecodingOptions

CLIPS = 3
_PATIENCE_S = 600
_LINES = 3


@dataclass(frozen=True, kw_only=True)
class InfrastructureCheck:
    """An artefact that was tried in a fresh process."""

    id: str
    created_at: datetime
    version_id: str
    passed: bool
    detail: str
    """What was found, in words."""
    figures: dict[str, Any]
    """`load_s`, `settings` that it ran under, and `clips`: text, latency_s and duration_s of each.
    Empty where it did not run."""


class Infrastructure:
    """Tries artefacts, and keeps what came of it."""

    def __init__(
        self,
        engine: Engine,
        blobs: BlobStore,
        registry: Registry,
        *,
        options: DecodingOptions,
        compute_type: str,
        device: str,
        threads: int,
        max_latency_s: float,
    ) -> None:
        self._engine = engine
        self._blobs = blobs
        self._registry = registry
        # As JSON gives them back, so that kept ones can be compared with these.
        settings = {
            "options": asdict(options),
            "compute_type": compute_type,
            "device": device,
            "threads": threads,
        }
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._max_latency_s = max_latency_s

    def check(
        self, version_id: str, rows: Sequence[Row], *, check_id: str | None = None
    ) -> InfrastructureCheck:
        """Load a version in a fresh process and let it transcribe three clips; kept either way.

        The clips are the shortest, the middle and the longest of `rows`; silence where there is
        none. A known id gives the check that is kept.
        """
        if check_id is not None and (known := self._find(check_id)) is not None:
            return known
        detail, figures = self._tried(version_id, rows)
        passed = bool(figures) and _slowest_s(figures) <= self._max_latency_s
        if figures and not passed:
            detail += f", more than {self._max_latency_s:g} s"
        made = InfrastructureCheck(
            id=check_id or new_id("check"),
            created_at=now(),
            version_id=version_id,
            passed=passed,
            detail=detail,
            figures=figures,
        )
        with writing(self._engine) as connection:
            # Another process may have come to the same in the meantime.
            row = connection.execute(_by_id(made.id)).mappings().one_or_none()
            if row is not None:
                return InfrastructureCheck(**row)
            connection.execute(insert(infrastructure_checks).values(**vars(made)))
        return made

    def works(self, version_id: str) -> bool:
        """Whether the newest check of a version, made under the present settings, was passed."""
        newest = self.latest_of(version_id)
        return (
            newest is not None
            and newest.passed
            and newest.figures.get("settings") == self._settings
            and _slowest_s(newest.figures) <= self._max_latency_s
        )

    def latest_of(self, version_id: str) -> InfrastructureCheck | None:
        """The newest check of a version."""
        query = select(infrastructure_checks).where(
            infrastructure_checks.c.version_id == version_id
        )
        query = query.order_by(
            infrastructure_checks.c.created_at.desc(), infrastructure_checks.c.id.desc()
        )
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().one_or_none()
        return InfrastructureCheck(**row) if row is not None else None

    def _find(self, check_id: str) -> InfrastructureCheck | None:
        with self._engine.connect() as connection:
            row = connection.execute(_by_id(check_id)).mappings().one_or_none()
        return InfrastructureCheck(**row) if row is not None else None

    def _tried(self, version_id: str, rows: Sequence[Row]) -> tuple[str, dict[str, Any]]:
        with tempfile.TemporaryDirectory(prefix="misheard-probe-") as folder:
            order = {
                "directory": str(self._registry.directory(version_id)),
                "clips": [str(path) for path in self._clips(rows, Path(folder))],
                **self._settings,
            }
            try:
                ended = subprocess.run(
                    [sys.executable, "-m", "misheard.gates.probe"],
                    input=json.dumps(order),
                    capture_output=True,
                    text=True,
                    timeout=_PATIENCE_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"did not end within {_PATIENCE_S} s in a fresh process", {}
        if ended.returncode:
            told = " ".join(ended.stderr.strip().splitlines()[-_LINES:])
            return f"does not work in a fresh process (exit code {ended.returncode}): {told}", {}
        figures: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
        return (
            f"loads in {figures['load_s']:.1f} s in a fresh process and transcribes "
            f"{len(figures['clips'])} clips, the slowest in {_slowest_s(figures):.2f} s"
        ), figures | {"settings": self._settings}

    def _clips(self, rows: Sequence[Row], folder: Path) -> list[Path]:
        order = sorted({(row.duration_s, row.audio_sha256) for row in rows})
        chosen = [order[0], order[len(order) // 2], order[-1]] if order else []
        data = get_all(self._blobs, [key for _, key in chosen])
        if not data:
            silence = np.zeros(audio.SAMPLE_RATE_HZ, np.float32)
            data = [audio.encode_wav(silence, audio.SAMPLE_RATE_HZ)] * CLIPS
        paths = [folder / f"{number}.audio" for number in range(len(data))]
        for path, one in zip(paths, data, strict=True):
            path.write_bytes(one)
        return paths


def _slowest_s(figures: dict[str, Any]) -> float:
    """Of the clips that were tried; 0 where none was."""
    return max((float(clip["latency_s"]) for clip in figures.get("clips", ())), default=0.0)


def _by_id(check_id: str) -> Select[Any]:
    return select(infrastructure_checks).where(infrastructure_checks.c.id == check_id)
