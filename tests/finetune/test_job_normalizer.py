"""What a job is told of how its transcripts are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from misheard.errors import InvalidSettingError, UnknownIdError
from misheard.finetune.jobs import Jobs
from misheard.finetune.order import Order
from misheard.finetune.recipe import Recipe
from misheard.scoring.normalize import Normalizer, normalizer
from misheard.speech.decoding import DecodingOptions
from tests.conftest import Studio
from tests.finetune.conftest import Waiting

EQUIVALENTS = [["pbx", "P.B.X."], ["voicemail", "vm"]]


def jobs(studio: Studio, root: Path, made: Normalizer) -> Jobs:
    return Jobs(
        studio.engine,
        studio.datasets,
        studio.registry,
        Waiting(),
        root,
        normalizer=made,
        decoding=DecodingOptions(),
    )


def test_a_job_compares_as_the_workspace_does(studio: Studio, tmp_path: Path) -> None:
    ours = normalizer("whisper-english", EQUIVALENTS)
    room = jobs(studio, tmp_path, ours)
    room.submit("job-same-words", studio.base.id, studio.dataset, Recipe(epochs=1))
    order = Order.read(room.paths("job-same-words").order)
    theirs = normalizer(order.normalizer, order.equivalents)
    assert theirs == ours
    assert theirs("the P.B.X. has a VM") == "the pbx has a voicemail"


def test_a_function_that_the_training_process_cannot_import_starts_no_job(
    studio: Studio, tmp_path: Path
) -> None:
    room = jobs(studio, tmp_path, normalizer(lambda text: text.upper()))
    with pytest.raises(InvalidSettingError, match="cannot be handed to the training process"):
        room.submit("job-lambda", studio.base.id, studio.dataset, Recipe(epochs=1))
    with pytest.raises(UnknownIdError):
        room.get("job-lambda")
    assert list(tmp_path.iterdir()) == []
