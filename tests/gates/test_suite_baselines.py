"""What a suite is held to: set by its first run, moved by somebody, carried over as it grows."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select, update

from misheard.database.audit import AuditEntry, AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import suite_baselines, suite_runs
from misheard.datasets.datasets import Dataset, Datasets
from misheard.datasets.samples import Sample
from misheard.errors import BaselineNotMovedError, VersionPrunedError
from misheard.gates.comparison import Side
from misheard.gates.contender import Contender
from misheard.gates.regression import RegressionSuites
from misheard.gates.suite_baselines import is_clearly_better
from misheard.gates.suites import Baseline, Suite, SuiteKind
from misheard.gates.validation import Validations
from tests.gates.conftest import REGRESSION_RULES


def told(engine: Engine, suite: Suite) -> list[AuditEntry]:
    found = AuditLog(engine).entries(subject=suite.id)
    return [entry for entry in found if entry.action == "baseline"]


@pytest.fixture
def suite(suites: RegressionSuites, held_out: Dataset) -> Suite:
    return suites.add("all", SuiteKind.BENCHMARK, held_out)


@pytest.fixture
def more(datasets: Datasets, tone: Callable[..., bytes], held_out: Dataset) -> Dataset:
    """The held-out set and one clip more, which the old version hears wrong."""
    sample = Sample(data=tone(seconds=0.26, hertz=300), reference="press 16 now")
    (row,) = datasets.rows(datasets.add_evaluation("one more", [sample]))
    return datasets.add("more", held_out.purpose, [*datasets.rows(held_out), row])


def test_the_first_run_of_a_suite_sets_its_baseline(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    old, new = versions
    assert suites.baselines.of(suite) is None
    run = suites.run(suite, new, old)
    found = suites.baselines.of(suite)
    assert found is not None
    assert (found.version_id, found.actor, found.reason) == (old, "misheard", "the first run")
    assert (found.wer, found.cer) == (run.comparison.baseline.wer, run.comparison.baseline.cer)
    assert (run.baseline_wer, run.held_to_version) == (found.wer, old)
    (entry,) = told(engine, suite)
    assert (entry.actor, entry.reason, entry.from_value) == ("misheard", "the first run", "")
    assert entry.to_value == f"{old}: WER 33.33%, CER {found.cer:.2%}, 0 silent clips with words"
    assert entry.evidence["to"]["wer"] == found.wer


def test_a_later_run_moves_no_baseline_whatever_is_live(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    old, new = versions
    suites.run(suite, new, old)
    first = suites.baselines.of(suite)
    run = suites.run(suite, old, new)
    assert suites.baselines.every(suite) == [first]
    assert run.baseline_wer == run.comparison.candidate.wer > run.comparison.baseline.wer
    # The rates are those of the baseline; clip by clip it is held to what is live.
    assert [one.name for one in run.verdict.criteria if one.answer == "fail"] == ["utterances"]
    assert len(told(engine, suite)) == 1


def test_given_figures_are_the_first_baseline(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str], engine: Engine
) -> None:
    given = suites.add("given", SuiteKind.BENCHMARK, held_out, baseline_wer=0.25, baseline_cer=0.3)
    run = suites.run(given, *versions)
    assert suites.baselines.of(given) is None
    assert (run.baseline_wer, run.held_to_version) == (0.25, "")
    moved = suites.baselines.move(given, versions[1], actor="ann", reason="v2 is out")
    later = suites.run(given, *versions)
    assert (later.baseline_wer, later.held_to_version) == (0.0, versions[1])
    (entry,) = told(engine, given)
    assert entry.from_value == "given WER 25.00%, given CER 30.00%"
    assert entry.to_value == str(moved)


def test_moving_a_baseline_is_a_row_and_an_audit_entry_with_both_figures(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    old, new = versions
    suites.run(suite, new, old)
    before = suites.baselines.of(suite)
    heard: list[int] = []
    moved = suites.baselines.move(
        suite, new, actor="ann", reason="a month live", progress=heard.append
    )
    assert sum(heard) == 24
    assert suites.baselines.every(suite) == [moved, before]
    entry = told(engine, suite)[0]
    assert (entry.actor, entry.reason) == ("ann", "a month live")
    assert (entry.from_value, entry.to_value) == (str(before), str(moved))
    assert entry.evidence["from"]["version_id"] == old
    assert entry.evidence["to"] == {
        "version_id": new,
        "wer": 0.0,
        "cer": 0.0,
        "silent_with_text": 0,
    }
    assert suites.run(suite, old, new).baseline_wer == 0.0
    # And back, which is a step of its own.
    suites.baselines.move(suite, old, actor="ann", reason="too early")
    assert [one.version_id for one in suites.baselines.every(suite)] == [old, new, old]


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_baseline_moves_only_for_a_reason(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], reason: str, engine: Engine
) -> None:
    with pytest.raises(BaselineNotMovedError, match="'all'"):
        suites.baselines.move(suite, versions[1], actor="ann", reason=reason)
    assert suites.baselines.of(suite) is None
    assert told(engine, suite) == []


def test_two_first_runs_at_once_set_one_baseline(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str]
) -> None:
    old, new = versions
    between: list[None] = []

    def meanwhile(_: int) -> None:
        if not between:
            between.append(None)
            suites.run(suite, old, new)

    run = suites.run(suite, new, old, progress=meanwhile)
    (only,) = suites.baselines.every(suite)
    assert only.version_id == new
    assert run.held_to_version == new


def test_a_baseline_that_a_rival_has_set_meanwhile_counts(
    engine: Engine,
    datasets: Datasets,
    validations: Validations,
    suites: RegressionSuites,
    suite: Suite,
    more: Dataset,
    versions: tuple[str, str],
) -> None:
    old, new = versions
    suites.run(suite, new, old)

    def rival(version_id: str) -> str:
        suites.baselines.move(grown, new, actor="ann", reason="quicker")
        return version_id

    later = RegressionSuites(engine, datasets, validations, rules=REGRESSION_RULES, contender=rival)
    grown = later.add("all", SuiteKind.BENCHMARK, more)
    run = later.run(grown, new, new)
    (only,) = later.baselines.every(grown)
    assert (only.reason, run.held_to_version) == ("quicker", new)


def test_a_suite_that_grows_is_held_to_the_same_version_measured_anew(
    suites: RegressionSuites, suite: Suite, more: Dataset, versions: tuple[str, str], engine: Engine
) -> None:
    old, new = versions
    suites.run(suite, new, old)
    grown = suites.add("all", SuiteKind.BENCHMARK, more)
    run = suites.run(grown, new, new)
    found = suites.baselines.of(grown)
    assert found is not None
    assert (found.version_id, found.actor) == (old, "misheard")
    # Twelve errors in 36 words were in the suite before; the new clip has two in three.
    assert (found.wer, run.baseline_wer) == (pytest.approx(14 / 39), pytest.approx(14 / 39))
    (entry,) = told(engine, grown)
    assert "carried over" in entry.reason


def test_a_baseline_whose_files_are_gone_is_replaced_by_the_live_one_and_says_so(
    engine: Engine,
    datasets: Datasets,
    validations: Validations,
    suite: Suite,
    suites: RegressionSuites,
    more: Dataset,
    versions: tuple[str, str],
) -> None:
    old, new = versions
    suites.run(suite, new, old)

    def gone(version_id: str) -> Contender:
        raise VersionPrunedError(f"{version_id} was pruned.")

    later = RegressionSuites(engine, datasets, validations, rules=REGRESSION_RULES, contender=gone)
    grown = later.add("all", SuiteKind.BENCHMARK, more)
    later.run(grown, new, new)
    found = later.baselines.of(grown)
    assert found is not None
    assert (found.version_id, found.wer) == (new, 0.0)
    assert f"its baseline {old} cannot be heard" in found.reason
    assert "pruned" in found.reason


def test_the_same_utterances_carry_the_same_figures_without_hearing_them(
    engine: Engine,
    datasets: Datasets,
    validations: Validations,
    suites: RegressionSuites,
    suite: Suite,
    held_out: Dataset,
    versions: tuple[str, str],
) -> None:
    old, new = versions
    suites.run(suite, new, old)

    def nobody(version_id: str) -> Contender:
        raise AssertionError(version_id)

    later = RegressionSuites(
        engine, datasets, validations, rules=REGRESSION_RULES, contender=nobody
    )
    renamed = later.add("all", SuiteKind.CRITICAL, held_out, description="stricter")
    later.run(renamed, new, new)
    before, after = later.baselines.of(suite), later.baselines.of(renamed)
    assert before is not None
    assert after is not None
    assert (after.version_id, after.wer, after.cer) == (before.version_id, before.wer, before.cer)
    assert after.reason == "carried over: the suite was replaced"


def test_a_baseline_is_carried_over_a_suite_that_was_never_run(
    suites: RegressionSuites,
    suite: Suite,
    more: Dataset,
    held_out: Dataset,
    versions: tuple[str, str],
) -> None:
    old, new = versions
    suites.run(suite, new, old)
    suites.add("all", SuiteKind.BENCHMARK, more)
    third = suites.add("all", SuiteKind.CRITICAL, more)
    suites.run(third, new, new)
    found = suites.baselines.of(third)
    assert found is not None
    assert found.version_id == old


def test_a_baseline_is_not_carried_between_suites_of_different_names(
    suites: RegressionSuites, suite: Suite, held_out: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    suites.run(suite, new, old)
    pins = suites.add("pins", SuiteKind.BENCHMARK, held_out)
    suites.run(pins, new, new)
    found = suites.baselines.of(pins)
    assert found is not None
    assert (found.version_id, found.reason) == (new, "the first run")


def test_the_version_of_given_figures_is_measured_anew_when_the_suite_is_replaced(
    suites: RegressionSuites, held_out: Dataset, more: Dataset, versions: tuple[str, str]
) -> None:
    old, new = versions
    suites.add("all", SuiteKind.BENCHMARK, held_out, baseline_version=old, baseline_wer=0.4)
    grown = suites.add("all", SuiteKind.BENCHMARK, more)
    run = suites.run(grown, new, new)
    assert (run.held_to_version, run.baseline_wer) == (old, pytest.approx(14 / 39))


def test_a_silent_suite_has_a_baseline_of_silent_clips_alone(
    suites: RegressionSuites,
    datasets: Datasets,
    validations: Validations,
    tone: Callable[..., bytes],
    engine: Engine,
) -> None:
    silence = datasets.add_evaluation("silence", [Sample(data=tone(), reference="")])
    suite = suites.add("silence", SuiteKind.EDGE_CASE, silence)
    loud = validations.contender("loud", lambda path: "thanks")
    quiet = validations.contender("quiet", lambda path: "")
    assert suites.run(suite, quiet, loud).verdict.passed
    found = suites.baselines.of(suite)
    assert found is not None
    assert math.isnan(found.wer)
    assert (found.silent_with_text, str(found)) == (1, "loud: no words, 1 silent clips with words")
    with engine.connect() as connection:
        assert connection.execute(select(suite_baselines.c.wer)).scalar() is None
    # The live version is silent now; the baseline is not, so words are let through until it moves.
    run = suites.run(suite, loud, quiet)
    assert (run.verdict.passed, run.baseline_silent) == (True, 1)
    assert suites.baselines.could_move(suite, "quiet")
    suites.baselines.move(suite, quiet, actor="ann", reason="nobody speaks")
    assert not suites.run(suite, loud, quiet).verdict.passed
    assert not suites.baselines.could_move(suite, "quiet")


def test_a_live_version_that_is_clearly_better_could_be_the_baseline(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str]
) -> None:
    old, new = versions
    assert not suites.baselines.could_move(suite, new), "it was never run"
    suites.run(suite, new, old)
    assert not suites.baselines.could_move(suite, old), "it is the baseline itself"
    assert suites.baselines.could_move(suite, new)
    assert not suites.baselines.could_move(suite, "v-other"), "it never heard the suite"
    suites.baselines.move(suite, new, actor="ann", reason="better")
    assert not suites.baselines.could_move(suite, new)
    suites.run(suite, old, new)
    assert not suites.baselines.could_move(suite, old)


def test_figures_that_were_given_can_be_left_behind_too(
    suites: RegressionSuites, held_out: Dataset, versions: tuple[str, str]
) -> None:
    given = suites.add("given", SuiteKind.BENCHMARK, held_out, baseline_wer=0.9)
    suites.run(given, versions[0], versions[1])
    assert suites.baselines.could_move(given, versions[1])


def side(wer: float, high: float, silent: int = 0) -> Side:
    return Side(
        wer=wer,
        cer=wer,
        errors=0,
        substitutions=0,
        deletions=0,
        insertions=0,
        wer_interval=(0.0, high),
        silent_with_text=silent,
        compute_s=1.0,
    )


@pytest.mark.parametrize(
    ("wer", "high", "silent", "better"),
    [
        (0.05, 0.099, 2, True),
        (0.05, 0.1, 2, False),
        (0.05, 0.05, 3, False),
        (0.1, 0.2, 1, True),
        (0.11, 0.2, 1, False),
        (math.nan, math.nan, 1, True),
        (math.nan, math.nan, 2, False),
    ],
)
def test_clearly_better_is_more_than_chance_and_worse_at_nothing(
    wer: float, high: float, silent: int, better: bool
) -> None:
    held = Baseline(
        version_id="v-0",
        wer=0.1,
        cer=0.1,
        silent_with_text=2,
        actor="ann",
        reason="x",
        created_at=now(),
    )
    assert is_clearly_better(side(wer, high, silent), held) is better
    quiet = replace(held, wer=math.nan)
    assert is_clearly_better(side(wer, high, silent), quiet) is (silent < 2)


def test_an_alert_is_raised_when_the_live_version_falls_behind_the_baseline(
    suites: RegressionSuites,
    suite: Suite,
    versions: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    old, new = versions
    suites.run(suite, new, new)
    with caplog.at_level(logging.WARNING, logger="misheard.alerts"):
        # By the clock the live version is run against itself.
        assert not suites.run(suite, old, old).verdict.passed
    assert "makes 0" in caplog.records[0].message


def test_runs_that_were_kept_before_there_were_baselines_load(
    suites: RegressionSuites, suite: Suite, versions: tuple[str, str], engine: Engine
) -> None:
    run = suites.run(suite, *versions)
    with writing(engine) as connection:
        figures = dict(connection.execute(select(suite_runs.c.figures)).scalar_one())
        for key in ("baseline_silent", "held_to_version"):
            del figures["held_to"][key]
        del figures["flaky"]
        connection.execute(update(suite_runs).values(figures=figures))
    assert suites.runs() == [replace(run, held_to_version="")]
