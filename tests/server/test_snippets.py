"""What docs/serving.md says to type does what it says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import make_wav
from tests.server.site import Site

PAGE = Path(__file__).parents[2] / "docs/serving.md"
ADDRESS = "http://127.0.0.1:8000"


def snippets(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "call.wav").write_bytes(make_wav(seconds=0.3))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_curl_hears_and_corrects(lettered: Site, folder: Path) -> None:
    lines = snippets("bash")[0].replace("\\\n", " ").splitlines()
    hearing, correcting = [line for line in lines if line.startswith("curl")]

    def typed(line: str) -> dict[str, object]:
        words = shlex.split(line.replace(ADDRESS, lettered.url))
        done = subprocess.run([words[0], "-s", *words[1:]], capture_output=True, check=True)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    heard = typed(hearing)
    assert heard.keys() == {"text", "usage", "id"}
    given = typed(correcting.replace("inf-…", str(heard["id"])))
    assert given["wrong"] is True
    assert lettered.workspace.cases.get(str(heard["id"])).reference == "Press nine for sales."


def test_openais_client_hears(lettered: Site, folder: Path) -> None:
    (snippet,) = snippets("python")
    names: dict[str, object] = {}
    exec(
        compile(snippet.replace(ADDRESS, lettered.url).replace("mh_…", "mh_x"), PAGE.name, "exec"),
        names,
    )
    assert names["heard"].text == "AAAAAAAA"  # type: ignore[attr-defined]
