"""From the rows of a dataset to what a Whisper is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misheard import audio
from misheard.errors import EmptyDatasetError, NotAudioError
from misheard.finetune.examples import Examples, Utterance, read_rows, speech_times, usable
from misheard.finetune.families.family import Example, open_family
from misheard.finetune.plan import Plan, Showing
from tests.conftest import Prompt, make_wav, write_wav
from tests.finetune.conftest import quick

RATE_HZ = audio.SAMPLE_RATE_HZ


@pytest.fixture(scope="module")
def family(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    scratch = tmp_path_factory.mktemp("family") / "weights"
    return open_family(tiny_base, scratch=scratch, language="en", recipe=quick())


@pytest.fixture
def row(tmp_path: Path) -> Callable[..., Utterance]:
    def make(data: bytes, reference: str, *, kind: str = "error", weight: float = 1.0) -> Utterance:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.wav"
        path.write_bytes(data)
        return Utterance(path=path, reference=reference, kind=kind, weight=weight)

    return make


def samples(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return np.clip(level * noise, -1, 1).astype(np.float32)


def spoken(family: Any, example: Example) -> str:
    return str(family._tokenizer.decode(example.labels, skip_special_tokens=True)).strip()


def shown(plan: Plan, epoch: int = 0) -> list[Showing]:
    return [one for batch in plan.batches(epoch, 4) for one in batch]


def test_rows_come_as_they_were_exported(tmp_path: Path) -> None:
    lines = [
        {"audio_path": "audio/a", "reference": "line\u2028break", "kind": "replay"},
        {"audio_path": "audio/b", "reference": "", "kind": "error", "weight": 2.5},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    first, second = read_rows(tmp_path / "train.jsonl")
    assert first.path == tmp_path / "audio/a"
    assert (first.reference, first.is_replay, first.weight) == ("line\u2028break", True, 1.0)
    assert (second.reference, second.is_replay, second.weight) == ("", False, 2.5)
    assert read_rows(tmp_path / "validation.jsonl") == []


def test_what_can_be_learnt_from_keeps_its_order_length_and_weight(family: Any, row: Any) -> None:
    given = [
        row(make_wav(seconds=0.5), "one", weight=0.2),
        row(make_wav(seconds=1.0), "", kind="replay", weight=3.0),
    ]
    clips, refused = usable(given, family, quick())
    assert [(one.reference, one.duration_s, one.is_replay, one.weight) for one in clips] == [
        ("one", 0.5, False, 1.0),
        ("", 1.0, True, 3.0),
    ]
    assert refused == []


def test_a_clip_that_is_too_long_is_refused_with_its_text_and_never_cut(
    family: Any, row: Any
) -> None:
    given = [row(make_wav(seconds=s), f"{s} seconds") for s in (29.0, 30.0, 30.01, 31.0)]
    clips, refused = usable(given, family, quick())
    assert [one.reference for one in clips] == ["29.0 seconds", "30.0 seconds"]
    assert [one.audio for one in refused] == [given[2].path.name, given[3].path.name]
    assert "It is 31.0 s long, and recipe.max_clip_s is 30" in refused[1].reason


def test_what_is_no_audio_or_no_numbers_is_refused_with_the_reason(family: Any, row: Any) -> None:
    broken = samples(0.5)
    broken[100] = np.nan
    infinite = samples(0.5)
    infinite[7] = np.inf
    given = [
        row(make_wav(seconds=0.5), "good"),
        row(write_wav(broken, subtype="FLOAT"), "not a number"),
        row(write_wav(infinite, subtype="FLOAT"), "infinity"),
        row(b"", "nothing"),
        row(b"RIFF and the rest is text", "no audio"),
    ]
    clips, refused = usable(given, family, quick())
    assert [one.reference for one in clips] == ["good"]
    assert [one.audio for one in refused] == [one.path.name for one in given[1:]]
    assert "not finite" in refused[0].reason
    assert "not finite" in refused[1].reason
    assert "no samples" in refused[2].reason
    assert "no audio" in refused[3].reason


def test_a_text_that_the_decoder_cannot_hold_is_refused(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=2.0), "short"), row(make_wav(seconds=2.0), "far too long " * 40)]
    clips, refused = usable(given, family, quick())
    assert [one.reference for one in clips] == ["short"]
    (one,) = refused
    assert "tokens, and 224 fit Whisper's decoder" in one.reason


def test_a_vocabulary_of_bytes_spells_anything(family: Any) -> None:
    text = "naïve café — 東京 🎙 \u2028 \x00 מה"
    tokens = family.labels(text)
    assert family._tokenizer.decode(tokens, skip_special_tokens=True).strip() == text


def test_where_nobody_speaks_in_any_row_there_is_nothing_to_learn(family: Any, row: Any) -> None:
    with pytest.raises(EmptyDatasetError, match="none of the 2 training rows does anybody speak"):
        usable([row(make_wav(), ""), row(make_wav(hertz=300), "")], family, quick())


def test_where_all_is_refused_the_error_says_why(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=31.0), f"long {number}") for number in range(5)]
    with pytest.raises(EmptyDatasetError, match=r"None of the 5 .* 31\.0 s long") as raised:
        usable(given, family, quick())
    assert str(raised.value).count("31.0 s long") == 3


def example_of(family: Any, given: list[Utterance], **settings: Any) -> list[Example]:
    recipe = quick(**settings)
    plan = Plan(usable(given, family, recipe)[0], recipe)
    made = Examples(plan, family)
    assert len(made) == len(plan)
    return [made[one] for one in shown(plan)]


def test_samples_are_kept_as_far_as_there_is_room(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=1.0, hertz=300 + number), "word") for number in range(3)]
    recipe = quick(joined_share=0.0, non_speech_share=0.0)
    plan = Plan(usable(given, family, recipe)[0], recipe)
    two_clips = 2 * 16_000 * np.dtype(np.float32).itemsize
    made = Examples(plan, family, room_bytes=two_clips)
    showings = sorted(shown(plan), key=lambda one: one.clips)
    first = [made[one].features for one in showings]
    fresh = Examples(plan, family, room_bytes=0)
    for one, other in zip(first, (fresh[one].features for one in showings), strict=True):
        np.testing.assert_array_equal(one, other)
    for clip in given:
        clip.path.unlink()
    for one, before in zip(showings[:2], first, strict=False):
        np.testing.assert_array_equal(made[one].features, before)
    with pytest.raises(NotAudioError):
        made[showings[2]]


def test_generated_non_speech_has_an_empty_text(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=1.0, hertz=300 + number), "word") for number in range(4)]
    made = example_of(family, given, non_speech_share=1.0)
    texts = [spoken(family, one) for one in made]
    assert sorted(texts) == [""] * 4 + ["word"] * 4
    nothing = family.labels("")
    for text, one in zip(texts, made, strict=True):
        assert (one.labels == nothing) is (text == "")
        assert np.isfinite(one.features).all()


def test_pairs_say_both_texts_in_a_window_that_holds_both(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=2.0, hertz=300 + number), f"w{number}") for number in range(4)]
    made = example_of(family, given, joined_share=1.0, speed_range=0.0)
    pairs = [one for one in made if " " in spoken(family, one)]
    assert len(pairs) == len(made) == 2
    for one in pairs:
        first, second = spoken(family, one).split()
        assert first != second
        # 4.1 to 4.6 s and half a second of margin; a frame is 10 ms.
        assert 460 <= one.features.shape[1] <= 576


def test_of_a_pair_whose_texts_do_not_fit_together_only_one_is_shown(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=2.0, hertz=300 + n), f"{n} " * 80) for n in range(4)]
    made = example_of(family, given, joined_share=1.0, speed_range=0.0)
    assert all(len(set(spoken(family, one).split())) == 1 for one in made)
    assert {one.features.shape[1] for one in made} == {256}


def test_the_window_is_right_sized_or_whole(family: Any, row: Any) -> None:
    given = [row(make_wav(seconds=2.0), "two")]
    (short,) = example_of(family, given, speed_range=0.0, full_window_share=0.0)
    (whole,) = example_of(family, given, speed_range=0.0, full_window_share=1.0)
    # 2 s and half a second of margin are 125 positions, in steps of 32; a position is two frames.
    assert (short.features.shape, whole.features.shape) == ((80, 256), (80, 3_000))


def test_the_telephone_and_speed_change_what_is_heard(family: Any, row: Any) -> None:
    given = [row(write_wav(samples(1.5)), "noise")]
    plain, by_phone, fast = (
        example_of(family, given, **{"speed_range": 0.0} | settings)[0].features
        for settings in ({}, {"telephone_share": 1.0}, {"speed_range": 0.2})
    )
    # Mel bin 79 is near 8 kHz, bin 20 near 700 Hz; the clip is louder there than what follows.
    spoken_part = slice(20, 100)
    assert plain[79, spoken_part].mean() > by_phone[79, spoken_part].mean() + 0.5
    assert by_phone[20, spoken_part].mean() == pytest.approx(plain[20, spoken_part].mean(), abs=0.2)
    assert not np.array_equal(fast, plain)


def test_the_same_showing_is_the_same_example_again(family: Any, row: Any) -> None:
    given = [row(write_wav(samples(1.0, seed=number)), f"n{number}") for number in range(4)]
    settings = {"telephone_share": 0.5, "joined_share": 0.5, "non_speech_share": 0.5}
    first = example_of(family, given, **settings)
    second = example_of(family, given, **settings)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.features, other.features)
        assert one.labels == other.labels


@pytest.mark.parametrize("before_s", [0.0, 0.8, 2.0])
def test_time_tokens_lie_where_speech_begins_and_ends(
    family: Any, row: Any, short_prompts: list[Prompt], before_s: float
) -> None:
    # These prompts begin and end with speech, within a tenth of a second or two.
    clip = audio.decode(short_prompts[0].data).samples
    silence = np.zeros(round(before_s * RATE_HZ), np.float32)
    given = [row(write_wav(np.concatenate([silence, clip, np.zeros(RATE_HZ)])), "said")]
    (timed,) = example_of(family, given, time_share=1.0, speed_range=0.0)
    (plain,) = example_of(family, given, time_share=0.0, speed_range=0.0)
    begin, *text, end, _ = timed.labels
    first_time = family._no_times + 1
    assert plain.labels == [family._no_times, *text, family._end]
    found_s = [(token - first_time) * 0.02 for token in (begin, end)]
    assert found_s[0] == pytest.approx(before_s, abs=0.35)
    assert found_s[1] == pytest.approx(before_s + len(clip) / RATE_HZ, abs=0.35)


def test_times_follow_the_speed(family: Any, row: Any, short_prompts: list[Prompt]) -> None:
    clip = audio.decode(short_prompts[0].data).samples
    given = [row(write_wav(np.concatenate([np.zeros(2 * RATE_HZ, np.float32), clip])), "said")]
    recipe = quick(time_share=1.0, speed_range=0.5)
    plan = Plan(usable(given, family, recipe)[0], recipe)
    for epoch in range(4):
        (one,) = shown(plan, epoch)
        begin = Examples(plan, family)[one].labels[0] - family._no_times - 1
        assert begin * 0.02 == pytest.approx(2.0 / one.speed, abs=0.35)


def test_where_no_speech_is_found_the_text_stands_without_times(family: Any, row: Any) -> None:
    assert speech_times(np.zeros(RATE_HZ, np.float32)) is None
    (one,) = example_of(family, [row(make_wav(seconds=1.0), "a tone")], time_share=1.0)
    assert one.labels[0] == family._no_times
