from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.finetune.recipe import Recipe, explained
from misheard.settings import FILE_NAME

HERE = '[recipe]\nepochs = 12\nsweep = false\nlearning_rate = 1e-6\nmethod = "lora"\n'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / FILE_NAME).write_text(HERE, encoding="utf-8")
    return tmp_path


def test_outside_a_workspace_every_default_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["recipe", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["recipe_id"] == Recipe().id
    assert [one["setting"] for one in told["settings"]] == [field.name for field in fields(Recipe)]
    for one in told["settings"]:
        assert one["value"] == one["default"] == getattr(Recipe(), one["setting"])
        assert one["is_overridden"] is False
        assert one["reason"] == explained()[one["setting"]]


def test_a_workspace_shows_what_it_overrides(workspace: Path) -> None:
    done = CliRunner().invoke(cli, ["-w", str(workspace), "recipe", "--json"])
    told = json.loads(done.output)
    changed = {one["setting"]: one for one in told["settings"] if one["is_overridden"]}
    assert {name: one["value"] for name, one in changed.items()} == {
        "epochs": 12,
        "sweep": False,
        "learning_rate": 1e-6,
        "method": "lora",
    }
    assert changed["epochs"]["default"] == Recipe().epochs
    wanted = Recipe(epochs=12, sweep=False, learning_rate=1e-6, method="lora")
    assert told["recipe_id"] == wanted.id


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal(workspace: Path, columns: int) -> None:
    width = {"COLUMNS": str(columns)}
    done = CliRunner().invoke(cli, ["-w", str(workspace), "recipe"], env=width)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    table = lines[next(n for n, line in enumerate(lines) if "setting" in line) :]
    assert max(map(len, table)) <= columns
    for field in fields(Recipe):
        assert re.search(rf"^  {field.name}  +\S", done.output, re.MULTILINE), field.name
    assert re.search(rf"epochs +12 \* \({Recipe().epochs}\)", done.output)
    assert re.search(r"sweep +false \* \(true\)", done.output)
    assert re.search(rf"patience +{Recipe().patience}  ", done.output)
    assert "* is set here" in done.output


def test_the_environment_counts(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISHEARD_RECIPE__EPOCHS", "3")
    told = json.loads(CliRunner().invoke(cli, ["-w", str(workspace), "recipe", "--json"]).output)
    assert {one["setting"]: one["value"] for one in told["settings"]}["epochs"] == 3


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("epoch = 3", r"no recipe\.epoch"), ("epochs = 0", r"recipe\.epochs"), ("= 3", "TOML")],
)
def test_a_recipe_that_cannot_be_is_an_error(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / FILE_NAME).write_text(f"[recipe]\n{text}\n", encoding="utf-8")
    done = CliRunner().invoke(cli, ["-w", str(tmp_path), "recipe"])
    assert done.exit_code == 2
    assert re.search(wrong, done.output)


def test_a_directory_that_is_no_workspace_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["-w", str(tmp_path / "nowhere"), "recipe"])
    assert done.exit_code == 2
    assert "has no misheard.toml" in done.output
