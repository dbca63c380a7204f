from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from misheard.cli.group import cli
from misheard.workspace import Workspace

GROUPS = [["pbx", "p b x", "switchboard"], ["ok", "[okay]"]]


def test_equivalents_are_shown_as_people_write_them(tmp_path: Path, bundled: Path) -> None:
    given = {"scoring": {"normalizer": "none", "equivalents": GROUPS}}
    made = Workspace.create(tmp_path / "ws", model=str(bundled), settings=given)
    assert made.normalizer("p b x") == made.normalizer("switchboard") == "pbx"
    shown = CliRunner().invoke(cli, ["-w", str(made.root), "settings"]).output
    assert "pbx = p b x = switchboard" in shown
    assert "ok = [okay]" in shown
    as_json = CliRunner().invoke(cli, ["-w", str(made.root), "settings", "--json"]).output
    assert json.loads(as_json)["scoring"]["equivalents"] == GROUPS
