"""The demo: real telephone speech walks once round the whole loop, with a real model."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misheard.cases.records import Correction
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.datasets.datasets import Dataset
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import (
    EVALUATION_LIST,
    Prompt,
    read_prompts,
    read_samples,
    write_evaluation_set,
)
from misheard.errors import GateRefusedError, WorkspaceExistsError
from misheard.gates.comparison import Comparison
from misheard.gates.suites import SuiteKind
from misheard.reports.cycle_report import cycle_report
from misheard.workspace import Workspace

ACTOR = "demo"
MARKER = "made-by-misheard-demo"
REPORT = "report.html"
EVALUATION = "evaluation"
"""Folder of the test split as files, beside the workspace."""
_LONGEST_S = 30.0

# The prompts are few: thresholds fit them, and 40 % are held out to carry a significance test.
SETTINGS: dict[str, Any] = {
    "datasets": {"train_percent": 50, "validation_percent": 10, "test_percent": 40},
    "triggers": {"min_error_cases": 20, "min_corrected_cases": 20},
}

_CRITICAL = re.compile(
    r"\d|\b(pin|password|number|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|"
    r"twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo measured."""

    comparison: Comparison
    """The base model and the live one on the held-out prompts of up to 30 s."""
    cycle: Cycle
    rolled_back: bool
    redeployed: bool
    seconds: float
    report: Path

    def to_dict(self) -> dict[str, Any]:
        """The line that `misheard demo --json` ends with."""
        return {
            "wer_base": self.comparison.baseline.wer,
            "wer_live": self.comparison.candidate.wer,
            "p_value": self.comparison.p_value,
            "words": self.comparison.words,
            "speedup": round(self.comparison.speedup, 2),
            "seconds": round(self.seconds, 1),
            "rolled_back": self.rolled_back,
            "redeployed": self.redeployed,
        }


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much of the prompts the demo takes; None takes all."""

    clips_per_split: int | None = None
    settings: dict[str, Any] | None = None
    """Sections that replace those of `SETTINGS`."""


def run_demo(
    directory: Path,
    *,
    observer: Observer,
    say: Callable[[str], None],
    size: DemoSize | None = None,
) -> DemoResult:
    """Make a workspace in `directory` and walk the prompts round the loop.

    A workspace that an earlier demo made there is removed; anything else is left alone, with a
    `WorkspaceExistsError`. Raises `GateRefusedError` when the candidate did not pass.
    """
    chosen = size or DemoSize()
    started = time.monotonic()
    prompts = _portion(read_prompts(), chosen.clips_per_split)
    say(f"1. A workspace in '{directory}'")
    workspace = _fresh_workspace(directory, {**SETTINGS, **(chosen.settings or {})})
    say("2. Transcribing what callers heard, with the base model")
    heard = [prompt for prompt in prompts if prompt.split is not Split.TEST]
    _hear_and_correct(workspace, heard, observer, say)
    say("4. Holding out test speech, and suites of what must not break")
    held_out = _hold_out(workspace, [prompt for prompt in prompts if prompt.split is Split.TEST])
    cycle = _turn(workspace, held_out, observer, say)
    version_id = str(cycle.version_id)
    say("7. Using the new version, rolling back, deploying again")
    workspace.transcribe(read_samples(heard[:8]), progress=observer.progress("new version", 8))
    back = workspace.roll_back(actor=ACTOR, reason="a rollback drill")
    again = workspace.deploy(version_id, actor=ACTOR, reason="deployed again after a drill")
    report = directory / REPORT
    report.write_text(cycle_report(workspace, cycle.id), encoding="utf-8")
    return DemoResult(
        comparison=workspace.validations.get(str(cycle.validation_id)).comparison,
        cycle=workspace.cycles.get(cycle.id),
        rolled_back=back.version_id == cycle.baseline_id,
        redeployed=again.version_id == version_id == workspace.deployments.live().version_id,
        seconds=time.monotonic() - started,
        report=report,
    )


def _portion(prompts: list[Prompt], clips_per_split: int | None) -> list[Prompt]:
    if clips_per_split is None:
        return prompts
    kept: list[Prompt] = []
    for split in Split:
        of_split = [prompt for prompt in prompts if prompt.split is split]
        kept += of_split[:: max(1, len(of_split) // clips_per_split)][:clips_per_split]
    return kept


def _fresh_workspace(directory: Path, settings: dict[str, Any]) -> Workspace:
    directory.mkdir(parents=True, exist_ok=True)
    # A checkout has the evaluation set in ./data before any workspace is there.
    left = [path for path in directory.iterdir() if path.name != EVALUATION]
    if left and not (directory / MARKER).exists():
        raise WorkspaceExistsError(f"'{directory}' was not made by the demo; name another.")
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
    (directory / MARKER).write_text(
        f"`misheard demo` may delete everything here but '{EVALUATION}'.\n", encoding="utf-8"
    )
    if not (directory / EVALUATION / EVALUATION_LIST).exists():
        write_evaluation_set(directory / EVALUATION)
    return Workspace.create(directory, settings=settings, actor=ACTOR)


def _hear_and_correct(
    workspace: Workspace, prompts: list[Prompt], observer: Observer, say: Callable[[str], None]
) -> None:
    progress = observer.progress("transcribing", len(prompts))
    inferences = workspace.transcribe(read_samples(prompts), progress=progress)
    workspace.cases.correct(
        [
            Correction(
                inference_id=inference.id,
                reference=prompt.reference,
                author="Digium's transcript",
                method="import",
            )
            for inference, prompt in zip(inferences, prompts, strict=True)
        ]
    )
    counts = workspace.cases.counts()
    say(f"3. {counts.error_cases} error cases corrected, {counts.confirmations} confirmed as right")


def _hold_out(workspace: Workspace, prompts: list[Prompt]) -> Dataset:
    def keep(name: str, chosen: list[Prompt]) -> Dataset | None:
        return workspace.datasets.add_evaluation(name, read_samples(chosen)) if chosen else None

    short = [prompt for prompt in prompts if prompt.duration_s <= _LONGEST_S]
    speech = [prompt for prompt in short if prompt.reference]
    held_out = workspace.datasets.add_evaluation("held-out", read_samples(short))
    suites = [
        ("benchmark", SuiteKind.BENCHMARK, short, "the held-out prompts of up to 30 s"),
        (
            "numbers and PINs",
            SuiteKind.CRITICAL,
            [prompt for prompt in speech if _CRITICAL.search(prompt.reference)],
            "sentences with digits, numbers, PINs and passwords",
        ),
        (
            "no speech",
            SuiteKind.EDGE_CASE,
            [prompt for prompt in short if not prompt.reference],
            "silence, tones and screaming monkeys: nobody speaks, so no words may come",
        ),
        (
            "over 30 s",
            SuiteKind.EDGE_CASE,
            [prompt for prompt in prompts if prompt.duration_s > _LONGEST_S],
            "longer than Whisper's window",
        ),
        (
            "one word",
            SuiteKind.EDGE_CASE,
            [prompt for prompt in speech if len(prompt.reference.split()) == 1],
            "clips of a single word",
        ),
    ]
    for name, kind, chosen, description in suites:
        dataset = keep(f"suite {name}", chosen)
        if dataset is not None:
            workspace.suites.add(name, kind, dataset, description=description)
    return held_out


def _turn(
    workspace: Workspace, held_out: Dataset, observer: Observer, say: Callable[[str], None]
) -> Cycle:
    decision = workspace.cycles.check_trigger()
    say(
        f"5. Worth training? {'Yes' if decision.should_trigger else 'No'}: "
        + "; ".join(decision.reasons or decision.objections)
    )
    cycle = workspace.cycles.begin(actor=ACTOR, held_out_id=held_out.id)
    if cycle is None:
        raise GateRefusedError("; ".join(decision.objections))
    cycle = workspace.cycles.run(cycle.id, observer=observer)
    if cycle.state is not CycleState.AWAITING_APPROVAL:
        report = workspace.root / REPORT
        report.write_text(cycle_report(workspace, cycle.id), encoding="utf-8")
        raise GateRefusedError(f"{cycle.state}: {cycle.detail} The report is '{report}'.")
    say("6. Every gate passed: approved, and live")
    return workspace.cycles.approve(cycle.id, actor=ACTOR)
