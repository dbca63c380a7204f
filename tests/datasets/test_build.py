from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from misheard.cases.records import Labelled
from misheard.datasets.build import Built, HeldOut, build, held_out_from
from misheard.datasets.manifest import Row, to_jsonl
from misheard.datasets.split import Split, SplitShares
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True

SHARES = SplitShares(train_percent=60, validation_percent=20, test_percent=20)
NOTHING = HeldOut(audio=frozenset(), sentences=frozenset())
basic = normalizer("basic")

# Few words and few recordings, so that they meet often.
sentences = st.sampled_from(["", "yes", "Yes.", "no", "No!", "press one", "Press  ONE", "goodbye"])
recordings = st.sampled_from([f"{number:064x}" for number in range(12)])
utterances = st.builds(
    Labelled,
    inference_id=st.uuids().map(str),
    audio_sha256=recordings,
    duration_s=st.floats(0.1, 30),
    speaker_group=st.sampled_from("abc"),
    hypothesis=sentences,
    reference=sentences,
    is_error=st.booleans(),
    error_types=st.lists(st.sampled_from(["names", "deletion", "insertion"]), max_size=2).map(
        tuple
    ),
    other_references=st.lists(sentences, max_size=1).map(tuple),
)
evaluation_rows = st.builds(
    Row,
    audio_sha256=recordings,
    reference=sentences,
    split=st.just(Split.TEST),
    kind=st.just("evaluation"),
    speaker_group=st.just("g"),
    duration_s=st.just(1.0),
)


def utterance(number: int, *, is_error: bool, reference: str | None = None) -> Labelled:
    return Labelled(
        inference_id=f"inf-{number}",
        audio_sha256=f"{number:064x}",
        duration_s=1.0,
        speaker_group="g",
        hypothesis="x",
        reference=f"sentence {number}" if reference is None else reference,
        is_error=is_error,
    )


def built(
    labelled: list[Labelled],
    ratio: float = 10.0,
    held_out: HeldOut = NOTHING,
    balance_error_types: bool = False,
) -> Built:
    return build(
        labelled,
        shares=SHARES,
        replay_per_error=ratio,
        held_out=held_out,
        normalize=basic,
        balance_error_types=balance_error_types,
    )


@given(st.lists(utterances, max_size=25), st.lists(evaluation_rows, max_size=5))
def test_nothing_of_an_evaluation_set_is_ever_in_a_training_set(
    labelled: list[Labelled], evaluation: list[Row]
) -> None:
    found = built(labelled, held_out=held_out_from(evaluation, basic)).rows
    recordings_held_out = {row.audio_sha256 for row in evaluation}
    sentences_held_out = {basic(row.reference) for row in evaluation} - {""}
    assert not {row.audio_sha256 for row in found} & recordings_held_out
    assert not {basic(row.reference) for row in found} & sentences_held_out


@given(st.lists(utterances, max_size=25))
def test_one_sentence_never_stands_in_two_splits(labelled: list[Labelled]) -> None:
    splits: dict[str, set[Split]] = {}
    for row in built(labelled).rows:
        if sentence := basic(row.reference):
            splits.setdefault(sentence, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())


@given(st.lists(utterances, max_size=25))
def test_each_recording_stands_once_with_its_newest_label(labelled: list[Labelled]) -> None:
    found = {row.audio_sha256: row for row in built(labelled, ratio=1e6).rows}
    newest = {one.audio_sha256: one for one in labelled}
    for key, row in found.items():
        assert row.reference == newest[key].reference
        assert row.kind == ("error" if newest[key].is_error else "replay")
    errors = {key for key, one in newest.items() if one.is_error}
    assert errors <= found.keys()


@given(st.lists(utterances, max_size=25), st.floats(0, 3))
def test_replay_keeps_to_its_ratio_and_what_is_left_out_is_counted(
    labelled: list[Labelled], ratio: float
) -> None:
    made = built(labelled, ratio=ratio)
    errors = sum(row.kind == "error" for row in made.rows)
    replay = len(made.rows) - errors
    assert replay <= round(ratio * errors)
    assert len(labelled) == len(made.rows) + made.duplicates + made.held_out + made.surplus_replay


@given(st.lists(utterances, max_size=25), st.floats(0, 3))
def test_balancing_leaves_nothing_out_and_changes_nothing_but_weights(
    labelled: list[Labelled], ratio: float
) -> None:
    plain = built(labelled, ratio=ratio)
    balanced = built(labelled, ratio=ratio, balance_error_types=True)
    assert sorted(replace(row, weight=1.0) for row in balanced.rows) == plain.rows
    assert all(row.weight == 1.0 for row in plain.rows)
    assert all(1.0 <= row.weight <= 3.0 for row in balanced.rows)
    assert all(row.weight == 1.0 for row in balanced.rows if row.kind == "replay")
    assert balanced.quality == plain.quality


def test_an_utterance_with_a_rare_type_of_error_weighs_more_and_a_replay_one_does_not() -> None:
    labelled = [
        replace(utterance(n, is_error=n < 10), error_types=("names",) if n == 0 else ("deletion",))
        for n in range(12)
    ]
    weights = {row.reference: row.weight for row in built(labelled, balance_error_types=True).rows}
    assert weights.pop("sentence 0") == 3.0
    assert set(weights.values()) == {1.0}
    assert len(weights) == 11


def test_the_quality_counts_what_is_in_the_dataset_and_nothing_else() -> None:
    sound = [utterance(number, is_error=True) for number in range(6)]
    short = replace(utterance(7, is_error=True), duration_s=0.01)
    held_out = replace(utterance(8, is_error=True), duration_s=0.01)
    nothing_of_it = HeldOut(audio=frozenset({held_out.audio_sha256}), sentences=frozenset())
    made = built([*sound, short, held_out], held_out=nothing_of_it)
    assert made.quality.score == 6 / 7
    assert made.quality.flaws == {"too short": 1}


def test_a_recording_that_was_labelled_otherwise_before_has_a_flaw() -> None:
    first, again = utterance(1, is_error=True), utterance(1, is_error=True, reference="SENTENCE 1!")
    other = utterance(1, is_error=True, reference="goodbye")
    assert built([first, again]).quality.flaws == {}
    made = built([first, other, again])
    assert made.quality.flaws == {"same recording, other text": 1}
    assert [row.reference for row in made.rows] == ["SENTENCE 1!"]


def test_a_flaw_of_the_label_that_no_longer_counts_is_none() -> None:
    disputed = replace(utterance(1, is_error=True), other_references=("goodbye",))
    assert built([disputed]).quality.flaws == {"people disagree": 1}
    assert built([disputed, utterance(1, is_error=True)]).quality.flaws == {}


def test_the_rows_do_not_depend_on_the_order_of_the_labels() -> None:
    labelled = [utterance(number, is_error=number % 5 == 0) for number in range(60)]
    expected = to_jsonl(built(labelled, ratio=2.0).rows)
    for seed in range(5):
        random.Random(seed).shuffle(labelled)
        assert to_jsonl(built(labelled, ratio=2.0).rows) == expected


def test_replay_without_errors_is_nothing() -> None:
    made = built([utterance(number, is_error=False) for number in range(5)])
    assert made.rows == []
    assert made.surplus_replay == 5


def test_silence_may_be_learnt_although_silence_is_tested() -> None:
    tested = Row(
        audio_sha256="f" * 64,
        reference="",
        split=Split.TEST,
        kind="evaluation",
        speaker_group="g",
        duration_s=1.0,
    )
    quiet = utterance(1, is_error=True, reference="")
    made = built([quiet], held_out=held_out_from([tested], basic))
    assert [row.audio_sha256 for row in made.rows] == [quiet.audio_sha256]


def test_a_held_out_sentence_is_recognised_however_it_is_written() -> None:
    tested = Row(
        audio_sha256="f" * 64,
        reference="Press ONE!",
        split=Split.TEST,
        kind="evaluation",
        speaker_group="g",
        duration_s=1.0,
    )
    made = built(
        [utterance(1, is_error=True, reference="press one")],
        held_out=held_out_from([tested], basic),
    )
    assert made.rows == []
    assert made.held_out == 1
