"""`misheard report`: on a cycle as ever, and on the whole loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.cli.report import LOOP_REPORTS
from misheard.cycle.states import Cycle
from misheard.reports.loop_reports import REPORTS
from tests.reports.conftest import Bench, calls


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cycle(bench: Bench) -> Cycle:
    return bench.begin(bench.dataset("held out", ["hello"]))


def report(bench: Bench, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["-w", str(bench.root), "report", *arguments])


def test_the_command_knows_every_report() -> None:
    assert tuple(REPORTS) == LOOP_REPORTS


def test_on_a_cycle(bench: Bench, cycle: Cycle, tmp_path: Path) -> None:
    for arguments in ([], [cycle.id], ["cycle"], ["cycle", cycle.id]):
        page = tmp_path / "misheard-report.html"
        done = report(bench, *arguments)
        assert done.exit_code == 0, done.output
        assert cycle.id in page.read_text(encoding="utf-8")
        page.unlink()
    done = report(bench, "cycle", cycle.id, "--json", "-o", "there.html")
    there = str((tmp_path / "there.html").resolve())
    assert json.loads(done.stdout) == {"cycle_id": cycle.id, "report": there}


def test_without_a_cycle_it_says_how_to_begin_one(bench: Bench) -> None:
    done = report(bench)
    assert done.exit_code == 2
    assert "misheard cycle begin" in done.output


@pytest.mark.parametrize("name", LOOP_REPORTS)
def test_on_the_loop(bench: Bench, tmp_path: Path, name: str) -> None:
    done = report(bench, name)
    assert done.exit_code == 0, done.output
    page = tmp_path / f"misheard-{name}.html"
    assert f"{name} report" in page.read_text(encoding="utf-8")
    page.unlink()
    done = report(bench, name, "--json")
    assert json.loads(done.stdout).keys() == REPORTS[name](bench.workspace).keys()
    assert "NaN" not in done.stdout
    assert not list(tmp_path.glob("*.html")), "a page only where one is asked for"
    assert report(bench, name, "--json", "--output", "page.html").exit_code == 0
    assert (tmp_path / "page.html").exists()


def test_on_a_validation(bench: Bench, tmp_path: Path) -> None:
    validation = bench.recorded("calls", calls())
    page = tmp_path / "misheard-verdict.html"
    for arguments in (["validation", validation.id], [validation.id], [validation.id, "--all"]):
        done = report(bench, *arguments)
        assert done.exit_code == 0, done.output
        again = f"misheard report {validation.id}{' --all' if '--all' in arguments else ''}</code>"
        assert again in page.read_text(encoding="utf-8")
        page.unlink()
    done = report(bench, validation.id, "--json", "-o", "there.html")
    there = str((tmp_path / "there.html").resolve())
    assert json.loads(done.stdout) == {"validation_id": validation.id, "report": there}
    assert Path(there).exists() and not page.exists()


@pytest.mark.parametrize("arguments", [("val-nowhere",), ("validation", "val-nowhere")])
def test_an_unknown_validation_is_refused(
    bench: Bench, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = report(bench, *arguments)
    assert done.exit_code == 2
    assert "There is no validation 'val-nowhere'" in done.output
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("arguments", [("validation",), ("cycle",), ()])
def test_all_is_for_one_validation(bench: Bench, arguments: tuple[str, ...]) -> None:
    done = report(bench, *arguments, "--all")
    assert done.exit_code == 2
    assert "misheard report val-" in done.output


@pytest.mark.parametrize(
    "arguments", [("deployment", "val-1"), ("validation", "cycle-1"), ("progress", "cycle-1")]
)
def test_what_makes_no_sense_is_refused(bench: Bench, arguments: tuple[str, str]) -> None:
    done = report(bench, *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.output
