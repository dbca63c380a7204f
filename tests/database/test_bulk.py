"""What is added quickly is what SQLAlchemy would have written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from misheard.database.bulk import stored_time
from misheard.database.schema import UtcDateTime

zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001


@given(times)
def test_a_time_is_written_as_sqlalchemy_writes_it(moment: datetime) -> None:
    dialect = sqlite.dialect()
    theirs = UtcDateTime().bind_processor(dialect)
    assert theirs is not None
    assert stored_time(moment, on_sqlite=True) == theirs(moment)
    assert stored_time(moment, on_sqlite=False) is moment
