"""What is added quickly is what SQLAlchemy would have written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, create_engine

from misheard.database.bulk import stored_time
from misheard.database.schema import UtcDateTime

MEMORY = create_engine("sqlite://")
TIMES = Table("times", MetaData(), Column("at", UtcDateTime()))
TIMES.create(MEMORY)
zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001


@given(times)
def test_a_time_is_written_as_sqlalchemy_writes_it(moment: datetime) -> None:
    with MEMORY.connect() as connection:
        connection.execute(TIMES.insert().values(at=moment))
        theirs = connection.exec_driver_sql("SELECT at FROM times").scalar_one()
    assert stored_time(moment, on_sqlite=True) == theirs
    assert stored_time(moment, on_sqlite=False) is moment
