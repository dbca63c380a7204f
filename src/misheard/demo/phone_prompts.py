"""Real telephone speech, shipped with the package; `scripts/build_phone_prompts.py` builds it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from misheard.datasets.samples import Sample
from misheard.datasets.split import Split

ARCHIVE = Path(__file__).with_name("phone_prompts.zip")
EVALUATION_LIST = "test.jsonl"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One recording, as the manifest describes it."""

    id: str
    file: str
    reference: str
    kind: str
    """speech or non_speech."""
    group: str
    """The menu that it belongs to."""
    split: Split
    duration_s: float
    sha256: str


def read_prompts() -> list[Prompt]:
    """All 568 prompts, sorted by id."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        rows = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
    return [Prompt(**row | {"split": Split(row["split"])}) for row in rows]


def read_samples(prompts: list[Prompt]) -> list[Sample]:
    """The recordings of `prompts`, with their references."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [
            Sample(
                data=archive.read(prompt.file),
                reference=prompt.reference,
                speaker_group=prompt.group,
                name=prompt.id,
            )
            for prompt in prompts
        ]


def write_evaluation_set(directory: Path) -> Path:
    """The test split as files: `test.jsonl`, `clips/`, and whom they are owed to; the list."""
    clips = directory / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    lines = []
    with zipfile.ZipFile(ARCHIVE) as archive:
        for prompt in read_prompts():
            if prompt.split is not Split.TEST:
                continue
            path = clips / f"{prompt.id.replace('/', '_')}.gsm"
            path.write_bytes(archive.read(prompt.file))
            line = {
                "audio_path": path.relative_to(directory).as_posix(),
                "reference": prompt.reference,
                "speaker_group": prompt.group,
            }
            lines.append(json.dumps(line) + "\n")
        for name in ("ATTRIBUTION.txt", "LICENSE.txt"):
            (directory / name).write_bytes(archive.read(name))
    # Written last: where the list is, everything that it names is there.
    listed = directory / EVALUATION_LIST
    listed.write_text("".join(lines), encoding="utf-8")
    return listed
