"""Every machine has a row before it is asked for, and the budget counts what may yet be spent."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from misheard.database.engine import now, writing
from misheard.database.schema import rentals as table
from misheard.errors import BudgetError
from misheard.finetune.rented.costs import costs
from misheard.finetune.rented.rentals import Ending, Rental, Rentals, Wanted, month_of

ON_BOTH_DATABASES = True


@pytest.fixture
def rentals(engine: Engine) -> Rentals:
    return Rentals(engine, place="here")


def wanted(job: str = "job-1", attempt: int = 1, zone: str = "us-central1-a") -> Wanted:
    return Wanted(
        name=f"misheard-{job}-{attempt}",
        job_id=job,
        attempt=attempt,
        project_id="my-project",
        zone=zone,
        machine_type="g2-standard-8",
        accelerator="",
        is_spot=False,
        usd_per_hour=0.8,
        max_hours=6.0,
    )


def was(engine: Engine, one: Rental, **values: datetime | str | None) -> None:
    """As if a row had been written at other times."""
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.number == one.number).values(**values))


def test_a_machine_that_is_asked_for_twice_has_one_row(rentals: Rentals) -> None:
    first = rentals.open_(wanted())
    # Also where it would be looked for elsewhere now: the first may be there already.
    assert rentals.open_(wanted(zone="us-central1-b")) == first
    rentals.end(first.number, Ending.NO_MACHINE)
    second = rentals.open_(wanted(zone="us-central1-b"))
    assert (second.number, second.zone) == (first.number + 1, "us-central1-b")
    assert [one.number for one in rentals.of_job("job-1")] == [first.number, second.number]
    assert rentals.still_open() == [second]


def test_many_that_ask_at_once_get_the_same_row(rentals: Rentals) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(rentals.open_(wanted()).number))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_what_ended_stays_as_it_ended(rentals: Rentals) -> None:
    one = rentals.open_(wanted())
    rentals.note_running(one.number)
    rentals.end(one.number, Ending.PREEMPTED)
    ended = rentals.get(one.number)
    rentals.end(one.number, Ending.DONE)
    assert rentals.get(one.number) == ended
    assert ended.ending is Ending.PREEMPTED


def test_all_machines_of_a_workspace_have_one_owner_and_a_copy_of_it_another(
    engine: Engine, rentals: Rentals
) -> None:
    assert rentals.owner == ""
    labels = {rentals.label(rentals.open_(wanted(job))) for job in ("job-1", "job-2")}
    assert labels == {rentals.owner}
    assert Rentals(engine, place="elsewhere").owner != rentals.owner


def test_hours_are_counted_from_when_it_was_there_and_never_beyond_its_limit(
    engine: Engine, rentals: Rentals
) -> None:
    one = rentals.open_(wanted())
    begun = now() - timedelta(hours=9)
    was(engine, one, asked_at=begun, running_at=begun + timedelta(hours=1))
    assert rentals.get(one.number).hours() == pytest.approx(6.0)
    was(engine, one, ended_at=begun + timedelta(hours=3), reason=Ending.DONE)
    assert rentals.get(one.number).hours() == pytest.approx(2.0)
    assert rentals.get(one.number).usd() == pytest.approx(1.6)
    was(engine, one, reason=Ending.NO_MACHINE)
    assert rentals.get(one.number).usd() == 0.0


def test_a_budget_counts_what_is_spent_and_what_may_yet_be(
    engine: Engine, rentals: Rentals
) -> None:
    spent = rentals.open_(wanted("job-1"))
    begun = now()
    was(
        engine,
        spent,
        asked_at=begun - timedelta(hours=2),
        running_at=begun - timedelta(hours=2),
        ended_at=begun,
        reason=Ending.DONE,
    )
    rentals.open_(wanted("job-2"))
    stands = rentals.spent()
    # On the first of a month, a part of it was spent in the month before.
    assert stands.spent_usd <= 1.6 + 1e-9
    assert stands.reserved_usd == pytest.approx(4.8)
    enough = stands.total_usd + 4.8
    with pytest.raises(BudgetError, match="monthly_budget_usd"):
        rentals.open_(wanted("job-3"), budget_usd=enough - 0.01)
    assert rentals.of_job("job-3") == []
    with pytest.raises(BudgetError, match=r"4\.80 that machines in use may cost"):
        rentals.require_budget(wanted("job-3"), enough - 0.01)
    assert rentals.open_(wanted("job-3"), budget_usd=enough + 0.01).is_open
    # One that is asked for already needs no other room.
    assert rentals.open_(wanted("job-3"), budget_usd=0.01).is_open


def test_of_two_that_rent_at_once_only_as_many_as_the_budget_allows_are_there(
    rentals: Rentals,
) -> None:
    refused: list[str] = []

    def rent(job: str) -> None:
        try:
            rentals.open_(wanted(job), budget_usd=10.0)
        except BudgetError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=rent, args=(f"job-{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rentals.still_open()) == 2
    assert len(refused) == 3


def test_what_ran_over_the_end_of_a_month_is_shared_between_the_two(
    engine: Engine, rentals: Rentals
) -> None:
    one = rentals.open_(wanted())
    turn = datetime(2026, 3, 1, tzinfo=UTC)
    was(
        engine,
        one,
        asked_at=turn - timedelta(hours=3),
        running_at=turn - timedelta(hours=3),
        ended_at=turn + timedelta(hours=1),
        reason=Ending.DONE,
    )
    assert rentals.spent(turn - timedelta(days=2)).spent_usd == pytest.approx(2.4)
    assert rentals.spent(turn + timedelta(days=2)).spent_usd == pytest.approx(0.8)
    assert [(cost.month, round(cost.hours, 6)) for cost in costs(rentals)] == [
        ("2026-03", 1.0),
        ("2026-02", 3.0),
    ]


@pytest.mark.parametrize(
    ("moment", "until"),
    [(datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))],
)
def test_a_year_has_an_end(moment: datetime, until: datetime) -> None:
    assert month_of(moment)[1] == until
