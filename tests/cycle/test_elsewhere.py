"""Somebody else's program trains: it is given the dataset and hands a model back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.cycles import Cycles
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleState
from misheard.errors import BadInputError, IllegalTransitionError, MisheardError, UnknownIdError
from tests.cycle.conftest import hours_pass
from tests.tiny import everything

S = CycleState
LoopOf = Callable[..., Any]


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    folder = tmp_path / "from-elsewhere"
    folder.mkdir()
    for name in ("model.bin", "tuned.txt"):
        (folder / name).write_text("elsewhere", encoding="utf-8")
    return folder


def at_dataset(loop: Any, **options: Any) -> Cycle:
    cycle = loop.cycles.begin(
        actor="ann", held_out_id=loop.held_out_id, options=CycleOptions(**options)
    )
    return loop.cycles.advance(cycle.id)


def in_state(loop: Any, state: CycleState) -> Cycle:
    """A cycle that misheard trains itself, as far as `state`."""
    if state is S.PROPOSED:
        return loop.cycles.begin(actor="ann", force=True, approved=False)
    cycle = loop.cycles.begin(actor="ann", force=True, held_out_id=loop.held_out_id)
    if state is S.CANCELLED:
        return loop.cycles.cancel(cycle.id, actor="ann")
    if state is S.FAILED:
        return loop.cycles.fail(cycle.id, reason="gave up")
    while cycle.state is not state and loop.cycles._stages.of(cycle) is not None:
        cycle = loop.cycles.advance(cycle.id)
    if state is S.REJECTED:
        return loop.cycles.reject(cycle.id, actor="ann", reason="no")
    if state in (S.DEPLOYED, S.WATCHED, S.CLOSED, S.ROLLED_BACK):
        cycle = loop.cycles.approve(cycle.id, actor="ann")
    if state in (S.WATCHED, S.CLOSED):
        hours_pass(loop.engine, 24.0)
        cycle = loop.cycles.advance(cycle.id)
    if state is S.CLOSED:
        cycle = loop.cycles.advance(cycle.id)
    if state is S.ROLLED_BACK:
        loop.cycles.note_left(cycle.version_id, actor="ann", reason="worse")
    return loop.cycles.get(cycle.id)


def test_training_elsewhere_from_the_dataset_to_the_candidate(loop: Any, tuned: Path) -> None:
    cycle = loop.cycles.train_elsewhere(at_dataset(loop).id, actor="trainer")
    assert (cycle.state, cycle.detail) == (S.TRAINING, "trained elsewhere by trainer")
    assert cycle.waits_for_trainer
    assert loop.cycles.run(cycle.id) == cycle
    with pytest.raises(IllegalTransitionError, match="nothing follows by itself"):
        loop.cycles.advance(cycle.id)
    cycle = loop.cycles.take_model(cycle.id, tuned, actor="trainer", figures={"loss": 0.25})
    assert cycle.state is S.CONVERTED
    version = loop.registry.get(cycle.version_id)
    assert version.figures == {"loss": 0.25}
    assert (version.dataset_id, version.job_id) == (cycle.dataset_id, None)
    assert (version.parent_id, version.source) == (loop.base_id, str(tuned))
    assert loop.cycles.run(cycle.id).state is S.AWAITING_APPROVAL
    assert loop.backend.starts == []
    # Its own files stay where they were.
    assert sorted(path.name for path in tuned.iterdir()) == ["model.bin", "tuned.txt"]


def test_a_cycle_that_says_so_waits_for_its_trainer_with_its_dataset(
    loop: Any, rival: Cycles, tuned: Path
) -> None:
    cycle = at_dataset(loop, trained_elsewhere=True)
    assert cycle.waits_for_trainer
    assert rival.run(cycle.id) == cycle
    assert loop.backend.starts == []
    cycle = rival.take_model(cycle.id, tuned, actor="trainer")
    assert cycle.state is S.CONVERTED
    steps = [step.to_state for step in loop.cycles.steps(cycle.id)]
    assert steps == ["triggered", "dataset", "training", "converted"]


def test_a_trainer_that_gives_up_fails_the_cycle_with_its_reason(loop: Any, tuned: Path) -> None:
    cycle = loop.cycles.train_elsewhere(at_dataset(loop).id, actor="trainer")
    cycle = loop.cycles.fail(cycle.id, reason="out of memory")
    assert (cycle.state, cycle.detail) == (S.FAILED, "out of memory")
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError):
        loop.cycles.take_model(cycle.id, tuned, actor="trainer")
    assert everything(loop.engine) == before


@pytest.mark.parametrize("state", [state for state in S if state is not S.DATASET])
def test_only_a_cycle_with_its_dataset_can_be_trained_elsewhere(
    loop_of: LoopOf, state: CycleState
) -> None:
    loop = loop_of(tuned_hears_all=state is not S.REFUSED)
    cycle = in_state(loop, state)
    assert cycle.state is state
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError):
        loop.cycles.train_elsewhere(cycle.id, actor="trainer")
    assert everything(loop.engine) == before


@pytest.mark.parametrize("state", [s for s in S if s not in (S.TRIGGERED, S.DATASET)])
def test_a_cycle_that_wants_no_model_takes_none(
    loop_of: LoopOf, tuned: Path, state: CycleState
) -> None:
    loop = loop_of(tuned_hears_all=state is not S.REFUSED)
    cycle = in_state(loop, state)
    assert cycle.state is state
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError):
        loop.cycles.take_model(cycle.id, tuned, actor="trainer")
    assert everything(loop.engine) == before


@pytest.mark.parametrize("state", list(S))
def test_only_what_has_not_been_judged_can_fail(loop_of: LoopOf, state: CycleState) -> None:
    loop = loop_of(tuned_hears_all=state is not S.REFUSED)
    cycle = in_state(loop, state)
    if state in (S.TRIGGERED, S.DATASET, S.TRAINING):
        assert loop.cycles.fail(cycle.id, reason="no").state is S.FAILED
        return
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError):
        loop.cycles.fail(cycle.id, reason="no")
    assert everything(loop.engine) == before


def test_a_cycle_that_misheard_trains_itself_takes_no_other_model_and_says_how_to_stop_it(
    loop: Any, tuned: Path
) -> None:
    cycle = in_state(loop, S.TRAINING)
    with pytest.raises(IllegalTransitionError, match=f"misheard cycle cancel {cycle.id}"):
        loop.cycles.take_model(cycle.id, tuned, actor="trainer")


def test_a_cycle_that_has_no_dataset_yet_takes_a_model_as_well(loop: Any, tuned: Path) -> None:
    cycle = loop.cycles.begin(actor="ann")
    cycle = loop.cycles.take_model(cycle.id, tuned, actor="trainer")
    assert (cycle.state, cycle.dataset_id) == (S.CONVERTED, None)


@pytest.mark.parametrize("state", [S.TRIGGERED, S.DATASET])
def test_a_model_that_cannot_be_taken_changes_nothing(
    loop: Any, tmp_path: Path, tuned: Path, state: CycleState
) -> None:
    """It would be a pity if a wrong path kept misheard from training the cycle itself."""
    cycle = in_state(loop, state)
    (tmp_path / "empty").mkdir()
    before = everything(loop.engine)
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(MisheardError, match=path.name):
            loop.cycles.take_model(cycle.id, path, actor="trainer")
    with pytest.raises(BadInputError, match="details of a training"):
        loop.cycles.take_model(cycle.id, tuned, actor="trainer", figures={"loss": float("nan")})
    assert everything(loop.engine) == before
    assert loop.cycles.run(cycle.id).state is S.AWAITING_APPROVAL


def test_a_model_is_taken_once(loop: Any, tuned: Path) -> None:
    cycle = loop.cycles.take_model(at_dataset(loop).id, tuned, actor="trainer")
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError):
        loop.cycles.take_model(cycle.id, tuned, actor="trainer")
    assert everything(loop.engine) == before


def test_handing_a_model_over_again_after_a_kill_goes_on(
    loop: Any, rival: Cycles, tuned: Path
) -> None:
    """As if the process had been killed after the model was registered, and after the next step."""
    cycle = at_dataset(loop)
    loop.cycles._stages.adopt(cycle, tuned, {}, "trainer")
    rival.train_elsewhere(cycle.id, actor="trainer")
    assert rival.take_model(cycle.id, tuned, actor="trainer").state is S.CONVERTED
    assert len(loop.registry.listed()) == 2


def test_an_unknown_cycle_is_an_error(loop: Any, tuned: Path) -> None:
    for call in (
        lambda: loop.cycles.take_model("cycle-x", tuned, actor="ann"),
        lambda: loop.cycles.train_elsewhere("cycle-x", actor="ann"),
        lambda: loop.cycles.fail("cycle-x", reason="no"),
        lambda: loop.cycles.change("cycle-x", auto_deploy=True),
        lambda: loop.cycles.approve("cycle-x", actor="ann"),
        lambda: loop.cycles.reject("cycle-x", actor="ann", reason="no"),
        lambda: loop.cycles.cancel("cycle-x", actor="ann"),
    ):
        with pytest.raises(UnknownIdError):
            call()
