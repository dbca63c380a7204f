"""What failed is tried again where it failed; the rows of the first attempt stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle.states import CycleState
from misheard.database.audit import AuditLog
from misheard.errors import IllegalTransitionError
from tests.tiny import everything

S = CycleState


def failed(loop: Any) -> Any:
    loop.backend.fails = True
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id)
    cycle = loop.cycles.run(cycle.id)
    assert cycle.state is S.FAILED
    return cycle


def test_a_failed_training_is_tried_again_by_another_job(loop: Any) -> None:
    cycle = failed(loop)
    loop.backend.fails = False
    again = loop.cycles.retry(cycle.id, actor="ann", reason="made room")
    assert (again.state, again.dataset_id) == (S.DATASET, cycle.dataset_id)
    assert again.detail == "attempt 2, by ann: made room"
    ended = loop.cycles.run(cycle.id)
    assert ended.state is S.AWAITING_APPROVAL
    assert ended.job_id == f"{cycle.job_id}-2"
    assert loop.jobs.get(cycle.job_id).state == "failed"
    assert loop.jobs.get(ended.job_id).state == "completed"
    (entry,) = AuditLog(loop.engine).entries(subject=cycle.id)
    assert (entry.actor, entry.action, entry.reason) == ("ann", "retry", "made room")


def test_it_may_fail_and_be_tried_as_often_as_wanted(loop: Any) -> None:
    cycle = failed(loop)
    for _ in range(2):
        loop.cycles.retry(cycle.id, actor="ann")
        cycle = loop.cycles.run(cycle.id)
        assert cycle.state is S.FAILED
    assert cycle.job_id.endswith("-3")
    assert len(loop.backend.starts) == 3


def test_where_no_dataset_could_be_built_it_is_built_again(loop_of: Callable[..., Any]) -> None:
    loop = loop_of(corrected=0)
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id, force=True)
    assert loop.cycles.run(cycle.id).state is S.FAILED
    assert loop.cycles.retry(cycle.id, actor="ann").state is S.TRIGGERED


def test_only_what_failed_is_tried_again(loop: Any) -> None:
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id)
    with pytest.raises(IllegalTransitionError, match="only what has failed"):
        loop.cycles.retry(cycle.id, actor="ann")


def test_against_another_live_version_it_would_be_trained_for_nothing(
    loop: Any, tmp_path: Path
) -> None:
    cycle = failed(loop)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.bin").write_bytes(b"other")
    other = loop.registry.register(tmp_path / "other", name="tiny", source="x", actor="ann")
    loop.deployments.deploy(other.id, actor="ann", reason="in a hurry")
    before = everything(loop.engine)
    with pytest.raises(IllegalTransitionError, match=f"{other.id} is live now"):
        loop.cycles.retry(cycle.id, actor="ann")
    assert everything(loop.engine) == before


def test_why_a_cycle_stands_still_is_in_its_row_until_it_goes_on(loop: Any, tmp_path: Path) -> None:
    from misheard.cycle.options import CycleOptions  # noqa: PLC0415
    from misheard.errors import DeploymentConflictError  # noqa: PLC0415

    options = CycleOptions(auto_deploy=True)
    cycle = loop.cycles.begin(actor="ann", held_out_id=loop.held_out_id, options=options)
    for _ in range(5):
        loop.cycles.advance(cycle.id)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.bin").write_bytes(b"other")
    other = loop.registry.register(tmp_path / "other", name="tiny", source="x", actor="ann")
    loop.deployments.deploy(other.id, actor="ann", reason="in a hurry")
    with pytest.raises(DeploymentConflictError):
        loop.cycles.advance(cycle.id)
    assert other.id in loop.cycles.get(cycle.id).error
    loop.deployments.roll_back(actor="ann", reason="a mistake")
    assert loop.cycles.advance(cycle.id).state is S.DEPLOYED
    assert loop.cycles.get(cycle.id).error == ""
