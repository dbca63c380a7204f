from __future__ import annotations

from pathlib import Path

import pytest

from misheard.speech.context import Context, ModelCard
from misheard.speech.convert import to_ctranslate2
from tests.tiny_speech import multilingual_whisper


@pytest.fixture(scope="session")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of many languages as it is served, random, with windows sized to the clip."""
    folder = tmp_path_factory.mktemp("multilingual")
    made = multilingual_whisper(folder / "made", ["please enter the extension"])
    to_ctranslate2(made, folder / "served")
    context = Context(margin_s=1.0, round_to=64)
    ModelCard(base="-", dataset_id="-", recipe_id="-", context=context).write(folder / "served")
    return folder / "served"
