"""Corrections that fall into the test split become cases of a suite, and stay there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from misheard import audio
from misheard.capture.inferences import Heard
from misheard.cases.records import Correction
from misheard.cycle.states import Cycle, CycleState
from misheard.datasets.datasets import Purpose
from misheard.datasets.manifest import PERMANENT, Row
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split, SplitShares
from misheard.gates.suite_cases import CORRECTIONS, SuiteCase
from misheard.gates.suites import Suite, SuiteKind
from misheard.scoring.normalize import normalizer
from misheard.speech.transcriber import Transcript
from tests.conftest import make_wav
from tests.cycle.conftest import Loop, _tone_of

HALF = SplitShares(train_percent=50, validation_percent=0, test_percent=50)
ALL_TRAIN = SplitShares(train_percent=100, validation_percent=0, test_percent=0)
ALL_TEST = SplitShares(train_percent=0, validation_percent=0, test_percent=100)
LoopOf = Callable[..., Loop]


def run(loop: Loop, **options: Any) -> Cycle:
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id, force=True, **options)
    assert cycle is not None
    cycle = loop.cycles.run(cycle.id)
    if cycle.state is CycleState.AWAITING_APPROVAL:
        cycle = loop.cycles.reject(cycle.id, actor="ann", reason="only a test")
    return cycle


def rows_of(loop: Loop, cycle: Cycle) -> list[Row]:
    return loop.datasets.rows(loop.datasets.get(str(cycle.dataset_id)))


def in_test_split(rows: list[Row]) -> set[str]:
    return {row.audio_sha256 for row in rows if row.split is Split.TEST}


def suite_of(loop: Loop) -> Suite:
    return loop.suites.named(CORRECTIONS)


def suite_rows(loop: Loop) -> dict[str, Row]:
    rows = loop.datasets.rows(loop.datasets.get(suite_of(loop).dataset_id))
    assert len({row.audio_sha256 for row in rows}) == len(rows)
    return {row.audio_sha256: row for row in rows}


def cases(loop: Loop) -> dict[str, SuiteCase]:
    return {one.audio_sha256: one for one in loop.suites.cases.of_suite(CORRECTIONS)}


def hear(loop: Loop, number: int, *, words: str | None = None, author: str = "bob") -> str:
    """A transcript that was wrong, corrected where `words` are given; the id of its inference."""
    data = _tone_of(number, make_wav)
    transcript = Transcript(text="press pound", latency_s=0.1, compute_s=0.1)
    heard = Heard(data=data, audio=audio.decode(data), transcript=transcript)
    (made,) = loop.inferences.record(loop.base_id, [heard])
    if words is not None:
        correct(loop, made.id, words, author)
    return made.id


def correct(loop: Loop, inference_id: str, words: str, author: str = "bob") -> None:
    loop.cases.correct([Correction(inference_id=inference_id, reference=words, author=author)])


@pytest.mark.parametrize("held_out", [True, False])
def test_every_correction_in_the_test_split_becomes_a_case_with_its_provenance(
    loop_of: LoopOf, held_out: bool
) -> None:
    loop = loop_of(shares=HALF, held_out=held_out, corrected=10)
    cycle = run(loop)
    wanted = in_test_split(rows_of(loop, cycle))
    assert 0 < len(wanted) < 10
    assert suite_of(loop).kind is SuiteKind.BENCHMARK
    assert suite_rows(loop).keys() == cases(loop).keys() == wanted
    given = {one.number: one for one in loop.cases.corrections()}
    for key, case in cases(loop).items():
        correction = given[case.correction_number]
        assert case.row == suite_rows(loop)[key]
        assert (case.inference_id, case.reference) == (
            correction.inference_id,
            correction.reference,
        )
        assert (case.author, case.method, case.corrected_at) == (
            correction.author,
            correction.method,
            correction.created_at,
        )
        heard = loop.inferences.get(case.inference_id)
        assert (case.heard, case.heard_by) == (heard.text, loop.base_id)
        assert case.dataset_id == cycle.dataset_id


def test_the_cases_are_run_in_the_cycle_that_made_them(loop_of: LoopOf) -> None:
    loop = loop_of(shares=HALF)
    cycle = run(loop)
    (ran,) = loop.suites.runs(cycle_id=cycle.id)
    assert ran.suite_id == suite_of(loop).id
    assert ran.comparison.utterances == len(cases(loop))


def test_without_a_test_split_there_is_no_such_suite(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TRAIN)
    run(loop)
    assert loop.suites.listed() == []


def test_over_two_cycles_the_test_split_keeps_its_rows_and_the_suite_grows(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(shares=HALF, held_out=False, corrected=10)
    first = run(loop)
    before, suite = in_test_split(rows_of(loop, first)), suite_of(loop)
    for number in range(60, 70):
        hear(loop, number, words=f"please press {number} again")
    second = run(loop)
    after = rows_of(loop, second)
    assert before < in_test_split(after)
    assert {row.audio_sha256 for row in rows_of(loop, first)} < {row.audio_sha256 for row in after}
    assert suite_rows(loop).keys() == in_test_split(after)
    assert suite_of(loop).id != suite.id
    assert loop.suites.get(suite.id) == suite
    # The set that decides is no smaller for it.
    validation = loop.validations.get(str(second.validation_id))
    assert validation.comparison.utterances == len(in_test_split(after))
    trained = {row.audio_sha256 for row in after if row.split is not Split.TEST}
    assert not trained & suite_rows(loop).keys()
    assert {cases(loop)[key].dataset_id for key in before} == {first.dataset_id}


def test_a_cycle_without_new_corrections_leaves_the_suite_as_it_is(loop_of: LoopOf) -> None:
    loop = loop_of(shares=HALF)
    run(loop)
    suite, found = suite_of(loop), cases(loop)
    run(loop)
    assert (suite_of(loop), cases(loop)) == (suite, found)
    assert len(loop.datasets.listed(purpose=Purpose.EVALUATION)) == 2


def test_a_newer_correction_of_a_case_counts_and_the_older_one_is_kept(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    case = next(iter(cases(loop).values()))
    correct(loop, case.inference_id, "something quite different", author="cleo")
    run(loop)
    newer = cases(loop)[case.audio_sha256]
    assert (newer.reference, newer.author) == ("something quite different", "cleo")
    assert newer.number > case.number
    assert suite_rows(loop)[case.audio_sha256].reference == "something quite different"
    with loop.engine.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM suite_cases").scalar()
    assert count == len(cases(loop)) + 1


def test_a_case_that_somebody_confirms_as_right_after_all_gets_those_words(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    case = next(iter(cases(loop).values()))
    correct(loop, case.inference_id, case.heard)
    run(loop)
    assert cases(loop)[case.audio_sha256].reference == case.heard


def test_the_same_words_from_somebody_else_are_the_newer_provenance(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    suite, case = suite_of(loop), next(iter(cases(loop).values()))
    correct(loop, case.inference_id, case.reference, author="cleo")
    run(loop)
    assert cases(loop)[case.audio_sha256].author == "cleo"
    assert suite_of(loop) == suite, "the utterances are the same"


def test_a_case_whose_words_are_changed_is_tested_and_never_trained_on(loop_of: LoopOf) -> None:
    """Its new sentence would fall into the training split, and so would another with the same."""
    loop = loop_of(shares=HALF, corrected=10)
    first = rows_of(loop, run(loop))
    # Sentences of the training split; that of another recording among them.
    trained = [row for row in first if row.split is Split.TRAIN]
    case = next(iter(cases(loop).values()))
    correct(loop, case.inference_id, trained[0].reference)
    after = {row.audio_sha256: row for row in rows_of(loop, run(loop))}
    assert after[case.audio_sha256].split is Split.TEST
    assert after[case.audio_sha256].reference == trained[0].reference
    assert after[trained[0].audio_sha256].split is Split.TEST, "one sentence, one split"
    assert all(after[row.audio_sha256].split is Split.TRAIN for row in trained[1:])
    assert cases(loop)[case.audio_sha256].reference == trained[0].reference


def test_cases_stay_in_the_test_split_when_the_shares_are_changed(
    loop_of: LoopOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    kept = set(cases(loop))
    object.__setattr__(loop.cycles._stages.rules, "shares", ALL_TRAIN)
    hear(loop, 60, words="please press sixty again")
    after = rows_of(loop, run(loop))
    assert in_test_split(after) == kept
    assert len(after) == len(kept) + 1


def test_a_suite_of_that_name_keeps_what_it_was_given(loop_of: LoopOf) -> None:
    loop = loop_of(shares=HALF)
    own = Sample(data=_tone_of(2, make_wav), reference="press 2 now")
    dataset = loop.datasets.add_evaluation("suite corrections", [own])
    loop.suites.add(
        CORRECTIONS, SuiteKind.EDGE_CASE, dataset, description="mine", max_wer_degradation=0.3
    )
    run(loop)
    suite = suite_of(loop)
    assert (suite.kind, suite.description) == (SuiteKind.EDGE_CASE, "mine")
    assert suite.max_wer_degradation == 0.3
    (row,) = loop.datasets.rows(dataset)
    found = suite_rows(loop)
    assert found.pop(row.audio_sha256) == row
    assert found.keys() == cases(loop).keys()
    assert all(one.kind == PERMANENT for one in found.values())
    held_out = {one.audio_sha256 for one in loop.datasets.held_out_rows()}
    assert row.audio_sha256 in held_out
    assert not held_out & found.keys()


def test_cases_outlive_the_clearing_of_what_they_came_from(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    kept = suite_rows(loop)
    loop.cases.clear(actor="ann")
    assert cases(loop) == {}
    assert suite_rows(loop) == kept
    # Numbers of corrections begin again; the old ones do not stand in the way of the new.
    hear(loop, 60, words="please press sixty again")
    run(loop)
    assert len(cases(loop)) == 1
    assert {key: suite_rows(loop)[key] for key in kept} == kept
    assert len(suite_rows(loop)) == len(kept) + 1


def test_after_a_clearing_the_cases_are_still_not_trained_on(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    kept = suite_rows(loop)
    loop.cases.clear(actor="ann")
    object.__setattr__(loop.cycles._stages.rules, "shares", ALL_TRAIN)
    hear(loop, 30, words="please press thirty again")
    hear(loop, 60, words="please press sixty again")
    after = {row.audio_sha256: row.split for row in rows_of(loop, run(loop))}
    assert sorted(after.values()) == [Split.TEST, Split.TRAIN]
    assert all(split is Split.TEST for key, split in after.items() if key in kept)


def test_a_confirmation_in_the_test_split_is_no_case(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    right = hear(loop, 60)
    correct(loop, right, "press pound")
    cycle = run(loop)
    heard = loop.inferences.get(right).audio_sha256
    assert heard in in_test_split(rows_of(loop, cycle))
    assert heard not in cases(loop)


def test_a_correction_that_comes_after_the_dataset_waits_for_the_next_one(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    cycle = loop.cycles.begin(actor="ann", force=True)
    assert cycle is not None
    cycle = loop.cycles.advance(cycle.id)
    dataset = loop.datasets.get(str(cycle.dataset_id))
    # As if the process had been killed before it kept the cases.
    with loop.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM suite_cases")
    inference_id = loop.cases.corrections()[0].inference_id
    correct(loop, inference_id, "too late")
    loop.suites.keep_corrections(dataset)
    rows = {row.audio_sha256: row.reference for row in loop.datasets.rows(dataset)}
    assert {key: case.reference for key, case in cases(loop).items()} == rows


def test_a_dataset_that_is_too_poor_makes_no_cases(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False, min_quality=1.0)
    hear(loop, 60, words="!!! ???")
    cycle = run(loop)
    assert cycle.state is CycleState.FAILED
    assert loop.suites.listed() == []


def test_normalised_sentences_of_cases_are_what_is_kept_from_training(loop_of: LoopOf) -> None:
    loop = loop_of(shares=ALL_TEST, held_out=False)
    run(loop)
    case = next(iter(cases(loop).values()))
    object.__setattr__(loop.cycles._stages.rules, "shares", ALL_TRAIN)
    hear(loop, 60, words=case.reference.upper() + "!")
    hear(loop, 61, words="another sentence")
    after = rows_of(loop, run(loop))
    normalize = normalizer("whisper-english")
    same = [row for row in after if normalize(row.reference) == normalize(case.reference)]
    assert [row.split for row in same] == [Split.TEST] * 2
    assert [row.split for row in after if row.reference == "another sentence"] == [Split.TRAIN]
