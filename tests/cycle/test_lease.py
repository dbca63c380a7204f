"""A lease is kept while work goes on, however silent, and lost work says so."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from misheard.cycle import lease
from misheard.cycle.cycles import Cycles
from misheard.cycle.lease import LeaseKeeper
from misheard.cycle.states import CycleState, Observer
from misheard.database.engine import now
from misheard.errors import (
    DatabaseUnreachableError,
    DiskFullError,
    LeaseLostError,
    MisheardError,
    StorageBusyError,
)
from tests import tiny
from tests.loopback import until
from tests.postgres import PROGRAMS, cluster

SHORT = timedelta(seconds=8)
"""Four times as long as a beat, and so much longer than a busy machine keeps a thread waiting."""


def test_silent_work_of_several_leases_is_not_taken_away(loop: Any) -> None:
    """Two workers that took it from each other in turn would never come to an end."""
    mine, rival = (
        Cycles(
            loop.engine,
            observations=loop.observations,
            deployments=loop.deployments,
            stages=loop.cycles._stages,
            lease=SHORT,
        )
        for _ in range(2)
    )
    cycle = mine.begin(actor="ann", held_out_id=loop.held_out_id)
    assert cycle is not None
    begun = cycle.id
    for _ in range(3):
        mine.advance(cycle.id)
    refused: list[float] = []

    class Silent(Observer):
        def progress(self, what: str, total: int) -> Any:
            started = time.monotonic()
            while time.monotonic() < started + 2 * SHORT.total_seconds():
                with pytest.raises(LeaseLostError):
                    rival.advance(begun)
                refused.append(time.monotonic())
                time.sleep(0.1)
            return super().progress(what, total)

    assert mine.advance(cycle.id, observer=Silent()).state is CycleState.VALIDATED
    assert refused


@pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL here")
def test_a_server_that_is_started_again_meanwhile_takes_it_from_nobody(tmp_path: Path) -> None:
    lease = SHORT
    with cluster() as server:
        url = server.new_database().render_as_string(hide_password=False)
        workspace = tiny.make(tmp_path / "ws", database={"url": url})
        tiny.hold_out(workspace)
        mine, rival = (
            Cycles(
                workspace._engine,
                observations=workspace.observations,
                deployments=workspace.deployments,
                stages=workspace.cycles._stages,
                lease=lease,
            )
            for _ in range(2)
        )
        cycle = mine.advance(tiny.begin_with_model(workspace, tmp_path / "tuned").id)

        class Long(Observer):
            def progress(self, what: str, total: int) -> Any:
                server.stop()
                # As long as it takes to fail at renewing it.
                time.sleep(lease.total_seconds() / 2)
                server.start()
                back = now()
                until(lambda: renewed_since(back))
                with pytest.raises(LeaseLostError):
                    rival.advance(cycle.id)
                return super().progress(what, total)

        def renewed_since(moment: datetime) -> bool:
            try:
                held = rival.held_until(cycle.id)
            except DatabaseUnreachableError:
                return False  # a connection of before
            return held is not None and held > moment + lease

        assert mine.advance(cycle.id, observer=Long()).state is CycleState.VALIDATED
        workspace._engine.dispose()


def test_who_has_lost_it_learns_of_it_at_the_next_sign_of_life() -> None:
    def renew() -> None:
        raise LeaseLostError("cycle-1")

    with LeaseKeeper(Observer(), renew, timedelta(seconds=0.01)) as keeper:
        keeper._thread.join(60.0)
        with pytest.raises(LeaseLostError):
            keeper.waiting()


def test_what_hangs_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_MOST_SILENCE_S", 0.05)
    renewed: list[int] = []
    with LeaseKeeper(Observer(), lambda: renewed.append(1), timedelta(seconds=0.04)) as keeper:
        keeper._thread.join(60.0)
        assert not keeper._thread.is_alive()


@pytest.mark.parametrize("error", [StorageBusyError, DatabaseUnreachableError, DiskFullError])
def test_a_database_that_is_away_for_a_moment_loses_nothing(error: type[MisheardError]) -> None:
    tried, again = [0], threading.Event()

    def renew() -> None:
        tried[0] += 1
        if tried[0] == 1:
            raise error
        again.set()

    with LeaseKeeper(Observer(), renew, timedelta(seconds=0.04)) as keeper:
        assert again.wait(60.0)
        keeper.waiting()
