"""Random weights hear nonsense, but the same nonsense as Transformers' own calls make of them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from misheard import audio
from misheard.errors import (
    InvalidSettingError,
    ModelCorruptError,
    UnspeakableTextError,
    UnsupportedModelError,
)
from misheard.speech.decoding import DecodingOptions
from misheard.speech.families.known import MODEL_TYPES, family_class
from misheard.speech.transformers import TransformersTranscriber
from tests.tiny_speech import ctc_model, moonshine_model

pytestmark = pytest.mark.model
CTC_TYPES = [name for name in MODEL_TYPES if name != "moonshine"]


@pytest.fixture(scope="module")
def clips(short_prompts: list) -> list[audio.Audio]:
    return [audio.decode(prompt.data) for prompt in short_prompts[20:28]]


@pytest.fixture(scope="module")
def moonshine(short_prompts: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moonshine") / "model"
    return moonshine_model(folder, [prompt.reference for prompt in short_prompts])


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ctc_model(tmp_path_factory.mktemp("wav2vec2") / "model")


def load(directory: Path, auto: str) -> tuple[Any, Any, Any]:
    import transformers  # noqa: PLC0415

    return (
        getattr(transformers, auto).from_pretrained(directory).eval(),
        transformers.AutoFeatureExtractor.from_pretrained(directory),
        transformers.AutoTokenizer.from_pretrained(directory),
    )


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("model_type", CTC_TYPES)
def test_every_ctc_model_spells_what_transformers_spells(
    model_type: str, norm: str, tmp_path: Path, clips: list[audio.Audio]
) -> None:
    made = ctc_model(tmp_path / "model", model_type, feat_extract_norm=norm)
    heard = TransformersTranscriber(made).transcribe(clips)
    model, extractor, tokenizer = load(made, "AutoModelForCTC")
    for clip, transcript in zip(clips, heard, strict=True):
        inputs = extractor(clip.samples, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            best = model(inputs.input_values).logits.argmax(-1)[0]
        spelt = tokenizer.decode(best)
        for special in ("<unk>", "<s>", "</s>"):
            spelt = spelt.replace(special, "")
        assert transcript.text == spelt.strip()
        assert transcript.avg_logprob is not None
        assert -10 < transcript.avg_logprob < 0
        assert transcript.no_speech_prob is None


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("model_type", CTC_TYPES)
def test_what_a_clip_says_does_not_depend_on_what_is_beside_it(
    model_type: str, norm: str, tmp_path: Path, clips: list[audio.Audio]
) -> None:
    made = TransformersTranscriber(
        ctc_model(tmp_path / "model", model_type, feat_extract_norm=norm)
    )
    together = made.transcribe(clips)
    alone = [made.transcribe([clip])[0] for clip in clips]
    assert [one.text for one in together] == [one.text for one in alone]
    np.testing.assert_allclose(
        [one.avg_logprob for one in together], [one.avg_logprob for one in alone], atol=1e-4
    )


def test_models_that_take_masks_are_batched_and_others_only_at_one_length(
    tmp_path: Path, clips: list[audio.Audio]
) -> None:
    lengths = [len(clip.samples) for clip in clips]
    for norm, batches in (("group", len(set(lengths))), ("layer", 2)):
        made = TransformersTranscriber(ctc_model(tmp_path / norm, feat_extract_norm=norm))
        found = list(made._batches(lengths, 4))
        assert sorted(i for batch in found for i in batch) == list(range(len(clips)))
        assert len(found) == batches


def test_the_mean_logprob_is_that_of_the_text_over_all_alignments(
    wav2vec2: Path, clips: list[audio.Audio]
) -> None:
    """On few frames all the paths can be counted."""
    speech = family_class("wav2vec2", where=wav2vec2)(wav2vec2)
    values, mask = speech.batch([np.array(clips[0].samples[:1800])])
    with torch.inference_mode():
        (heard,) = speech.hear(values, mask, beam_size=1, max_tokens=1)
        logprobs = speech.model(values).logits.log_softmax(-1)[0].double().numpy()
    frames, size = logprobs.shape
    assert frames <= 5
    best = logprobs.argmax(-1)
    spelt = [int(t) for t in collapse(best)]
    total = -np.inf
    likely = np.unique([0, *spelt])
    assert size > len(likely)
    for path in np.stack(np.meshgrid(*[likely] * frames), -1).reshape(-1, frames):
        if collapse(path) == spelt:
            total = np.logaddexp(total, logprobs[np.arange(frames), path].sum())
    assert heard.avg_logprob == pytest.approx(total / max(1, len(spelt)), abs=1e-4)


def collapse(path: np.ndarray) -> list[int]:
    kept = [int(t) for i, t in enumerate(path) if i == 0 or t != path[i - 1]]
    return [token for token in kept if token]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_moonshine_says_what_generate_says_and_how_likely(
    beam_size: int, moonshine: Path, clips: list[audio.Audio]
) -> None:
    made = TransformersTranscriber(moonshine, options=DecodingOptions(beam_size=beam_size))
    model, extractor, tokenizer = load(moonshine, "AutoModelForSpeechSeq2Seq")
    for clip, heard in zip(clips[:3], made.transcribe(clips[:3]), strict=True):
        inputs = extractor(clip.samples, sampling_rate=16_000, return_tensors="pt")
        most = max(8, int(np.ceil(clip.duration_s * 13)))
        found = model.generate(
            inputs.input_values,
            max_new_tokens=most,
            num_beams=beam_size,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        assert heard.text == tokenizer.decode(found.sequences[0], skip_special_tokens=True).strip()
        if beam_size == 1:
            each = model.compute_transition_scores(
                found.sequences, found.logits, normalize_logits=True
            )
            assert heard.avg_logprob == pytest.approx(float(each.mean()), abs=1e-4)


def test_clips_keep_their_order_and_progress_counts_them_once(
    moonshine: Path, clips: list[audio.Audio]
) -> None:
    made = TransformersTranscriber(moonshine, name="tiny")
    done: list[int] = []
    forward = made.transcribe(clips, progress=done.append)
    assert sum(done) == len(clips)
    assert [t.text for t in made.transcribe(clips[::-1])] == [t.text for t in forward[::-1]]
    assert made.name == "tiny"
    assert made.transcribe([]) == []


@pytest.mark.parametrize("kind", ["moonshine", "wav2vec2"])
def test_a_clip_of_one_sample_and_one_over_half_a_minute_are_transcribed(
    kind: str, request: pytest.FixtureRequest, short_prompts: list
) -> None:
    made = TransformersTranscriber(request.getfixturevalue(kind))
    spoken = np.concatenate([audio.decode(prompt.data).samples for prompt in short_prompts[:40]])
    long = audio.from_samples(spoken, 16_000)
    assert long.duration_s > 31
    done: list[int] = []
    sample = audio.from_samples(np.zeros(1, np.float32), 16_000)
    short, whole = made.transcribe([sample, long], progress=done.append)
    assert sum(done) == 2
    assert short.avg_logprob is not None
    assert whole.avg_logprob is not None
    assert len(whole.text) > len(short.text)


def test_threads_may_share_one_transcriber(moonshine: Path, clips: list[audio.Audio]) -> None:
    made = TransformersTranscriber(moonshine)
    expected = [transcript.text for transcript in made.transcribe(clips)]
    heard: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: heard.append([t.text for t in made.transcribe(clips)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [expected] * 4


@pytest.mark.parametrize(("option", "value"), [("prompt", "Asterisk."), ("word_timestamps", True)])
def test_an_option_that_only_whisper_has_is_refused(
    option: str, value: object, wav2vec2: Path, clips: list[audio.Audio]
) -> None:
    options = DecodingOptions(**{option: value})
    with pytest.raises(UnsupportedModelError, match=rf"wav2vec2; speech\.{option}"):
        TransformersTranscriber(wav2vec2, options=options)
    with pytest.raises(UnsupportedModelError, match=option):
        TransformersTranscriber(wav2vec2).transcribe(clips, options=options)


def test_the_one_language_that_a_model_knows_is_that_of_the_workspace(
    moonshine: Path, wav2vec2: Path, clips: list[audio.Audio]
) -> None:
    german = DecodingOptions(language="de")
    for made in (moonshine, wav2vec2):
        engine = TransformersTranscriber(made, options=german)
        (usual,) = engine.transcribe(clips[:1])
        assert engine.transcribe(clips[:1], options=german)[0].text == usual.text
        for language in ("en", "auto"):
            other = DecodingOptions(language=language)
            reason = rf"finds out none: .*speech\.language = 'de', not '{language}'"
            with pytest.raises(InvalidSettingError, match=reason):
                engine.transcribe(clips[:1], options=other)
            with pytest.raises(InvalidSettingError, match=reason):
                engine.hear(engine.stretches(clips[0]), options=other)


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("", ""),
        ("Press one.", "PRESS ONE"),
        ("  call-forward …  on busy!", "CALL FORWARD ON BUSY"),
        ("“Waldo’s” (party)", "WALDO'S PARTY"),
    ],
)
def test_a_text_is_folded_to_what_the_vocabulary_spells(
    text: str, spelt: str, wav2vec2: Path
) -> None:
    speech = family_class("wav2vec2", where=wav2vec2)(wav2vec2)
    assert speech.tokenizer.decode(speech.labels(text), group_tokens=False) == spelt


def test_a_mark_that_the_vocabulary_has_stays(tmp_path: Path) -> None:
    made = ctc_model(tmp_path / "model", letters="abcdefghijklmnopqrstuvwxyz-.")
    speech = family_class("wav2vec2", where=made)(made)
    spelt = speech.tokenizer.decode(speech.labels("Call-Forward on."), group_tokens=False)
    assert spelt == "call-forward on."


@pytest.mark.parametrize("text", ["Press 1", "naïve", "3.5", "example.com", "a & b", "100%", "…"])
def test_a_text_that_cannot_be_spelt_is_refused_with_the_reason(text: str, wav2vec2: Path) -> None:
    speech = family_class("wav2vec2", where=wav2vec2)(wav2vec2)
    with pytest.raises(UnspeakableTextError, match=r"The vocabulary has no|nothing in it"):
        speech.labels(text)


def test_a_text_that_the_decoder_cannot_hold_is_refused(moonshine: Path) -> None:
    speech = family_class("moonshine", where=moonshine)(moonshine)
    assert speech.tokenizer.decode(speech.labels("Press 1 – naïve.")[:-1]) == "Press 1 – naïve."
    assert speech.labels("")[0] == speech.model.config.eos_token_id
    with pytest.raises(UnspeakableTextError, match="tokens, and 510 fit"):
        speech.labels("x " * 600)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("truncate", "safetensors"),
        ("pickle", r"model\.safetensors"),
        ("headless", r"lacks weights: lm_head"),
        ("tokenizer", "tokenizer"),
        ("extractor", r"preprocessor_config\.json"),
        ("rate", "8000 Hz"),
        ("vocabulary", "counts up to 32"),
    ],
)
def test_an_incomplete_directory_is_an_error_of_ours(
    damage: str, reason: str, tmp_path: Path
) -> None:
    made = ctc_model(tmp_path / "model")
    weights = made / "model.safetensors"
    extractor = made / "preprocessor_config.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "pickle":
        weights.rename(made / "pytorch_model.bin")
    elif damage == "headless":
        model, _, _ = load(made, "AutoModelForCTC")
        model.wav2vec2.save_pretrained(made)
    elif damage == "tokenizer":
        (made / "vocab.json").unlink()
    elif damage == "extractor":
        extractor.unlink()
    elif damage == "rate":
        text = extractor.read_text(encoding="utf-8")
        extractor.write_text(text.replace("16000", "8000"), encoding="utf-8")
    else:
        text = (made / "vocab.json").read_text(encoding="utf-8")
        (made / "vocab.json").write_text(text.rstrip("}\n") + ', "é": 32}', encoding="utf-8")
    with pytest.raises((ModelCorruptError, UnsupportedModelError), match=reason):
        TransformersTranscriber(made)
