"""`misheard score`: files of other tools in, figures out, no workspace."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from misheard.cli.group import cli
from misheard.scoring.normalize import normalizer
from tests.scoring import sctk
from tests.scoring.sctk import ask, needs_sctk

REAL = Path(__file__).parents[2] / "benchmarks" / "data" / "phone_transcripts.jsonl"
TEXTS = ("reference", "baseline", "candidate")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, which is no workspace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MISHEARD_WORKSPACE", raising=False)
    return tmp_path


def score(*arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["score", *map(str, arguments)], input=given)


def figures(*arguments: object, given: str | None = None) -> dict[str, Any]:
    done = score(*arguments, "--json", given=given)
    assert done.exit_code == 0, done.output
    card: dict[str, Any] = json.loads(done.stdout)
    return card


def real_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in REAL.read_text(encoding="utf-8").splitlines()]


def test_two_text_files_are_scored_without_a_workspace(here: Path) -> None:
    (here / "r.txt").write_text("Press ONE.\n\nthe caller was\nplease hold\n")
    (here / "h.txt").write_text("press 1\nthanks\nthe color was\nhold\n")
    card = figures("r.txt", "h.txt")
    assert (card["utterances"], card["words"], card["groups"]) == (4, 7, 4)
    assert card["normalizer"] == "whisper-english"
    (system,) = card["systems"]
    assert system["wer"] == pytest.approx(3 / 7)
    assert (system["substitutions"], system["deletions"], system["insertions"]) == (1, 1, 1)
    assert system["hits"] == 5
    assert system["mer"] == pytest.approx(3 / 8)
    assert system["wil"] == pytest.approx(1 - 5 / 7 * 5 / 7)
    assert (system["silent_utterances"], system["hallucination_rate"]) == (1, 1.0)
    assert system["errors_by_type"]["formatting_only"] == 1
    assert system["wer_interval"][0] <= system["wer"] <= system["wer_interval"][1]
    assert card["versus"] is None
    assert not list(here.glob("misheard*"))


def test_people_get_the_same_figures_as_a_table(here: Path) -> None:
    (here / "r.txt").write_text("Press ONE.\n\nthe caller was\nplease hold\n")
    (here / "h.txt").write_text("press 1\nthanks\nthe color was\nhold\n")
    shown = score("r.txt", "h.txt", "--lines").output
    for pattern in (
        r"4 utterances in 4 groups, 7 words; normaliser whisper-english",
        r"WER +42\.86%",
        r"95 % interval +\d+\.\d\d% to \d+\.\d\d%",
        r"substitutions +1\n",
        r"hallucinated +100\.00% of 1 silent",
        r"utterances with errors +3 \(75\.00%\)",
        r"differ in formatting only +1\n",
        r"caller → color +1 +please +1 +thanks +1",
        r"spoken +the caller was\n +heard +the color +was\n +S\n",
        r"spoken +please hold\n +heard +\*{6} hold\n +D\n",
        r"spoken +\*{6}\n +heard +thanks\n +I\n",
    ):
        assert re.search(pattern, re.sub(r" +\n", "\n", shown)), (pattern, shown)


def test_one_file_serves_all_sides_by_its_keys() -> None:
    card = figures(REAL, REAL, REAL, "--keys", "reference,baseline,candidate")
    assert [one["name"] for one in card["systems"]] == ["baseline", "candidate"]
    versus = card["versus"]
    before, after = (one["wer"] for one in card["systems"])
    assert versus["reduction"] == pytest.approx(before - after)
    assert versus["interval"][0] < versus["reduction"] < versus["interval"][1]
    assert (
        versus["permutation"]["groups"] == card["groups"] == len({r["group"] for r in real_rows()})
    )
    assert 0 < versus["permutation"]["p_value"] < 0.05
    assert versus["verdict"] == "better"
    assert versus["fixed"] > versus["broken"] > 0


def test_systems_the_other_way_round_give_the_opposite_verdict() -> None:
    there = figures(REAL, REAL, REAL, "--keys", "reference,baseline,candidate")["versus"]
    back = figures(REAL, REAL, REAL, "--keys", "reference,candidate,baseline")["versus"]
    assert (there["verdict"], back["verdict"]) == ("better", "worse")
    assert back["permutation"]["p_value"] == there["permutation"]["p_value"]
    assert back["reduction"] == pytest.approx(-there["reduction"])
    assert (back["fixed"], back["broken"]) == (there["broken"], there["fixed"])


@pytest.mark.parametrize("columns", [80, 120])
def test_the_page_fits_into_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import misheard.cli; misheard.cli.main()"
    arguments = ["score", *[str(REAL)] * 3, "--keys", "reference,baseline,candidate", "--lines"]
    monkeypatch.setenv("COLUMNS", str(columns))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert "candidate makes fewer errors than baseline." in done.stdout
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= columns
    assert done.stderr == ""


def test_errors_says_how_many_words_and_lines_are_shown() -> None:
    arguments = (REAL, REAL, "--keys", "reference,baseline")
    card = figures(*arguments, "--errors", 3, "--lines")
    errors = card["systems"][0]["errors_by_type"]
    assert [len(errors[kind]) for kind in ("substituted", "deleted", "inserted")] == [3, 3, 3]
    assert len(card["lines"]) == 3
    made = [
        sum(step["kind"] != "equal" for step in line["systems"][REAL.name])
        for line in card["lines"]
    ]
    assert made == sorted(made, reverse=True)
    whole = figures(*arguments, "--errors", 0)
    assert whole["systems"][0]["wer"] == card["systems"][0]["wer"]
    assert whole["systems"][0]["errors_by_type"]["substituted"] == whole["lines"] == []


@needs_sctk
def test_on_the_same_trn_files_the_figures_are_those_of_sctk(here: Path) -> None:
    plain, rows = normalizer("basic"), real_rows()
    said = ask(here, *([plain(row[key]) for row in rows] for key in TEXTS))
    card = figures("ref.trn", "baseline", "candidate", "--format", "trn", "--normalizer", "none")
    assert card["words"] == said.words
    for system, errors in zip(card["systems"], said.errors, strict=True):
        assert system["wer"] == errors / said.words
    found = card["versus"]["mapsswe"]
    assert found["segments"] == said.segments
    assert f"{found['z']:.3f}" == said.z
    assert card["versus"]["verdict"] == "better"


TIMED = """\
call 1 ann 0.00 2.00 <o,f0> hello there you
call 1 ann 2.00 3.00 <o,f0> IGNORE_TIME_SEGMENT_IN_SCORING
call 1 bob 4.00 6.00 <o,f0> good morning
call 1 bob 6.00 7.00 <o,f0>
"""
WORDS = [(0.1, "hello"), (0.5, "there"), (1.8, "you"), (2.3, "noise"), (3.2, "gap")]
WORDS += [(4.1, "good"), (5.8, "morning"), (7.5, "late")]


@needs_sctk
def test_words_with_times_are_dealt_out_as_sclite_does(here: Path) -> None:
    (here / "r.stm").write_text(TIMED)
    (here / "h.ctm").write_text("".join(f"call 1 {at} 0.5 {word}\n" for at, word in WORDS))
    said = sctk._run(
        here, "sclite", "-r", "r.stm", "stm", "-h", "h.ctm", "ctm", "-o", "pralign", "stdout"
    )
    theirs = re.findall(r"Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", said)
    sums = [sum(column) for column in zip(*(map(int, row) for row in theirs), strict=True)]
    (ours,) = figures("r.stm", "h.ctm", "--normalizer", "none")["systems"]
    kinds = ("hits", "substitutions", "deletions", "insertions")
    assert [ours[kind] for kind in kinds] == sums


def test_a_hypothesis_that_is_missing_counts_as_deleted_and_is_told(here: Path) -> None:
    (here / "r.trn").write_text("one two (a-1)\n{ uh / um } three (b-1)\n")
    (here / "h.trn").write_text("uh three (b-1)\nfour (c-1)\n")
    done = score("r.trn", "h.trn", "--json", "--normalizer", "none")
    card = json.loads(done.stdout)
    assert card["systems"][0]["deletions"] == 2
    assert card["systems"][0]["wer"] == 0.5
    assert len(card["notes"]) == 3
    for number, part in enumerate(("1 of 2 utterances are missing", "1 in h.trn", "alternatives")):
        assert part in card["notes"][number]
        assert f"warning: {card['notes'][number]}" in done.stderr


def test_one_group_gives_no_test_and_says_what_to_do(here: Path) -> None:
    (here / "r.trn").write_text("one two (utt-1)\nthree (utt-2)\n")
    (here / "h.trn").write_text("one (utt-1)\nthree (utt-2)\n")
    assert "--group-by utterance" in score("r.trn", "h.trn").stderr
    done = score("r.trn", "h.trn", "--group-by", "utterance")
    assert done.stderr == ""
    assert "2 utterances in 2 groups" in done.output


def test_groups_are_those_of_the_key_that_is_asked_for(here: Path) -> None:
    rows = [{"text": "a", "pred_text": "a", "call": str(n % 2), "menu": n} for n in range(6)]
    (here / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert figures("a.jsonl", "a.jsonl")["groups"] == 2
    assert figures("a.jsonl", "a.jsonl", "--group-by", "menu")["groups"] == 6
    assert "no 'shift' to group by" in score("a.jsonl", "a.jsonl", "--group-by", "shift").output


def test_formats_are_named_once_or_for_each_file(here: Path) -> None:
    (here / "text").write_text("a-1 hold on\nb-1 thanks\n")
    (here / "hyp").write_text("b-1 thanks\na-1 hold\n")
    (here / "h.lines").write_text("hold\nthanks\n")
    assert figures("text", "hyp", "--format", "kaldi")["systems"][0]["deletions"] == 1
    card = figures("text", "hyp", "h.lines", "--format", "kaldi,kaldi,text")
    assert [one["deletions"] for one in card["systems"]] == [1, 1]
    assert card["groups"] == 2
    done = score("text", "hyp", "--format", "kaldi,kaldi,text")
    assert (done.exit_code, "names 3 for 2 files" in done.output) == (2, True)


def test_a_side_may_come_from_the_standard_input(here: Path) -> None:
    (here / "r.txt").write_text("hold on\nthanks\n")
    assert figures("r.txt", "-", given="hold\nthanks\n")["systems"][0]["deletions"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.toml", 'equivalents = [["pbx", "switchboard"]]\n'),
        ("misheard.toml", '[scoring]\nequivalents = [["pbx", "switchboard"]]\n'),
        ("own.json", '[["pbx", "switchboard"]]'),
        ("own.json", '{"equivalents": [["pbx", "switchboard"]]}'),
    ],
)
def test_equivalents_come_from_files_and_stand_in_the_name(
    here: Path, name: str, text: str
) -> None:
    (here / "r.txt").write_text("the switchboard\n")
    (here / "h.txt").write_text("the PBX\n")
    (here / name).write_text(text)
    (here / "more.toml").write_text('equivalents = [["the", "da"]]\n')
    assert figures("r.txt", "h.txt")["systems"][0]["wer"] == 0.5
    card = figures("r.txt", "h.txt", "--equivalents", name, "--equivalents", "more.toml")
    assert card["systems"][0]["wer"] == 0.0
    assert re.fullmatch(r"whisper-english\+[0-9a-f]{8}", card["normalizer"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "equivalents = [[", "not valid TOML or JSON"),
        ("a.json", "{", "not valid TOML or JSON"),
        ("a.json", b"\xff", "not valid TOML or JSON"),
        ("a.toml", "groups = []\n", "has no equivalents: write equivalents ="),
        ("a.json", "3", "scoring.equivalents = 3"),
        ("a.json", '[["pbx"]]', "scoring.equivalents.0"),
        ("a.json", '[["a", "b"], ["c", "b"]]', "'b' stands in two groups"),
        (".", None, "cannot be read: Is a directory"),
        ("no.toml", None, "cannot be read: No such file"),
    ],
)
def test_a_bad_table_of_equivalents_says_what_is_wrong(
    here: Path, name: str, text: str | bytes | None, message: str
) -> None:
    if text is not None:
        (here / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (here / "r.txt").write_text("one\n")
    done = score("r.txt", "r.txt", "--equivalents", name)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_normaliser_that_strips_letters_is_a_line_on_standard_error(here: Path) -> None:
    (here / "r.txt").write_text("हिन्दी में\nமொழி\n", encoding="utf-8")
    program = [sys.executable, "-c", "import misheard.cli; misheard.cli.main()", "score"]
    done = subprocess.run(
        [*program, "r.txt", "r.txt", "--normalizer", "basic", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert [line.startswith("warning: The normaliser 'basic'") for line in lines] == [True, True]
    assert "'हिन्दी'" in lines[0]
    assert "Tamil" in lines[1]
    assert json.loads(done.stdout)["words"] > 3
    done = subprocess.run(
        [*program, "r.txt", "r.txt", "--normalizer", "unicode", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["words"] == 3


def test_a_normaliser_of_ones_own_is_imported(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "loud_words.py").write_text("def loud(text):\n    return text.upper()\n")
    monkeypatch.syspath_prepend(here)
    (here / "r.txt").write_text("one\n")
    (here / "h.txt").write_text("ONE\n")
    card = figures("r.txt", "h.txt", "--normalizer", "loud_words:loud")
    assert (card["normalizer"], card["systems"][0]["wer"]) == ("loud_words:loud", 0.0)


def test_words_look_like_no_markup_and_wide_letters_stay_above_each_other(here: Path) -> None:
    (here / "r.txt").write_text("[red] 你好 world\n", encoding="utf-8")
    (here / "h.txt").write_text("[blue] hi world\n", encoding="utf-8")
    shown = score("r.txt", "h.txt", "--normalizer", "none", "--lines").output
    assert "[red] → [blue]" in shown
    assert "  spoken  [red]  你好 world\n  heard   [blue] hi   world\n" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r.txt"], "Missing argument"),
        (["r.txt", "r.txt", "r.txt", "r.txt"], "At most two"),
        (["r.txt", "no.txt"], "There is no file 'no.txt'"),
        (["r.txt", "two.txt"], "has 1 utterances and 'two.txt' has 2"),
        (["r.txt", "r.txt", "--normalizer", "french"], "no normaliser 'french'"),
        (["r.txt", "r.txt", "--format", "srt"], "no format 'srt'"),
        (["r.txt", "r.txt", "--keys", "text"], "has no key 'text'"),
        (["r.txt", "r.txt", "--errors", "-1"], "--errors"),
        (["-", "-"], "only once"),
    ],
)
def test_bad_input_leaves_with_2_and_says_why(
    here: Path, arguments: list[str], message: str
) -> None:
    (here / "r.txt").write_text("one\n")
    (here / "two.txt").write_text("one\ntwo\n")
    done = score(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_silence_alone_has_no_rate_and_breaks_nothing(here: Path) -> None:
    (here / "r.txt").write_text("\n\n")
    (here / "h.txt").write_text("thanks\n\n")
    card = figures("r.txt", "h.txt", "r.txt")
    assert [one["wer"] for one in card["systems"]] == [None, None]
    assert [one["hallucination_rate"] for one in card["systems"]] == [0.5, 0.0]
    shown = score("r.txt", "h.txt", "r.txt").output
    assert "nan" not in shown
