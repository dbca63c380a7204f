"""The script of the guide as a process of its own, against a double of Google Cloud."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from misheard.datasets.datasets import Purpose
from misheard.datasets.manifest import Row
from misheard.datasets.split import Split
from misheard.demo.phone_prompts import read_prompts, read_samples
from misheard.finetune.jobs import JobState
from misheard.gates.verdict import Answer
from misheard.workspace import Workspace
from tests.emulators import GcsEmulator
from tests.gce.scene import ROOT, Scene, real_program, scene, serving, wait_until

SCRIPT = ROOT / "scripts" / "deploy_finetuning_to_gcp.py"
ALL = ("--create-vm", "--prepare-dataset", "--run-training")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def start(root: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    # Whoever runs the tests in the background has SIGINT ignored.
    listening = ["env", "--default-signal=INT"]
    return subprocess.Popen(
        [*listening, sys.executable, str(SCRIPT), "-w", str(root), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )


def run(root: Path, *flags: str, timeout_s: float = 300.0, **environment: str) -> Done:
    child = start(root, *flags, PYTHONFAULTHANDLER="1", **environment)
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)  # it tells where it stands
        out, err = child.communicate()
        pytest.fail(f"It was not done after {timeout_s:.0f} s.\n{out}\n{err}")
    return Done(child.returncode, out, err)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """As `run`, in this process: loading Google's library for each call takes longer than it."""
    found = importlib.util.spec_from_file_location("the_script", SCRIPT)
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)

    def make(root: Path, *flags: str) -> Done:
        capsys.readouterr()
        code = script.main(["-w", str(root), *flags])
        return Done(code, *capsys.readouterr())

    return make


@pytest.fixture
def here(gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with scene(tmp_path, gcs) as made:
        yield made


def dataset(here: Scene) -> tuple[str, str]:
    return "--dataset-id", here.dataset.id


def test_one_call_brings_a_model_home_and_the_same_call_again_does_nothing(here: Scene) -> None:
    dest = here.workspace.root.parent / "models"
    flags = (*ALL, *dataset(here), "--epochs", "3", "--model-name", "phone")
    done = run(here.workspace.root, *flags)
    assert done.code == 0, done.err
    (version,) = [one for one in here.workspace.registry.listed() if one.job_id]
    assert version.name == "phone"
    assert version.dataset_id == here.dataset.id
    assert version.parent_id == here.workspace.deployments.live().version_id
    assert version.figures == {"trained_s": 0.4}
    assert version.source == version.job_id
    assert f"{version.id} is home and registered" in done.out
    assert f"trained by {version.job_id} for 0.0" in done.out
    assert "Nothing was held out" in done.out
    assert "at most 5.23" in done.out
    job = here.workspace.jobs.get(str(version.job_id))
    assert (job.state, job.backend, job.recipe.epochs) == (JobState.COMPLETED, "gce", 3)
    assert here.is_clean(job.id)
    again = run(
        here.workspace.root, *flags, "--download-model", "--local-dest", str(dest), "--delete-vm"
    )
    assert again.code == 0, again.err
    assert len(here.double.history) == 1
    assert [one.id for one in here.workspace.registry.listed() if one.job_id] == [version.id]
    assert (dest / version.id / "model.bin").exists()
    assert "no machine any more" in again.out


def test_each_step_alone(here: Scene, call: Callable[..., Done]) -> None:
    root, on = here.workspace.root, dataset(here)
    sent = call(root, "--prepare-dataset", *on)
    assert sent.code == 0, sent.err
    assert here.double.names == []
    assert [name for name in here.objects() if name.endswith("/bundle.json")] != []
    without = call(root, "--run-training", *on)
    assert (without.code, "--create-vm" in without.err) == (2, True)
    rented = call(root, "--create-vm", *on)
    assert rented.code == 0, rented.err
    (name,) = here.double.names
    assert f"{name} runs in us-central1-a" in rented.out
    assert not [one for one in here.objects() if one.endswith("/go.json")]
    # It waits, and another call finds it as it is.
    assert call(root, "--create-vm", *on).code == 0
    assert here.double.names == [name]
    trained = call(root, "--run-training", *on)
    assert trained.code == 0, trained.err
    assert len(here.double.history) == 1
    assert here.double.names == []


def test_a_machine_is_stopped_and_deleted_by_hand(here: Scene, call: Callable[..., Done]) -> None:
    root, on = here.workspace.root, dataset(here)
    named = ("--vm-name", "trainer", "--zone", "us-central1-f", "--spot")
    assert call(root, "--create-vm", *on, *named).code == 0
    assert here.double.names == ["trainer"]
    (request,) = here.double.requests("POST", "/zones/us-central1-f/instances")
    assert request.body["scheduling"]["provisioningModel"] == "SPOT"
    stopped = call(root, "--stop-vm", *on, *named)
    assert (stopped.code, "Off: trainer" in stopped.out) == (0, True)
    assert here.double.status("trainer") == "TERMINATED"
    deleted = call(root, "--delete-vm", *on, *named)
    assert (deleted.code, "Deleted: trainer" in deleted.out) == (0, True)
    assert here.double.names == []
    assert here.workspace.rentals.still_open() == []


def test_a_dry_run_shows_every_request_and_sends_none(
    here: Scene, call: Callable[..., Done]
) -> None:
    before = len(here.objects(""))
    done = call(here.workspace.root, *ALL, *dataset(here), "--dry-run")
    assert done.code == 0, done.err
    assert here.double.asked == []
    assert len(here.objects("")) == before
    assert here.workspace.rentals.listed() == []
    assert [one for one in here.workspace.registry.listed() if one.job_id] == []
    decoder, told, at = json.JSONDecoder(), [], 0
    text = done.out
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        told.append(value)
    puts = [one["url"].rpartition("/")[2] for one in told if one["method"] == "PUT"]
    assert puts[-1] == "go.json"
    assert "bundle.json" in puts
    (insert,) = [one for one in told if one["method"] == "POST"]
    assert insert["body"]["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert insert["body"]["labels"]["misheard"] == "training"
    assert told[-1]["method"] == "DELETE"


def test_ctrl_c_says_that_the_machine_goes_on_and_how_to_end_it(here: Scene) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    child = start(here.workspace.root, *ALL, *dataset(here), "--epochs", "2")
    wait_until(lambda: any(one.endswith("/go.json") for one in here.objects()))
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=300)
    assert child.returncode == 130
    (name,) = here.double.names
    assert f"{name} in us-central1-a goes on" in err
    assert "Google deletes it 6 hours after" in err
    advised = shlex.split(err.rpartition("To end it now: ")[2])
    assert advised[1] == str(SCRIPT)
    done = subprocess.run(
        [sys.executable, *advised[1:]], capture_output=True, text=True, timeout=300, check=True
    )
    assert f"Deleted: {name}." in done.stdout
    assert here.double.names == []
    assert here.workspace.rentals.still_open() == []


def test_a_training_that_fails_leaves_with_its_reason_and_the_next_call_is_another_job(
    here: Scene, call: Callable[..., Done]
) -> None:
    here.double.program = lambda _metadata, _directory: ["false"]
    failed = call(here.workspace.root, *ALL, *dataset(here))
    assert failed.code == 1
    assert "have not begun to train" in failed.err
    assert here.double.names == []
    here.double.program = here.program
    assert call(here.workspace.root, *ALL, *dataset(here)).code == 0
    (version,) = [one for one in here.workspace.registry.listed() if one.job_id]
    assert str(version.job_id).endswith("-2")


@pytest.mark.parametrize("steps", [ALL, ("--run-training",)])
def test_what_was_finished_while_nobody_followed_is_taken_home_and_nothing_is_rented(
    here: Scene, call: Callable[..., Done], steps: tuple[str, ...]
) -> None:
    root, on = here.workspace.root, dataset(here)
    assert call(root, "--create-vm", *on).code == 0
    (row,) = here.workspace.rentals.still_open()
    here.gce.release(here.paths(row.job_id))
    wait_until(lambda: any(one.endswith("/manifest.json") for one in here.objects()))
    here.double.expire(row.name)
    assert [one.name for one in here.gce.sweep()] == [row.name]
    done = call(root, *steps, *on)
    assert done.code == 0, done.err
    assert "is home and registered" in done.out
    assert len(here.double.history) == 1
    assert here.is_clean(row.job_id)


def test_a_budget_refuses_neither_the_machine_there_is_nor_one_in_the_place_of_what_is_gone(
    here: Scene, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_GCE__MONTHLY_BUDGET_USD", "6")
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    root, on = here.workspace.root, dataset(here)
    assert call(root, "--create-vm", *on).code == 0
    again = call(root, "--create-vm", *on)
    assert again.code == 0, again.err
    assert call(root, "--create-vm", *on, "--epochs", "2").code == 1
    here.double.expire(here.double.names[0])
    another = call(root, "--create-vm", *on, "--epochs", "2")
    assert another.code == 0, another.err
    assert len(here.double.names) == 1


@pytest.mark.parametrize("deleted", [False, True])
def test_an_error_while_a_machine_runs_says_so_or_deletes_it_where_that_was_asked_for(
    here: Scene, call: Callable[..., Done], deleted: bool
) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    root, on = here.workspace.root, dataset(here)
    assert call(root, "--create-vm", *on).code == 0
    (name,) = here.double.names
    done = call(root, "--download-model", *on, *(("--delete-vm",) if deleted else ()))
    assert (done.code, "Nothing has been trained" in done.err) == (2, True)
    assert here.double.names == ([] if deleted else [name])
    assert (f"{name} in us-central1-a goes on" in done.err) is not deleted


def test_a_machine_that_is_taken_away_when_no_zone_has_another_is_replaced_later(
    here: Scene,
) -> None:
    here.double.program = lambda _metadata, _directory: ["sleep", "600"]
    zones = here.workspace.settings.gce.zones
    child = start(here.workspace.root, *ALL, *dataset(here))
    wait_until(lambda: any(one.endswith("/go.json") for one in here.objects()))
    here.double.program = here.program
    here.double.stock_outs |= dict.fromkeys(zones, 1)
    here.double.preempt(here.double.names[0])
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert "is home and registered" in out
    assert "It is tried again by itself" in err
    assert here.double.names == []


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--dataset-id", "ds-none", *ALL), 2, "ds-none"),
        ((), 2, "Say what to do"),
        ((*ALL, "--max-run-hours", "200"), 1, "monthly_budget_usd"),
        ((*ALL, "--project-id", "nobody-s"), 1, "nobody-s"),
        ((*ALL, "--epochs", "0"), 2, "epochs"),
        (("--download-model",), 2, "--run-training"),
    ],
)
def test_what_cannot_be_done_says_why(
    here: Scene, call: Callable[..., Done], flags: tuple[str, ...], code: int, told: str
) -> None:
    given = flags if "--dataset-id" in flags else (*flags, *dataset(here))
    done = call(here.workspace.root, *given)
    assert (done.code, told in done.err) == (code, True), done.err
    assert here.double.names == []


def test_without_the_library_it_says_what_to_install(here: Scene, tmp_path: Path) -> None:
    """As if google-cloud-storage were not there: a finder that knows of no such module."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('google.cloud'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    done = run(here.workspace.root, "--prepare-dataset", *dataset(here), PYTHONPATH=path)
    assert done.code == 1
    assert "pip install 'misheard[gcp]'" in done.err


# From the phone prompts to a model that passes the gate.


@contextmanager
def phone_prompts(folder: Path, gcs: GcsEmulator) -> Iterator[tuple[Workspace, Any]]:
    """A workspace with the prompts as the demo has them: corrected, and held out.

    Two epochs without a sweep: more hear the validation split little better, and half of the test
    split is too few words for the gate to be sure.
    """
    with serving(folder, gcs, program=real_program) as (double, rules):
        settings = {"gce": rules, "recipe": {"epochs": 2, "sweep": False}}
        workspace = Workspace.create(folder / "ws", settings=settings)
        prompts = [one for one in read_prompts() if one.duration_s <= 30.0]
        heard = [one for one in prompts if one.split is not Split.TEST]
        rows = [
            Row(
                audio_sha256=workspace._blobs.put_bytes(sample.data),
                reference=sample.reference,
                split=prompt.split,
                kind="error",
                speaker_group=prompt.group,
                duration_s=prompt.duration_s,
            )
            for prompt, sample in zip(heard, read_samples(heard), strict=True)
        ]
        workspace.datasets.add("prompts", Purpose.TRAINING, rows)
        test = [one for one in prompts if one.split is Split.TEST]
        workspace.evaluation_set("held-out", read_samples(test))
        yield workspace, double


@pytest.mark.model
@pytest.mark.timeout(1600)
def test_a_model_that_was_trained_on_a_rented_machine_passes_the_gate_and_goes_live(
    gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with phone_prompts(tmp_path, gcs) as (workspace, double):
        newest = workspace.datasets.latest("prompts")
        assert newest is not None
        done = run(workspace.root, *ALL, "--dataset-id", newest.id, timeout_s=1500.0)
        assert done.code == 0, done.out + done.err
        assert double.names == []
        assert workspace.rentals.still_open() == []
        (version,) = [one for one in workspace.registry.listed() if one.job_id]
        (validation,) = workspace.validations.listed()
        assert validation.candidate_id == version.id
        assert validation.verdict.answer is Answer.PASS
        assert validation.comparison.candidate.wer < validation.comparison.baseline.wer
        assert f"misheard deploy {version.id}" in done.out
        # Without being forced: what passed may go live.
        workspace.deploy(version.id, actor="ann", reason="it passed")
        assert workspace.deployments.live().version_id == version.id
