"""`misheard gce`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from misheard.cli.output import json_option, listing, open_workspace, out, print_json, table

if TYPE_CHECKING:
    from misheard.finetune.rented.costs import Estimate


@click.group()
def command() -> None:
    """Machines of Google Compute Engine that train: what runs, what it costs, what to end."""


@command.command(epilog="\b\nExample:\n  misheard -w calls gce machines")
@json_option
@click.pass_obj
def machines(directory: str | None, as_json: bool) -> None:
    """What runs now, for how long, and what it has cost so far."""
    workspace = open_workspace(directory)
    found = workspace.gce.standing()
    names = {one.instance.name for one in found}
    unseen = [row for row in workspace.rentals.still_open() if row.name not in names]
    if as_json:
        print_json(
            [
                {
                    "name": one.instance.name,
                    "zone": one.instance.zone,
                    "state": one.instance.state.value,
                    "machine_type": one.instance.machine_type,
                    "is_spot": one.instance.is_spot,
                    "job_id": one.job_id,
                    "attempt": one.instance.attempt,
                    "hours": one.hours,
                    "usd": one.usd,
                    "needless": one.needless or None,
                }
                for one in found
            ]
            + [
                {
                    "name": row.name,
                    "zone": row.zone,
                    "state": None,
                    "machine_type": row.machine_type,
                    "is_spot": row.is_spot,
                    "job_id": row.job_id,
                    "attempt": row.attempt,
                    "hours": row.hours(),
                    "usd": row.usd(),
                    "needless": None,
                }
                for row in unseen
            ]
        )
        return
    rows = [
        (
            one.instance.name,
            one.instance.zone,
            one.instance.state.value.lower(),
            one.job_id,
            f"{one.hours:.2f}",
            f"{one.usd:.2f}",
            one.needless and f"{one.needless}: misheard gce sweep",
        )
        for one in found
    ]
    rows += [
        (
            row.name,
            row.zone,
            "not known",
            row.job_id,
            f"{row.hours():.2f}",
            f"{row.usd():.2f}",
            "was rented, and was not found: gone, or its zone does not answer",
        )
        for row in unseen
    ]
    columns = ["machine", "zone", "state", "job", "hours ", "USD ", "needless"]
    out.print(listing("Machines", columns, rows, nothing="Nothing is running."))


@command.command(
    epilog="""\b
Examples:
  misheard -w calls gce sweep --dry-run     what would be deleted
  misheard -w calls gce sweep
"""
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@json_option
@click.pass_obj
def sweep(directory: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete machines of this workspace that no training needs; no others."""
    swept = open_workspace(directory).gce.sweep(dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "swept": swept})
        return
    rows = [
        (one.name, one.zone, one.job_id, one.why, f"{one.hours:.2f}", f"{one.usd:.2f}")
        for one in swept
    ]
    columns = ["machine", "zone", "job", "why", "hours ", "USD "]
    title = "Would be deleted" if dry_run else "Deleted"
    out.print(listing(title, columns, rows, nothing="Nothing is left over."))


@command.command(epilog="\b\nExample:\n  misheard -w calls gce costs --json")
@json_option
@click.pass_obj
def costs(directory: str | None, as_json: bool) -> None:
    """What machines have cost, by month and job, and how this month's budget stands."""
    from misheard.finetune.rented.costs import costs as by_month  # noqa: PLC0415 - SQLAlchemy

    workspace = open_workspace(directory)
    found, stands = by_month(workspace.rentals), workspace.rentals.spent()
    budget_usd = workspace.settings.gce.monthly_budget_usd
    if as_json:
        month = {"spent_usd": stands.spent_usd, "reserved_usd": stands.reserved_usd}
        print_json({"costs": found, "this_month": month | {"budget_usd": budget_usd or None}})
        return
    rows = [
        (
            one.month,
            one.job_id,
            one.machines,
            f"{one.hours:.2f}",
            f"{one.usd:.2f}",
            "" if one.is_final else "still running",
        )
        for one in found
    ]
    columns = ["month", "job", "machines ", "hours ", "USD ", ""]
    out.print(listing("Costs", columns, rows, nothing="Nothing was rented yet."))
    of = f" of {budget_usd:.2f}" if budget_usd else ""
    out.print(
        f"This month: {stands.spent_usd:.2f} USD spent, {stands.reserved_usd:.2f} at most by what "
        f"is running{of}. By prices of the list; the bill is Google's.",
        style="dim",
    )


@command.command(
    epilog="""\b
Examples:
  misheard -w calls gce estimate
  misheard -w calls gce estimate --dataset ds-…
"""
)
@click.option("--dataset", "dataset_id", metavar="ID", help="What would be trained on.")
@json_option
@click.pass_obj
def estimate(directory: str | None, dataset_id: str | None, as_json: bool) -> None:
    """What the next training may cost at most, and probably."""
    made = open_workspace(directory).estimate_rent(dataset_id)
    if as_json:
        print_json(
            {
                "machine_type": made.wanted.machine_type,
                "is_spot": made.wanted.is_spot,
                "usd_per_hour": made.wanted.usd_per_hour,
                "max_hours": made.wanted.max_hours,
                "most_usd": made.wanted.most_usd,
                "likely_hours": made.likely_hours,
                "likely_usd": made.likely_usd,
                "spent_usd": made.stands.spent_usd,
                "reserved_usd": made.stands.reserved_usd,
                "budget_usd": made.budget_usd or None,
                "is_refused": made.is_refused,
            }
        )
        return
    show_estimate(made)


def show_estimate(made: Estimate) -> None:
    """Print an estimate for people."""
    wanted = made.wanted
    kind = f"{wanted.machine_type}{' (spot)' if wanted.is_spot else ''}"
    out.print(
        f"{kind}: {wanted.usd_per_hour:.2f} USD an hour; at most {wanted.most_usd:.2f}, for "
        f"{wanted.max_hours:g} hours, after which Google deletes it."
    )
    if made.likely_usd is not None and made.likely_hours is not None:
        out.print(
            f"By what past trainings took: {made.likely_usd:.2f} USD, "
            f"{made.likely_hours:.1f} hours."
        )
    if made.budget_usd:
        answer = "[red]does not fit[/]" if made.is_refused else "fits"
        out.print(
            f"This month: {made.stands.spent_usd:.2f} USD spent and {made.stands.reserved_usd:.2f} "
            f"reserved of {made.budget_usd:.2f}: it {answer}."
        )


@command.command(epilog="\b\nExample:\n  misheard -w calls gce check")
@json_option
@click.pass_obj
def check(directory: str | None, as_json: bool) -> None:
    """Whether credentials, API, bucket and quota are ready; nothing is changed."""
    checks = open_workspace(directory).check_gce()
    if as_json:
        print_json(checks)
    else:
        rows = [(one.what, "ok" if one.passed else "not ready", one.detail) for one in checks]
        out.print(table("Google Compute Engine", ["what", "", "detail"], rows))
    if not all(one.passed for one in checks):
        raise click.exceptions.Exit(1)
