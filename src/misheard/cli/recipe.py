"""`misheard recipe`."""

from __future__ import annotations

from pathlib import Path

import click

from misheard.cli.output import json_option, out, print_json, table
from misheard.errors import WorkspaceNotFoundError


@click.command(epilog="\b\nExamples:\n  misheard recipe\n  misheard -w calls recipe --json")
@json_option
@click.pass_obj
def command(directory: str | None, as_json: bool) -> None:
    """Every setting of a fine-tune, its value here, and the reason for its default.

    Outside a workspace, the values are the defaults.
    """
    from misheard.finetune.recipe import Recipe, explained  # noqa: PLC0415 - only here
    from misheard.settings import FILE_NAME, load_settings  # noqa: PLC0415 - pydantic
    from misheard.workspace import workspace_directory  # noqa: PLC0415 - SQLAlchemy

    file = workspace_directory(directory) / FILE_NAME
    if directory and not file.exists():
        raise WorkspaceNotFoundError(
            f"'{directory}' has no {FILE_NAME}. Make one: misheard init {directory}"
        )
    recipe = Recipe.from_dict(dict(load_settings(file).recipe))
    values, defaults = recipe.to_dict(), Recipe().to_dict()
    settings = [
        {
            "setting": name,
            "value": values[name],
            "default": defaults[name],
            "is_overridden": values[name] != defaults[name],
            "reason": reason,
        }
        for name, reason in explained().items()
    ]
    if as_json:
        print_json({"recipe_id": recipe.id, "settings": settings})
        return
    rows = [
        (one["setting"], _shown(one["value"], one["default"]), one["reason"]) for one in settings
    ]
    out.print(table(_title(recipe.id, file), ["setting", "value", "reason"], rows))
    if any(one["is_overridden"] for one in settings):
        out.print("* is set here; the default is in brackets.")


def _title(recipe_id: str, file: Path) -> str:
    return f"{recipe_id}, as in '{file}'" if file.exists() else f"{recipe_id}, outside a workspace"


def _shown(value: object, default: object) -> str:
    """As TOML writes it; marked where it is not the default."""
    text = _toml(value)
    return text if value == default else f"{text} * ({_toml(default)})"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
