"""`misheard gce …`: what runs, what it costs, what may be rented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.finetune.rented.readiness import quota_metric
from tests.emulators import GcsEmulator
from tests.gce.double import Refused, Request
from tests.gce.holding import HoldingDouble
from tests.gce.scene import Scene, scene
from tests.gce.test_gce_backend import stray


@pytest.fixture
def here(gcs: GcsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    with scene(tmp_path, gcs) as made:
        yield made


def call(here: Scene, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(here.workspace.root), "gce", *arguments])


def told(here: Scene, *arguments: str) -> Any:
    result = call(here, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_machines_tells_what_runs_and_what_is_needless(here: Scene) -> None:
    assert "Nothing is running" in call(here, "machines").output
    here.submit("job-endless")
    forgotten = stray(here, here.workspace.rentals.owner, "job-x")
    found = {one["name"]: one for one in told(here, "machines")}
    assert len(found) == 2
    assert found[forgotten]["job_id"] == "job-x"
    assert "no job is known" in found[forgotten]["needless"]
    (needed,) = [one for name, one in found.items() if name != forgotten]
    assert (needed["job_id"], needed["state"], needed["needless"]) == (
        "job-endless",
        "RUNNING",
        None,
    )
    assert 0 < needed["usd"] < 0.1
    assert 0 < needed["hours"] < 0.1
    assert "misheard gce sweep" in " ".join(call(here, "machines").output.split())


def test_machines_never_says_that_nothing_runs_where_something_may(here: Scene) -> None:
    here.submit("job-endless")
    (row,) = here.workspace.rentals.still_open()
    moved = here.workspace.root.rename(here.workspace.root.with_name("moved"))
    # In the list it is not: it bears the label of where the workspace was.
    runner = CliRunner()
    machines = ["-w", str(moved), "gce", "machines"]
    (found,) = json.loads(runner.invoke(cli, [*machines, "--json"]).stdout)
    assert (found["name"], found["state"], found["needless"]) == (row.name, "RUNNING", None)
    here.double.expire(row.name)
    (found,) = json.loads(runner.invoke(cli, [*machines, "--json"]).stdout)
    assert (found["name"], found["state"]) == (row.name, None)
    shown = " ".join(runner.invoke(cli, machines).output.split())
    assert "not known" in shown
    assert "Nothing is running" not in shown


def test_sweep_shows_and_deletes(here: Scene) -> None:
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    assert told(here, "sweep") == {"dry_run": False, "swept": []}
    forgotten = stray(here, here.workspace.rentals.owner)
    (would,) = told(here, "sweep", "--dry-run")["swept"]
    assert (would["name"], here.double.names) == (forgotten, [forgotten])
    assert "Deleted" in call(here, "sweep").output
    assert here.double.names == []


def test_costs_tells_of_each_job_and_of_the_month(here: Scene) -> None:
    assert "Nothing was rented yet" in call(here, "costs").output
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    here.submit("job-endless")
    found = told(here, "costs")
    by_job = {one["job_id"]: one for one in found["costs"]}
    assert by_job["job-1"]["is_final"]
    assert by_job["job-1"]["machines"] == 1
    assert 0 < by_job["job-1"]["usd"] < 0.1
    assert not by_job["job-endless"]["is_final"]
    month = found["this_month"]
    assert month["budget_usd"] == 100.0
    assert month["reserved_usd"] == pytest.approx(5.23, abs=0.01)
    assert month["spent_usd"] == pytest.approx(by_job["job-1"]["usd"], abs=1e-6)
    assert "still running" in call(here, "costs").output


def test_estimate_tells_the_worst_case_and_after_a_training_what_is_likely(here: Scene) -> None:
    before = told(here, "estimate", "--dataset", here.dataset.id)
    assert before["most_usd"] == pytest.approx(6 * before["usd_per_hour"])
    assert (before["likely_usd"], before["is_refused"]) == (None, False)
    here.submit("job-1")
    here.workspace.jobs.wait("job-1")
    after = told(here, "estimate", "--dataset", here.dataset.id)
    hours = here.workspace.rentals.of_job("job-1")[0].hours()
    assert after["likely_hours"] == pytest.approx(hours)
    assert after["likely_usd"] == pytest.approx(hours * after["usd_per_hour"])
    assert "it fits" in call(here, "estimate").output
    settings = here.workspace.root / "misheard.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("[gce]", "[gce]\nmonthly_budget_usd = 1.0"), encoding="utf-8")
    assert told(here, "estimate")["is_refused"]
    assert "does not fit" in call(here, "estimate").output


_REGIONAL = ("NVIDIA_L4_GPUS", "PREEMPTIBLE_NVIDIA_L4_GPUS", "CPUS")


class Project(HoldingDouble):
    """With quotas, as the API tells them of a region and of a project."""

    quotas: dict[str, float]

    def _answer(self, request: Request) -> dict[str, Any]:
        path = request.path.removeprefix("/compute/v1/projects/").split("/")
        if path == [self.project_id]:
            return {"name": self.project_id, "quotas": self._told("GPUS_ALL_REGIONS")}
        if path[1:] == ["regions", "us-central1"]:
            return {"name": "us-central1", "quotas": self._told(*_REGIONAL)}
        return super()._answer(request)

    def _told(self, *names: str) -> list[dict[str, Any]]:
        return [
            {"metric": name, "limit": self.quotas[name], "usage": 0.0}
            for name in names
            if name in self.quotas
        ]


@pytest.fixture
def checked(here: Scene) -> Scene:
    here.double.__class__ = Project
    here.double.quotas = {"NVIDIA_L4_GPUS": 1.0, "GPUS_ALL_REGIONS": 1.0, "CPUS": 24.0}  # type: ignore[attr-defined]
    return here


def test_check_only_reads_and_says_that_all_is_ready(checked: Scene) -> None:
    found = {one["what"]: one for one in told(checked, "check")}
    assert list(found) == ["Compute Engine", "bucket", "quota in us-central1"]
    assert all(one["passed"] for one in found.values()), found
    assert "NVIDIA_L4_GPUS: 0 of 1 in use" in found["quota in us-central1"]["detail"]
    assert {one.method for one in checked.double.asked} == {"GET"}
    assert checked.objects("") == []


@pytest.mark.parametrize("missing", ["NVIDIA_L4_GPUS", "GPUS_ALL_REGIONS"])
def test_check_says_which_quota_is_missing_and_where_to_ask(checked: Scene, missing: str) -> None:
    checked.double.quotas[missing] = 0.0  # type: ignore[attr-defined]
    result = call(checked, "check", "--json")
    assert result.exit_code == 1
    (wrong,) = [one for one in json.loads(result.stdout) if not one["passed"]]
    assert f"Ask for more of {missing}: https://console.cloud.google.com" in wrong["detail"]


@pytest.mark.parametrize(("hours", "is_ready"), [("168", True), ("169", False)])
def test_a_machine_of_a_week_may_use_the_quota_of_spot_machines(
    checked: Scene, monkeypatch: pytest.MonkeyPatch, hours: str, is_ready: bool
) -> None:
    checked.double.quotas |= {"NVIDIA_L4_GPUS": 0.0, "PREEMPTIBLE_NVIDIA_L4_GPUS": 1.0}  # type: ignore[attr-defined]
    monkeypatch.setenv("MISHEARD_GCE__MAX_RUN_HOURS", hours)
    found = {
        one["what"]: one["passed"] for one in json.loads(call(checked, "check", "--json").stdout)
    }
    assert found["quota in us-central1"] is is_ready


def test_check_tells_of_an_api_that_is_off_and_of_a_bucket_that_is_not_there(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISHEARD_GCE__BUCKET", "gs://no-such-bucket-here")
    here.double.refusals = [
        Refused(403, "accessNotConfigured", "Compute Engine API has not been used in project")
    ] * 8
    result = call(here, "check")
    assert result.exit_code == 1
    shown = " ".join(result.output.split())
    assert "gcloud services enable compute" in shown
    assert "no-such-bucket-here" in shown


@pytest.mark.parametrize(
    ("gpu", "is_spot", "metric"),
    [
        ("nvidia-l4", False, "NVIDIA_L4_GPUS"),
        ("nvidia-tesla-t4", True, "PREEMPTIBLE_NVIDIA_T4_GPUS"),
        ("nvidia-a100-80gb", False, "NVIDIA_A100_80GB_GPUS"),
    ],
)
def test_quotas_have_the_names_of_compute_engine(gpu: str, is_spot: bool, metric: str) -> None:
    assert quota_metric(gpu, is_spot=is_spot) == metric
