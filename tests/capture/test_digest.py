"""The digest counts each inference once, whoever runs it and whenever it dies."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, update

from misheard.capture.captured import Captured
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.capture.inferences import InferenceLog
from misheard.cases.cases import Cases
from misheard.cases.records import Correction
from misheard.database import tallies
from misheard.database.engine import writing
from misheard.database.schema import hourly, inferences, selections
from misheard.monitoring import traffic
from misheard.scoring.normalize import normalizer

ON_BOTH_DATABASES = True
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def told(number: int, **fields: Any) -> Captured:
    known = {
        "audio": f"{number}.wav",
        "text": f"number {number}",
        "heard_at": AT + timedelta(minutes=number),
        "duration_s": 2.0,
        "latency_s": 0.1 + number / 1000,
        "avg_logprob": -0.5,
        "compute_s": 0.5,
    }
    return Captured(**known | fields)


def digest(engine: Engine, *, suspicion: float | None = None, **rules: Any) -> Digest:
    def scorer(_: Connection, rows: Sequence[Any]) -> Sequence[float | None]:
        return [suspicion] * len(rows)

    return Digest(engine, rules=DigestRules(**rules), scorer=scorer)


def hours(engine: Engine, slice_name: str = "") -> list[dict[str, Any]]:
    query = select(hourly).where(hourly.c.slice == slice_name).order_by(hourly.c.hour)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def test_each_hour_is_counted(log: InferenceLog, engine: Engine) -> None:
    log.capture([told(n) for n in range(60)] + [told(1, text=" ", latency_s=None)], live="v-1")
    assert digest(engine, suspicion=0.25).catch_up() == 61
    first, second = hours(engine)
    assert (first["hour"], second["hour"]) == (AT.replace(minute=0), AT.replace(hour=10, minute=0))
    assert (first["inferences"], second["inferences"]) == (31, 30)
    assert (first["empty"], first["timed"], first["scored"]) == (1, 30, 31)
    assert first["audio_s"] == pytest.approx(62)
    assert first["latency_s"] == pytest.approx(sum(0.1 + n / 1000 for n in range(30)))
    assert (first["least_latency_s"], second["most_latency_s"]) == pytest.approx((0.1, 0.159))
    assert (first["compute_s"], first["computed_audio_s"]) == pytest.approx((15.5, 62))
    assert (first["suspected"], first["suspicion"]) == (31, pytest.approx(31 * 0.25))
    assert first["suspicion_squared"] == pytest.approx(31 * 0.0625)


def test_what_came_later_is_added_and_nothing_twice(log: InferenceLog, engine: Engine) -> None:
    log.capture([told(0, latency_s=None)], live="v-1")
    follower = digest(engine)
    assert (follower.behind(), follower.catch_up(), follower.behind()) == (1, 1, 0)
    assert follower.catch_up() == 0
    log.capture([told(1), told(2)], live="v-1")
    log.capture([told(3)], live="v-2")
    assert follower.catch_up() == 3
    by_version = {row["version_id"]: row for row in hours(engine)}
    assert (by_version["v-1"]["inferences"], by_version["v-2"]["inferences"]) == (3, 1)
    assert by_version["v-1"]["least_latency_s"] == pytest.approx(0.101)


def test_tags_that_are_asked_for_are_counted_apart(log: InferenceLog, engine: Engine) -> None:
    items = [told(n, tags={"channel": ("mobile", "desk")[n % 2], "x": "y"}) for n in range(5)]
    log.capture(items, live="v-1")
    digest(engine, slices=("channel", "noise")).catch_up()
    assert [row["inferences"] for row in hours(engine, "channel=mobile")] == [3]
    assert [row["inferences"] for row in hours(engine, "channel=desk")] == [2]
    assert hours(engine, "x=y") == []


def test_statistics_are_the_same_before_half_way_and_after(
    log: InferenceLog, engine: Engine
) -> None:
    """And errors that people find move them alike, whether they were counted already or not."""
    cases = Cases(engine, normalizer=normalizer("basic"))
    log.capture([told(n) for n in range(80)], live="v-1")
    ids = [one.id for one in log.recent(limit=80)]

    def seen() -> list[Any]:
        with engine.connect() as connection:
            return [
                traffic.statistics(connection),
                traffic.statistics(connection, since=AT + timedelta(minutes=13)),
                traffic.statistics(connection, version_id="v-1"),
                traffic.since_cycle(connection),
            ]

    def check() -> None:
        counted = seen()
        assert [one.total for one in counted[:3]] == [80, 66, 80]
        assert counted[3] == (counted[0].errors_detected, 80)

    check()
    cases.open(ids[0])
    before = seen()
    assert before[0].errors_detected == 1
    digest(engine).catch_up()
    after = seen()
    for one, other in zip(before[:3], after[:3], strict=True):
        assert vars(one) == pytest.approx(vars(other))
    assert before[3] == after[3] == (1, 80)
    cases.correct([Correction(inference_id=ids[0], reference="other words", author="ann")])
    cases.correct([Correction(inference_id=ids[1], reference="yet others", author="ann")])
    assert (seen()[0].errors_detected, seen()[0].corrections_applied) == (2, 2)
    text = log.get(ids[0]).text
    cases.correct([Correction(inference_id=ids[0], reference=text, author="bob")])
    assert (seen()[0].errors_detected, seen()[0].corrections_applied) == (1, 1)
    assert seen()[3] == (1, 80)
    check()


def test_an_audit_is_drawn_at_random_and_its_chance_is_kept(
    log: InferenceLog, engine: Engine
) -> None:
    log.capture([told(n) for n in range(4_000)], live="v-1")
    digest(engine, suspicion=0.9, audit_share=0.1, min_suspicion=0.5).catch_up()
    with engine.connect() as connection:
        query = select(selections.c.stream, selections.c.probability, func.count())
        found = connection.execute(query.group_by(selections.c.stream, selections.c.probability))
        drawn = {row[0]: (row[1], row[2]) for row in found}
    assert drawn["audit"][0] == 0.1
    # 400 expected, standard deviation 19: six of them are once in a thousand million runs.
    assert abs(drawn["audit"][1] - 400) < 6 * 19
    assert drawn["suspicious"] == (1.0, 4_000 - drawn["audit"][1])


def test_what_is_not_suspicious_is_not_chosen(log: InferenceLog, engine: Engine) -> None:
    log.capture([told(n) for n in range(10)], live="v-1")
    digest(engine, suspicion=0.4, audit_share=0.0, min_suspicion=0.5).catch_up()
    log.capture([told(n) for n in range(10)], live="v-1")
    Digest(engine, rules=DigestRules(min_suspicion=0.0), scorer=no_suspicion).catch_up()
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(selections)).scalar() == 0


def test_what_was_only_reported_is_no_traffic(log: InferenceLog, engine: Engine) -> None:
    log.capture([told(0)], live="v-1")
    with writing(engine) as connection:
        row = connection.execute(select(inferences)).mappings().one()
        reported = {k: v for k, v in row.items() if k != "number"}
        connection.execute(insert(inferences).values(**reported | {"id": "r", "reported": True}))
    assert digest(engine).catch_up() == 2
    assert [one["inferences"] for one in hours(engine)] == [1]


def test_the_label_of_what_was_chosen_is_kept_with_it(log: InferenceLog, engine: Engine) -> None:
    log.capture([told(0)], live="v-1")
    digest(engine, audit_share=1.0).catch_up()
    cases = Cases(engine, normalizer=normalizer("basic"))
    (heard,) = log.recent()
    cases.correct([Correction(inference_id=heard.id, reference="number two or", author="ann")])
    with engine.connect() as connection:
        row = connection.execute(select(selections)).one()
    assert (row.is_error, row.words, row.word_errors) == (True, 3, 2)
    assert row.labelled_at is not None


FOLLOW = """
import sys, time
from misheard.capture.digest import Digest, DigestRules, no_suspicion
from misheard.database.engine import open_engine

follower = Digest(open_engine(sys.argv[1]), rules=DigestRules(audit_share=0.5), scorer=no_suspicion)
print("ready", flush=True)
while True:
    follower.catch_up()
"""


def test_two_followers_that_are_killed_count_nothing_twice(
    log: InferenceLog, engine: Engine
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    logged = 0
    for _ in range(4):
        followers = [
            subprocess.Popen([sys.executable, "-c", FOLLOW, url], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for one in followers:
            assert one.stdout is not None
            one.stdout.readline()
        for _ in range(5):
            log.capture([told(n) for n in range(900)], live="v-1")
            logged += 900
        for one in followers:
            os.kill(one.pid, signal.SIGKILL)
            one.communicate()
    digest(engine, audit_share=0.5).catch_up()
    assert sum(row["inferences"] for row in hours(engine)) == logged == log.count()
    with engine.connect() as connection:
        counts = tallies.tallied(connection, "")
    assert counts["inferences", -1] == logged


def test_what_no_sum_and_no_key_can_hold_stops_nothing(
    log: InferenceLog, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Such rows may be there since before they were refused."""
    log.capture([told(n) for n in range(4)], live="v-1")
    draw = random.Random(0)
    ids = [one.id for one in log.recent()]
    long_name = "".join(draw.choices("0123456789abcdef", k=10_000))
    wrong: list[dict[str, Any]] = [
        {"duration_s": 1.7e308, "latency_s": 1.7e308, "avg_logprob": -1e308},
        {"duration_s": 1.7e308, "compute_s": math.inf},
        {"version_id": long_name, "tags": {"channel": long_name}},
    ]
    with writing(engine) as connection:
        for id_, values in zip(ids, wrong, strict=False):
            this = inferences.c.id == id_
            connection.execute(update(inferences).where(this).values(**values))
    assert digest(engine, slices=("channel",)).catch_up() == 4
    assert "3 transcripts had numbers that cannot be" in caplog.text
    by_version = {row["version_id"]: row for row in hours(engine)}
    assert by_version.keys() == {"v-1", long_name[:250]}
    assert by_version["v-1"]["audio_s"] == pytest.approx(2.0)
    assert (by_version["v-1"]["timed"], by_version["v-1"]["scored"]) == (2, 2)
    # The log says what was counted.
    assert {one.version_id for one in log.recent()} == by_version.keys()
    assert sorted(str(one.duration_s) for one in log.recent()) == ["2.0", "2.0", "None", "None"]
    log.capture([told(9)], live="v-1")
    assert digest(engine).catch_up() == 1
    with engine.connect() as connection:
        assert traffic.statistics(connection).total == 5
