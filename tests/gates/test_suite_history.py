"""How suites and their cases did from run to run, and which cases are flaky."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from misheard import audio
from misheard.database.engine import now
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.errors import UnknownIdError
from misheard.gates.regression import RegressionSuites
from misheard.gates.suite_history import FLIPS, VERSIONS, CaseResult, SuiteHistory, flaky_cases
from misheard.gates.suites import Suite, SuiteKind
from misheard.gates.validation import Validations

KEY = "ab" * 32


@pytest.fixture
def suite(suites: RegressionSuites, held_out: Dataset) -> Suite:
    return suites.add("all", SuiteKind.BENCHMARK, held_out)


def results(
    outcomes: Sequence[tuple[str, int]], *, key: str = KEY, reference: str = "press one"
) -> list[CaseResult]:
    """One clip in runs of these versions, oldest given first, with so many errors; newest first."""
    begun = now()
    made = [
        CaseResult(
            run_id=f"run-{number}",
            created_at=begun + timedelta(seconds=number),
            audio_sha256=key,
            reference=reference,
            words=2,
            candidate_id=version,
            candidate_errors=errors,
            candidate_text="",
            baseline_id="v-live",
            baseline_errors=0,
            baseline_text="",
        )
        for number, (version, errors) in enumerate(outcomes)
    ]
    return made[::-1]


def number_of(path: str) -> int:
    """The number of a held-out tone."""
    return round(len(audio.read(path).samples) / 160) - 10


def versions_with(*errors: int) -> list[tuple[str, int]]:
    return [(f"v-{number}", count) for number, count in enumerate(errors)]


@pytest.mark.parametrize(
    ("outcomes", "is_flaky"),
    [
        ([], False),
        (versions_with(0, 0, 0, 0), False),
        (versions_with(1, 2, 3, 1), False),
        (versions_with(0, 1, 0), False),
        (versions_with(0, 1, 0, 1), True),
        (versions_with(1, 0, 2, 0), True),
        # What came before the last ten versions is forgotten.
        (versions_with(0, 1, 0, *[1] * (VERSIONS - 1)), False),
        (versions_with(0, 1, 0, *[1] * (VERSIONS - 3)), True),
        # Two versions that take turns are two versions, however often they are run.
        ([("v-1", 0), ("v-2", 1)] * 5, False),
        # The same version, and another result.
        ([("v-1", 0), ("v-1", 1)], True),
        ([("v-1", 1), ("v-2", 0), ("v-1", 2)], True),
        ([("v-1", 1), ("v-1", 1)], False),
        # The live version of every run here makes none.
        ([("v-live", 0)], False),
        ([("v-live", 1)], True),
    ],
)
def test_a_case_is_flaky_when_it_is_now_right_now_wrong(
    outcomes: list[tuple[str, int]], is_flaky: bool
) -> None:
    assert flaky_cases(results(outcomes)) == ({KEY} if is_flaky else set())


def test_other_words_begin_a_new_history() -> None:
    before = results(versions_with(0, 1, 0))
    after = results([("v-8", 1), ("v-9", 1)], reference="press two")
    assert flaky_cases([*after, *before]) == set()
    assert flaky_cases([*results([("v-8", 1)]), *before]) == {KEY}


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmn"), st.integers(0, 2)), max_size=30))
def test_a_case_that_is_always_right_or_always_wrong_by_the_same_is_not_flaky(
    outcomes: list[tuple[str, int]],
) -> None:
    fixed = dict(outcomes)
    steady = results([(version, 1) for version in fixed])
    assert flaky_cases(steady) == set()
    # One result a version: what decides is how often the newest ten change places.
    once = results(list(fixed.items()))
    right = [one.candidate_errors == 0 for one in once][:VERSIONS]
    flips = sum(left != other for left, other in itertools.pairwise(right))
    assert (flaky_cases(once) == {KEY}) is (flips >= FLIPS)


@given(st.permutations(range(3)), st.lists(st.integers(0, 2), max_size=6))
def test_cases_do_not_touch_each_other(order: list[int], errors: list[int]) -> None:
    alone = results(versions_with(*errors), key="0" * 64)
    others = [results(versions_with(0, 1, 0, 1), key=f"{n + 1:064x}") for n in range(3)]
    mixed = [alone, *others]
    together = [one for n in order for one in mixed[n]] + mixed[3]
    expected = flaky_cases(alone) if 0 in order else set()
    assert flaky_cases(together) - {f"{n + 1:064x}" for n in range(3)} == expected


def test_a_suite_has_a_history_over_everything_it_was_replaced_by(
    suites: RegressionSuites, suite: Suite, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    first = suites.run(suite, new, old, cycle_id="cycle-1")
    renewed = suites.add("all", SuiteKind.CRITICAL, held_out)
    second = suites.run(renewed, old, new)
    suites.run(suites.add("other", SuiteKind.BENCHMARK, held_out), old, new)
    newest, oldest = suites.history.of_suite("all")
    assert (newest.run_id, oldest.run_id) == (second.id, first.id)
    assert (oldest.cycle_id, oldest.suite_id) == ("cycle-1", suite.id)
    assert (oldest.candidate_id, oldest.baseline_id) == (new, old)
    assert (oldest.wer, oldest.baseline_wer) == (0.0, pytest.approx(12 / 36))
    assert (oldest.passed, newest.passed) == (True, False)
    assert (oldest.utterances, oldest.silent_with_text) == (12, 0)
    assert (oldest.fixed, oldest.broken) == (len(first.fixed), len(first.broken)) == (6, 0)
    assert (newest.fixed, newest.broken) == (0, 6)
    assert suites.history.of_suite("all", limit=1) == [newest]
    assert suites.history.of_suite("nothing") == []


def test_fixed_and_broken_are_what_changed_between_right_and_wrong(
    suites: RegressionSuites, suite: Suite, validations: Validations
) -> None:
    """Wrong in another way is neither; half as wrong is not fixed."""
    heard = {
        "before": {0: "press 0 now", 1: "nothing", 2: "press 2", 3: "stop 3"},
        "after": {0: "press", 1: "press 1 now", 2: "press 2", 3: "stop three now"},
    }

    def listener(side: str) -> Callable[[str], str]:
        return lambda path: heard[side].get(number_of(path), "")

    before, after = (validations.contender(side, listener(side)) for side in heard)
    run = suites.run(suite, after, before)
    rows = {row["audio_sha256"]: row for row in run.comparison.changed}
    assert len(run.fixed) == len(run.broken) == 1
    assert run.broken[0]["candidate"] == "press"
    assert run.fixed[0]["candidate"] == "press 1 now"
    # Clip 2 is as wrong as before, and clip 3 half as wrong.
    assert len(rows) == 3


def test_a_silent_suite_has_a_history_without_rates(
    suites: RegressionSuites,
    datasets: Datasets,
    validations: Validations,
    tone: Callable[..., bytes],
) -> None:
    silence = datasets.add_evaluation("silence", [Sample(data=tone(), reference="")])
    suite = suites.add("silence", SuiteKind.EDGE_CASE, silence)
    loud = validations.contender("loud", lambda path: "thanks")
    quiet = validations.contender("quiet", lambda path: "")
    suites.run(suite, loud, quiet)
    (point,) = suites.history.of_suite("silence")
    assert math.isnan(point.wer)
    assert math.isnan(point.baseline_wer)
    assert (point.silent_with_text, point.fixed, point.broken) == (1, 0, 1)


def test_a_case_has_a_history_of_errors_and_texts(
    suites: RegressionSuites, suite: Suite, datasets: Datasets, versions: tuple[str, str]
) -> None:
    old, new = versions
    first, second = suites.run(suite, new, old), suites.run(suite, old, new)
    row = next(row for row in first.comparison.changed if row["reference"] == "press 4 now")
    key = row["audio_sha256"]
    newest, oldest = suites.history.of_case("all", key)
    assert (newest.run_id, oldest.run_id) == (second.id, first.id)
    assert (oldest.candidate_errors, oldest.candidate_text) == (0, "Press 4, now.")
    assert (oldest.baseline_errors, oldest.baseline_text) == (2, "press pound")
    assert (newest.candidate_id, newest.candidate_errors) == (old, 2)
    assert (newest.reference, newest.words) == ("press 4 now", 3)
    assert suites.history.of_case("all", key[:10], limit=1) == [newest]


@pytest.mark.parametrize(("name", "clip"), [("all", "zz"), ("other", ""), ("all", "")])
def test_a_clip_that_no_run_has_heard_is_an_error(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], name: str, clip: str
) -> None:
    suites.run(suite, *versions)
    with pytest.raises(UnknownIdError, match=f"suite '{name}' begin with '{clip}'"):
        suites.history.of_case(name, clip)


def test_a_beginning_that_several_clips_share_is_an_error(
    suites: RegressionSuites, versions: tuple[str, str], datasets: Datasets, held_out: Dataset
) -> None:
    rows = datasets.rows(held_out)
    # Thirteen clips and sixteen digits: two of seventeen would have to share one.
    shared = {key for key in "0123456789abcdef" if sum(r.audio_sha256[0] == key for r in rows) > 1}
    suite = suites.add("all", SuiteKind.BENCHMARK, held_out)
    suites.run(suite, *versions)
    assert shared
    with pytest.raises(UnknownIdError, match="Several clips"):
        suites.history.of_case("all", min(shared))


def test_a_function_that_changes_its_mind_is_named_in_the_reasons_of_the_run(
    suites: RegressionSuites, suite: Suite, validations: Validations, versions: tuple[str, str]
) -> None:
    _, new = versions
    calls: list[str] = []

    def moody(path: str) -> str:
        calls.append(path)
        return "press pound" if len(calls) > 12 else f"press {number_of(path)} now"

    assert suites.run(suite, validations.contender("moody", moody), new).verdict.passed
    assert suites.history.flaky("all") == set()
    run = suites.run(suite, validations.contender("moody", moody), new)
    assert len(run.flaky) == 12
    assert "(of them 12 flaky: " in run.verdict.failures[-1]
    assert suites.history.flaky("all") == set(run.flaky)
    assert all(one.is_flaky for one in suites.utterances(suite))
    assert suites.runs()[0] == run


def test_a_set_that_has_a_recording_twice_keeps_its_worse_result(
    suites: RegressionSuites,
    datasets: Datasets,
    tone: Callable[..., bytes],
    validations: Validations,
) -> None:
    data = tone(seconds=0.15, hertz=300)
    twice = [Sample(data=data, reference=text) for text in ("press 5 now", "press 6 now")]
    suite = suites.add("twice", SuiteKind.BENCHMARK, datasets.add_evaluation("twice", twice))
    one = validations.contender("mine", lambda path: "press 5 now")
    suites.run(suite, one, one)
    key = datasets.rows(datasets.get(suite.dataset_id))[0].audio_sha256
    (found,) = suites.history.of_case("twice", key)
    assert (found.reference, found.candidate_errors) == ("press 6 now", 1)


def test_the_history_is_read_by_indexes_alone(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    for _ in range(3):
        run = suites.run(suite, *versions)
    key = run.comparison.changed[0]["audio_sha256"]
    asked: list[tuple[str, Any]] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda conn, cursor, statement, parameters, context, many: asked.append(
            (statement, parameters)
        ),
    )
    history = SuiteHistory(engine)
    history.of_suite("all")
    history.of_case("all", key[:12])
    history.flaky("all")
    selects = [(text, values) for text, values in asked if text.startswith("SELECT")]
    assert len(selects) >= 5
    with engine.connect() as connection:
        for text, values in selects:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
            steps = [row[3] for row in plan]
            assert not [step for step in steps if step.startswith("SCAN")], (text, steps)
            assert all("INDEX" in step for step in steps if step.startswith("SEARCH"))


def test_results_fall_with_their_run(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    """A run and its clips are one transaction: where the alert cannot be written, nothing is."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON audit WHEN NEW.action = 'alert' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(Exception, match="disk full"):
        suites.run(suite, versions[0], versions[1])
    with engine.connect() as connection:
        for table in ("suite_runs", "suite_results", "suite_baselines"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
