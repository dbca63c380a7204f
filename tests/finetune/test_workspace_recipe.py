"""What `misheard.toml` says of the recipe is what its jobs are trained with."""

from __future__ import annotations

from pathlib import Path

from misheard.cases.records import Correction
from misheard.datasets.samples import Sample
from misheard.finetune.jobs import JobState
from misheard.finetune.order import Order
from misheard.finetune.recipe import Recipe
from misheard.settings import FILE_NAME
from misheard.workspace import Workspace
from tests.conftest import Prompt

SETTINGS = {
    "backend": "inprocess",
    "triggers": {"min_error_cases": 1, "min_corrected_cases": 1},
    "datasets": {"train_percent": 100, "validation_percent": 0, "test_percent": 0},
}
IN_THE_FILE = """
[recipe]
epochs = 1
batch_size = 3
learning_rate = 1e-3
sweep = false
precision = "float32"
threads = 1
joined_share = 0
"""


def test_the_recipe_of_the_file_is_the_recipe_of_the_job(
    tmp_path: Path, tiny_base: Path, short_prompts: list[Prompt]
) -> None:
    Workspace.create(tmp_path / "ws", model=str(tiny_base), settings=SETTINGS, actor="ann")
    with (tmp_path / "ws" / FILE_NAME).open("a", encoding="utf-8") as file:
        file.write(IN_THE_FILE)
    workspace = Workspace.open(tmp_path / "ws")
    training, test = short_prompts[:6], short_prompts[40:42]
    heard = workspace.transcribe([Sample(data=p.data, reference=p.reference) for p in training])
    workspace.cases.correct(
        [
            Correction(inference_id=one.id, reference=prompt.reference, author="ann")
            for one, prompt in zip(heard, training, strict=True)
        ]
    )
    held_out = workspace.datasets.add_evaluation(
        "held-out", [Sample(data=p.data, reference=p.reference) for p in test]
    )
    begun = workspace.cycles.begin(actor="ann", force=True, held_out_id=held_out.id)
    assert begun is not None
    ended = workspace.cycles.run(begun.id)
    job = workspace.jobs.get(str(ended.job_id))
    assert job.state is JobState.COMPLETED, job.error
    wanted = Recipe(
        epochs=1,
        batch_size=3,
        learning_rate=1e-3,
        sweep=False,
        precision="float32",
        threads=1,
        joined_share=0,
    )
    # Kept with the job, told to the training program, and done.
    assert job.recipe == wanted
    assert Order.read(workspace.jobs.paths(job.id).order).recipe == wanted
    assert job.result is not None
    assert (job.result["precision"], job.result["sweep"]) == ("float32", [])
    steps = {event.steps for event in workspace.jobs.events(job.id) if event.phase == "train"}
    assert steps == {-(-job.result["shown_an_epoch"] // 3)}
