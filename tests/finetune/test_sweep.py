"""Which mean of old and new weights is shipped."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from misheard.finetune.backends.inprocess import InProcessBackend
from misheard.finetune.jobs import Job
from misheard.finetune.order import Order
from misheard.finetune.served import Heard
from misheard.finetune.sweep import SHARES, Point, choose
from misheard.speech.convert import read_variables
from tests.finetune.conftest import Workshop, quick, with_a_perfect_start

NAN = math.nan


def heard(wer: float, cer: float = 0.0, silent: int = 0) -> Heard:
    return Heard(wer=wer, cer=cer, silent_with_text=silent)


def points(validation: list[float | Heard], general: list[float] | None = None) -> list[Point]:
    return [
        Point(
            share=share,
            validation=hears if isinstance(hears, Heard) else heard(hears),
            general=heard(general[number]) if general else None,
        )
        for number, (share, hears) in enumerate(zip(SHARES, validation, strict=True))
    ]


@pytest.mark.parametrize(
    ("validation", "general", "margin", "wanted"),
    [
        # Nothing but validation: the best of it.
        ([0.4, 0.3, 0.2, 0.1, 0.2], None, 0.01, 0.75),
        # The best loses too much elsewhere; the next best does not.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.1, 0.1, 0.105, 0.12, 0.2], 0.01, 0.5),
        # A rise that equals the margin is one too many.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.25, 0.25, 0.5, 0.5, 0.5], 0.25, 0.25),
        # A set that gets better is kept, too.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.1, 0.1, 0.1, 0.1, 0.02], 0.01, 1.0),
        # None keeps it: the one that comes closest.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.1, 0.3, 0.2, 0.4, 0.5], 0.01, 0.5),
        # None keeps it, two come as close: the nearer to the training.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.1, 0.2, 0.2, 0.4, 0.5], 0.01, 0.5),
        # The old weights are never chosen, however good they are.
        ([0.0, 0.3, 0.2, 0.1, 0.05], [0.0, 0.1, 0.1, 0.1, 0.1], 0.5, 1.0),
        # Equal on validation: the nearer to the training.
        ([0.4, 0.1, 0.1, 0.1, 0.2], None, 0.01, 0.75),
        # No margin at all: nothing may rise, so the closest is taken.
        ([0.4, 0.3, 0.2, 0.1, 0.05], [0.1, 0.1, 0.1, 0.1, 0.1], 0.0, 1.0),
        # Nobody speaks in the general set, so there is nothing to lose.
        ([0.4, 0.3, 0.2, 0.1, 0.2], [NAN] * 5, 0.01, 0.75),
    ],
)
def test_the_best_that_keeps_the_general_set_is_shipped(
    validation: list[float | Heard], general: list[float] | None, margin: float, wanted: float
) -> None:
    assert choose(points(validation, general), general_margin=margin).share == wanted


def test_of_equal_word_error_rates_the_lower_character_error_rate_is_better() -> None:
    given: list[float | Heard] = [
        heard(0.4),
        heard(0.1, 0.03),
        heard(0.1, 0.02, 2),
        heard(0.1, 0.02, 1),
        heard(0.1, 0.04),
    ]
    assert choose(points(given), general_margin=0.0).share == 0.75


def test_without_any_validation_what_is_nearest_to_the_training_is_shipped() -> None:
    given = [
        Point(share=share, validation=None, general=heard(rate))
        for share, rate in zip(SHARES, [0.1, 0.1, 0.1, 0.105, 0.2], strict=True)
    ]
    assert choose(given, general_margin=0.01).share == 0.75


def test_a_point_is_json_also_where_nobody_speaks() -> None:
    told = Point(share=0.5, validation=heard(NAN, NAN, 2), general=None).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["validation"] == {"wer": None, "cer": None, "silent_with_text": 2, "words": 0}


@pytest.fixture(scope="module")
def swept(workshop: Workshop) -> Job:
    """A job whose best point lies between old and new weights, if there is one; a general set."""
    jobs = workshop.jobs(InProcessBackend())
    for rate in (3e-3, 1e-2, 3e-2):
        recipe = quick(sweep=True, epochs=1, learning_rate=rate, precision="float32")
        job_id = f"job-swept-{rate}"
        general = workshop.general()
        jobs.submit(job_id, workshop.base.id, workshop.dataset, recipe, general=general)
        job = jobs.wait(job_id)
        assert job.result is not None
        if job.result["share"] < 1.0:
            break
    return job


def test_a_job_with_a_general_set_tells_of_five_points(workshop: Workshop, swept: Job) -> None:
    told = [
        event
        for event in workshop.jobs(InProcessBackend()).events(swept.id)
        if event.phase == "sweep"
    ]
    assert [(event.step, event.steps, event.share) for event in told] == [
        (number, 5, share) for number, share in enumerate(SHARES, 1)
    ]
    assert swept.result is not None
    given = [
        Point(
            share=point["share"],
            validation=Heard(**point["validation"]),
            general=Heard(**point["general"]),
        )
        for point in swept.result["sweep"]
    ]
    assert [point.share for point in given] == list(SHARES)
    assert choose(given, general_margin=0.0).share == swept.result["share"]
    assert [event.validation_wer for event in told] == [
        point.validation.wer for point in given if point.validation is not None
    ]


def test_the_weights_that_are_shipped_are_the_mean(workshop: Workshop, swept: Job) -> None:
    jobs = workshop.jobs(InProcessBackend())
    recipe = replace(swept.recipe, sweep=False)
    jobs.submit("job-not-swept", workshop.base.id, workshop.dataset, recipe)
    plain = jobs.wait("job-not-swept").result
    assert plain is not None
    assert (plain["share"], plain["sweep"]) == (1.0, [])
    assert swept.result is not None
    share = swept.result["share"]
    old, new, mean = (
        read_variables(directory / "model.bin")
        for directory in (
            workshop.registry.directory(workshop.base.id),
            jobs.paths("job-not-swept").model,
            jobs.paths(swept.id).model,
        )
    )
    moved = 0
    for name, value in mean.items():
        if value.dtype == np.float16:
            wanted = (1 - share) * old[name].astype(np.float32) + share * new[name]
            np.testing.assert_allclose(value, wanted, atol=1e-3)
            moved += int(np.abs(new[name].astype(np.float32) - old[name]).max() > 5e-3)
    assert moved > 10, "the training has gone too little way for this test to tell"


def test_each_point_is_the_mean_that_its_share_says(workshop: Workshop) -> None:
    import torch  # noqa: PLC0415 - heavy, as below
    from safetensors.torch import save_model  # noqa: PLC0415

    from misheard.finetune.families.family import open_family  # noqa: PLC0415
    from misheard.finetune.shipping import Shipping  # noqa: PLC0415

    paths = with_a_perfect_start(workshop, "job-points", quick())
    families = [
        open_family(paths.base, scratch=paths.weights / name, language="en", recipe=quick())
        for name in ("old", "new")
    ]
    old, new = (family.model for family in families)
    with torch.no_grad():
        for value in new.parameters():
            value.mul_(3.0)
    save_model(new, str(paths.best))
    begun = {name: value.clone() for name, value in old.state_dict().items()}
    shipping = Shipping(paths, Order.read(paths.order), families[0], lambda **_: None)
    for share in (0.25, 1.0, 0.5):
        shipping._put(share)
        for name, value in old.state_dict().items():
            torch.testing.assert_close(value, begun[name] * (1 + 2 * share))
    assert max(value.abs().max() for value in begun.values()) > 0.01
