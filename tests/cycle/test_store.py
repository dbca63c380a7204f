"""Cycles in the database, on SQLite and on PostgreSQL: leases, fences, one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, update

from misheard.cycle.options import CycleOptions
from misheard.cycle.pace import pace
from misheard.cycle.stages import Step
from misheard.cycle.states import Cycle, CycleState
from misheard.cycle.store import CycleStore, newest_of
from misheard.database.engine import new_id, now, writing
from misheard.database.schema import audit, cycles
from misheard.database.tallies import current_era
from misheard.errors import IllegalTransitionError, LeaseLostError, UnknownIdError
from misheard.registry import ModelVersion

ON_BOTH_DATABASES = True
S = CycleState


@pytest.fixture
def base(register: Callable[..., ModelVersion]) -> str:
    return register("base").id


def begun(base: str, **fields: Any) -> Cycle:
    nothing = dict.fromkeys(("held_out_id", "dataset_id", "job_id", "version_id", "validation_id"))
    values = {"id": new_id("cycle"), "created_at": now(), "state": S.TRIGGERED, "actor": "ann"}
    values |= {"options": CycleOptions(skip_regression=True), "decision": {"why": ["many"]}}
    return Cycle(**{**nothing, **values, "baseline_id": base, "detail": "begun", **fields})


def step(to: CycleState = S.DATASET, **fields: Any) -> Step:
    return Step(**{"to": to, "detail": "done", "values": {}, **fields})


def wrote(subject: str) -> Callable[[Any], object]:
    empty = dict.fromkeys(("from_value", "to_value", "reason"), "")
    row = {"created_at": now(), "actor": "ann", "action": "test", "evidence": {}, **empty}
    return lambda connection: connection.execute(insert(audit).values(subject=subject, **row))


def test_what_is_kept_comes_back(engine: Engine, base: str) -> None:
    store = CycleStore(engine)
    cycle = begun(base)
    assert store.add(cycle)
    assert store.get(cycle.id) == cycle
    assert store.listed(state=S.TRIGGERED) == store.unfinished() == [cycle]
    assert (store.newest_id(), store.counts()) == (cycle.id, {S.TRIGGERED: 1})
    with pytest.raises(UnknownIdError):
        store.get("cycle-x")


def test_the_newest_is_the_last_to_begin_whatever_the_clock_said(engine: Engine, base: str) -> None:
    store, ahead = CycleStore(engine), timedelta(hours=2)
    first = begun(base, created_at=now() + ahead, version_id=base)
    second = begun(base, id="cycle-0", version_id=base)
    for cycle in (first, second):
        store.add(cycle)
    assert (store.newest_id(), store.listed()) == (second.id, [second, first])
    assert store.unfinished() == [first, second]
    with engine.connect() as connection:
        assert newest_of(connection, base, [S.TRIGGERED]) == second
        assert current_era(connection).cycle_id == second.id
        before = pace(connection)
    assert (before.running, before.began_at) == (f"{first.id} is triggered", second.created_at)


def test_of_two_that_begin_after_the_same_one_only_one_does(engine: Engine, base: str) -> None:
    store, added = CycleStore(engine), []

    def add() -> None:
        added.append(store.add(begun(base), after=""))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [False] * 5 + [True]
    assert len(store.listed()) == 1


def test_a_lease_is_one_owner_s_until_it_runs_out(engine: Engine, base: str) -> None:
    ours, theirs = CycleStore(engine), CycleStore(engine)
    cycle = begun(base)
    ours.add(cycle)
    first = ours.take_lease(cycle.id)
    with pytest.raises(LeaseLostError, match="being worked on"):
        theirs.take_lease(cycle.id)
    ours.renew(cycle.id, first)
    with writing(engine) as connection:
        connection.execute(update(cycles).values(lease_until=now() - timedelta(seconds=1)))
    second = theirs.take_lease(cycle.id)
    assert second > first
    with pytest.raises(LeaseLostError):
        ours.renew(cycle.id, first)
    with pytest.raises(LeaseLostError):
        ours.commit(cycle, step(write=wrote("late")), first)
    moved = theirs.commit(cycle, step(write=wrote("in time")), second)
    assert moved.state is S.DATASET
    with engine.connect() as connection:
        assert connection.execute(select(audit.c.subject)).scalars().all().count("late") == 0
    theirs.release(cycle.id, second)
    assert ours.take_lease(cycle.id) > second


def test_of_many_that_take_the_same_step_one_does(engine: Engine, base: str) -> None:
    store, outcomes = CycleStore(engine), []
    cycle = begun(base)
    store.add(cycle)

    def commit() -> None:
        try:
            store.commit(cycle, step(write=wrote("step")))
            outcomes.append(True)
        except LeaseLostError:
            outcomes.append(False)

    threads = [threading.Thread(target=commit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 5 + [True]
    assert [one.to_state for one in store.steps(cycle.id)] == ["triggered", "dataset"]
    with engine.connect() as connection:
        query = select(func.count()).where(audit.c.subject == "step")
        assert connection.execute(query).scalar_one() == 1


def test_a_step_whose_rows_cannot_be_written_is_not_taken(engine: Engine, base: str) -> None:
    store = CycleStore(engine)
    cycle = begun(base)
    store.add(cycle)

    def fail(connection: Any) -> None:
        wrote("half")(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.commit(cycle, step(write=fail))
    assert store.get(cycle.id) == cycle
    with pytest.raises(IllegalTransitionError):
        store.commit(cycle, step(S.DEPLOYED))
    with engine.connect() as connection:
        query = select(func.count()).where(audit.c.subject == "half")
        assert connection.execute(query).scalar_one() == 0


def test_options_change_only_where_the_cycle_stands_still(engine: Engine, base: str) -> None:
    store = CycleStore(engine)
    cycle = begun(base)
    store.add(cycle)
    changed = store.change(cycle, CycleOptions(auto_deploy=True))
    assert store.get(cycle.id).options.auto_deploy is True
    store.commit(changed, step())
    with pytest.raises(LeaseLostError):
        store.change(changed, CycleOptions())
