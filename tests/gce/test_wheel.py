"""The wheel that a rented machine installs is the misheard that runs here."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import misheard
from misheard.finetune.rented.wheel import build_wheel

VERSION = metadata.version("misheard")
PACKAGE = Path(misheard.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By pip, which checks every file against the record."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    quiet = ["--disable-pip-version-check", "--no-compile", "--target", str(target)]
    subprocess.run([*pip, *quiet, str(wheel)], check=True, timeout=600)
    return target


def run(installed: Path, *arguments: str) -> str:
    """With what was installed and not with the checkout, whose libraries it uses."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=installed,
        timeout=600,
    )
    return done.stdout


def test_the_same_files_give_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = build_wheel(tmp_path)
    assert again.name == wheel.name == f"misheard-{VERSION}-py3-none-any.whl"
    assert again.read_bytes() == wheel.read_bytes()
    assert list(tmp_path.iterdir()) == [again]


def test_every_file_of_the_package_is_in_it_and_no_leftover(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("misheard/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("misheard/")
        }
    there = {
        path.relative_to(PACKAGE).as_posix(): path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there
    assert {"py.typed", "demo/phone_prompts.zip", "scoring/english.toml"} <= packed.keys()
    assert b"" in packed.values(), "an empty file stays empty"


def test_pip_installs_it_and_the_program_of_a_machine_runs_from_it(installed: Path) -> None:
    where = run(installed, "-c", "import misheard; print(misheard.__file__)").strip()
    assert Path(where).is_relative_to(installed)
    told = run(installed, "-m", "misheard.finetune.rented.program", "--help")
    assert "manifest" in told
    assert "--attempt" in told


def test_the_command_line_runs_from_it_with_its_version(installed: Path) -> None:
    start = (
        "import sys; from misheard.cli import main; sys.argv = ['misheard', '--version']; main()"
    )
    assert VERSION in run(installed, "-c", start)


def test_it_says_what_it_needs_and_which_command_it_brings(installed: Path) -> None:
    [made] = metadata.distributions(name="misheard", path=[str(installed)])
    known = metadata.distribution("misheard")
    assert made.requires == known.requires
    assert [entry.value for entry in made.entry_points] == ["misheard.cli:main"]
    licences = {path.name for path in made.files or () if "licenses" in path.parts}
    assert licences == {"LICENSE", "PHONE_PROMPTS_LICENSE.txt"}
