"""What the chaos harness plays: a workspace that is worth a cycle, its workers, and its rows."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from misheard.cases.records import Correction
from misheard.cycle.cycles import Cycles
from misheard.cycle.states import CycleState
from misheard.database.engine import now, open_engine
from misheard.database.schema import UtcDateTime, metadata
from misheard.errors import MisheardError
from misheard.finetune.jobs import Jobs
from misheard.gates.suites import SuiteKind
from misheard.worker import Done, Worker
from misheard.workspace import Workspace
from tests import tiny
from tests.cycle.conftest import CopyingBackend

LEASE = timedelta(seconds=0.4)
"""Short, so that a killed worker's cycle is taken over at once, and a paused one's, too."""
_OFTEN_S = 0.02
_SETTINGS: dict[str, dict[str, Any]] = {
    "triggers": tiny.TRIGGERS,
    "capture": {"audit_share": 0.5},
    "scoring": {"replicates": 100},
    # What a clock says must not decide here, where a process may have been stopped meanwhile.
    "validation": {"max_slowdown": 1e9, "max_real_time_factor": 1e9},
    "datasets": {"train_percent": 60, "validation_percent": 0, "test_percent": 40},
    "regression": {"run_on_schedule": True, "schedule_interval_hours": 1000.0},
    "deployment": {"watch_hours": 0.0},
    "worker": dict.fromkeys(
        ("advance_s", "digest_s", "rollback_s", "trigger_s", "suites_s"), _OFTEN_S
    ),
}


def prepare(root: Path, url: str) -> None:
    """A workspace with traffic, corrections, a held-out set and a suite; nothing has been done."""
    settings = {**_SETTINGS, "database": {"url": url}} if url else _SETTINGS
    workspace = tiny.make(root, **settings)
    tiny.hold_out(workspace)
    workspace.suites.add("pins", SuiteKind.CRITICAL, tiny.hold_out(workspace, "pins", 4))
    heard = tiny.heard(workspace, 12)
    for number, one in enumerate(heard, start=30):
        said = Correction(inference_id=one.id, reference=tiny.said(number), author="ann")
        workspace.cases.correct([said])
    close(workspace)


def close(workspace: Workspace) -> None:
    """Let go of the database."""
    workspace._engine.dispose()
    workspace._log_engine.dispose()


def opened(root: Path, url: str) -> Workspace:
    """The workspace, whose training is a copy and whose leases are short."""
    if url:
        os.environ["MISHEARD_DATABASE__URL"] = url
    workspace = Workspace.open(root)
    tiny.with_functions(workspace)
    rooms = vars(workspace)
    rooms["jobs"] = Jobs(
        workspace._engine,
        workspace.datasets,
        workspace.registry,
        CopyingBackend(),
        root / "jobs",
        normalizer=workspace.normalizer,
        decoding=workspace.decoding(),
    )
    rooms["cycles"] = Cycles(
        workspace._engine,
        observations=workspace.observations,
        deployments=workspace.deployments,
        stages=workspace.cycles._stages,
        lease=LEASE,
    )
    return workspace


def work(root: Path, url: str) -> None:
    """A worker, and the person beside it who says yes; until SIGTERM."""
    workspace = opened(root, url)
    worker = Worker(workspace, told=_quiet)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    threading.Thread(target=_person, args=(workspace.configured({}), root), daemon=True).start()
    worker.run()


def _quiet(_: Done) -> None:
    pass


def _person(workspace: Workspace, root: Path) -> None:
    """Approves what waits, and says when all is done."""
    while True:
        # Which version is live while the suites run by the clock must not be a matter of luck.
        ready = not workspace.suites.due(now())
        for cycle in workspace.cycles.listed():
            if ready and cycle.state is CycleState.AWAITING_APPROVAL:
                try:
                    workspace.cycles.approve(cycle.id, actor="boss", reason="heard it")
                except MisheardError:
                    continue  # somebody else was faster
        if is_done(workspace):
            (root / "done").touch()
        time.sleep(_OFTEN_S)


def is_done(workspace: Workspace) -> bool:
    """Whether the cycle has ended, all is counted, and no suite is due."""
    cycle = workspace.cycles.latest()
    ended = cycle is not None and cycle.state.is_final
    return ended and not workspace.digest.behind() and not workspace.suites.due(now())


# What may differ between two runs that came to the same: times, whoever held a lease, and figures
# that a clock measured, also where they stand in a sentence.
_LEFT_OUT = {"number", "lease_owner", "lease_until", "fence"}
_CLOCKED = {
    "circumstances",
    "conditions",
    "compute_s",
    "utterances_sha256",
    "real_time_factor",
    "timed_in_turn",
}
_CLOCKED_CRITERIA = {"real_time_factor", "slowdown"}
_CLOCKED_WORDS = re.compile(r"[\d.e+-]+ s of compute|takes [\d.e+-]+ times|in [\d.]+ hours")
_ID = re.compile(r"\b([a-z]+)-[0-9a-f]{21}\b")


def outcome(root: Path, url: str) -> dict[str, Any]:
    """Every row, without times and under ids that two runs share, and what lies on the disk."""
    engine = open_engine(url or f"sqlite:///{root / 'misheard.db'}")
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            query = select(table).order_by(*table.primary_key.columns)
            rows = [dict(row) for row in connection.execute(query).mappings()]
            rank = {row["number"]: n for n, row in enumerate(rows)} if "number" in table.c else {}
            times = {one.name for one in table.c if isinstance(one.type, UtcDateTime)}
            plain = []
            for row in rows:
                if table.name == "trigger_evaluations" and row["cycle_id"] is None:
                    # How often it was asked in vain, and what it met then, is the clock's.
                    continue
                for name in times & row.keys():
                    row[name] = row[name] is not None
                if table.name == "deployments":
                    for name in ("after_number", "undo_number"):
                        row[name] = rank.get(row[name], -1)
                plain.append(_plain(row))
            found[table.name] = dict(sorted(Counter(plain).items()))
    engine.dispose()
    found["backups"] = len(list((root / "backups").glob("2*.db"))) if not url else 0
    for name in ("models", "jobs"):
        folders = sorted(_ID.sub(r"\1-#", path.name) for path in (root / name).glob("[!.]*"))
        found[f"folders of {name}"] = folders
    return found


def _plain(row: dict[str, Any]) -> str:
    kept = {
        name: _unclocked(value) for name, value in row.items() if name not in _LEFT_OUT | _CLOCKED
    }
    text = json.dumps(kept, sort_keys=True, default=str)
    return _CLOCKED_WORDS.sub("#", _ID.sub(r"\1-#", text))


def _unclocked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unclocked(one) for one in value]
    if not isinstance(value, dict):
        return value
    left_out = _CLOCKED | ({"figure"} if value.get("name") in _CLOCKED_CRITERIA else set())
    return {key: _unclocked(one) for key, one in value.items() if key not in left_out}
