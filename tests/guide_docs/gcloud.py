"""The commands of Google's command line that the docs use: it cannot be installed for a test."""

from __future__ import annotations

from collections.abc import Sequence

# Commands and those of their flags that the docs use, as https://cloud.google.com/sdk/gcloud/reference
# has them (November 2026). Every command takes --project and --format.
GCLOUD: dict[str, set[str]] = {
    "auth login": set(),
    "auth application-default login": {"--impersonate-service-account"},
    "auth application-default revoke": set(),
    "billing accounts list": set(),
    "billing budgets create": {
        "--billing-account",
        "--display-name",
        "--budget-amount",
        "--filter-projects",
        "--threshold-rule",
    },
    "billing budgets list": {"--billing-account"},
    "billing projects link": {"--billing-account"},
    "billing projects unlink": set(),
    "compute accelerator-types list": {"--filter"},
    "compute addresses list": set(),
    "compute disks list": set(),
    "compute firewall-rules delete": set(),
    "compute images list": {"--no-standard-images"},
    "compute instances get-serial-port-output": {"--zone"},
    "compute instances list": {"--filter"},
    "compute networks create": {"--subnet-mode"},
    "compute networks list": set(),
    "compute networks subnets update": {"--region", "--enable-private-ip-google-access"},
    "compute project-info describe": {"--flatten"},
    "compute regions describe": {"--flatten"},
    "compute routers create": {"--network", "--region"},
    "compute routers delete": {"--region"},
    "compute routers nats create": {
        "--router",
        "--region",
        "--auto-allocate-nat-external-ips",
        "--nat-all-subnet-ip-ranges",
    },
    "config get-value": set(),
    "config set": set(),
    "iam roles create": {"--file"},
    "iam roles update": {"--file"},
    "iam service-accounts add-iam-policy-binding": {"--member", "--role"},
    "iam service-accounts create": set(),
    "projects add-iam-policy-binding": {"--member", "--role", "--condition"},
    "projects create": set(),
    "projects delete": set(),
    "quotas preferences create": {
        "--service",
        "--quota-id",
        "--preferred-value",
        "--email",
        "--justification",
        "--dimensions",
    },
    "quotas preferences list": set(),
    "resource-manager org-policies disable-enforce": set(),
    "services enable": set(),
    "storage buckets add-iam-policy-binding": {"--member", "--role"},
    "storage buckets create": {
        "--location",
        "--uniform-bucket-level-access",
        "--public-access-prevention",
        "--soft-delete-duration",
    },
    "storage buckets list": set(),
    "storage buckets update": {"--lifecycle-file", "--clear-soft-delete", "--no-versioning"},
    "storage du": {"--summarize"},
    "storage rm": {"--recursive"},
}


def require_gcloud(words: Sequence[str]) -> None:
    """Fail unless the words after `gcloud` are a command that is known, with flags it has."""
    found = [one for one in GCLOUD if list(words[: len(one.split())]) == one.split()]
    assert len(found) == 1, words
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert flags <= GCLOUD[found[0]] | {"--project", "--format"}, words
