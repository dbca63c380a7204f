from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, update

from misheard.database.audit import AuditLog
from misheard.database.engine import now, writing
from misheard.database.schema import deployments, versions
from misheard.deployment import Deployments
from misheard.errors import (
    DeploymentConflictError,
    NoEarlierVersionError,
    NothingDeployedError,
    UnknownIdError,
    VersionPrunedError,
)
from misheard.registry import ModelVersion

ON_BOTH_DATABASES = True


@pytest.fixture
def ids(register: Callable[..., ModelVersion]) -> list[str]:
    return [register(content).id for content in "abcd"]


@pytest.fixture
def live(engine: Engine) -> Deployments:
    return Deployments(engine)


def deploy(live: Deployments, *versions: str) -> None:
    for version in versions:
        live.deploy(version, actor="ann", reason="test")


def back(live: Deployments, to: str | None = None) -> str:
    return live.roll_back(actor="bob", reason="worse", to=to).version_id


def prune_row(engine: Engine, version_id: str) -> None:
    with writing(engine) as connection:
        row = versions.c.id == version_id
        connection.execute(update(versions).where(row).values(pruned_at=now()))


def test_nothing_is_live_at_first(live: Deployments) -> None:
    with pytest.raises(NothingDeployedError):
        live.live()
    with pytest.raises(NoEarlierVersionError):
        back(live)


def test_the_last_row_is_what_is_live(live: Deployments, ids: list[str]) -> None:
    deploy(live, ids[0], ids[1])
    assert live.live().version_id == ids[1]
    assert [row.version_id for row in live.history()] == [ids[1], ids[0]]


def test_deploying_what_is_live_does_nothing(live: Deployments, ids: list[str]) -> None:
    deploy(live, ids[0], ids[0])
    assert len(live.history()) == 1


def test_rolling_back_twice_goes_back_twice(live: Deployments, ids: list[str]) -> None:
    deploy(live, *ids[:3])
    assert back(live) == ids[1]
    assert back(live) == ids[0]
    with pytest.raises(NoEarlierVersionError):
        back(live)
    assert live.live().version_id == ids[0]


def test_a_deployment_after_a_rollback_goes_back_to_what_it_replaced(
    live: Deployments, ids: list[str]
) -> None:
    deploy(live, *ids[:3])
    back(live)
    deploy(live, ids[3])
    assert back(live) == ids[1]
    assert back(live) == ids[0]


def test_what_was_rolled_back_can_be_deployed_again_and_rolled_back_again(
    live: Deployments, ids: list[str]
) -> None:
    deploy(live, ids[0], ids[1])
    assert back(live) == ids[0]
    deploy(live, ids[1])
    assert back(live) == ids[0]


def test_a_second_rollback_does_not_return_to_what_the_first_one_left(
    live: Deployments, ids: list[str]
) -> None:
    a, b, c, _ = ids
    deploy(live, a, b, c, b)
    assert back(live) == c
    assert back(live) == a
    with pytest.raises(NoEarlierVersionError):
        back(live)


def test_what_the_first_rollback_left_is_passed_over_even_where_nothing_else_is(
    live: Deployments, ids: list[str]
) -> None:
    deploy(live, ids[0], ids[1], ids[0])
    assert back(live) == ids[1]
    with pytest.raises(NoEarlierVersionError):
        back(live)


def test_rolling_back_to_a_named_version(live: Deployments, ids: list[str]) -> None:
    a, b, c, d = ids
    deploy(live, a, b, c, d)
    assert back(live, to=b) == b
    # From there the way back is the one that it had.
    assert back(live) == a
    # What was left can be named, too.
    assert back(live, to=d) == d
    assert live.live().action == "rollback"
    assert back(live) == c


def test_the_way_back_from_a_named_version_is_the_one_of_its_latest_time(
    live: Deployments, ids: list[str]
) -> None:
    a, b, c, d = ids
    deploy(live, a, b, c, b, d)
    assert back(live, to=b) == b
    assert back(live) == c


def test_rolling_back_to_what_was_never_live_here_or_is_live_now(
    live: Deployments, ids: list[str]
) -> None:
    a, b, c, _ = ids
    with pytest.raises(NoEarlierVersionError):
        back(live, to=a)
    deploy(live, a, b)
    live.deploy(c, actor="ann", reason="try it", slot="canary")
    with pytest.raises(NoEarlierVersionError, match="never live in 'production'"):
        back(live, to=c)
    with pytest.raises(NoEarlierVersionError, match="live in 'production' now"):
        back(live, to=b)
    assert len(live.history()) == 2


def test_a_pruned_version_is_neither_deployed_nor_rolled_back_to(
    live: Deployments, ids: list[str], engine: Engine
) -> None:
    deploy(live, ids[0], ids[1])
    prune_row(engine, ids[0])
    for attempt in (
        lambda: deploy(live, ids[0]),
        lambda: back(live),
        lambda: back(live, to=ids[0]),
    ):
        with pytest.raises(VersionPrunedError, match="misheard versions"):
            attempt()
    assert live.live().version_id == ids[1]


def test_an_unknown_version_is_not_deployed(live: Deployments) -> None:
    with pytest.raises(UnknownIdError, match="no version 'v-x'"):
        deploy(live, "v-x")


def test_what_was_ever_live_the_most_recent_first(live: Deployments, ids: list[str]) -> None:
    a, b, c, d = ids
    assert live.ever_live() == []
    assert live.live_by_slot() == {}
    deploy(live, a, b, c)
    back(live)
    live.deploy(d, actor="ann", reason="try it", slot="canary")
    assert live.ever_live() == [b, c, a]
    assert live.ever_live("canary") == [d]
    assert live.ever_live(slot=None) == [d, b, c, a]
    assert live.live_by_slot() == {"canary": d, "production": b}


def test_slots_do_not_disturb_each_other(live: Deployments, ids: list[str]) -> None:
    deploy(live, ids[0])
    live.deploy(ids[1], actor="ann", reason="try it", slot="canary")
    assert live.live().version_id == ids[0]
    assert live.live("canary").version_id == ids[1]
    with pytest.raises(NoEarlierVersionError):
        live.roll_back(actor="ann", reason="no", slot="canary")


def test_every_change_is_an_audit_row(live: Deployments, ids: list[str], engine: Engine) -> None:
    deploy(live, ids[0])
    live.deploy(ids[1], actor="ann", reason="better", evidence={"validation_id": "val-1"})
    back(live)
    rollback, second, first = AuditLog(engine).entries(subject="production")
    assert (first.action, first.from_value, first.to_value) == ("deploy", "", ids[0])
    assert (second.actor, second.reason, second.evidence) == (
        "ann",
        "better",
        {"validation_id": "val-1"},
    )
    assert (rollback.actor, rollback.action) == ("bob", "rollback")
    assert (rollback.from_value, rollback.to_value) == (ids[1], ids[0])


def test_of_two_deployers_that_saw_the_same_row_one_gets_a_conflict(
    live: Deployments, ids: list[str], engine: Engine
) -> None:
    """SQLite lets only one write at a time, so the rival's row is slipped in after the look.

    On PostgreSQL, two transactions read the same last row without being stopped.
    """
    deploy(live, ids[0])
    seen, slipped_in = live.live(), []

    def rival(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if slipped_in or not statement.startswith("SELECT deployments"):
            return
        slipped_in.append(True)
        values = {
            **vars(seen),
            "number": seen.number + 1,
            "created_at": now(),
            "version_id": ids[2],
            "after_number": seen.number,
            "undo_number": seen.number,
        }
        connection.execute(insert(deployments).values(**values))

    event.listen(engine, "after_cursor_execute", rival)
    with pytest.raises(DeploymentConflictError, match="'production'"):
        deploy(live, ids[1])
    assert slipped_in
    # Nothing of the loser is kept, its audit row included.
    assert [row.version_id for row in live.history()] == [ids[0]]
    assert len(AuditLog(engine).entries(subject="production")) == 1
    deploy(live, ids[1])
    assert live.live().version_id == ids[1]


def test_a_deployment_stands_or_falls_with_the_callers_transaction(
    live: Deployments, ids: list[str], engine: Engine
) -> None:
    from misheard.deployment import deploy_in  # noqa: PLC0415

    def deploy_and_fail() -> None:
        with writing(engine) as connection:
            deploy_in(connection, ids[0], actor="ann", reason="test")
            raise RuntimeError("the caller's own trouble")

    with pytest.raises(RuntimeError):
        deploy_and_fail()
    with pytest.raises(NothingDeployedError):
        live.live()
