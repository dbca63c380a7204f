"""What one cycle does otherwise than the settings say, and the hooks around a deployment."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.cycles import Cycles
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleState, Observer
from misheard.database.schema import observations as observation_table
from misheard.datasets.samples import Sample
from misheard.errors import (
    BadInputError,
    IllegalTransitionError,
    InvalidSettingError,
)
from misheard.gates.suites import SuiteKind

S = CycleState
LoopOf = Callable[..., Any]
MANY = {"min_error_cases": 1, "corrected": 36, "corrections": "press {} now"}
"""Corrections that a tuned model hears right, so that their test split can decide."""


def begin(loop: Any, **options: Any) -> Cycle:
    cycle = loop.cycles.begin(actor="ann", force=True, options=CycleOptions(**options))
    assert cycle is not None
    return cycle


def detail_of(loop: Any, cycle: Cycle, state: CycleState) -> str:
    return next(step.detail for step in loop.cycles.steps(cycle.id) if step.to_state == state)


def model(folder: Path, *, tuned: bool = True) -> Path:
    folder.mkdir()
    (folder / "model.bin").write_text("elsewhere", encoding="utf-8")
    if tuned:
        (folder / "tuned.txt").write_text("tuned", encoding="utf-8")
    return folder


def test_options_survive_a_restart(loop: Any, rival: Cycles, tmp_path: Path) -> None:
    options = CycleOptions(
        recipe={"epochs": 2, "batch_size": 3},
        model_directory=str(tmp_path / "naïve 👂"),
        trained_elsewhere=True,
        skip_validation=True,
        skip_regression=True,
        auto_deploy=False,
    )
    cycle = loop.cycles.begin(actor="ann", options=options)
    assert cycle.options == rival.get(cycle.id).options == options
    plain = begin(loop)
    assert plain.options == rival.get(plain.id).options == CycleOptions()
    assert rival.listed()[0].options == CycleOptions()


@pytest.mark.parametrize("auto_deploy", [None, False, True])
def test_only_what_differs_from_the_default_is_stored(auto_deploy: bool | None) -> None:
    options = CycleOptions(auto_deploy=auto_deploy)
    stored = {} if auto_deploy is None else {"auto_deploy": auto_deploy}
    assert options.to_dict() == stored
    assert CycleOptions.from_dict(stored) == options
    assert CycleOptions.from_dict({**stored, "from_the_future": 7}) == options


def test_a_recipe_that_cannot_be_begins_nothing(loop: Any) -> None:
    with pytest.raises(InvalidSettingError, match="epoch"):
        begin(loop, recipe={"epoch": 3})
    cycle = begin(loop)
    with pytest.raises(InvalidSettingError):
        loop.cycles.change(cycle.id, recipe={"epochs": -1})
    assert loop.cycles.get(cycle.id) == cycle


def test_the_recipe_of_a_cycle_overrides_that_of_the_settings(loop: Any) -> None:
    cycle = loop.cycles.run(begin(loop, recipe={"batch_size": 3}).id)
    recipe = loop.jobs.get(cycle.job_id).recipe
    assert (recipe.batch_size, recipe.epochs) == (3, 1)


def test_options_are_changed_until_a_cycle_has_ended(loop: Any) -> None:
    cycle = begin(loop, skip_regression=True)
    changed = loop.cycles.change(cycle.id, auto_deploy=True)
    assert changed.options == CycleOptions(skip_regression=True, auto_deploy=True)
    assert loop.cycles.get(cycle.id) == changed
    ended = loop.cycles.run(cycle.id)
    assert ended.state is S.DEPLOYED
    with pytest.raises(IllegalTransitionError, match="has gone live"):
        loop.cycles.change(cycle.id, auto_deploy=False)


def test_a_model_that_was_trained_already_is_only_compared(loop: Any, tmp_path: Path) -> None:
    source = model(tmp_path / "mine")
    cycle = loop.cycles.run(begin(loop, model_directory=str(source)).id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert (cycle.dataset_id, cycle.job_id) == (None, None)
    assert loop.backend.starts == []
    version = loop.registry.get(cycle.version_id)
    assert (version.parent_id, version.source) == (loop.base_id, str(source))
    assert version.id == cycle.id.replace("cycle-", "v-")
    assert [step.to_state for step in loop.cycles.steps(cycle.id)][:2] == ["triggered", "converted"]
    # The user's own files stay where and as they were.
    assert sorted(path.name for path in source.iterdir()) == ["model.bin", "tuned.txt"]


def test_a_model_that_is_not_there_fails_the_cycle_with_its_path(loop: Any, tmp_path: Path) -> None:
    cycle = loop.cycles.run(begin(loop, model_directory=str(tmp_path / "mine")).id)
    assert cycle.state is S.FAILED
    assert str(tmp_path / "mine") in cycle.detail
    assert len(loop.registry.listed()) == 1


def test_work_on_such_a_model_that_is_done_twice_makes_nothing_twice(
    loop: Any, rival: Cycles, tmp_path: Path
) -> None:
    """As if the process had been killed after it had registered the model."""
    cycle = begin(loop, model_directory=str(model(tmp_path / "mine")))
    loop.cycles._stages.of(cycle)(cycle, Observer())
    assert rival.run(cycle.id).state is S.AWAITING_APPROVAL
    assert len(loop.registry.listed()) == 2


def test_without_validation_a_worse_candidate_goes_on_and_the_row_says_why(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(tuned_hears_all=False)
    cycle = loop.cycles.run(begin(loop, skip_validation=True).id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert cycle.validation_id is None
    assert detail_of(loop, cycle, S.VALIDATED) == "ann wanted no validation"
    assert loop.validations.listed() == []
    assert loop.cycles.approve(cycle.id, actor="boss").state is S.DEPLOYED
    assert points(loop) == []


def failing_suite(loop: Any, tone: Callable[..., bytes]) -> None:
    """Here the old version is right and the tuned one, which hears the number, is wrong."""
    clip = Sample(data=tone(seconds=0.4, hertz=300), reference="press pound")
    loop.suites.add("pins", SuiteKind.CRITICAL, loop.datasets.add_evaluation("pins", [clip]))


def test_without_suites_a_cycle_is_not_refused_by_one(
    loop: Any, tone: Callable[..., bytes]
) -> None:
    failing_suite(loop, tone)
    cycle = loop.cycles.run(begin(loop, skip_regression=True).id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert detail_of(loop, cycle, S.REGRESSION) == "ann wanted no regression suites"
    assert loop.suites.runs() == []
    assert loop.cycles.run(begin(loop).id).state is S.REFUSED


def test_where_suites_are_switched_off_no_cycle_runs_them(
    loop_of: LoopOf, tone: Callable[..., bytes]
) -> None:
    loop = loop_of(run_suites=False)
    failing_suite(loop, tone)
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert detail_of(loop, cycle, S.REGRESSION) == "regression.run_on_deploy is off"
    assert loop.suites.runs() == []


@pytest.mark.parametrize(
    ("require_approval", "auto_deploy", "ends"),
    [
        (True, None, S.AWAITING_APPROVAL),
        (True, False, S.AWAITING_APPROVAL),
        (True, True, S.DEPLOYED),
        (False, None, S.DEPLOYED),
        (False, False, S.AWAITING_APPROVAL),
        (False, True, S.DEPLOYED),
    ],
)
def test_a_cycle_may_say_itself_whether_it_asks(
    loop_of: LoopOf, require_approval: bool, auto_deploy: bool | None, ends: CycleState
) -> None:
    loop = loop_of(require_approval=require_approval)
    cycle = loop.cycles.run(begin(loop, auto_deploy=auto_deploy).id)
    assert cycle.state is ends
    live = loop.deployments.live().version_id
    assert live == (cycle.version_id if ends is S.DEPLOYED else loop.base_id)


def test_a_failed_validation_never_deploys_whatever_a_cycle_says(loop_of: LoopOf) -> None:
    loop = loop_of(tuned_hears_all=False)
    assert loop.cycles.run(begin(loop, auto_deploy=True).id).state is S.REFUSED
    assert len(loop.deployments.history()) == 1


def test_a_failed_suite_never_deploys_whatever_a_cycle_says(
    loop: Any, tone: Callable[..., bytes]
) -> None:
    failing_suite(loop, tone)
    cycle = loop.cycles.run(begin(loop, auto_deploy=True, skip_validation=True).id)
    assert cycle.state is S.REFUSED
    assert cycle.detail.startswith("pins: ")
    assert len(loop.deployments.history()) == 1


def test_a_dataset_that_is_not_sound_is_not_trained_on(loop_of: LoopOf) -> None:
    # At 0.4 s of audio each, these sentences were not said.
    loop = loop_of(corrections="please press {} " + "again and again " * 9, min_quality=0.9)
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.FAILED
    assert "quality 0.0% (6 text too long for its audio); 90.0% is wanted" in cycle.detail
    assert "datasets.min_quality" in cycle.detail
    assert loop.backend.starts == []
    assert len(list(loop.cases.labelled())) == 6


def test_a_dataset_that_is_just_sound_enough_is_trained_on(loop_of: LoopOf) -> None:
    loop = loop_of(min_quality=1.0, corrections="say {} now")
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.AWAITING_APPROVAL
    assert "6 utterances, quality 100.0%" in detail_of(loop, cycle, S.DATASET)
    assert loop.datasets.get(cycle.dataset_id).quality == {"score": 1.0, "flaws": {}}


def test_balancing_reaches_the_rows_of_the_dataset(loop_of: LoopOf) -> None:
    loop = loop_of(balance_error_types=True, corrected=12)
    case = loop.cases.listed()[0]
    loop.cases.open(case.inference_id)
    with loop.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO case_types (case_id, name, given) VALUES (?, 'names', 1)", (case.id,)
        )
    cycle = loop.cycles.run(begin(loop).id)
    rows = loop.datasets.rows(loop.datasets.get(cycle.dataset_id))
    weights = {row.audio_sha256: row.weight for row in rows}
    assert weights.pop(case.audio_sha256) == 3.0
    assert max(weights.values()) < 3.0
    assert len(rows) == 12


def test_where_nothing_was_held_out_the_test_split_of_the_corrections_decides(
    loop_of: LoopOf,
) -> None:
    from misheard.datasets.split import Split, SplitShares  # noqa: PLC0415

    shares = SplitShares(train_percent=50, validation_percent=0, test_percent=50)
    loop = loop_of(held_out=False, shares=shares, **MANY)
    cycle = begin(loop)
    assert cycle.held_out_id is None
    cycle = loop.cycles.run(cycle.id)
    assert cycle.held_out_id == cycle.dataset_id
    rows = loop.datasets.rows(loop.datasets.get(cycle.dataset_id))
    tested = {row.audio_sha256 for row in rows if row.split is Split.TEST}
    validation = loop.validations.get(cycle.validation_id)
    judged = {one["audio_sha256"] for one in loop.validations.utterances(validation)}
    assert judged == tested
    assert 0 < len(tested) < len(rows)
    exported = loop.jobs.paths(cycle.job_id).data / "train.jsonl"
    assert not any(key in exported.read_text(encoding="utf-8") for key in tested)


def test_a_model_from_elsewhere_is_judged_by_that_split_as_well(
    loop_of: LoopOf, tmp_path: Path
) -> None:
    from misheard.datasets.split import SplitShares  # noqa: PLC0415

    shares = SplitShares(train_percent=50, validation_percent=0, test_percent=50)
    loop = loop_of(held_out=False, shares=shares, **MANY)
    cycle = loop.cycles.run(begin(loop, model_directory=str(model(tmp_path / "mine"))).id)
    assert cycle.validation_id is not None
    assert cycle.held_out_id is not None
    assert loop.datasets.get(cycle.held_out_id).name == cycle.id


def test_without_anything_to_test_on_a_candidate_is_refused_and_told_what_to_do(
    loop_of: LoopOf,
) -> None:
    loop = loop_of(held_out=False)
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.REFUSED
    assert "there is nothing to test on" in cycle.detail
    assert "misheard dataset hold-out" in cycle.detail
    assert loop.deployments.live().version_id == loop.base_id
    assert loop.cycles.get(cycle.id) == cycle


def test_the_newest_set_that_was_held_out_decides_unless_one_is_named(
    loop: Any, tone: Callable[..., bytes]
) -> None:
    other = loop.datasets.add_evaluation("other", [Sample(data=tone(), reference="a")])
    assert begin(loop).held_out_id == loop.held_out_id
    named = loop.cycles.begin(actor="ann", force=True, held_out_id=other.id)
    assert named.held_out_id == other.id


def points(loop: Any) -> list[tuple[str, float]]:
    return [(row.subject, row.wer) for row in _performance(loop)]


def _performance(loop: Any) -> list[Any]:
    with loop.engine.connect() as connection:
        query = observation_table.select().order_by(observation_table.c.number)
        return list(connection.execute(query))


def test_what_was_measured_is_a_point_of_the_trend_once_it_is_true_of_what_is_live(
    loop: Any,
) -> None:
    cycle = begin(loop)
    for _ in range(3):
        cycle = loop.cycles.advance(cycle.id)
    assert points(loop) == []
    cycle = loop.cycles.advance(cycle.id)
    assert cycle.state is S.VALIDATED
    kept = loop.validations.get(cycle.validation_id).comparison
    assert points(loop) == [(loop.base_id, kept.baseline.wer)]
    cycle = loop.cycles.approve(loop.cycles.run(cycle.id).id, actor="boss")
    assert points(loop)[1:] == [(cycle.version_id, kept.candidate.wer)]
    trend = loop.observations.trend("wer")
    assert trend.improvement == pytest.approx(kept.baseline.wer - kept.candidate.wer)
    assert [row.cer for row in _performance(loop)] == [kept.baseline.cer, kept.candidate.cer]
    assert _performance(loop)[1].details == {"validation": cycle.validation_id}


def test_a_refused_candidate_is_no_point_of_the_trend(loop_of: LoopOf) -> None:
    loop = loop_of(tuned_hears_all=False)
    cycle = loop.cycles.run(begin(loop).id)
    assert cycle.state is S.REFUSED
    assert [subject for subject, _ in points(loop)] == [loop.base_id]


def test_a_set_without_a_word_has_no_rate_and_makes_no_point(
    loop: Any, tone: Callable[..., bytes]
) -> None:
    silent = loop.datasets.add_evaluation("silent", [Sample(data=tone(), reference="")])
    begun = loop.cycles.begin(actor="ann", force=True, held_out_id=silent.id)
    cycle = loop.cycles.run(begun.id)
    assert cycle.state is S.REFUSED
    assert math.isnan(loop.validations.get(cycle.validation_id).comparison.baseline.wer)
    assert points(loop) == []


def test_the_hooks_are_called_once_around_a_deployment(loop_of: LoopOf) -> None:
    called: list[str] = []
    box: list[Any] = []

    def note(what: str) -> Callable[..., None]:
        return lambda *_: called.append(f"{what} {box[0].deployments.live().version_id}")

    hooks = {"before_deployment": note("before"), "after_deployment": note("after")}
    loop = loop_of(hooks=hooks)
    box.append(loop)
    cycle = loop.cycles.run(begin(loop).id)
    assert called == []
    cycle = loop.cycles.approve(cycle.id, actor="boss")
    assert called == [f"before {loop.base_id}", f"after {cycle.version_id}"]
    loop.cycles.note_left(cycle.version_id, actor="bob", reason="worse")
    loop.cycles.note_live(cycle.version_id, actor="bob", reason="better")
    assert len(called) == 2


def test_a_backup_that_fails_deploys_nothing_and_leaves_the_cycle_waiting(loop_of: LoopOf) -> None:
    def refuses(_live: object) -> None:
        raise BadInputError("the disk is full")

    loop = loop_of(hooks={"before_deployment": refuses})
    cycle = loop.cycles.run(begin(loop).id)
    with pytest.raises(BadInputError, match="disk is full"):
        loop.cycles.approve(cycle.id, actor="boss")
    assert loop.cycles.get(cycle.id) == cycle
    by_itself = begin(loop, auto_deploy=True)
    with pytest.raises(BadInputError, match="disk is full"):
        loop.cycles.run(by_itself.id)
    assert loop.cycles.get(by_itself.id).state is S.REGRESSION
    assert loop.deployments.live().version_id == loop.base_id
    assert points(loop)[-1][0] == loop.base_id
