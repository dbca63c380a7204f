"""Tokens: told once, kept as a hash, good until they are revoked or their time is over."""

from __future__ import annotations

import hmac
import re
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text, update

from misheard.access.roles import Role
from misheard.access.tokens import Token, Tokens
from misheard.access.uses import Uses
from misheard.database.audit import AuditLog
from misheard.database.engine import now, open_engine, writing
from misheard.database.schema import metadata, tokens
from misheard.errors import (
    BadInputError,
    ExpiredTokenError,
    RevokedTokenError,
    UnknownIdError,
    UnknownTokenError,
)
from misheard.monitoring.trends import Period
from misheard.workspace import Workspace
from tests import tiny
from tests.clock import wait_for_room

ON_BOTH_DATABASES = True


@pytest.fixture
def room(engine: Engine) -> Tokens:
    return Tokens(engine)


def make(room: Tokens, name: str = "ivr", role: Role = Role.TRANSCRIBE, **more: object) -> str:
    return room.create(name, role, actor="ann", **more)[1]  # type: ignore[arg-type]


def change(engine: Engine, **values: object) -> None:
    with writing(engine) as connection:
        connection.execute(update(tokens).values(**values))


def test_a_token_is_known_by_its_secret(room: Tokens) -> None:
    until = now() + timedelta(days=30)
    made, secret = room.create(
        "ivr", Role.REVIEW, actor="ann", rate_per_minute=60, expires_at=until
    )
    assert re.fullmatch(rf"mh_{made.id}_[A-Za-z0-9_-]{{43}}", secret)
    assert (made.name, made.role, made.rate_per_minute) == ("ivr", Role.REVIEW, 60)
    assert (made.expires_at, made.revoked_at, made.last_used_at) == (until, None, None)
    assert room.check(secret) == made
    other = make(room, "other")
    assert room.check(other).name == "other"


def test_the_secret_is_kept_nowhere(room: Tokens, engine: Engine) -> None:
    secret = make(room)
    room.note_used([room.check(secret).id])
    room.revoke("ivr", actor="ann")
    random = secret[16:]
    with engine.connect() as connection:
        kept = [
            str(value)
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
            for value in row
        ]
    assert kept
    assert not any(random in value for value in kept)
    assert random not in repr(room.listed())


def test_secrets_are_256_random_bits_each_its_own(room: Tokens) -> None:
    made = [make(room, f"t{number}")[16:] for number in range(20)]
    assert len(set(made)) == 20
    assert {len(one) for one in made} == {43}


def test_what_is_no_secret_is_unknown(room: Tokens) -> None:
    secret = make(room)
    last = "A" if secret[-1] != "A" else "B"
    for wrong in (
        "",
        "ivr",
        secret[:-1],
        secret + "A",
        secret[:-1] + last,
        secret.upper(),
        f" {secret}",
        f"{secret}\n",
        secret.replace("mh_", "mh-"),
        f"mh_{'0' * 12}_{secret[16:]}",
        "mh_" + "é" * 56,
        "x" * 100_000,
    ):
        with pytest.raises(UnknownTokenError) as caught:
            room.check(wrong)
        assert secret[16:-1] not in str(caught.value)


def test_how_much_of_a_secret_is_right_does_not_show_in_the_time(
    room: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compared by the function made for that, with what is kept, whatever was sent."""
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest

    def spy(a: str, b: str) -> bool:
        compared.append((a, b))
        return real(a, b)

    secret = make(room)
    monkeypatch.setattr(hmac, "compare_digest", spy)
    room.check(secret)
    with pytest.raises(UnknownTokenError):
        room.check(secret[:16] + "A" * 43)
    (right, first), (kept, second) = compared
    assert right == first == kept != second
    assert {len(one) for one in (right, first, second)} == {64}


def test_a_revoked_token_opens_nothing_and_says_so_to_its_owner_only(room: Tokens) -> None:
    secret = make(room)
    ended = room.revoke("ivr", actor="bob")
    assert ended.revoked_at is not None
    with pytest.raises(RevokedTokenError, match=r"'ivr'.*misheard token create NAME --role tran"):
        room.check(secret)
    with pytest.raises(UnknownTokenError):
        room.check(secret[:16] + "A" * 43)
    assert room.revoke("ivr", actor="eve") == ended


def test_a_token_can_be_revoked_by_its_id(room: Tokens) -> None:
    made, secret = room.create("ivr", Role.OPERATE, actor="ann")
    other = make(room, "other")
    assert room.revoke(made.id, actor="ann").name == "ivr"
    with pytest.raises(RevokedTokenError):
        room.check(secret)
    assert room.check(other).name == "other"
    for unknown in ("nobody", "0" * 12, ""):
        with pytest.raises(UnknownIdError, match="misheard token list"):
            room.revoke(unknown, actor="ann")


def test_an_expired_token_opens_nothing(room: Tokens, engine: Engine) -> None:
    secret = make(room, expires_at=now() + timedelta(hours=1))
    assert room.check(secret).name == "ivr"
    change(engine, expires_at=now() - timedelta(seconds=1))
    with pytest.raises(ExpiredTokenError, match="'ivr'"):
        room.check(secret)


def test_when_a_token_expires_is_in_the_future_and_has_a_zone(room: Tokens) -> None:
    for wrong in (now(), now() - timedelta(days=1), datetime(2999, 1, 1)):  # noqa: DTZ001
        with pytest.raises(BadInputError):
            make(room, expires_at=wrong)
    assert room.listed() == []


def test_names_and_rates_that_cannot_be(room: Tokens) -> None:
    names = ["", " ", "a b", "-a", ".a", "a/b", "a\n", "a\x1b[31m", "é", "x" * 65]
    names += ["local", "0123456789ab", "<b>", "'; --"]
    for name in names:
        with pytest.raises(BadInputError):
            make(room, name)
    for rate in (-1, 10_000_001):
        with pytest.raises(BadInputError):
            make(room, rate_per_minute=rate)
    assert room.listed() == []
    assert not room.any()


def test_a_name_is_used_once_and_for_ever(room: Tokens) -> None:
    make(room)
    room.revoke("ivr", actor="ann")
    with pytest.raises(BadInputError, match=r"audit log.*'ivr-2'"):
        make(room)
    make(room, "x" * 64)
    make(room, "ann.b@example.com+1_2")


def test_from_the_first_token_on_there_is_one_for_ever(room: Tokens) -> None:
    assert not room.any()
    make(room)
    assert room.any()
    room.revoke("ivr", actor="ann")
    assert room.any()


def test_tokens_are_listed_newest_first_also_those_that_are_over(room: Tokens) -> None:
    for name in ("a", "b", "c"):
        make(room, name)
    room.revoke("b", actor="ann")
    assert [one.name for one in room.listed()] == ["c", "b", "a"]
    assert [one.revoked_at is None for one in room.listed()] == [True, False, True]
    assert all(isinstance(one, Token) and isinstance(one.role, Role) for one in room.listed())


def test_who_made_and_who_revoked_is_in_the_audit_log(room: Tokens, engine: Engine) -> None:
    made, _ = room.create("ivr", Role.OPERATE, actor="ann", rate_per_minute=5)
    room.revoke("ivr", actor="bob")
    room.revoke("ivr", actor="eve")
    ended, began = AuditLog(engine).entries()
    assert (began.actor, began.action, began.subject) == ("ann", "create_token", "ivr")
    assert (began.from_value, began.to_value) == ("", "operate")
    assert began.evidence == {"token_id": made.id, "rate_per_minute": 5, "expires_at": None}
    assert (ended.actor, ended.action, ended.subject) == ("bob", "revoke_token", "ivr")
    assert (ended.from_value, ended.to_value) == ("operate", "")


def test_no_token_without_its_row_in_the_audit_log(room: Tokens, engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO audit_away"))
    with pytest.raises(Exception, match="audit"):
        make(room)
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE audit_away RENAME TO audit"))
    assert room.listed() == []


def test_the_use_is_kept_to_the_hour_and_written_once_in_it(room: Tokens, engine: Engine) -> None:
    wait_for_room(Period.HOUR)
    secret, other = make(room), make(room, "other")
    for _ in range(3):
        room.note_used([room.check(secret).id])
    used, unused = sorted(room.listed(), key=lambda one: one.name)
    assert unused.last_used_at is None and room.check(other).is_due(now())
    assert room.revoke("other", actor="ann").last_used_at is None
    assert used.last_used_at is not None
    assert now() - used.last_used_at < timedelta(hours=1, minutes=1)
    assert (used.last_used_at.minute, used.last_used_at.second) == (0, 0)
    # In the same hour nothing is written, whatever stands there.
    later = used.last_used_at + timedelta(minutes=1)
    change(engine, last_used_at=later)
    room.note_used([used.id])
    assert not room.check(secret).is_due(later)
    assert room.check(secret).last_used_at == later
    change(engine, last_used_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert room.check(secret).is_due(now())
    room.note_used([used.id])
    assert room.check(secret).last_used_at == used.last_used_at


def test_of_two_who_want_a_name_at_once_one_gets_it(room: Tokens) -> None:
    done: list[str] = []

    def want() -> None:
        try:
            make(room)
            done.append("made")
        except BadInputError:
            done.append("refused")

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["made", "refused", "refused", "refused"]
    assert len(room.listed()) == 1


def test_another_process_sees_at_once_that_a_token_was_revoked(
    room: Tokens, engine: Engine
) -> None:
    secret = make(room)
    elsewhere_engine = open_engine(engine.url)
    elsewhere = Tokens(elsewhere_engine)
    assert elsewhere.check(secret).name == "ivr"
    room.revoke("ivr", actor="ann")
    with pytest.raises(RevokedTokenError):
        elsewhere.check(secret)
    elsewhere_engine.dispose()


def test_a_workspace_hands_out_its_tokens(tmp_path: Path) -> None:
    workspace: Workspace = tiny.make(tmp_path / "ws")
    secret = make(workspace.tokens)
    assert Workspace.open(workspace.root).tokens.check(secret).name == "ivr"


def test_who_asks_is_known_while_others_hold_all_connections(tmp_path: Path) -> None:
    workspace = tiny.make(tmp_path / "ws")
    secret = make(workspace.tokens)
    with ExitStack() as held:
        for engine in (workspace._engine, workspace._log_engine):
            for _ in range(15):
                held.enter_context(engine.connect())
        token = workspace.tokens.check(secret)
        workspace.tokens.note_used([token.id])
        assert workspace.tokens.any()
    assert workspace.tokens.listed()[0].last_used_at is not None


def test_a_locked_database_does_not_turn_away_who_is_known(
    room: Tokens, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    secret = make(room)
    # Long enough that nobody who did not wait for it has taken as long.
    patience_s = 5.0
    impatient = open_engine(engine.url, patience_s=patience_s)
    server = Tokens(engine, asking=impatient)
    uses = Uses(server)
    with writing(engine):
        for _ in range(3):
            began = time.monotonic()
            uses.note(server.check(secret))
            assert time.monotonic() - began < patience_s
        uses.drain()
    # Once a minute is enough.
    assert caplog.text.count("was not noted") == 1
    uses.note(server.check(secret))
    uses.drain()
    assert room.check(secret).last_used_at is None
    again = Uses(server)
    again.note(server.check(secret))
    again.drain()
    assert room.check(secret).last_used_at is not None
    impatient.dispose()
