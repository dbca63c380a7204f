"""`misheard correct`."""

from __future__ import annotations

import click

from misheard.cli.output import acting, actor_option, json_option, open_workspace, out, print_json


@click.command(
    epilog="""\b
Examples:
  misheard -w calls correct inf-… "press the pound key"
  misheard -w calls correct inf-… --right
  misheard -w calls correct inf-… ""          nobody spoke
"""
)
@click.argument("inference")
@click.argument("text", required=False)
@click.option("--right", is_flag=True, help="The transcript is right as it is.")
@click.option(
    "--method",
    default="manual",
    show_default=True,
    help="How it came about; 'audit' answers what was drawn at random.",
)
@actor_option
@json_option
@click.pass_obj
def command(
    directory: str | None,
    inference: str,
    text: str | None,
    right: bool,
    method: str,
    actor: str | None,
    as_json: bool,
) -> None:
    """Say what was really spoken."""
    from misheard.cases.records import Correction  # noqa: PLC0415 - SQLAlchemy

    if (text is None) != right:
        raise click.UsageError("Give either the TEXT that was spoken, or --right.")
    workspace = open_workspace(directory)
    heard = workspace.inferences.get(inference).text
    correction = Correction(
        inference_id=inference,
        reference=heard if text is None else text,
        author=acting(actor),
        method=method,
    )
    was_wrong = workspace.cases.correct([correction])[0]
    if as_json:
        print_json({"inference_id": inference, "is_error": was_wrong})
        return
    out.print("Kept as an error case." if was_wrong else "Kept as a confirmation.")
