"""`misheard regress` and `misheard suite`; what versions hear is remembered, so none is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, insert

from misheard import audio
from misheard.cli.group import cli
from misheard.cli.suite import sparkline
from misheard.database.engine import writing
from misheard.database.schema import hypotheses
from misheard.datasets.datasets import Dataset
from misheard.gates.suites import SuiteKind
from misheard.workspace import Workspace
from tests import tiny


class Bench:
    """A workspace with a live version that hears clips 0, 3, … wrong, and a candidate of ours."""

    def __init__(self, root: Path) -> None:
        self.workspace = tiny.make(root)
        self.live = self.workspace.deployments.live().version_id
        folder = tiny.model(root.parent / "second", tuned=True)
        made = self.workspace.registry.register(
            folder, version_id="v-second", name="tuned", source="x", actor="ann"
        )
        self.candidate = made.id

    def hears(self, version_id: str, dataset: Dataset, wrong: dict[int, str]) -> None:
        """What a version makes of a set: right but for the clips in `wrong`, by number."""
        rows = []
        for row in self.workspace.datasets.rows(dataset):
            data = self.workspace._blobs.get_bytes(row.audio_sha256)
            number = round(len(audio.decode(data).samples) / 160) - 10
            decoding = self.workspace.validations._hypotheses._decoding
            text = wrong.get(number, row.reference)
            heard = {"version_id": version_id, "audio_sha256": row.audio_sha256, "compute_s": 0.1}
            rows.append(heard | {"decoding": decoding, "text": text})
        with writing(self.workspace._engine) as connection:
            known = hypotheses.c.version_id == version_id
            for row in rows:
                same = hypotheses.c.audio_sha256 == row["audio_sha256"]
                connection.execute(delete(hypotheses).where(known, same))
            connection.execute(insert(hypotheses), rows)

    def suite(self, name: str, kind: SuiteKind, count: int = 9) -> Dataset:
        dataset = tiny.hold_out(self.workspace, f"suite {name}", count)
        self.workspace.suites.add(name, kind, dataset, description=f"{count} clips")
        return dataset

    def run(self, *arguments: str, width: int = 80) -> Result:
        command = ["-w", str(self.workspace.root), *arguments]
        return CliRunner().invoke(cli, command, env={"COLUMNS": str(width)})

    def ok(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "calls")


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """Two suites: the candidate fixes clips 0, 3 and 6 of one, and breaks 1 and 2 of both."""
    wide, pins = (
        bench.suite("wide", SuiteKind.BENCHMARK, 9),
        bench.suite("pins", SuiteKind.CRITICAL, 3),
    )
    bench.hears(bench.live, wide, {0: "press", 3: "press pound", 6: "press"})
    bench.hears(bench.candidate, wide, {1: "dress [one] now", 2: ""})
    assert pins.counts["test"] == 3
    return bench


def test_without_a_suite_it_says_which_command_adds_one(bench: Bench) -> None:
    done = bench.run("regress")
    assert done.exit_code == 2
    assert "misheard suite add NAME" in done.output
    bench.suite("pins", SuiteKind.CRITICAL)
    done = bench.run("regress", "--kind", "edge_case")
    assert done.exit_code == 2
    assert "Add one of the kind edge_case" in done.output


@pytest.mark.parametrize(
    "arguments",
    [("--suite", "nothing"), ("v-nothing",), ("--against", "v-nothing"), ("--kind", "nothing")],
)
def test_what_is_not_there_is_an_error(filled: Bench, arguments: tuple[str, ...]) -> None:
    done = filled.run("regress", *arguments)
    assert done.exit_code == 2
    assert "nothing" in done.output
    assert filled.workspace.suites.runs() == []


def test_the_newest_candidate_is_run_on_every_suite_against_what_is_live(filled: Bench) -> None:
    done = filled.run("regress", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["candidate_id"], found["baseline_id"]) == (filled.candidate, filled.live)
    assert found["passed"] is False
    wide, pins = found["suites"]
    assert (wide["suite"]["name"], pins["suite"]["name"]) == ("wide", "pins")
    assert [row["reference"] for row in pins["fixed"]] == ["press 0 now"]
    broken = {row["reference"]: row["candidate"] for row in wide["broken"]}
    assert broken == {"press 1 now": "dress [one] now", "press 2 now": ""}
    assert len(wide["fixed"]) == 3
    assert len(filled.workspace.suites.runs()) == 2


@pytest.mark.parametrize("width", [80, 120])
def test_people_see_each_suite_and_every_broken_clip_with_both_texts(
    filled: Bench, width: int
) -> None:
    done = filled.run("regress", width=width)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert f"{filled.candidate} against {filled.live}" in done.stdout
    wide = next(line for line in lines if "benchmark" in line)
    assert wide.split()[:3] == ["wide", "benchmark", "9"]
    assert wide.split()[-3:] == ["3", "2", "pass"] or wide.split()[-3:] == ["3", "2", "fail"]
    assert "pins fails" in done.stdout
    assert "said press 1 now" in done.stdout
    assert "is   dress [one] now" in done.stdout
    assert "is   nothing" in done.stdout
    # Both suites have the two clips; each is shown once.
    assert done.stdout.count("said press 1 now") == 1


def test_a_version_that_breaks_nothing_leaves_with_0(filled: Bench) -> None:
    dataset = filled.workspace.datasets.get(filled.workspace.suites.named("wide").dataset_id)
    filled.hears(filled.candidate, dataset, {})
    done = filled.run("regress", filled.candidate, "--against", filled.live)
    assert done.exit_code == 0, done.output
    assert "Broken" not in done.stdout
    assert "fail" not in done.stdout


def test_without_a_candidate_the_live_version_is_held_to_its_baselines(filled: Bench) -> None:
    filled.run("regress")
    found = filled.ok("regress", filled.live)
    assert (found["candidate_id"], found["baseline_id"]) == (filled.live, filled.live)
    assert found["passed"] is True


def test_suites_are_chosen_by_name_and_kind(filled: Bench) -> None:
    def names(*arguments: str) -> list[str]:
        done = filled.run("regress", filled.live, *arguments, "--json")
        found = json.loads(done.stdout.splitlines()[-1])
        return [one["suite"]["name"] for one in found["suites"]]

    assert names("--suite", "pins") == ["pins"]
    assert names("--suite", "pins", "--suite", "wide") == ["wide", "pins"]
    assert names("--kind", "benchmark") == ["wide"]
    assert names("--kind", "benchmark", "--kind", "critical") == ["wide", "pins"]


def test_a_baseline_that_is_far_behind_is_told_of_with_the_command_that_moves_it(
    filled: Bench,
) -> None:
    wide = filled.workspace.datasets.get(filled.workspace.suites.named("wide").dataset_id)
    filled.hears(filled.candidate, wide, {})
    assert filled.run("regress").exit_code == 0
    filled.workspace.deployments.deploy(filled.candidate, actor="ann", reason="better")
    done = filled.run("regress")
    assert f"{filled.candidate} is clearly better than what 'wide' is held to" in done.stdout
    assert 'misheard suite baseline wide --reason "…"' in done.stdout
    assert "suite baseline wide" in filled.run("suite", "list").stdout
    moved = filled.ok("suite", "baseline", "wide", "--reason", "better since May", "--as", "ann")
    assert (moved["from"]["version_id"], moved["to"]["version_id"]) == (
        filled.live,
        filled.candidate,
    )
    assert moved["to"]["wer"] == 0.0
    assert "suite baseline wide" not in filled.run("suite", "list").stdout
    entries = filled.ok("audit")
    found = next(one for one in entries if one["action"] == "baseline")
    assert (found["actor"], found["reason"]) == ("ann", "better since May")


def test_a_baseline_is_not_moved_without_a_reason_or_to_what_is_not_there(filled: Bench) -> None:
    for arguments, told in (
        (("wide",), "--reason"),
        (("wide", "--reason", " "), "only for a reason"),
        (("nothing", "--reason", "x"), "nothing"),
        (("wide", "--reason", "x", "--version", "v-nothing"), "v-nothing"),
    ):
        done = filled.run("suite", "baseline", *arguments)
        assert done.exit_code == 2
        assert told in done.output
    assert filled.workspace.suites.baselines.of(filled.workspace.suites.named("wide")) is None


def test_a_moved_baseline_is_shown_with_both_figures(filled: Bench) -> None:
    done = filled.run("suite", "baseline", "wide", "--reason", "x")
    assert done.exit_code == 0, done.output
    assert "from  nothing yet" in done.stdout
    done = filled.run("suite", "baseline", "wide", "--version", filled.candidate, "--reason", "x")
    assert f"is held to {filled.candidate} now" in done.stdout
    assert f"from  {filled.live}: WER" in done.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_has_baseline_newest_figure_and_trend(filled: Bench, width: int) -> None:
    assert "not run yet" in filled.run("suite", "list", width=width).stdout
    filled.run("regress")
    filled.run("regress", filled.live)
    done = filled.run("suite", "list", width=width)
    assert max(map(len, done.stdout.splitlines())) <= width
    line = next(line for line in done.stdout.splitlines() if "wide" in line)
    assert "16.67%" not in line
    assert line.count("%") == 2
    assert any(bar in line for bar in "▁▂▃▄▅▆▇█")
    assert ("9 clips" in line) is (width == 120)
    (found, _) = filled.ok("suite", "list")
    assert found["baseline"]["version_id"] == filled.live
    assert found["newest_run"]["candidate_id"] == filled.live


@pytest.mark.parametrize("width", [80, 120])
def test_the_history_of_a_suite_shows_runs_trend_and_flaky_clips(filled: Bench, width: int) -> None:
    wide = filled.workspace.datasets.get(filled.workspace.suites.named("wide").dataset_id)
    filled.run("regress", "--suite", "wide")
    filled.hears(filled.candidate, wide, {8: "dress"})
    filled.run("regress", "--suite", "wide")
    done = filled.run("suite", "history", "wide", width=width)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= width
    assert filled.candidate in done.stdout
    assert filled.live in done.stdout
    assert "+3 −2" in done.stdout
    assert "+3 −1" in done.stdout
    assert "flaky: " in done.stdout
    assert "WER, oldest to newest" in done.stdout
    found = filled.ok("suite", "history", "wide", "--limit", "1")
    assert [one["broken"] for one in found["runs"]] == [1]
    # Clips 1, 2 and 8 went from one result to another under the same version.
    assert len(found["flaky"]) == 3
    marked = [one for one in filled.ok("suite", "cases", "wide") if one["is_flaky"]]
    assert sorted(one["row"]["audio_sha256"] for one in marked) == found["flaky"]
    assert "flaky" in filled.run("suite", "cases", "wide").stdout
    assert "flaky" in filled.run("regress", "--suite", "wide").stdout


def test_the_history_of_a_clip_shows_what_each_run_heard(filled: Bench) -> None:
    filled.run("regress", "--suite", "wide")
    found = filled.ok("regress", filled.live, "--suite", "wide")
    assert found["passed"]
    rows = filled.workspace.suites.runs()[1].comparison.changed
    key = next(row["audio_sha256"] for row in rows if row["reference"] == "press 1 now")
    newest, oldest = filled.ok("suite", "history", "wide", "--case", key[:16])
    assert (newest["candidate_id"], newest["candidate_errors"]) == (filled.live, 0)
    assert (oldest["candidate_id"], oldest["candidate_text"]) == (
        filled.candidate,
        "dress [one] now",
    )
    shown = filled.run("suite", "history", "wide", "--case", key[:16])
    assert f"{key[:12]}: “press 1 now”, 3 words" in shown.stdout
    assert "dress [one] now" in shown.stdout
    nobody = filled.run("suite", "history", "wide", "--case", "zz")
    assert nobody.exit_code == 2
    assert "misheard suite cases wide" in nobody.output


@pytest.mark.parametrize("width", [80, 120])
def test_cases_are_listed_with_who_said_so_and_what_was_heard(bench: Bench, width: int) -> None:
    heard = tiny.heard(bench.workspace, 12)
    tiny.correct(bench.workspace, heard, words="please [hold]")
    workspace: Workspace = bench.workspace
    cycle = tiny.begin_with_model(workspace, workspace.root.parent / "tuned")
    tiny.hold_out(workspace, "held-out", 4)
    built = workspace.cycles._stages._built()
    workspace.suites.keep_corrections(workspace.cycles._stages._kept(cycle, built))
    found = bench.ok("suite", "cases", "corrections")
    assert found
    for one in found:
        assert one["case"]["author"] == "ann"
        assert one["case"]["heard"] == "press pound"
        assert one["case"]["heard_by"] == bench.live
        assert one["case"]["inference_id"] in {each.id for each in heard}
    done = bench.run("suite", "cases", "corrections", width=width)
    assert max(map(len, done.stdout.splitlines())) <= width
    assert "please [hold]" in done.stdout
    assert "press pound" in done.stdout
    assert "ann, 20" in done.stdout


def test_utterances_that_came_with_the_suite_say_so(filled: Bench) -> None:
    assert all(one["case"] is None for one in filled.ok("suite", "cases", "pins"))
    assert filled.run("suite", "cases", "pins").stdout.count("given with the suite") == 3
    assert filled.run("suite", "cases", "nothing").exit_code == 2


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([0.0], "▁"),
        ([0.0, 0.0], "▁▁"),
        ([0.1], "█"),
        ([0.0, 0.05, 0.1], "▁▅█"),
        ([0.1, float("nan"), 0.1], "█ █"),
    ],
)
def test_a_trend_is_drawn_from_zero(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn
