"""Train on a rented GPU machine of Google Cloud, and bring the model home.

    python scripts/deploy_finetuning_to_gcp.py \\
        --create-vm --prepare-dataset --run-training --dataset-id ds-…

One call sends the dataset, rents a machine, trains with a progress bar, brings the model home,
registers it, judges it against the live version, and deletes the machine. Each flag also works
alone; the same command again goes on where the last one stopped. `misheard dataset list` shows the
ids of datasets; docs/GCP_SETUP_GUIDE.md how to set the project up.

Leaves with 0 when all was done (and the gate, if there was one, says pass), 1 for an error or a
gate that says fail, 2 for wrong input, 3 for a gate that cannot tell yet, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from misheard.cli.comparison import show_comparison, show_verdict
from misheard.cli.gce import show_estimate
from misheard.cli.output import Bars, acting, bars, err, open_workspace, out
from misheard.cli.validate import EXIT_CODES
from misheard.errors import BadInputError, MisheardError
from misheard.registry import ModelVersion
from misheard.tuning import Tuning

_INTERRUPTED = 130
# Flag → section and key of the settings that it overrides.
_OVERRIDES = {
    "project_id": ("gce", "project_id"),
    "bucket": ("gce", "bucket"),
    "vm_name": ("gce", "vm_name"),
    "zone": ("gce", "zones"),
    "machine_type": ("gce", "machine_type"),
    "accelerator": ("gce", "accelerator"),
    "spot": ("gce", "spot"),
    "max_run_hours": ("gce", "max_run_hours"),
    "epochs": ("recipe", "epochs"),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_argument_group("what to do, in this order")
    steps.add_argument(
        "--prepare-dataset", action="store_true", help="send what a machine needs to the bucket"
    )
    steps.add_argument(
        "--create-vm",
        action="store_true",
        help="rent a machine; alone, it waits for --run-training, up to a limit",
    )
    steps.add_argument(
        "--run-training", action="store_true", help="train, bring the model home, and judge it"
    )
    steps.add_argument(
        "--download-model", action="store_true", help="copy the model to --local-dest"
    )
    steps.add_argument("--stop-vm", action="store_true", help="switch the machine off at the end")
    steps.add_argument("--delete-vm", action="store_true", help="delete the machine at the end")
    steps.add_argument(
        "--dry-run", action="store_true", help="print every request as JSON, and send none"
    )
    what = parser.add_argument_group("on what")
    what.add_argument("--dataset-id", required=True, metavar="ID", help="the dataset to train on")
    what.add_argument("-w", "--workspace", metavar="DIR", help="as for the command misheard")
    what.add_argument("--model-name", metavar="NAME", help="what the new version is called")
    what.add_argument("--local-dest", metavar="DIR", type=Path, default=Path("models"))
    where = parser.add_argument_group("where, instead of what the settings say ([gce], [recipe])")
    where.add_argument("--project-id", metavar="ID")
    where.add_argument("--bucket", metavar="NAME|gs://…")
    where.add_argument("--vm-name", metavar="NAME")
    where.add_argument("--zone", metavar="ZONE", help="the only one that is asked")
    where.add_argument("--machine-type", metavar="TYPE")
    where.add_argument("--accelerator", metavar="TYPE", help="a GPU added to a machine of type n1")
    where.add_argument("--spot", action=argparse.BooleanOptionalAction, default=None)
    where.add_argument("--max-run-hours", type=float, metavar="HOURS")
    where.add_argument("--epochs", type=int, metavar="N")
    return parser.parse_args(arguments)


def overrides(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The settings that flags take the place of."""
    made: dict[str, dict[str, Any]] = {}
    for flag, (section, key) in _OVERRIDES.items():
        value = getattr(given, flag)
        if value is not None:
            made.setdefault(section, {})[key] = [value] if key == "zones" else value
    return made


def main(arguments: list[str]) -> int:
    """Do what the flags say; the exit code."""
    given = parse(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return run(given)
    except MisheardError as error:
        return failed(error)


def run(given: argparse.Namespace) -> int:
    """One step after the other."""
    tuning = Tuning(
        open_workspace(given.workspace),
        given.dataset_id,
        actor=acting(None),
        settings=overrides(given),
        name=given.model_name or "",
    )
    steps = ("prepare_dataset", "create_vm", "run_training", "download_model", "stop_vm")
    if not any(getattr(given, step) for step in (*steps, "delete_vm")):
        raise BadInputError("Say what to do: --create-vm --prepare-dataset --run-training")
    if given.dry_run:
        rehearse(tuning, given)
        return 0
    try:
        code = steps_of(tuning, given)
    except KeyboardInterrupt:
        interrupted(tuning, given)
        return _INTERRUPTED
    except MisheardError as error:
        code = failed(error)
        end(tuning, given)
        if tuning.machine is not None:
            interrupted(tuning, given)
        return code
    end(tuning, given)
    return code


def steps_of(tuning: Tuning, given: argparse.Namespace) -> int:
    """All but the end of the machine; the exit code."""
    code = 0
    with bars() as shown:
        trained = work(tuning, given, shown)
    if trained is not None:
        code = judge(tuning, trained)
    if given.download_model:
        tell(f"The model is in '{tuning.copy_model(given.local_dest)}'.")
    return code


def work(tuning: Tuning, given: argparse.Namespace, shown: Bars) -> ModelVersion | None:
    """Send, rent, train; the version that came of it, where one was trained."""
    if given.create_vm:
        show_estimate(tuning.estimate)
    if given.prepare_dataset:
        tuning.send(shown.progress)
        tell(f"{tuning.dataset.id} is in the bucket, as {tuning.job_id}.")
    if given.create_vm:
        machine = tuning.rent(shown.progress)
        if machine is not None:
            tell(
                f"{machine.name} runs in {machine.zone}; Google deletes it after "
                f"{machine.max_hours:g} hours, whatever happens here."
            )
    if not given.run_training:
        return None
    tuning.require_machine()
    return tuning.train(on_event=shown.training, observe=shown.progress)


def judge(tuning: Tuning, version: ModelVersion) -> int:
    """Tell of the new version, and what the gate says of it; the exit code."""
    tell(
        f"{version.id} is home and registered, trained by {version.job_id} for "
        f"{tuning.usd:.2f} USD."
    )
    if tuning.is_live(version):
        tell("It is live already.")
        return 0
    with bars() as shown:
        made = tuning.judge(version, shown.progress)
    if made is None:
        tell("Nothing was held out, so it was not judged: misheard dataset hold-out FILE")
        return 0
    show_comparison(out, made.comparison, (made.baseline_id, made.candidate_id))
    show_verdict(out, made.verdict)
    instead = "" if made.verdict.passed else " --force   (if you know better)"
    tell(f"\nTo make it live: misheard deploy {version.id}{instead}")
    return EXIT_CODES[made.verdict.answer]


def end(tuning: Tuning, given: argparse.Namespace) -> None:
    """Switch off or delete what is left; after a training nothing is."""
    if given.stop_vm:
        names = tuning.stop_machine()
        tell(f"Off: {', '.join(names) or 'there is no machine, and nothing costs'}.")
    if given.delete_vm:
        names = tuning.delete_machine()
        tell(f"Deleted: {', '.join(names) or 'there is no machine any more'}.")


def failed(error: MisheardError) -> int:
    """Tell of an error; the exit code."""
    err.print("[red bold]error:[/] ", end="")
    tell(str(error), err)
    return error.exit_code


def interrupted(tuning: Tuning, given: argparse.Namespace) -> None:
    """After Ctrl-C, or an error: what goes on without us, and how to end it."""
    machine = tuning.machine
    if machine is None:
        tell("\nStopped. No machine is rented.", err)
        return
    ends = machine.asked_at.astimezone()
    place = ("-w", str(tuning.workspace.root), "--dataset-id", tuning.dataset.id)
    project = ("--project-id", given.project_id) if given.project_id else ()
    ending = ("python", str(Path(__file__)), *place, *project, "--delete-vm")
    tell(
        f"\nStopped here; {machine.name} in {machine.zone} goes on. The same command follows it "
        f"again. Google deletes it {machine.max_hours:g} hours after {ends:%Y-%m-%d %H:%M}. To end "
        f"it now: {shlex.join(ending)}",
        err,
    )


def tell(text: str, console: Console = out) -> None:
    """A line for people; nothing in it is markup, and it is not broken."""
    console.print(text, markup=False, soft_wrap=True)


def rehearse(tuning: Tuning, given: argparse.Namespace) -> None:
    """Print every request of the run, one JSON document after the other."""
    tuning.rehearse(
        print,
        machine=given.create_vm,
        inputs=given.prepare_dataset,
        training=given.run_training,
    )
    tuning.rehearse_end(print, stop=given.stop_vm, delete=given.delete_vm or given.run_training)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
