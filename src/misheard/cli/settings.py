"""`misheard settings`."""

from __future__ import annotations

import click

from misheard.cli.output import json_option, open_workspace, out, print_json, table


@click.command(epilog="\b\nExample:\n  misheard -w calls settings")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """Show every setting and its value."""
    from misheard.finetune.recipe import Recipe  # noqa: PLC0415 - only here
    from misheard.settings import FILE_NAME  # noqa: PLC0415 - pydantic

    workspace = open_workspace(directory)
    values = workspace.settings.model_dump()
    values["recipe"] = Recipe.from_dict(values["recipe"]).to_dict()
    if as_json:
        # Here secrets are asterisks.
        print_json(workspace.settings.model_dump(mode="json") | {"recipe": values["recipe"]})
        return
    # What is empty there has a meaning, and it is where everything is.
    storage, here = workspace.settings.storage, str(workspace.root / "blobs")
    places = {"blobs": storage.blobs or here, "models": storage.of_models or here}
    values["storage"] |= places
    rows = [
        (f"{section}.{key}", _shown(value))
        for section, inner in values.items()
        if isinstance(inner, dict)
        for key, value in inner.items()
    ]
    rows += [(key, value) for key, value in values.items() if not isinstance(value, dict)]
    out.print(table(str(workspace.root / FILE_NAME), ["setting", "value"], rows))


def _shown(value: object) -> object:
    """Groups of equivalents a line each, as people write them; other lists on one line."""
    if not isinstance(value, tuple):
        return value
    if value and not isinstance(value[0], tuple):
        return ", ".join(map(str, value))
    return "\n".join(" = ".join(group) for group in value) or "none of its own"
