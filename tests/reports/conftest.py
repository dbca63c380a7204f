"""Pages read as a browser would, and a workspace whose transcripts are given."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from misheard.blobs.directory import DirectoryBlobs
from misheard.cycle.states import Cycle, CycleState
from misheard.database.engine import migrate, now, open_engine, writing
from misheard.database.schema import cycle_steps, cycles, hypotheses, jobs, validations
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import read_prompts, read_samples
from misheard.finetune.events import TrainingEvent, append_event
from misheard.finetune.recipe import Recipe
from misheard.finetune.sweep import SHARES
from misheard.gates.contender import Contender
from misheard.gates.hypotheses import Hypotheses, Hypothesis
from misheard.gates.judging import ValidationRules
from misheard.gates.regression import RegressionSuites
from misheard.gates.suites import RegressionRules
from misheard.gates.validation import Validation, Validations
from misheard.gates.verdict import Criterion, Verdict, to_columns
from misheard.reports.cycle_report import cycle_report
from misheard.scoring.normalize import normalizer
from misheard.settings import FILE_NAME
from misheard.speech.transcriber import Transcriber
from misheard.workspace import Workspace
from tests.conftest import make_wav

INLINE = {"span", "code", "mark", "del", "time", "tspan", "em", "b"}
VOID = {"meta", "link", "br", "line", "circle", "rect", "polyline", "input"}
ATTACK = "<script>alert(1)</script> press pound"
QUOTES = "\"'><img src=x onerror=alert(1)> & <b>loud</b>"


class Page(HTMLParser):
    """What a browser would make of the page: text, tags with attributes, text by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.by_tag: dict[str, list[str]] = {}
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.text += "" if tag in INLINE else " "
        if tag not in VOID:
            self.open.append(tag)
            self.by_tag.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += "" if tag in INLINE else " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data
            for tag in set(self.open):
                self.by_tag[tag][-1] += data

    @property
    def words(self) -> str:
        """The visible text with single spaces."""
        return " ".join(self.text.split())

    def count(self, tag: str, css_class: str = "") -> int:
        return sum(
            found == tag and (not css_class or css_class in attributes.get("class", "").split())
            for found, attributes in self.tags
        )


def swept(
    validation: Sequence[float] | None,
    general: Sequence[float] | None = None,
    *,
    cers: Sequence[float] = (0.1, 0.1, 0.1, 0.1, 0.1),
    silent: Sequence[int] = (0, 0, 0, 0, 0),
) -> list[dict[str, Any]]:
    """The points of a job's sweep, as its result tells them, with these word error rates."""

    def heard(rates: Sequence[float] | None, number: int) -> dict[str, Any] | None:
        if rates is None:
            return None
        return {"wer": rates[number], "cer": cers[number], "silent_with_text": silent[number]}

    return [
        {
            "share": share,
            "validation": heard(validation, number),
            "general": heard(general, number),
        }
        for number, share in enumerate(SHARES)
    ]


TOLD: dict[str, Any] = {
    "shown_an_epoch": 77,
    "left_out": 4,
    "refused": [
        {"audio": f"{number:064d}", "reason": "A model cannot be taught this text. it is 31 s long"}
        for number in range(4)
    ],
    "best_epoch": 1,
    "precision": "bfloat16",
    "processes": 1,
    "peak_memory_mb": 3860,
    "share": 0.75,
    # Of a real job: halfway it heard nothing right, and said ten words for each spoken one.
    "sweep": swept([0.09, 8.654, 2.936, 0.064, 0.077], [0.082, 16.327, 6.816, 0.0, 0.0]),
    "checked": {"right_sized": 0.064, "full_window": 0.077, "long": 0.105},
}
"""What the result of a job holds beyond what the first misheard told."""


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A recording, what is said in it, and what two versions hear."""

    data: bytes = field(repr=False)
    reference: str
    live: str | None
    """None: the live version gives no transcript."""
    candidate: str | None
    group: str = ""
    duration_s: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)


def calls() -> list[Spoken]:
    """42 recordings: telephone prompts, a text that means ill, and silence.

    The candidate breaks 2, makes 1 worse and 2 better, and fixes 20.
    """
    # A prompt of one word has no word to lose.
    chosen = [one for one in read_prompts() if 3 <= len(one.reference.split()) <= 12][:40]
    made = []
    for index, (prompt, sample) in enumerate(zip(chosen, read_samples(chosen), strict=True)):
        words = prompt.reference.split()
        live = candidate = prompt.reference
        if index < 20:
            live = " ".join(["mumbled", *words[1:]])
        if index in (3, 4):
            live, candidate = " ".join(words[2:]), " ".join(words[1:])
        if index in (20, 21):
            candidate = f"{prompt.reference} mumbled"
        if index == 22:
            live, candidate = " ".join(words[1:]), " ".join(words[2:])
        made.append(
            Spoken(
                data=sample.data,
                reference=prompt.reference,
                live=live,
                candidate=candidate,
                group=f"call {index // 2}",
                duration_s=prompt.duration_s,
                tags={"channel": "mobile" if index % 2 else "landline"},
            )
        )
    made.append(
        Spoken(
            data=make_wav(seconds=0.4),
            reference=ATTACK,
            live="press pound",
            candidate=ATTACK,
            group=QUOTES,
            tags={QUOTES: QUOTES},
        )
    )
    made.append(Spoken(data=make_wav(seconds=0.5), reference="", live="you", candidate=""))
    return made


def _given(version: str, texts: Mapping[str, str | None]) -> Contender:
    """A side whose transcripts are given, by the recording's SHA-256."""

    def hypothesis(text: str | None) -> Hypothesis:
        if text is None:
            return Hypothesis(text="", compute_s=0.0, error="it <b>broke</b>")
        return Hypothesis(text=text, compute_s=0.1)

    return Contender(
        id=version,
        hypothesise=lambda rows, _: [hypothesis(texts[row.audio_sha256]) for row in rows],
    )


def _no_transcriber(version_id: str) -> Transcriber:
    raise AssertionError(f"{version_id} was asked for")


class Bench:
    """A workspace whose two versions are files of one line, and whose transcripts are given."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.engine = open_engine(f"sqlite:///{root / 'misheard.db'}")
        migrate(self.engine)
        (root / FILE_NAME).touch()
        self.workspace = Workspace.open(root)
        settings = self.workspace.settings
        self.blobs = blobs = DirectoryBlobs(root / "blobs")
        # The gates as they are, except that every transcript is there already.
        self.validations = Validations(
            self.engine,
            self.workspace.datasets,
            Hypotheses(self.engine, blobs, _no_transcriber, decoding="given"),
            blobs=blobs,
            # Sets are so small here that one utterance is more than the usual share.
            rules=ValidationRules(
                **settings.validation.model_dump() | {"max_wer_degradation_rate": 0.5}
            ),
            normalizer=normalizer("whisper-english"),
            replicates=1000,
        )
        self.suites = RegressionSuites(
            self.engine,
            self.workspace.datasets,
            self.validations,
            rules=RegressionRules(**settings.regression.model_dump()),
        )
        self.live = self.version("live")
        self.candidate = self.version("candidate", parent=self.live)
        self.workspace.deployments.deploy(self.live, actor="ana", reason="the first model")

    def dataset(
        self,
        name: str,
        references: Sequence[str],
        *,
        training: bool = False,
        groups: Sequence[str] = (),
    ) -> Dataset:
        """A set of these utterances, each in a group of its own where none are named."""
        rows = [
            Row(
                audio_sha256=f"{name}-{index}",
                reference=reference,
                split=Split.TRAIN if training else Split.TEST,
                kind="error" if training else "evaluation",
                speaker_group=groups[index % len(groups)] if groups else f"call-{index}",
                duration_s=1.5 if not groups else 0.5 + 2 * (index % 3),
            )
            for index, reference in enumerate(references)
        ]
        purpose = Purpose.TRAINING if training else Purpose.EVALUATION
        return self.workspace.datasets.add(name, purpose, rows)

    def heard(self, version: str, dataset: Dataset, texts: Sequence[str], compute_s: float) -> None:
        names = [f"{dataset.name}-{index}" for index in range(len(texts))]
        with writing(self.engine) as connection:
            for name, text in zip(names, texts, strict=True):
                values = {
                    "version_id": version,
                    "audio_sha256": name,
                    "decoding": "given",
                    "text": text,
                    "compute_s": compute_s,
                }
                connection.execute(insert(hypotheses).values(**values))

    def recorded(self, name: str, spoken: Sequence[Spoken]) -> Validation:
        """A validation on real recordings, whose transcripts are given."""
        keys = [self.blobs.put_bytes(one.data) for one in spoken]
        rows = [
            Row(
                audio_sha256=key,
                reference=one.reference,
                split=Split.TEST,
                kind="evaluation",
                speaker_group=one.group or f"call-{index}",
                duration_s=one.duration_s,
                tags=tuple(sorted(one.tags.items())),
            )
            for index, (key, one) in enumerate(zip(keys, spoken, strict=True))
        ]
        dataset = self.workspace.datasets.add(name, Purpose.EVALUATION, rows)
        live, candidate = (
            {key: getattr(one, side) for key, one in zip(keys, spoken, strict=True)}
            for side in ("live", "candidate")
        )
        return self.validations.run(
            _given(self.candidate, candidate), _given(self.live, live), dataset
        )

    def begin(self, held_out: Dataset) -> Cycle:
        cycle = self.workspace.cycles.begin(actor="ana", held_out_id=held_out.id, force=True)
        assert cycle is not None
        return cycle

    def put(self, cycle: Cycle, state: CycleState, detail: str = "", **values: object) -> None:
        """Set a cycle down where it would stand after `state`'s step, 65 s after the one before."""
        with writing(self.engine) as connection:
            steps = select(func.max(cycle_steps.c.created_at))
            before = connection.execute(steps.where(cycle_steps.c.cycle_id == cycle.id))
            step = {
                "cycle_id": cycle.id,
                "created_at": before.scalar_one() + timedelta(seconds=65),
                "from_state": cycle.state,
                "to_state": state,
                "detail": detail,
            }
            chosen = update(cycles).where(cycles.c.id == cycle.id)
            connection.execute(chosen.values(state=state, detail=detail, **values))
            connection.execute(insert(cycle_steps).values(**step))

    def trained(
        self,
        cycle: Cycle,
        dataset: Dataset,
        *,
        error: str | None = None,
        told: Mapping[str, Any] | None = None,
        recipe: Recipe | None = None,
    ) -> str:
        """A job of the cycle that has ended, with its events.

        `told` is what its result holds beyond what the first misheard told.
        """
        job_id = cycle.id.replace("cycle-", "job-")
        result = {
            "training_loss": 0.7,
            "trained_s": 83.0,
            "training_clips": 3,
            "validation_clips": 1,
            "validation_wer": [0.5, 0.25],
            **(told or {}),
        }
        with writing(self.engine) as connection:
            connection.execute(
                insert(jobs).values(
                    id=job_id,
                    created_at=now(),
                    state="failed" if error else "completed",
                    backend="local",
                    base_version_id=self.live,
                    dataset_id=dataset.id,
                    recipe=(recipe or Recipe(epochs=2)).to_dict(),
                    ended_at=now(),
                    error=error,
                    result=None if error else result,
                )
            )
        events = self.workspace.jobs.paths(job_id).events
        events.parent.mkdir(parents=True)
        for event in (
            # An attempt that was cut short; the report must not draw it.
            TrainingEvent(at_s=0, phase="prepare"),
            TrainingEvent(at_s=1, phase="train", step=5, epoch=0.5, loss=9.87),
            TrainingEvent(at_s=0, phase="prepare"),
            TrainingEvent(at_s=1, phase="train", step=5, epoch=0.5, loss=1.61),
            TrainingEvent(at_s=2, phase="train", step=10, epoch=1, validation_wer=0.5),
            TrainingEvent(at_s=3, phase="train", step=15, epoch=1.5, loss=float("nan")),
            TrainingEvent(at_s=4, phase="train", step=20, epoch=2, loss=0.41),
            TrainingEvent(at_s=5, phase="train", step=20, epoch=2, validation_wer=0.25),
            TrainingEvent(at_s=6, phase="sweep", step=1, share=0.25, validation_wer=7.77),
        ):
            append_event(events, event)
        return job_id

    def page(self, cycle: Cycle) -> Page:
        return Page(cycle_report(self.workspace, cycle.id))

    def version(self, text: str, parent: str | None = None) -> str:
        files = self.root / text
        files.mkdir()
        (files / "model.bin").write_text(text)
        return self.workspace.registry.register(
            files, name="tiny", source=text, actor="ana", parent_id=parent
        ).id


def stored(bench: Bench, validation: Validation) -> dict[str, Any]:
    """The row of a validation."""
    with bench.engine.connect() as connection:
        query = select(validations).where(validations.c.id == validation.id)
        return dict(connection.execute(query).mappings().one())


def store(bench: Bench, validation: Validation, **values: Any) -> None:
    with writing(bench.engine) as connection:
        chosen = update(validations).where(validations.c.id == validation.id)
        connection.execute(chosen.values(**values))


def judge_again(bench: Bench, validation: Validation, *criteria: Criterion) -> Validation:
    """The same validation, had its criteria been these."""
    judged = to_columns(replace(validation, verdict=Verdict.of(criteria)))
    kept = {key: judged[key] for key in ("passed", "reasons", "figures")}
    store(bench, validation, **kept)
    return bench.workspace.validations.get(validation.id)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "workspace")


def photograph(html: str, folder: Path, width: int) -> int:
    """Bytes of the picture that a browser makes of a page; one that is blank has a few thousand."""
    page, picture = folder / "report.html", folder / "report.png"
    page.write_text(html, encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},2000"]
    subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        timeout=300,
        check=True,
    )
    return picture.stat().st_size
