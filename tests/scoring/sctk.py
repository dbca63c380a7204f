"""NIST's scoring toolkit, run as a program: what it says of the same texts."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# Debian has one command for all programs of the toolkit; other builds have each by its own name.
_SCTK = shutil.which("sctk")
_FOUND = _SCTK or (shutil.which("sclite") and shutil.which("sc_stats"))
needs_sctk = pytest.mark.skipif(not _FOUND, reason="NIST's sctk (sclite, sc_stats) is missing")
SCLITE = ("-i", "rm", "-r", "ref.trn", "trn", "-o", "sgml", "-h")
SC_STATS = ("-p", "-t", "mapsswe", "-n", "said")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What `sc_stats -t mapsswe` printed, to its digits, and what `sclite` counted."""

    segments: int
    mean: str
    deviation: str
    z: str
    p_value: str
    errors: tuple[int, int]
    words: int


def ask(
    folder: Path, references: Sequence[str], baseline: Sequence[str], candidate: Sequence[str]
) -> Said:
    """Score both models in `folder`, then compare them."""
    _write(folder / "ref.trn", references)
    scored = []
    for name, texts in (("baseline", baseline), ("candidate", candidate)):
        _write(folder / name, texts)
        _run(folder, "sclite", *SCLITE, name, "trn")
        scored.append((folder / f"{name}.sgml").read_text())
    # It prints the figures or the table with the p-value, never both.
    _run(folder, "sc_stats", *SC_STATS, "-v", given="".join(scored))
    _run(folder, "sc_stats", *SC_STATS, "-u", given="".join(scored))
    figures = (folder / "said.stats.mapsswe").read_text()
    segments, mean, deviation, z = re.findall(
        r"# segs: +(\d+).*\(mean: +(\S+)\) \(std dev: +(\S+)\) \(Z Stat: +(\S+)\)", figures
    )[0]
    unified = (folder / "said.stats.unified").read_text()
    # The cell beside the baseline: the better one or "~", then p, then perhaps stars.
    p_value = re.findall(r"\|\| +baseline +\|[^|]*\| +\S+ +(<?[\d.]+)", unified)[0]
    return Said(
        segments=int(segments),
        mean=mean,
        deviation=deviation,
        z=z,
        p_value=p_value,
        errors=(_count(scored[0], "SDI"), _count(scored[1], "SDI")),
        words=_count(scored[0], "CSD"),
    )


def _count(alignments: str, kinds: str) -> int:
    """Words of these kinds in what `sclite -o sgml` wrote."""
    return sum(
        len(re.findall(f"(?:^|:)[{kinds}],", line))
        for line in alignments.splitlines()
        if not line.startswith("<")
    )


def _write(path: Path, texts: Sequence[str]) -> None:
    # A few utterances a speaker, since sc_stats looks each one up among all of its speaker's.
    lines = [f"{text} (s{at // 20}_{at})\n" for at, text in enumerate(texts)]
    path.write_text("".join(lines))


def _run(folder: Path, program: str, *arguments: str, given: str | None = None) -> str:
    command = [*([_SCTK] if _SCTK else []), program, *arguments]
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, check=True
    )
    return done.stdout
