"""After somebody is forgotten, no file of the workspace has a word or a sound of theirs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from misheard.capture.captured import Captured
from misheard.capture.inferences import Heard
from misheard.cases.records import Correction
from misheard.database.engine import now, writing
from misheard.database.schema import (
    cycles,
    discarded,
    error_cases,
    forgotten,
    hourly,
    inferences,
    jobs,
    selections,
    shadow_transcripts,
    speaker_norms,
    tallies,
)
from misheard.datasets.datasets import Purpose
from misheard.datasets.samples import Sample
from misheard.errors import BadInputError, EmptyDatasetError
from misheard.forgetting.forgetting import Forgotten
from misheard.forgetting.person import IdKind, Person
from misheard.gates.contender import from_function
from misheard.gates.suites import SuiteKind
from misheard.workspace import Workspace
from tests import tiny
from tests.forgetting.conftest import CLIPS, HEARD, SAID, Copied, Office, clip

ON_BOTH_DATABASES = True
Say = Callable[..., Heard]
ANNA = Person(kind=IdKind.SPEAKER, id="anna")


def forget(workspace: Workspace, person: Person = ANNA, **options: Any) -> Forgotten:
    return workspace.forgetting.forget(person, actor="dora", reason="a letter", **options)


def counts(workspace: Workspace) -> dict[str, int]:
    return {name: len(rows) for name, rows in tiny.rows(workspace).items()}


def test_nothing_of_the_person_is_left_in_any_file(office: Office) -> None:
    assert len(office.holding(*office.of("anna"))) > 30
    others = len([path for path, _ in office.files()])
    done = forget(office.workspace)
    assert office.holding(*office.of("anna")) == []
    assert done.is_complete
    assert len([path for path, _ in office.files()]) < others
    # Beside the words, the id itself is in no column of the database.
    assert "'anna'" not in str(
        [tuple(row) for some in tiny.rows(office.workspace).values() for row in some]
    )


def test_what_a_shadow_heard_of_the_person_goes_and_what_it_heard_of_others_stays(
    office: Office,
) -> None:
    def heard() -> Counter[str]:
        with office.workspace._engine.connect() as connection:
            texts = connection.scalars(select(shadow_transcripts.c.text))
            return Counter(text.rpartition(" ")[0] for text in texts)

    both = {f"{SAID[who]} {HEARD[who]}": CLIPS for who in HEARD}
    assert heard() == both
    forget(office.workspace)
    assert heard() == {f"{SAID['bert']} {HEARD['bert']}": CLIPS}


def test_what_others_said_stays(office: Office) -> None:
    before = office.holding(*office.of("bert"))
    forget(office.workspace)
    workspace = Workspace.open(office.root)
    assert len(list(workspace.cases.labelled())) == 11
    for name in ("held-out", "corrections"):
        dataset = workspace.datasets.latest(name)
        assert dataset is not None
        rows = workspace.datasets.rows(dataset)
        assert rows
        assert all(SAID["bert"] in row.reference for row in rows)
        assert dataset.counts == {**dataset.counts, "test": sum(r.split == "test" for r in rows)}
        workspace.datasets.export(dataset, office.root.parent / name)
    clips = {clip("bert", number) for number in range(CLIPS)}
    assert clips <= {data for _, data in office.files()}
    assert len(office.holding(*office.of("bert"))) >= len(clips) > 0 < len(before)
    for validation in workspace.validations.listed():
        assert {one["reference"] for one in workspace.validations.utterances(validation)}
    for run in workspace.suites.runs():
        assert run.comparison.utterances
        assert run.verdict.reasons


def test_the_answer_says_what_went_and_what_it_cannot_undo(office: Office) -> None:
    workspace = office.workspace
    before = workspace.forgetting.look(ANNA)
    assert before.is_dry_run and not before.is_complete
    done = forget(workspace)
    assert (done.found, done.datasets, done.versions) == (
        before.found,
        before.datasets,
        before.versions,
    )
    # 12 that name her, and the report of one of those recordings, which names nobody.
    assert done.found["inferences"] == 13
    assert done.found["recordings"] == 12
    assert (done.found["cases"], done.found["corrections"]) == (12, 11)
    assert sum(done.datasets.values()) == sum(one.withdrawn for one in workspace.datasets.listed())
    assert done.versions == (office.version_id,)
    if workspace._engine.dialect.name == "sqlite":
        assert done.rewritten is not None and done.rewritten.is_clean
    else:
        assert done.rewritten is None
    assert (done.backups, done.busy, done.shared_recordings) == ((), (), 0)


def test_a_dry_run_changes_nothing(office: Office) -> None:
    before = [(path, data) for path, data in office.files() if "misheard.db" not in path.name]
    rows = tiny.rows(office.workspace)
    office.workspace.forgetting.look(ANNA)
    assert tiny.rows(office.workspace) == rows
    after = [(path, data) for path, data in office.files() if "misheard.db" not in path.name]
    assert after == before


def test_what_was_being_kept_when_its_writer_was_killed_goes_as_well(office: Office) -> None:
    blobs = office.root / "blobs"
    (blobs / ".put-half").write_bytes(clip("anna", 1)[:600])
    done = forget(office.workspace)
    assert done.changed["unfinished_blobs"] == 1
    assert office.holding(*office.of("anna")) == []


def test_it_is_audited_without_the_id(office: Office) -> None:
    forget(office.workspace)
    asked, done = office.workspace.audit.entries(subject=ANNA.digest)[::-1]
    assert (asked.actor, asked.action, asked.reason) == ("dora", "forget", "a letter")
    assert asked.evidence["found"]["inferences"] == 13
    assert (done.actor, done.action) == ("dora", "forgotten")
    assert done.evidence["blobs"] >= 12
    said = [one for one in office.workspace.audit.entries() if one.action == "correct"]
    assert len(said) == 22
    assert sum(one.to_value == "" for one in said) == 11


def test_asked_again_it_finds_nothing_and_changes_nothing(office: Office) -> None:
    forget(office.workspace)
    before = tiny.rows(office.workspace)
    again = forget(office.workspace)
    assert again.found["inferences"] == 0
    assert set(again.changed.values()) == {0}
    assert tiny.rows(office.workspace) == before


def test_cases_that_are_gone_are_no_reason_to_train(office: Office) -> None:
    workspace = office.workspace
    forget(workspace)
    with workspace._engine.connect() as connection:
        query = select(error_cases.c.status, func.count()).group_by(error_cases.c.status)
        there = dict(connection.execute(query).all())
        told: dict[str, int] = {}
        for row in connection.execute(select(tallies)):
            told[row.kind] = told.get(row.kind, 0) + row.count
        assert {kind: told.get(kind, 0) for kind in there} == there
        # What the traffic was like is no longer anybody's.
        assert connection.execute(select(func.sum(hourly.c.inferences))).scalar() == 2 * CLIPS
        assert sorted(connection.scalars(select(speaker_norms.c.speaker))) == ["", "bert"]
    # Nor is what cannot be counted again taken for wrong.
    assert workspace.integrity.check(deep=True).flaws == ()
    assert workspace.integrity.mend(actor="ann").counts == 0


def test_one_session_is_forgotten_and_the_others_stay(office: Office) -> None:
    done = forget(office.workspace, Person(kind=IdKind.SESSION, id="anna 0"))
    assert done.found["recordings"] == 6
    left = {
        number
        for number in range(CLIPS)
        if any(clip("anna", number) == data for _, data in office.files())
    }
    assert left == {1, 3, 5, 7, 9, 11}
    with office.workspace._engine.connect() as connection:
        norms = set(connection.scalars(select(speaker_norms.c.speaker)))
    assert norms == {"", "anna", "bert"}


def test_a_recording_that_is_somebody_else_s_too_stays_theirs(office: Office, say: Say) -> None:
    workspace = office.workspace
    live = workspace.deployments.live().version_id
    hers, his = workspace.inferences.record(
        live,
        [
            say("both", 0, speaker="anna", client_id="x"),
            say("both", 0, speaker="bert", client_id="y"),
        ],
    )
    workspace.cases.correct(
        [Correction(inference_id=hers.id, reference="hers alone", author="carl")]
    )
    done = forget(workspace)
    assert done.shared_recordings == 1
    assert workspace.recording(his.audio_sha256) == clip("both", 0)
    assert workspace.inferences.get(his.id).speaker == "bert"
    assert office.holding(b"hers alone") == []
    forget(workspace, Person(kind=IdKind.SPEAKER, id="bert"))
    assert office.holding(clip("both", 0)[500:560]) == []


def test_no_later_dataset_takes_the_recording(office: Office) -> None:
    workspace = office.workspace
    forget(workspace)
    samples = [
        Sample(data=clip("anna", 1), reference="x"),
        Sample(data=clip("both", 1), reference="y"),
    ]
    made = workspace.datasets.add_evaluation("later", samples)
    assert [row.reference for row in workspace.datasets.rows(made)] == ["y"]
    assert made.withdrawn == 1
    assert office.holding(clip("anna", 1)[500:560]) == []
    with pytest.raises(EmptyDatasetError):
        workspace.datasets.add_evaluation("only hers", samples[:1])
    # Whoever has read a manifest before, and has the dataset still in hand.
    old = office.workspace.datasets.latest("corrections")
    assert old is not None
    assert old.withdrawn == 11
    assert {row.audio_sha256 for row in workspace.datasets.rows(old)}.isdisjoint(
        one.audio_sha256 for one in office.heard["anna"]
    )


def test_a_dataset_that_was_hers_alone_is_empty_and_says_so(office: Office) -> None:
    workspace = office.workspace
    made = workspace.datasets.add_evaluation(
        "hers", [Sample(data=clip("anna", 3), reference="alone")]
    )
    forget(workspace)
    left = workspace.datasets.get(made.id)
    assert (left.withdrawn, left.counts, left.duration_s) == (1, {}, 0)
    assert workspace.datasets.rows(left) == workspace.datasets.rows(made) == []
    assert left.purpose is Purpose.EVALUATION
    # A suite of it has nothing to say, and stands in nobody's way.
    workspace.suites.add("hers", SuiteKind.CRITICAL, left)
    live = from_function("live", lambda _: "press pound", workspace._blobs)
    (run,) = workspace.suites.run_all(live, live, names=["hers"])
    assert (run.comparison.utterances, run.comparison.words) == (0, 0)


def test_a_job_that_trains_on_it_is_left_alone_and_named_until_it_has_ended(
    office: Office,
) -> None:
    workspace = office.workspace
    dataset = workspace.datasets.latest("corrections")
    assert dataset is not None
    row = {
        "id": office.job_id,
        "created_at": now(),
        "state": "running",
        "backend": "local",
        "base_version_id": workspace.deployments.live().version_id,
        "dataset_id": dataset.id,
        "recipe": {},
    }
    with writing(workspace._engine) as connection:
        connection.execute(insert(jobs).values(**row))
    done = forget(workspace)
    assert done.busy == (office.job_id,)
    assert not done.is_complete
    left = office.holding(*office.of("anna"))
    assert left and all(one.startswith("jobs/job-1/data/") for one in left)
    with writing(workspace._engine) as connection:
        connection.execute(update(jobs).values(state="completed", ended_at=now()))
    again = forget(workspace)
    assert again.changed["job_copies"] > 0
    assert again.is_complete
    assert office.holding(*office.of("anna")) == []


def test_a_cycle_that_somebody_works_on_is_named(office: Office) -> None:
    with writing(office.workspace._engine) as connection:
        until = now() + timedelta(minutes=5)
        connection.execute(update(cycles).values(lease_owner="x", lease_until=until))
        cycle_id = connection.execute(select(cycles.c.id)).scalar_one()
    assert forget(office.workspace).busy == (cycle_id,)


def test_backups_are_named_and_deleted_only_when_asked(office: Office) -> None:
    workspace = office.workspace
    if workspace._engine.dialect.name != "sqlite":
        return  # whose copies are made by its own tools
    made = workspace.backups.make(version_id=None, number=1, keep=5).path
    aside = office.root / "misheard.db.before-restore-20260101T000000000000Z"
    shutil.copyfile(str(made), aside)
    # A process was killed while it copied.
    half = office.root / "backups" / ".backup-half"
    half.write_bytes(made.read_bytes()[:200_000] if made else b"")
    done = forget(workspace)
    assert set(done.backups) == {str(made), str(aside), str(half)}
    assert not done.is_complete
    left = office.holding(*office.of("anna"))
    assert left and all(one.startswith(("backups/", aside.name)) for one in left)
    again = forget(workspace, delete_backups=True)
    assert (again.backups, again.is_complete) == ((), True)
    assert office.holding(*office.of("anna")) == []


def test_what_was_only_referred_to_is_counted(office: Office) -> None:
    workspace = office.workspace
    with writing(workspace._engine) as connection:
        key = office.heard["anna"][10].audio_sha256
        this = inferences.c.audio_sha256 == key
        connection.execute(update(inferences).where(this).values(audio_sha256="", audio_bytes=None))
    assert forget(workspace).referred_only == 1


def referred(source: str, speaker: str | None, text: str = "zebra") -> Captured:
    return Captured(audio=source, text=text, heard_at=now(), speaker=speaker, duration_s=2.0)


def test_transcripts_of_a_recording_that_is_elsewhere_go_by_its_name(
    office: Office, say: Say
) -> None:
    workspace = office.workspace
    items = [
        referred("s3://g/1", "anna"),
        referred("s3://g/1", None),
        # A name that somebody else's have as well is no name of one recording.
        referred("x.wav", "anna"),
        referred("x.wav", "bert", "his"),
        referred("x.wav", None, "whose"),
        referred("s3://g/2", None, "another's"),
        referred("anna.wav", "anna"),
    ]
    workspace.capture(items)
    live = workspace.deployments.live().version_id
    # Kept, and not: one recording by its name. Both kept: by their bytes, which differ.
    workspace.inferences.record(
        live,
        [
            say("both", 1, speaker=None, client_id="k", source="anna.wav"),
            say("both", 2, speaker=None, client_id="l", source="/calls/anna/3.wav"),
        ],
    )
    workspace.digest.catch_up()
    look = workspace.forgetting.look(ANNA)
    done = forget(workspace)
    assert done.found == look.found
    assert done.found["inferences"] == 13 + 5
    assert done.found["recordings"] == 12 + 1
    texts = {one.text for one in workspace.inferences.recent(limit=100)}
    assert {"his", "whose", "another's", "both 2"} <= texts
    assert "zebra" not in texts and "both 1" not in texts
    assert forget(workspace).found["inferences"] == 0


def test_one_whose_transcripts_are_gone_is_found_by_how_fast_she_spoke(office: Office) -> None:
    workspace = office.workspace
    with writing(workspace._engine) as connection:
        row = {"speaker": "dora", "utterances": 3, "mean": 14.0, "squared_distance": 1.0}
        connection.execute(insert(speaker_norms).values(**row))
    dora = Person(kind=IdKind.SPEAKER, id="dora")
    assert workspace.forgetting.look(dora).found["speaker_norms"] == 1
    # A session of that name is another thing.
    assert forget(workspace, Person(kind=IdKind.SESSION, id="dora")).found["speaker_norms"] == 0
    assert forget(workspace, dora).found["speaker_norms"] == 1
    assert workspace.forgetting.look(dora).found["speaker_norms"] == 0
    assert [one.action for one in workspace.audit.entries(subject=dora.digest)] == [
        "forgotten",
        "forget",
    ]


def test_a_name_is_needed_and_a_reason(office: Office) -> None:
    with pytest.raises(BadInputError):
        Person(kind=IdKind.SPEAKER, id="")
    with pytest.raises(BadInputError):
        office.workspace.forgetting.forget(ANNA, actor="dora", reason=" ")
    assert "anna" not in repr(ANNA)


def test_whoever_reads_meanwhile_keeps_the_log_of_the_database_from_being_emptied(
    office: Office,
) -> None:
    """And the answer says so; asked again afterwards, it is."""
    if office.workspace._engine.dialect.name != "sqlite":
        return  # which has no such file
    other = Workspace.open(office.root)
    with other._engine.connect() as connection:
        connection.execute(select(func.count()).select_from(inferences)).scalar()
        done = forget(office.workspace, rewrite_file=False)
    assert done.rewritten is not None
    assert not done.rewritten.is_wal_empty
    assert not done.is_complete
    assert forget(office.workspace).is_complete
    assert office.holding(*office.of("anna")) == []


def test_two_at_once_forget_both_and_each_once(office: Office) -> None:
    people = [ANNA, Person(kind=IdKind.SPEAKER, id="bert"), ANNA]
    failed: list[BaseException] = []

    def run(person: Person) -> None:
        try:
            forget(Workspace.open(office.root), person, rewrite_file=False)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    forget(office.workspace)
    assert office.holding(*office.of("anna"), *office.of("bert")) == []
    actions = [one.action for one in office.workspace.audit.entries(limit=500)]
    assert actions.count("forget") == actions.count("forgotten") == 2
    assert counts(office.workspace)["inferences"] == 0


RUN = """
import sys
from misheard.forgetting import deletion
from misheard.forgetting.person import IdKind, Person
from misheard.workspace import Workspace
from tests.cycle.chaos_points import Kill, install

deletion._ROWS_AT_ONCE = 2
workspace = Workspace.open(sys.argv[1])
workspace.forgetting
install(Kill(tick=int(sys.argv[2])))
person = Person(kind=IdKind.SPEAKER, id="anna")
workspace.forgetting.forget(person, actor="dora", reason="a letter")
"""
"""It kills itself at that tick, which no machine is too busy for."""


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(
    office: Office, copied: Copied, tmp_path: Path
) -> None:
    undisturbed = copied(office, tmp_path / "undisturbed").workspace
    forget(undisturbed)
    kills = 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for attempt in range(8):
        command = [sys.executable, "-c", RUN, str(office.root), str(1 + 40 * attempt)]
        child = subprocess.run(command, check=False, env=environment)
        kills += child.returncode == -signal.SIGKILL
        # Whatever is gone by then: what a dataset gives out can be read.
        workspace = Workspace.open(office.root)
        for one in workspace.datasets.listed():
            for row in workspace.datasets.rows(one):
                workspace.recording(row.audio_sha256)
        workspace._engine.dispose()
        if child.returncode == 0:
            break
    assert kills >= 4
    forget(office.workspace)
    assert office.holding(*office.of("anna")) == []
    rows, wanted = counts(office.workspace), counts(undisturbed)
    assert rows == wanted
    assert rows["discarded"] == 0
    entries = office.workspace.audit.entries(subject=ANNA.digest)
    assert [one.action for one in entries] == ["forgotten", "forget"]
    assert entries[1].evidence["found"]["inferences"] == 13
    with office.workspace._engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(selections)).scalar()
        assert connection.execute(select(func.count()).select_from(forgotten)).scalar() == 12
        assert connection.execute(select(discarded)).all() == []
    # Nor did an attempt leave what it had written of others where nobody finds it.
    forget(office.workspace, Person(kind=IdKind.SPEAKER, id="bert"))
    assert office.holding(*office.of("bert")) == []
