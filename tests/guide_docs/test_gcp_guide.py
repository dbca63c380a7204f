"""The page on Google Cloud: its commands, its role, its settings and its figures."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml

from misheard.blobs.memory import MemoryBucket
from misheard.errors import BudgetError, ImageNotFoundError, NoMachineError, QuotaError
from misheard.finetune.rented.layout import RentedJob
from misheard.finetune.rented.machines import PURPOSE, Machine
from misheard.finetune.rented.prices import price
from misheard.settings import GceSettings, Settings
from tests.guide_docs.conftest import ROOT
from tests.guide_docs.gcloud import require_gcloud

PAGE = ROOT / "docs" / "GCP_SETUP_GUIDE.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
INLINE = re.findall(r"`(gcloud [^`\n]+)`", TEXT)
ROLE = yaml.safe_load((ROOT / "docs/gcp/controller-role.yaml").read_text(encoding="utf-8"))

# "Required permissions" of creating an instance and "IAM Permissions" of the other methods, at
# https://docs.cloud.google.com/compute/docs/reference/rest/v1 (November 2026).
NEEDED = {
    "instances.insert_unary": {
        "compute.disks.create",
        "compute.disks.setLabels",
        "compute.instances.create",
        "compute.instances.setLabels",
        "compute.instances.setMetadata",
        "compute.instances.setServiceAccount",
        "compute.subnetworks.use",
        "compute.subnetworks.useExternalIp",
    },
    "instances.get": {"compute.instances.get"},
    "instances.aggregated_list": {"compute.instances.list"},
    "instances.stop_unary": {"compute.instances.stop"},
    "instances.delete_unary": {"compute.instances.delete"},
    "operations.get": {"compute.zoneOperations.get"},
    "operations.list": {"compute.zoneOperations.list"},
    "regions.get": {"compute.regions.get"},
    "projects.get": {"compute.projects.get"},
}


def lines() -> list[str]:
    """Every line of the page that a shell is to run."""
    typed = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
    return [*dict.fromkeys([*filter(None, typed), *INLINE])]


def gcloud_of(line: str) -> list[str]:
    """The words after `gcloud`, up to a pipe or the end of a substitution."""
    words = shlex.split(line.replace("$(", " ").replace(")", " ").partition(" | ")[0])
    return words[words.index("gcloud") + 1 :]


def test_a_shell_can_read_every_block() -> None:
    assert len(BLOCKS) > 8
    for block in BLOCKS:
        read = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stderr


@pytest.mark.parametrize("line", [line for line in lines() if "gcloud " in line])
def test_gcloud_has_this_command_with_these_flags(line: str) -> None:
    require_gcloud(gcloud_of(line))


def test_every_name_is_given_before_it_is_used() -> None:
    known: set[str] = set()
    for line in (line for block in BLOCKS for line in block.splitlines()):
        assert set(re.findall(r"\$([A-Z_]+)", line)) <= known, line
        known |= set(re.findall(r"^export ([A-Z_]+)=", line))
    assert set(re.findall(r"\$([A-Z_]+)", TEXT)) == known


def test_files_that_commands_take_are_there() -> None:
    named = {name for line in lines() for name in re.findall(r"file=(\S+)", line)}
    assert named == {"docs/gcp/controller-role.yaml", "docs/gcp/lifecycle.json"}
    for name in named:
        assert (ROOT / name).is_file()


def test_the_table_of_permissions_is_the_role() -> None:
    told = re.findall(r"`((?:compute|iam)\.\w+\.\w+)`", TEXT.partition("### Who may do what")[2])
    assert sorted(told) == sorted(ROLE["includedPermissions"])
    assert len(set(told)) == len(told)


def test_the_role_cannot_give_rights_away_or_reach_files() -> None:
    for permission in ROLE["includedPermissions"]:
        assert permission.startswith("compute.")
        assert "IamPolicy" not in permission


def test_the_role_has_what_each_call_needs_and_no_more() -> None:
    source = (ROOT / "src/misheard/finetune/rented/compute.py").read_text(encoding="utf-8")
    calls = re.findall(
        r"\b_?(instances|operations|regions|projects)\.(get|list|aggregated_list|\w+_unary)\b",
        source,
    )
    assert {".".join(call) for call in calls} == set(NEEDED)
    # Nothing of misheard reads the console; a person whose machine stays silent does.
    for_people = {"compute.instances.getSerialPortOutput"}
    assert set(ROLE["includedPermissions"]) == set().union(for_people, *NEEDED.values())


def test_where_voices_lie_nothing_deleted_is_kept() -> None:
    made = {}
    for line in lines():
        if line.startswith("gcloud storage buckets create "):
            words = gcloud_of(line)
            made[words[3]] = words
    assert {name.removeprefix("gs://$PROJECT_ID-") for name in made} == {
        "datasets",
        "models",
        "training",
    }
    for name, words in made.items():
        assert {"--uniform-bucket-level-access", "--public-access-prevention"} <= set(words)
        assert ("--soft-delete-duration=0" in words) == (not name.endswith("-models"))


def test_the_lifecycle_rule_spares_what_jobs_share() -> None:
    (rule,) = json.loads((ROOT / "docs/gcp/lifecycle.json").read_text())["rule"]
    assert rule["action"] == {"type": "Delete"}
    assert rule["condition"] == {"age": 30, "matchesPrefix": ["training/jobs/"]}
    assert "left for 30 days" in TEXT


def test_the_lifecycle_rule_is_for_where_jobs_lie() -> None:
    job = RentedJob(MemoryBucket(), "job-1")
    assert job.folder.startswith("training/jobs/")


def test_the_settings_of_the_page_are_settings() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(block))
    assert settings.backend == "gce"
    assert settings.storage.of_models == "gs://my-project-models"
    assert settings.gce.bucket == "gs://my-project-training"
    assert settings.gce.monthly_budget_usd == 50


def test_machines_are_looked_for_by_the_label_that_they_bear() -> None:
    assert f'--filter="labels.misheard={PURPOSE}"' in TEXT


@pytest.mark.parametrize("is_spot", [False, True])
def test_prices_are_those_that_the_budget_reckons_with(is_spot: bool) -> None:
    gce = GceSettings()
    machine = Machine(
        name="misheard-a-1",
        zone=gce.zones[0],
        machine_type=gce.machine_type,
        is_spot=is_spot,
        disk_gb=gce.disk_gb,
        max_run_s=3600,
    )
    found = price(machine)
    assert found is not None
    assert f"`{gce.machine_type}`: 8 processors" in TEXT
    told = re.findall(r"\| (0\.\d+) an hour; `spot` about (0\.\d+) \|", TEXT)
    assert told[0][is_spot] == f"{found.machine_usd_per_hour:.2f}"
    assert f"disk, {gce.disk_gb} GB | 10 a month: {found.disk_usd_per_hour:.3f} an hour" in TEXT
    assert told[1][is_spot] == f"{found.address_usd_per_hour:.4f}".rstrip("0")


def test_what_misheard_says_is_what_the_table_has() -> None:
    told = re.findall(r"^\| (.+?) \|", TEXT.partition("## When it does not work")[2], re.MULTILINE)
    for error in (QuotaError, NoMachineError, ImageNotFoundError, BudgetError):
        assert str(error.__doc__).strip().rstrip(".") in told
