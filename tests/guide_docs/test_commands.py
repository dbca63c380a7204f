"""Every command in the docs can be typed, and `print_status` fits a terminal."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from misheard.cli.group import VERBS, cli
from misheard.workspace import Workspace
from tests.guide_docs.conftest import ROOT
from tests.guide_docs.gcloud import require_gcloud
from tests.tiny import model

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
_BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`((?:misheard|python|make|\.venv/bin/\S+) [^`\n]+)`")
_HELPED: dict[tuple[str, ...], str] = {}


def commands() -> list[tuple[str, str]]:
    """Page and command, each once."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = "\n".join(_BLOCK.findall(text)).replace("\\\n", " ")
        lines = [line.split(" #")[0].strip() for line in blocks.splitlines()]
        told = [line for line in lines if line and not line.startswith("#")]
        inline = _INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        found += [(str(page.relative_to(ROOT)), line) for line in dict.fromkeys([*told, *inline])]
    return found


def help_of(*words: str) -> str:
    """What `misheard WORDS --help` prints."""
    if words not in _HELPED:
        done = CliRunner().invoke(cli, [*words, "--help"])
        assert done.exit_code == 0, done.output
        _HELPED[words] = done.output
    return _HELPED[words]


def check_misheard(words: list[str]) -> None:
    if words[:1] == ["-w"]:
        words = words[2:]
    options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    path: list[str] = []
    for word in words:
        listed = help_of(*path)
        if word.startswith("-") or not re.search(rf"^  {re.escape(word)}\s", listed, re.MULTILINE):
            break
        path.append(word)
    assert path or options, words
    if path:
        assert path[0] in VERBS
    else:
        assert words[0].startswith("-"), words
    # A group wants to be told which of its commands is meant.
    assert "COMMAND [ARGS]" not in help_of(*path) or not path or options
    for option in options:
        assert re.search(rf"{re.escape(option)}\b", help_of(*path)), option


def check_python(words: list[str]) -> None:
    if words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]), words
        return
    helped = help_of_script(ROOT / words[0])
    for option in [word for word in words[1:] if word.startswith("--")]:
        assert option in helped


@cache
def help_of_script(script: Path) -> str:
    """What `python SCRIPT --help` prints."""
    assert script.exists(), script
    helped = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    return helped.stdout


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in [word for word in words if "=" not in word]:
        assert target in targets


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value[:60])
def test_a_command_in_the_docs_can_be_typed(page: str, line: str) -> None:
    program, *words = shlex.split(line)
    match Path(program).name:
        case "misheard":
            check_misheard(words)
        case "python":
            check_python(words)
        case "make":
            check_make(words)
        case "pytest" | "ruff" | "mypy":
            assert importlib.util.find_spec(Path(program).name)
        case "gcloud":
            require_gcloud(words)
        case "aws":
            assert page == "docs/storage.md"
        case "export":
            # tests/guide_docs/test_gcp_guide.py looks at them.
            assert page == "docs/GCP_SETUP_GUIDE.md"
        case "createdb" | "pg_dump" | "pg_restore":
            # PostgreSQL's own; tests/database/test_on_postgresql.py runs the last two.
            assert page == "docs/database.md"
        case "curl":
            # tests/server/test_snippets.py runs them.
            assert page == "docs/serving.md"
        case _:
            assert program in (".", "pip"), f"{page}: {line}"


def test_an_option_or_a_command_that_is_not_there_is_noticed() -> None:
    check_misheard(shlex.split("-w calls cycle approve cycle-1 --as ada"))
    for line in ("-w calls celebrate", "status --loudly", "cycle approve cycle-1 --twice"):
        with pytest.raises(AssertionError):
            check_misheard(shlex.split(line))


SHOW = """
import sys
sys.path.insert(0, sys.argv[1])
from src.data.data_manager import DataManager
from src.data.finetuning_coordinator import FinetuningCoordinator
coordinator = FinetuningCoordinator(data_manager=DataManager(sys.argv[2], use_gcs=False))
coordinator.print_status()
coordinator.deployer.print_status()
"""


def in_a_terminal(columns: int, *arguments: str) -> str:
    """What a Python program shows in a terminal of that width, without its colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=slave, stdout=slave, stderr=slave, env=env
    ) as child:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # what Linux says at the end of a terminal
                break
            if not part:
                break
            shown += part
    os.close(master)
    assert child.returncode == 0, shown.decode()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace in which a job waits for a person, and the job."""
    folder = tmp_path_factory.mktemp("waiting")
    workspace = Workspace.create(
        folder / "data",
        model=str(model(folder / "first")),
        settings={"triggers": {"require_approval": True}},
    )
    cycle = workspace.cycles.begin(actor="ann", force=True)
    assert cycle is not None
    return folder / "data", cycle.id


@pytest.mark.parametrize("columns", [80, 120])
def test_print_status_fits_a_terminal(columns: int, waiting: tuple[Path, str]) -> None:
    directory, job_id = waiting
    shown = in_a_terminal(columns, "-c", SHOW, str(ROOT), str(directory))
    lines = shown.splitlines()
    # What is to be copied is whole, and the last line is left to the terminal to wrap.
    assert f"misheard cycle approve {job_id}" in shown
    (tail,) = (line for line in lines if line.startswith("Next:"))
    assert job_id in tail
    assert max(len(line) for line in lines if line != tail) <= columns
    for said in ("Live", "Worth training? not yet", "Waiting", "a person", "Model versions"):
        assert said in shown
    # No column is squeezed until its words break.
    assert "corrected" in shown
    assert "error cases" in shown
