"""Deliveries arrive at least once: through errors, hangs and kills, by one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from misheard.database.engine import writing
from misheard.database.schema import deliveries
from misheard.monitoring.alerts import Alerts
from misheard.monitoring.channels.channel import Channel
from misheard.monitoring.channels.log import LogChannel
from misheard.monitoring.channels.webhook import WebhookChannel
from misheard.monitoring.conditions import Condition, Health, Rule
from misheard.monitoring.delivery import Delivery, DeliveryQueue
from misheard.settings import AlertSettings
from tests.loopback import HttpServer, free_port, http_server, until

ON_BOTH_DATABASES = True
SETTINGS = AlertSettings(well_minutes=0.0)
BAD = Condition(rule=Rule.DISK, subject="workspace", health=Health.BAD, detail="full")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


@dataclass
class Post:
    """A queue, and what fills it."""

    engine: Engine
    root: Path
    channels: Sequence[Channel]

    def fire(self, count: int = 1) -> None:
        conditions = [
            Condition(rule=Rule.CYCLE_ENDED, subject=f"cycle-{n}", health=Health.BAD)
            for n in range(count)
        ]
        self._alerts().note(conditions, datetime.now(UTC))

    def resolve(self) -> None:
        self._alerts().note([], datetime.now(UTC))

    def deliver(self, give_up: timedelta = timedelta(days=3)) -> tuple[int, int]:
        queue = DeliveryQueue(self.engine, self.channels, workspace="calls", give_up=give_up)
        done, failed = queue.deliver()
        return len(done), len(failed)

    def rows(self) -> list[Delivery]:
        return [sent for alert in self._alerts().listed() for sent in alert.deliveries]

    def wait_is_over(self) -> None:
        """What minutes do."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        with writing(self.engine) as connection:
            waiting = deliveries.c.next_at.is_not(None)
            connection.execute(update(deliveries).where(waiting).values(next_at=past))

    def _alerts(self) -> Alerts:
        return Alerts(self.engine, settings=SETTINGS, channels=self.channels, root=self.root)


@pytest.fixture
def post(engine: Engine, tmp_path: Path) -> Callable[..., Post]:
    def made(*channels: Channel) -> Post:
        return Post(engine, tmp_path, channels)

    return made


def hook(web: HttpServer, name: str = "hook", **options: Any) -> WebhookChannel:
    return WebhookChannel(name, web.url, **{"timeout_s": 30.0} | options)


def test_what_is_due_arrives_once(post: Callable[..., Post], web: HttpServer) -> None:
    here = post(hook(web))
    here.fire()
    assert here.deliver() == (1, 0)
    assert here.deliver() == (0, 0)
    (sent,) = here.rows()
    assert sent.delivered_at is not None
    assert (sent.attempts, sent.next_at, sent.error) == (1, None, "")
    assert [one["subject"] for one in web.taken] == ["cycle-0"]


def test_what_a_channel_that_is_down_has_not_taken_keeps_nobody_waiting(
    post: Callable[..., Post], web: HttpServer
) -> None:
    """However much that is: here more than is tried at a look."""
    dead = WebhookChannel("dead", f"http://127.0.0.1:{free_port()}/", timeout_s=30.0)
    here = post(dead, hook(web))
    here.fire(120)
    # Each look tries the first of what waits for the dead one, and no more.
    assert [here.deliver() for _ in range(4)] == [(50, 1), (50, 1), (20, 1), (0, 1)]
    here.fire(121)
    assert here.deliver() == (1, 1)
    assert web.taken[-1]["subject"] == "cycle-120"


def test_a_server_in_trouble_is_tried_again_after_ever_longer_times(
    post: Callable[..., Post], web: HttpServer
) -> None:
    here = post(hook(web))
    web.status = 503
    here.fire()
    for attempt, times in enumerate((1, 2, 4, 8, 16, 32, 64, 120, 120), start=1):
        begun = datetime.now(UTC)
        assert here.deliver() == (0, 1)
        ended = datetime.now(UTC)
        # Before its time nobody tries.
        assert here.deliver() == (0, 0)
        (sent,) = here.rows()
        assert (sent.attempts, sent.error) == (attempt, "It answered 503.")
        assert sent.next_at is not None
        wait = times * timedelta(seconds=30)
        assert begun + wait <= sent.next_at <= ended + wait
        here.wait_is_over()
    web.status = 200
    assert here.deliver() == (1, 0)
    (sent,) = here.rows()
    assert (sent.attempts, sent.error, sent.next_at) == (10, "", None)


def test_a_server_that_hangs_or_drips_keeps_nobody(
    post: Callable[..., Post], web: HttpServer
) -> None:
    here = post(hook(web, timeout_s=3.0), LogChannel())
    web.drip = True
    here.fire(3)
    begun = time.monotonic()
    # The others are not kept waiting by it, and it is asked only once a look.
    assert here.deliver() == (3, 1)
    assert time.monotonic() - begun < 60
    (failed,) = [one for one in here.rows() if one.error]
    assert failed.error == "It did not answer within 3 s."
    until(lambda: web.taken)
    assert len(web.taken) == 1


def test_nobody_there(post: Callable[..., Post]) -> None:
    here = post(WebhookChannel("hook", f"http://127.0.0.1:{free_port()}/T0P", timeout_s=30.0))
    here.fire()
    assert here.deliver() == (0, 1)
    assert [one.error for one in here.rows()] == ["Connection refused."]


def test_a_recovery_is_not_told_before_its_alert(
    post: Callable[..., Post], web: HttpServer
) -> None:
    here = post(hook(web))
    web.status = 500
    here.fire()
    assert here.deliver() == (0, 1)
    here.resolve()
    assert here.deliver() == (0, 0)
    web.status = 200
    here.wait_is_over()
    while here.deliver() != (0, 0):
        pass
    assert [one["event"] for one in web.taken] == ["fired", "fired", "resolved"]
    assert len({one["alert_id"] for one in web.taken}) == 1


def test_in_the_end_it_is_given_up(post: Callable[..., Post], web: HttpServer) -> None:
    here = post(hook(web))
    web.status = 500
    here.fire()
    assert here.deliver(give_up=timedelta(0)) == (0, 1)
    (sent,) = here.rows()
    assert sent.is_given_up
    here.wait_is_over()
    assert here.deliver() == (0, 0)
    # What is given up does not hold back the recovery.
    here.resolve()
    web.status = 200
    assert here.deliver() == (1, 0)


def test_a_channel_that_is_gone_from_the_settings_is_given_up(
    post: Callable[..., Post], web: HttpServer
) -> None:
    post(hook(web)).fire()
    assert post(LogChannel()).deliver() == (0, 1)
    (sent,) = [one for one in post(LogChannel()).rows() if one.channel == "hook"]
    assert sent.is_given_up
    assert sent.error == "The settings have no such channel."


class Broken:
    """A channel with a fault of its own."""

    name = "broken"
    timeout_s = 1.0

    def send(self, notice: object) -> None:
        raise ZeroDivisionError("T0PSECRET")


def test_a_fault_of_a_channel_is_a_failed_delivery_and_no_more(
    post: Callable[..., Post],
) -> None:
    here = post(Broken(), LogChannel())  # type: ignore[arg-type]
    here.fire()
    assert here.deliver() == (1, 1)
    assert [one.error for one in here.rows() if one.error] == ["ZeroDivisionError in the channel."]


DELIVER = """
import sys
from datetime import timedelta
from misheard.database.engine import open_engine
from misheard.monitoring.channels.webhook import WebhookChannel
from misheard.monitoring.delivery import DeliveryQueue
engine = open_engine(sys.argv[1])
hook = WebhookChannel("hook", sys.argv[2], timeout_s=30.0)
queue = DeliveryQueue(engine, [hook], workspace="calls", give_up=timedelta(days=1))
print(len(queue.deliver()[0]))
"""


def child(database_url: str, url: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", DELIVER, database_url, url]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_killed_between_sending_and_writing_it_down_it_is_sent_again(
    post: Callable[..., Post], web: HttpServer, engine: Engine, database_url: str
) -> None:
    here = post(hook(web, timeout_s=30.0))
    here.fire()
    web.delay_s = 60.0
    begun = datetime.now(UTC)
    first = child(database_url, web.url)
    until(lambda: web.taken)
    arrived = datetime.now(UTC)
    first.send_signal(signal.SIGKILL)
    first.wait()
    web.delay_s = 0.0
    # For as long as it may still be sending, it is nobody else's.
    assert here.deliver() == (0, 0)
    with engine.connect() as connection:
        (claimed,) = connection.execute(select(deliveries)).all()
    claim = timedelta(seconds=30 + 60)
    assert begun + claim <= claimed.next_at <= arrived + claim
    assert (claimed.attempts, claimed.delivered_at) == (1, None)
    here.wait_is_over()
    assert here.deliver() == (1, 0)
    assert [one["alert_id"] for one in web.taken] == [claimed.alert_id] * 2


def test_several_processes_do_not_deliver_twice(
    post: Callable[..., Post], web: HttpServer, database_url: str
) -> None:
    here = post(hook(web))
    here.fire(30)
    workers = [child(database_url, web.url) for _ in range(3)]
    counts = [int(one.communicate(timeout=600)[0]) for one in workers]
    assert sum(counts) == 30
    subjects = [one["subject"] for one in web.taken]
    assert sorted(subjects) == sorted(f"cycle-{n}" for n in range(30))


def test_who_is_late_does_not_write_over_who_took_over(
    post: Callable[..., Post], web: HttpServer
) -> None:
    class Slow(WebhookChannel):
        """Whose delivery is taken over and delivered while it sends."""

        def send(self, notice: Any) -> None:
            here.wait_is_over()
            assert other.deliver() == (1, 0)
            super().send(notice)

    other = post(hook(web))
    web_down = f"http://127.0.0.1:{free_port()}/"
    here = post(Slow("hook", web_down, timeout_s=20.0))
    here.fire()
    assert here.deliver() == (0, 1)
    (sent,) = here.rows()
    assert sent.delivered_at is not None
    assert (sent.attempts, sent.error) == (2, "")
