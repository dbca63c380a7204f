"""A job writes only into its own directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from misheard.finetune.backends.backend import RunState
from misheard.finetune.backends.local import LocalBackend
from misheard.finetune.paths import JobPaths
from tests.finetune.conftest import Workshop, processes_of, quick, wait_until

LEFT = {
    "base",
    "curve.json",
    "data",
    "events.jsonl",
    "general",
    "lock",
    "model",
    "order.json",
    "process",
    "result.json",
    "train.log",
    "trained.json",
}
"""What a finished job keeps."""


def written_by(pid: int) -> set[str]:
    """The files that a process has open for writing at this moment."""
    found = set()
    for number in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            told = (number.parent.parent / "fdinfo" / number.name).read_text(encoding="utf-8")
            name = str(number.readlink())
        except OSError:
            continue  # closed by now
        flags = int(told.split("flags:")[1].split()[0], 8)
        if flags & (os.O_WRONLY | os.O_RDWR) and name.startswith("/"):
            found.add(name)
    return found


def is_harmless(name: str) -> bool:
    """Memory and devices, which no disk ever sees."""
    return name.startswith(("/dev/", "/memfd:", "/proc/"))


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_appears_anywhere_else(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    places = {"HOME": "home", "TMPDIR": "tmp", "TEMP": "tmp", "TMP": "tmp"}
    for variable, folder in places.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setenv(variable, str(tmp_path / folder))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    backend = LocalBackend()
    jobs = workshop.jobs(backend)
    job_id = f"job-tidy-{processes}"
    recipe = quick(epochs=2, batch_size=2, processes=processes, sweep=True)
    general = workshop.general()
    jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe, general=general)
    paths, elsewhere = jobs.paths(job_id), set()

    def look() -> bool:
        for pid in processes_of(paths):
            elsewhere.update(
                name
                for name in written_by(pid)
                if not is_harmless(name) and not Path(name).is_relative_to(paths.root)
            )
        elsewhere.update(str(path) for path in tmp_path.rglob("*") if not path.is_dir())
        elsewhere.update(str(path) for folder in tmp_path.iterdir() for path in folder.iterdir())
        return backend.state(paths) is not RunState.RUNNING and not processes_of(paths)

    wait_until(look)
    jobs.wait(job_id)
    assert elsewhere == set()
    assert {path.name for path in paths.root.iterdir()} == LEFT


def test_every_file_that_a_job_keeps_is_a_property_of_its_paths() -> None:
    root = Path("/jobs/job-1")
    named = {
        getattr(JobPaths(root), name).relative_to(root).parts[0]
        for name, value in vars(JobPaths).items()
        if isinstance(value, property)
    }
    assert named > LEFT
