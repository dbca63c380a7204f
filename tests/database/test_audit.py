from __future__ import annotations

from sqlalchemy import Engine

from misheard.database.audit import AuditEntry, AuditLog, record
from misheard.database.engine import writing

ON_BOTH_DATABASES = True


def test_entries_come_back_whole_newest_first(engine: Engine) -> None:
    given = [
        AuditEntry(
            actor="ann",
            action="deploy",
            subject="production",
            from_value="v-1",
            to_value="v-2",
            reason="better",
            evidence={"validation_id": "val-1", "wer": 0.04},
        ),
        AuditEntry(actor="bob", action="reject", subject="cycle-1"),
    ]
    with writing(engine) as connection:
        record(connection, *given)
    newest, oldest = AuditLog(engine).entries()
    assert (newest.number, oldest.number) == (2, 1)
    for found, written in ((oldest, given[0]), (newest, given[1])):
        assert vars(found) | {"number": 0} == vars(written)


def test_entries_can_be_limited_and_chosen_by_subject(engine: Engine) -> None:
    with writing(engine) as connection:
        for number in range(5):
            record(connection, AuditEntry(actor="a", action="x", subject=f"s{number % 2}"))
    log = AuditLog(engine)
    assert [entry.number for entry in log.entries(limit=2)] == [5, 4]
    assert [entry.number for entry in log.entries(subject="s1")] == [4, 2]


def test_recording_nothing_is_no_error(engine: Engine) -> None:
    with writing(engine) as connection:
        record(connection)
    assert AuditLog(engine).entries() == []
