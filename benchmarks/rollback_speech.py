"""Canaries of real models on real telephone prompts, one damaged and one sound; see `rollback`.

Each model hears every prompt of the test split once. Calls of three prompts, drawn at random, are
then dealt out, counted and judged by a workspace as a server would do it, 16 requests at a time,
until the canary is taken back or goes live. Latency is left out of it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.phone import clips_of, err, prompts_of, scored
from misheard.audio import Audio
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import Prompt
from misheard.rollouts.assignment import arm_of
from misheard.rollouts.counting import Observed
from misheard.rollouts.judging import Action
from misheard.rollouts.signals import Signal, wrong_of
from misheard.rollouts.states import Arm, RolloutRules
from misheard.speech.sources import DEFAULT_MODEL, served_directory
from misheard.speech.transcriber import Transcript
from misheard.workspace import Workspace

CALL = 3
"""Prompts of one session."""
AT_ONCE = 16
MOST_REQUESTS = 40_000
LITTLE_NOISE, NOISE = 0.1, 0.15
"""Standard deviation of what is added to each weight, over that of its matrix."""
BROKEN_CARD = {
    "base": "",
    "dataset_id": "",
    "recipe_id": "",
    "context": {"margin_s": 0.1, "round_to": 8},
}
"""As if the model had learnt to listen to a clip alone, which it has not."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one canary went."""

    action: Action
    requests: int
    own: int
    """Of the candidate."""
    reason: str


def noisy(source: Path, folder: Path, *, noise: float = NOISE) -> Path:
    """A copy of a model with noise on every weight matrix, the same each time."""
    import torch  # noqa: PLC0415 - heavy
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415 - heavy

    from misheard.speech.convert import to_ctranslate2, to_transformers  # noqa: PLC0415 - heavy

    weights, made = folder / f"weights-{noise}", folder / f"noisy-{noise}"
    to_transformers(source, weights)
    model = WhisperForConditionalGeneration.from_pretrained(weights)
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weights_of_one in model.parameters():
            if weights_of_one.ndim > 1:
                drawn = torch.randn(weights_of_one.shape, generator=draw)
                weights_of_one.add_(noise * weights_of_one.std() * drawn)
    model.save_pretrained(weights)
    to_ctranslate2(weights, made)
    return made


def misled(source: Path, folder: Path) -> Path:
    """A copy of a model whose card says that it has learnt a right-sized context."""
    made = folder / "misled"
    shutil.copytree(source, made)
    (made / "misheard.json").write_text(json.dumps(BROKEN_CARD), encoding="utf-8")
    return made


def same(source: Path, folder: Path) -> Path:
    """The same weights under another id."""
    made = folder / "same"
    shutil.copytree(source, made)
    (made / "note.txt").write_text("the same weights", encoding="utf-8")
    return made


@dataclass(frozen=True, kw_only=True)
class Ears:
    """What one version heard of every clip, and what was wrong with it."""

    version_id: str
    wer: float
    wrong: tuple[frozenset[Signal], ...]

    def share(self, signal: Signal) -> float:
        """Of its transcripts that are wrong in this."""
        return sum(signal in one for one in self.wrong) / len(self.wrong)


def listen(
    workspace: Workspace, version_id: str, prompts: Sequence[Prompt], clips: Sequence[Audio]
) -> Ears:
    """Let a version hear all clips."""
    heard = workspace.transcriber(version_id).transcribe(clips)
    suspicions = workspace.suspicions.estimate(
        [_Logged(one, clip.duration_s) for one, clip in zip(heard, clips, strict=True)]
    )
    limits = RolloutRules(min_suspicion=workspace.settings.capture.min_suspicion)
    wrong = [
        # How long each took says how busy the machine was: all are heard in one go.
        wrong_of(one.text, clip.samples, suspicion=suspicion, latency_s=None, limits=limits)
        for one, clip, suspicion in zip(heard, clips, suspicions, strict=True)
    ]
    wer = scored(prompts, [one.text for one in heard]).wer
    return Ears(version_id=version_id, wer=wer, wrong=tuple(wrong))


class _Logged:
    """A transcript as the log would have it, of a speaker who is not known."""

    speaker = None
    second_text = None

    def __init__(self, heard: Transcript, duration_s: float) -> None:
        self.text = heard.text
        self.duration_s = duration_s
        self.avg_logprob = heard.avg_logprob
        self.no_speech_prob = heard.no_speech_prob
        self.compression_ratio = heard.compression_ratio


def canary(workspace: Workspace, live: Ears, candidate: Ears, *, seed: int) -> Outcome:
    """One rollout, until it is over; calls come in an order of their own for each seed."""
    random = np.random.default_rng(seed)
    begun = workspace.begin_canary(
        candidate.version_id, actor="benchmark", reason=f"seed {seed}", force=True
    )
    requests = own = 0
    waiting: list[Observed] = []
    while requests < MOST_REQUESTS:
        rollout = workspace.rollouts.running()
        if rollout is None:
            break
        for _ in range(AT_ONCE):
            call, clip = requests // CALL, int(random.integers(len(live.wrong)))
            session = f"call-{seed}-{call}"
            arm = arm_of(rollout, session, "")
            ears = candidate if arm is Arm.CANDIDATE else live
            waiting.append(
                Observed(
                    rollout_id=rollout.id,
                    step=rollout.step,
                    arm=arm,
                    session=session,
                    wrong=ears.wrong[clip],
                )
            )
            requests += 1
            own += arm is Arm.CANDIDATE
        workspace.rollouts.note(waiting)
        waiting.clear()
        decision = workspace.judge_rollout(actor="benchmark")
        if decision is not None and decision.action not in (Action.WAIT, Action.ADVANCE):
            if decision.action is Action.PROMOTE:
                workspace.roll_back(actor="benchmark", reason="for the next seed")
            return Outcome(
                action=decision.action, requests=requests, own=own, reason=decision.reason
            )
    raise AssertionError(f"{begun.id} came to no end in {requests} requests")


def run(*, quick: bool, tuned: Path | None = None) -> dict[str, object]:
    """Print the table; its figures."""
    prompts = prompts_of(Split.TEST, most=60 if quick else None)
    seeds = 3 if quick else 20
    settings = {
        "rollouts": {"step_minutes": 0.0},
        "deployment": {"auto_backup_before_deploy": False},
    }
    candidates: dict[str, Callable[[Path, Path], Path]] = {
        "the same weights": same,
        "noise of 15 % on every weight": noisy,
        "noise of 10 % on every weight": lambda source, folder: noisy(
            source, folder, noise=LITTLE_NOISE
        ),
        "a context that it never learnt": misled,
    }
    if tuned is not None:
        candidates["fine-tuned, better"] = lambda _source, _folder: tuned
    figures: dict[str, object] = {"prompts": len(prompts), "seeds": seeds}
    with tempfile.TemporaryDirectory() as name, served_directory(DEFAULT_MODEL) as source:
        folder = Path(name)
        workspace = Workspace.create(folder / "ws", settings=settings, actor="benchmark")
        clips = clips_of(prompts)
        err.print("live hears")
        live = listen(workspace, workspace.deployments.live().version_id, prompts, clips)
        figures["live"] = _told(live)
        _head(prompts, seeds, live)
        for what, make in candidates.items():
            err.print(f"{what} hears")
            version = workspace.registry.register(
                make(source, folder), name=what, source=DEFAULT_MODEL, actor="benchmark"
            )
            ears = listen(workspace, version.id, prompts, clips)
            # How late the latest is found out is told by many.
            orders = 10 * seeds if make is noisy else seeds
            outcomes = [canary(workspace, live, ears, seed=seed) for seed in range(orders)]
            figures[what] = {**_told(ears), **_row(what, ears, outcomes)}
    return figures


def _head(prompts: Sequence[Prompt], seeds: int, live: Ears) -> None:
    print(f"\nReal canaries beside the bundled model: {len(prompts)} prompts, {seeds} orders\n")
    print(
        "| candidate | WER | suspicious | empty | phrase | taken back | requests until then: "
        "median, nine of ten within, most | its own: median, nine of ten within, most |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(f"| (live) | {live.wer:.1%} | {_shares(live)} | – | – | – |", flush=True)


def _row(what: str, ears: Ears, outcomes: Sequence[Outcome]) -> dict[str, object]:
    back = [one for one in outcomes if one.action is Action.ROLL_BACK]
    requests, own = sorted(one.requests for one in back), sorted(one.own for one in back)
    shown = ["–", "–"]
    if back:
        shown = [
            f"{median(some):,.0f}, {np.percentile(some, 90):,.0f}, {some[-1]:,}"
            for some in (requests, own)
        ]
    print(
        f"| {what} | {ears.wer:.1%} | {_shares(ears)} | {len(back)} of {len(outcomes)} "
        f"| {shown[0]} | {shown[1]} |",
        flush=True,
    )
    return {
        "taken_back": len(back),
        "median_requests": median(requests) if back else None,
        "most_requests": requests[-1] if back else None,
        "most_own": own[-1] if back else None,
    }


def _shares(ears: Ears) -> str:
    return " | ".join(
        f"{ears.share(signal):.1%}" for signal in (Signal.SUSPICIOUS, Signal.EMPTY, Signal.PHRASE)
    )


def _told(ears: Ears) -> Mapping[str, object]:
    return {"wer": round(ears.wer, 4), "suspicious": round(ears.share(Signal.SUSPICIOUS), 4)}
