"""The command line as a whole: names, help, speed, how errors end."""

import importlib
import json
import os
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from misheard.cli.group import VERBS, cli
from misheard.monitoring.trends import Metric
from tests.clock import processor_s


def _commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        return [
            leaf
            for name, inner in command.commands.items()
            for leaf in _commands(inner, (*path, name))
        ]
    return [(" ".join(path), command)]


LEAVES = [
    leaf
    for verb in VERBS
    for leaf in _commands(importlib.import_module(f"misheard.cli.{verb}").command, (verb,))
]


@pytest.mark.parametrize("verb", VERBS)
def test_the_listed_summary_is_the_commands_own(verb: str) -> None:
    command = importlib.import_module(f"misheard.cli.{verb}").command
    assert command.get_short_help_str(limit=200) == VERBS[verb]


@pytest.mark.parametrize(("name", "command"), LEAVES)
def test_every_command_has_json_and_help(name: str, command: click.Command) -> None:
    assert "--json" in {option for param in command.params for option in param.opts}
    shown = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert (command.help or "").splitlines()[0] in shown.output


@pytest.mark.parametrize(("name", "command"), LEAVES)
def test_every_command_has_an_example_of_its_own(name: str, command: click.Command) -> None:
    shown = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=80).output
    _, is_there, examples = shown.partition("\n  Example")
    assert is_there, shown
    assert re.search(rf"^ +misheard( -w calls)? {name}\b", examples, re.MULTILINE), examples


def test_the_help_of_a_trend_names_every_metric() -> None:
    shown = CliRunner().invoke(cli, ["trend", "--help"], terminal_width=80).output
    assert set(Metric) <= set(re.findall(r"\w+", shown.partition("Options:")[0]))


@pytest.mark.parametrize(("name", "command"), LEAVES)
def test_no_number_of_a_command_is_a_nan(name: str, command: click.Command) -> None:
    for param in command.params:
        if isinstance(param.type, click.types.FloatParamType):
            for value in ("nan", "inf", "-inf"):
                with pytest.raises(click.BadParameter):
                    param.type.convert(value, param, None)


def test_help_is_quick() -> None:
    """Within 0.5 s of the processor; the clock's is others' too, since the machine is shared."""
    spent = []
    for _ in range(3):
        before = processor_s()
        done = subprocess.run(
            [sys.executable, "-c", "import misheard.cli; misheard.cli.main()", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        spent.append(processor_s() - before)
    assert "rollback" in done.stdout
    assert min(spent) <= 0.5


def test_an_unknown_command_says_so() -> None:
    result = CliRunner().invoke(cli, ["retrain"])
    assert result.exit_code == 2
    assert "retrain" in result.output


def test_no_workspace_says_how_to_make_one(tmp_path) -> None:
    result = CliRunner().invoke(cli, ["-w", str(tmp_path), "status"])
    assert result.exit_code == 2
    assert f"misheard init {tmp_path}" in result.output


def test_errors_go_to_stderr_and_leave_stdout_clean(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import misheard.cli; misheard.cli.main()", "status", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("MISHEARD_")},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no workspace" in done.stderr
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
