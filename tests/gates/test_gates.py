"""What versions heard, and the first gate over real rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select

from misheard import audio
from misheard.blobs.directory import DirectoryBlobs
from misheard.database.schema import validations as table
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.errors import UnknownIdError
from misheard.gates.hypotheses import Hypotheses
from misheard.gates.judging import judge
from misheard.gates.validation import ValidationCounts, Validations
from misheard.gates.verdict import Answer, Criterion, Verdict, from_columns, to_columns
from misheard.scoring.normalize import normalizer
from misheard.speech.transcriber import FunctionTranscriber, Transcript
from tests.gates.conftest import RULES, TEXTS, Ear


def test_each_version_hears_each_clip_once(
    hypotheses: Hypotheses,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    rows = datasets.rows(held_out)
    done: list[int] = []
    first = hypotheses.of(versions[1], rows, progress=done.append)
    assert ear.calls == sum(done) == 12
    assert hypotheses.of(versions[1], rows) == first
    assert ear.calls == 12
    normal = [f"press {n} now" for n in range(12)]
    assert sorted(h.text.lower().replace(",", "").rstrip(".") for h in first) == sorted(normal)


def test_hypotheses_stand_in_the_order_of_the_rows(
    hypotheses: Hypotheses, datasets: Datasets, held_out: Dataset, versions: tuple[str, str]
) -> None:
    rows = datasets.rows(held_out)[::-1]
    heard = hypotheses.of(versions[1], rows)
    for row, hypothesis in zip(rows, heard, strict=True):
        assert row.reference.split()[1] == hypothesis.text.split()[1].rstrip(",")


def test_other_decoding_options_are_heard_anew(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    for decoding in ("beam=1", "beam=5"):
        Hypotheses(engine, blobs, ear.of, decoding=decoding).of(
            versions[0], datasets.rows(held_out)
        )
    assert ear.calls == 24


def test_a_recording_that_stands_twice_is_heard_once(
    hypotheses: Hypotheses,
    datasets: Datasets,
    tone: Callable[..., bytes],
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    data = tone(seconds=0.1)
    twice = datasets.add_evaluation(
        "twice", [Sample(data=data, reference="a"), Sample(data=data, reference="b")]
    )
    one, two = hypotheses.of(versions[1], datasets.rows(twice))
    assert one == two
    assert ear.calls == 1


def test_where_a_transcriber_fails_its_hypothesis_says_why_and_is_not_kept(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    broken = Hypotheses(
        engine,
        blobs,
        lambda _: FunctionTranscriber(lambda samples: 5),
        decoding="test",  # type: ignore[arg-type, return-value]
    )
    rows = datasets.rows(held_out)
    failed = broken.of(versions[0], rows)
    assert [one.text for one in failed] == [""] * 12
    assert all("got int" in str(one.error) for one in failed)
    Hypotheses(engine, blobs, ear.of, decoding="test").of(versions[0], rows)
    assert ear.calls == 12


def test_one_bad_clip_costs_nothing_but_itself(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
) -> None:
    def deaf_to_long(samples: object) -> str:
        if len(samples) > 3_300:  # type: ignore[arg-type]
            raise RuntimeError("too long\0 for me")
        return "press"

    room = Hypotheses(
        engine, blobs, lambda _: FunctionTranscriber(deaf_to_long, name="d"), decoding="test"
    )
    rows = datasets.rows(held_out)
    done: list[int] = []
    heard = room.of(versions[0], rows, progress=done.append)
    failed = [row.reference for row, one in zip(rows, heard, strict=True) if one.error is not None]
    assert failed == ["press 11 now"]
    assert sum(done) == 12
    assert heard[-1].error in (None, "RuntimeError: too long for me")
    # The eleven others are known now; the failure is tried again.
    again: list[int] = []
    room.of(versions[0], rows, progress=again.append)
    assert again[0] == 11


def test_a_better_candidate_passes_and_the_verdict_is_kept(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    made = validations.run(new, old, held_out)
    assert made.verdict.passed
    assert made.comparison.baseline.errors == 12
    assert made.comparison.candidate.errors == 0
    assert validations.get(made.id) == made
    assert validations.latest_of(new) == made
    assert validations.latest_of(old) is None


def test_a_worse_candidate_does_not_pass(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert not validations.run(old, new, held_out).verdict.passed


def test_the_same_id_gives_the_verdict_that_is_kept(
    validations: Validations, held_out: Dataset, versions: tuple[str, str], ear: Ear
) -> None:
    old, new = versions
    first = validations.run(new, old, held_out, validation_id="val-1")
    ear.bad_versions.add(new)
    assert validations.run(new, old, held_out, validation_id="val-1") == first


def test_the_set_may_be_called_otherwise(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert validations.run(new, old, held_out).set_name == "held-out"
    named = validations.run(new, old, held_out, set_name="calls of May")
    assert validations.get(named.id).set_name == "calls of May"


def test_every_utterance_of_a_validation_is_kept(
    validations: Validations,
    datasets: Datasets,
    held_out: Dataset,
    blobs: DirectoryBlobs,
    versions: tuple[str, str],
) -> None:
    old, new = versions
    made = validations.run(new, old, held_out)
    kept = validations.utterances(validations.get(made.id))
    assert made.utterances_sha256 in blobs
    assert sorted(one["reference"] for one in kept) == sorted(TEXTS)
    (fourth,) = [one for one in kept if one["reference"] == "press 4 now"]
    row = next(row for row in datasets.rows(held_out) if row.reference == "press 4 now")
    assert fourth == {
        "audio_sha256": row.audio_sha256,
        "reference": "press 4 now",
        "words": 3,
        "baseline": "press pound",
        "candidate": "Press 4, now.",
        "baseline_errors": 2,
        "candidate_errors": 0,
        "speaker_group": row.speaker_group,
        "duration_s": row.duration_s,
        "tags": {},
    }
    assert sum(one["baseline_errors"] for one in kept) == made.comparison.baseline.errors


def test_a_transcript_may_hold_what_some_take_for_the_end_of_a_line(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    odd = validations.contender("odd", lambda path: "press\u2028 now\n\x85")
    kept = validations.utterances(validations.run(odd, versions[0], held_out))
    assert {one["candidate"] for one in kept} == {"press\u2028 now\n\x85"}


def test_a_validation_kept_before_utterances_were_has_none(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[1], versions[0], held_out)
    assert validations.utterances(replace(made, utterances_sha256="")) == []


def test_verdicts_are_listed_newest_first(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert validations.listed() == []
    made = [validations.run(*sides, held_out) for sides in ((new, old), (old, new), (new, old))]
    assert validations.listed() == made[::-1]
    assert validations.listed(limit=2) == made[:0:-1]
    assert validations.listed(candidate_id=new) == [made[2], made[0]]
    assert validations.latest_of(new) == made[2]


def test_verdicts_are_counted(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert validations.counts() == ValidationCounts(passed=0, failed=0)
    for sides in ((new, old), (old, new), (old, old)):
        validations.run(*sides, held_out)
    assert validations.counts() == ValidationCounts(passed=1, failed=2)


def test_the_best_has_the_lowest_rate(
    validations: Validations,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    tone: Callable[..., bytes],
) -> None:
    old, new = versions
    assert validations.best() is None
    worse = validations.run(old, new, held_out)
    assert validations.best() is None
    assert validations.best(only_passed=False) == worse
    silence = datasets.add_evaluation("silence", [Sample(data=tone(), reference="")])
    validations.run(new, old, silence)
    assert validations.best("cer", only_passed=False) == worse
    better = validations.run(new, old, held_out)
    assert validations.best() == validations.best("cer", only_passed=False) == better


def test_wer_and_cer_may_name_different_best_ones(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    # Few words are wrong, but by many letters; and the other way round.
    def long_winded(path: str) -> str:
        return "press extraordinarily"

    def nearly(path: str) -> str:
        return "pres 10 nov"

    words = validations.run(validations.contender("w", long_winded), versions[0], held_out)
    letters = validations.run(validations.contender("c", nearly), versions[0], held_out)
    assert validations.best("wer", only_passed=False) == words
    assert validations.best("cer", only_passed=False) == letters


def test_the_level_of_the_slices_is_that_of_the_rules(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    hypotheses: Hypotheses,
    versions: tuple[str, str],
    tone: Callable[..., bytes],
) -> None:
    # The old version mishears 5 of 15 clips of one speaker: p = 0.0082 in one group and one band.
    samples = [
        Sample(
            data=tone(seconds=0.1 + number / 100, hertz=300),
            reference=f"press {number} now",
            speaker_group="ann",
        )
        for number in range(15)
    ]
    dataset = datasets.add_evaluation("of ann", samples)

    def worse_at(alpha: float) -> list[str]:
        gate = Validations(
            engine,
            datasets,
            hypotheses,
            blobs=blobs,
            rules=replace(RULES, alpha=alpha),
            normalizer=normalizer("whisper-english"),
            replicates=100,
        )
        compared = gate.compare(versions[0], versions[1], dataset)
        return [one.name for one in compared.slices if one.worse]

    assert worse_at(0.05) == ["ann", "under 1 s"]
    assert worse_at(0.001) == []


def test_a_verdict_kept_before_failures_were_told_apart_loads(
    validations: Validations, engine: Engine, held_out: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[0], versions[1], held_out)
    with engine.connect() as connection:
        row = dict(connection.execute(select(table)).mappings().one())
    figures = json.loads(json.dumps(row["figures"]))
    del figures["criteria"], figures["unjudged"], figures["slices"]
    for changed in figures["changed"]:
        for key in ("words", "reference_words", "baseline_words", "candidate_words"):
            del changed[key]
    figures["z"] = 2.0
    old = from_columns(row | {"figures": figures})
    assert old["verdict"].failures == made.verdict.reasons
    assert old["comparison"] == replace(made.comparison, slices=())
    assert from_columns(row | {"figures": figures, "passed": True})["verdict"].failures == ()


def test_the_failures_are_kept(
    validations: Validations, held_out: Dataset, versions: tuple[str, str]
) -> None:
    made = validations.run(versions[0], versions[1], held_out)
    assert made.verdict.failures
    assert validations.get(made.id).verdict == made.verdict
    assert from_columns(to_columns(made))["verdict"] == judge(made.comparison, RULES)


def test_a_verdict_passes_where_nothing_failed() -> None:
    good, bad = Criterion.of("a", True, "a"), Criterion.of("b", False, "b")
    unclear = replace(bad, answer=Answer.INCONCLUSIVE, words_needed=300)
    assert Verdict.of([good]).answer is Answer.PASS
    assert Verdict.of([good, unclear]).answer is Answer.INCONCLUSIVE
    assert Verdict.of([good, unclear, bad]).answer is Answer.FAIL
    assert Verdict.of([good, unclear, bad]).failures == ("b", "b")
    assert Verdict.of([]).answer is Answer.FAIL


def test_the_words_needed_settle_all_that_is_open_or_are_not_given() -> None:
    good = Criterion.of("a", True, "a")
    some = replace(good, answer=Answer.INCONCLUSIVE, words_needed=300)
    more, never = replace(some, words_needed=500), replace(some, words_needed=None)
    assert Verdict.of([good]).words_needed is None
    assert Verdict.of([good, some, more]).words_needed == 500
    assert Verdict.of([some, never]).words_needed is None


def test_an_unknown_verdict_is_an_error(validations: Validations) -> None:
    with pytest.raises(UnknownIdError, match="val-x"):
        validations.get("val-x")


def test_the_clips_of_this_file_are_told_apart(tone: Callable[..., bytes]) -> None:
    lengths = {len(audio.decode(tone(seconds=0.1 + n / 100)).samples) for n in range(12)}
    assert len(lengths) == 12


def test_a_version_that_seems_slow_is_timed_again_in_turn_with_the_live_one(
    engine: Engine,
    blobs: DirectoryBlobs,
    datasets: Datasets,
    held_out: Dataset,
    versions: tuple[str, str],
    ear: Ear,
) -> None:
    old, new = versions
    # How much longer than the sound itself each listens; a neighbour disturbs the first hearing.
    pace = {old: 0.1, new: 1.0}

    class Listener(FunctionTranscriber):
        """Tells the time that it is to take, whatever else the machine is at; and takes it."""

        def transcribe(self, clips: Sequence[audio.Audio], **given: Any) -> list[Transcript]:
            spent = [pace[self.name] * one.duration_s for one in clips]
            time.sleep(sum(spent))
            made = super().transcribe(clips, **given)
            return [replace(one, compute_s=s) for one, s in zip(made, spent, strict=True)]

    def listener(version_id: str) -> FunctionTranscriber:
        return Listener(ear.of(version_id)._function, name=version_id)

    gate = Validations(
        engine,
        datasets,
        Hypotheses(engine, blobs, listener, decoding="test"),
        blobs=blobs,
        rules=replace(RULES, max_real_time_factor=100.0),
        normalizer=normalizer("whisper-english"),
        replicates=100,
    )
    slow = gate.run(new, old, held_out)
    assert not slow.verdict.passed
    assert slow.comparison.timed_in_turn > 1.5
    assert any("timed in turn" in reason for reason in slow.verdict.failures)
    pace[new] = 0.1
    # What holds the machine up in most of the rounds does not do so for ever.
    for _ in range(10):
        again = gate.run(new, old, held_out)
        # The hypotheses still know the slow hours; the ratio of one run knows better.
        assert again.comparison.speedup < 0.5
        if abs(again.comparison.timed_in_turn - 1.0) <= 0.2:
            break
    assert again.comparison.timed_in_turn == pytest.approx(1.0, abs=0.2)
    assert again.verdict.passed
    assert gate.get(again.id) == again
