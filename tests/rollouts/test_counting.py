"""A session goes wrong once, however often it asks, and whoever counts it at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select

from misheard.blobs.directory import DirectoryBlobs
from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import Inference, InferenceLog
from misheard.capture.retention import CaptureRetention, KeepRules
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database.engine import now, writing
from misheard.database.schema import inferences, rollout_sessions, shadow_transcripts
from misheard.rollouts.rollouts import Rollouts
from misheard.rollouts.signals import Signal
from misheard.rollouts.states import Arm, Kind, Rollout, RolloutRules
from tests.rollouts.made import observed, shadowed

ON_BOTH_DATABASES = True
LIVE, CANDIDATE = Arm.LIVE, Arm.CANDIDATE
EMPTY, SLOW, FAILED, CORRECTED = Signal.EMPTY, Signal.SLOW, Signal.FAILED, Signal.CORRECTED
NEVER = RolloutRules(step_sessions=10**6)


@pytest.fixture
def rollout(rollouts: Rollouts, candidate: str) -> Rollout:
    return rollouts.begin(
        Kind.CANARY, candidate, shares=(0.1, 0.5), rules=NEVER, actor="ann", reason="r"
    )


@pytest.fixture
def shadow(rollouts: Rollouts, candidate: str) -> Rollout:
    return rollouts.begin(
        Kind.SHADOW, candidate, shares=(0.5,), rules=NEVER, actor="ann", reason="r"
    )


def wrong(rollouts: Rollouts, rollout: Rollout) -> dict[Signal, tuple[int, int]]:
    """By signal, how many sessions of the candidate and of the live version; none left out."""
    evidence = rollouts.evidence(rollout.id)
    return {
        one.signal: (one.candidate, one.live)
        for one in evidence.signals
        if one.candidate or one.live
    }


def heard(rollouts: Rollouts, rollout: Rollout) -> tuple[tuple[int, int], tuple[int, int]]:
    """Requests and sessions, of the candidate and of the live version."""
    evidence = rollouts.evidence(rollout.id)
    hers, its = ((evidence.requests[arm], evidence.sessions[arm]) for arm in (CANDIDATE, LIVE))
    return hers, its


def kept_sessions(engine: Engine) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(rollout_sessions)
        return connection.execute(query).scalar_one()


def test_a_session_counts_once_and_goes_wrong_once_in_each_way(
    rollouts: Rollouts, rollout: Rollout, engine: Engine
) -> None:
    for _ in range(2):
        rollouts.note(
            [
                observed(rollout, LIVE, SLOW, session="a"),
                observed(rollout, LIVE, SLOW, EMPTY, session="a"),
                observed(rollout, CANDIDATE, SLOW, session="b"),
                observed(rollout, CANDIDATE, session="c"),
            ]
        )
    assert wrong(rollouts, rollout) == {SLOW: (1, 1), EMPTY: (0, 1)}
    assert heard(rollouts, rollout) == ((4, 2), (4, 1))
    assert kept_sessions(engine) == 3


def test_requests_without_a_session_stand_for_themselves_and_leave_no_row(
    rollouts: Rollouts, rollout: Rollout, engine: Engine
) -> None:
    rollouts.note([observed(rollout, CANDIDATE, SLOW) for _ in range(3)])
    rollouts.note([observed(rollout, CANDIDATE, SLOW), observed(rollout, LIVE)])
    assert wrong(rollouts, rollout) == {SLOW: (4, 0)}
    assert heard(rollouts, rollout) == ((4, 4), (1, 1))
    assert kept_sessions(engine) == 0


def test_who_went_wrong_in_an_earlier_step_does_not_go_wrong_again(
    rollouts: Rollouts, rollout: Rollout
) -> None:
    rollouts.note([observed(rollout, LIVE, SLOW, session="a")])
    rollouts.note([observed(rollout, LIVE, session="b")])
    rollouts.note([observed(rollout, CANDIDATE, SLOW, FAILED, session=one, step=1) for one in "ab"])
    # "a" was slow with the live version already; both are sessions of the candidate now, too.
    assert wrong(rollouts, rollout) == {SLOW: (1, 1), FAILED: (2, 0)}
    assert heard(rollouts, rollout) == ((2, 2), (2, 2))


def test_ids_of_sessions_are_not_kept(rollouts: Rollouts, rollout: Rollout, engine: Engine) -> None:
    rollouts.note([observed(rollout, LIVE, session="anna@example.org")])
    with engine.connect() as connection:
        row = connection.execute(select(rollout_sessions)).one()
    assert "anna" not in repr(row)


def test_many_servers_that_count_at_once_lose_nothing(rollouts: Rollouts, rollout: Rollout) -> None:
    def server(number: int) -> None:
        for request in range(20):
            rollouts.note(
                [
                    observed(rollout, LIVE, SLOW),
                    observed(rollout, CANDIDATE, EMPTY, session=f"shared {request}"),
                    observed(rollout, CANDIDATE, EMPTY, session=f"{number} {request}"),
                ]
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(server, range(4)))
    assert wrong(rollouts, rollout) == {SLOW: (0, 80), EMPTY: (100, 0)}
    assert heard(rollouts, rollout) == ((160, 100), (80, 80))


def test_a_thousand_at_once(rollouts: Rollouts, rollout: Rollout) -> None:
    rollouts.note([observed(rollout, LIVE, SLOW, session=f"{n // 2}") for n in range(2_400)])
    assert heard(rollouts, rollout)[1] == (2_400, 1_200)
    assert wrong(rollouts, rollout) == {SLOW: (0, 1_200)}
    rollouts.note([])
    rollouts.note_shadows([])


Log = Callable[..., Inference]


@pytest.fixture
def logged(log: InferenceLog, engine: Engine, rollout: Rollout) -> Log:
    """Log a transcript of one of the arms, as a server tags it."""

    def make(arm: Arm, session: str | None = None, **tags: str) -> Inference:
        version = rollout.version_id if arm is CANDIDATE else rollout.live_version_id
        item = Captured(
            audio="a",
            text="press pound",
            heard_at=now(),
            recogniser=version,
            session=session,
            tags=rollout.tags | tags,
        )
        log.capture([item], live=version)
        return log.recent(limit=1)[0]

    return make


def say(cases: Cases, one: Inference, reference: str = "press one") -> None:
    cases.correct([Correction(inference_id=one.id, reference=reference, author="carl")])


def test_what_people_correct_counts_once_for_who_heard_it(
    rollouts: Rollouts, rollout: Rollout, cases: Cases, logged: Log
) -> None:
    hers, its = logged(CANDIDATE), logged(LIVE)
    say(cases, hers)
    say(cases, hers, "press two")
    say(cases, its)
    assert rollouts.note_corrections() == 3
    assert wrong(rollouts, rollout) == {CORRECTED: (1, 1)}
    say(cases, hers, "press three")
    assert rollouts.note_corrections() == 1
    assert rollouts.note_corrections() == 0
    assert wrong(rollouts, rollout) == {CORRECTED: (1, 1)}


def test_of_a_session_the_first_correction_counts(
    rollouts: Rollouts, rollout: Rollout, cases: Cases, logged: Log
) -> None:
    some = [logged(CANDIDATE, session="call-1") for _ in range(3)]
    for one in some:
        say(cases, one)
    rollouts.note_corrections()
    assert wrong(rollouts, rollout) == {CORRECTED: (1, 0)}


def test_what_is_confirmed_or_of_another_rollout_does_not_count(
    rollouts: Rollouts, rollout: Rollout, cases: Cases, logged: Log
) -> None:
    say(cases, logged(CANDIDATE), "Press pound!")
    say(cases, logged(CANDIDATE, rollout="rollout-0/0"))
    say(cases, logged(CANDIDATE, rollout="nonsense"))
    assert rollouts.note_corrections() == 3
    assert wrong(rollouts, rollout) == {}


def test_corrections_from_before_it_began_are_not_looked_at(
    rollouts: Rollouts, rollout: Rollout, cases: Cases, logged: Log
) -> None:
    before = logged(CANDIDATE)
    rollouts.stop(rollout.id, actor="ann", reason="r")
    say(cases, before)
    assert rollouts.note_corrections() == 0
    rollouts.begin(
        Kind.CANARY, rollout.version_id, shares=(0.1,), rules=NEVER, actor="ann", reason="r"
    )
    assert rollouts.note_corrections() == 0


def test_of_a_shadow_counts_what_goes_wrong_with_one_of_the_two_alone(
    rollouts: Rollouts, shadow: Rollout
) -> None:
    rollouts.note_shadows(
        [
            shadowed(shadow, live_wrong=(EMPTY,), candidate_wrong=(EMPTY,), session="a"),
            shadowed(shadow, candidate_wrong=(EMPTY,), session="a"),
            # The first of a session decides.
            shadowed(shadow, live_wrong=(EMPTY,), session="a"),
            shadowed(shadow, live_wrong=(EMPTY, SLOW), session="b"),
            shadowed(shadow, candidate=None, candidate_wrong=(FAILED,)),
            shadowed(shadow, candidate=None, candidate_wrong=(FAILED,)),
        ]
    )
    assert wrong(rollouts, shadow) == {EMPTY: (1, 1), FAILED: (2, 0)}
    assert heard(rollouts, shadow) == ((6, 4), (6, 4))


def test_both_texts_are_compared_by_their_words(
    rollouts: Rollouts, shadow: Rollout, hear: Callable[..., list[Inference]], engine: Engine
) -> None:
    one, other = hear(["Press one, please.", "hold"])
    rollouts.note_shadows(
        [
            shadowed(shadow, live=one.text, candidate="press one please", inference_id=one.id),
            shadowed(shadow, live=other.text, candidate="hold the line", inference_id=other.id),
            shadowed(shadow, live=None, live_wrong=(FAILED,), candidate="hello"),
            shadowed(shadow, live="a b", candidate="", inference_id=None),
        ]
    )
    evidence = rollouts.evidence(shadow.id)
    assert (evidence.words, evidence.differences) == (3 + 3 + 2, 0 + 2 + 2)
    with engine.connect() as connection:
        rows = connection.execute(select(shadow_transcripts)).all()
    texts = {row.inference_id: (row.text, row.words, row.differences) for row in rows}
    assert texts == {one.id: ("press one please", 3, 0), other.id: ("hold the line", 3, 2)}


def test_beside_what_was_deleted_meanwhile_nothing_is_kept(
    rollouts: Rollouts, shadow: Rollout, hear: Callable[..., list[Inference]], engine: Engine
) -> None:
    one, other = hear(["one", "two"])
    with writing(engine) as connection:
        connection.execute(delete(inferences).where(inferences.c.id == one.id))
    rollouts.note_shadows(
        [shadowed(shadow, inference_id=some.id, candidate="x") for some in (one, other)]
    )
    with engine.connect() as connection:
        kept = list(connection.scalars(select(shadow_transcripts.c.inference_id)))
    assert kept == [other.id]
    assert heard(rollouts, shadow)[0] == (2, 2)


def test_what_is_sent_again_is_kept_once_and_takes_no_other_with_it(
    rollouts: Rollouts, shadow: Rollout, hear: Callable[..., list[Inference]], engine: Engine
) -> None:
    one, other, third = hear(["one", "two", "three"])

    def note(*some: tuple[Inference, str]) -> None:
        rollouts.note_shadows(
            [shadowed(shadow, inference_id=of.id, candidate=text) for of, text in some]
        )

    note((one, "first"))
    note((other, "first"), (one, "again"), (third, "first"), (third, "again"))
    with engine.connect() as connection:
        rows = connection.execute(select(shadow_transcripts)).all()
    assert {row.inference_id: row.text for row in rows} == dict.fromkeys(
        (one.id, other.id, third.id), "first"
    )
    assert heard(rollouts, shadow)[0] == (5, 5)


def test_what_a_shadow_heard_goes_with_the_transcript_when_its_time_is_up(
    rollouts: Rollouts,
    shadow: Rollout,
    log: InferenceLog,
    engine: Engine,
    blobs: DirectoryBlobs,
) -> None:
    def texts() -> list[Any]:
        with engine.connect() as connection:
            return list(connection.scalars(select(shadow_transcripts.c.text)))

    old = Captured(audio="a", text="old", heard_at=now().replace(year=2020))
    log.capture([old, Captured(audio="b", text="new", heard_at=now())], live="v-1")
    rows = log.recent(limit=2)
    rollouts.note_shadows(
        [shadowed(shadow, inference_id=one.id, candidate=f"shadow of {one.text}") for one in rows]
    )
    assert sorted(texts()) == ["shadow of new", "shadow of old"]
    # What is not counted yet is not let go of.
    Digest(engine, rules=DigestRules(audit_share=0.0), scorer=no_suspicion).catch_up()
    retention = CaptureRetention(
        engine, blobs, rules=KeepRules(text_days=30), in_datasets=lambda _connection, _keys: set()
    )
    assert retention.run(actor="test").transcripts == 1
    assert texts() == ["shadow of new"]
