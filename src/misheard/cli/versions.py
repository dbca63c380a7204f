"""`misheard versions`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import click
from rich.console import Console

from misheard.cli.output import json_option, open_workspace, out, percent, print_json, table, when
from misheard.deployment import PRODUCTION
from misheard.gates.verdict import Answer
from misheard.registry import ModelVersion

_WIDE = 130

if TYPE_CHECKING:
    from misheard.workspace import Workspace


@click.command(epilog="\b\nExample:\n  misheard -w calls versions --json")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@json_option
@click.pass_obj
def command(directory: str | None, limit: int, as_json: bool) -> None:
    """List model versions and where each came from."""
    workspace = open_workspace(directory)
    if as_json:
        found = _found(workspace, limit)
        print_json([vars(one) | {"status": status} for one, status in found])
        return
    show(workspace, out, limit=limit)


def show(workspace: Workspace, console: Console, *, limit: int = 20) -> None:
    """Write the newest versions for people."""
    rows = []
    # Where each came from takes room; on a narrow screen `--json` has it.
    wide = console.width >= _WIDE
    for one, status in _found(workspace, limit):
        validation = workspace.validations.latest_of(one.id)
        rows.append(
            (
                one.id,
                status,
                percent(validation.comparison.candidate.wer) if validation else "–",
                one.name,
                *(
                    (when(one.created_at), one.parent_id, one.dataset_id, one.source)
                    if wide
                    else ()
                ),
            )
        )
    columns = ["version", "status", "WER ", "name"]
    columns += ["made", "trained from", "dataset", "source"] if wide else []
    console.print(table("Model versions", columns, rows))


def _found(workspace: Workspace, limit: int) -> list[tuple[ModelVersion, str]]:
    live = workspace.deployments.live_by_slot()
    once = set(workspace.deployments.ever_live(slot=None))
    found = []
    for one in workspace.registry.listed(limit=limit):
        validation = workspace.validations.latest_of(one.id)
        answer = validation.verdict.answer if validation is not None else Answer.PASS
        found.append((one, _status(one, live, once, answer)))
    return found


def _status(
    version: ModelVersion, live: Mapping[str, str], once: Collection[str], answer: Answer
) -> str:
    """Live, was live, pruned (its files are gone), or by the first gate's newest answer."""
    slots = [slot for slot, version_id in live.items() if version_id == version.id]
    if slots:
        return "live" if PRODUCTION in slots else f"live in {', '.join(slots)}"
    if version.pruned_at is not None:
        return "pruned"
    if version.id in once:
        return "was live"
    judged = {Answer.FAIL: "refused", Answer.INCONCLUSIVE: "inconclusive"}
    return judged.get(answer, "candidate")
