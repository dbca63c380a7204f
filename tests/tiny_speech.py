"""Speech models with random weights, small enough to be made, trained and served within a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WHISPER_LANGUAGES = 99
_WHISPER_WORDS = 50_257
_WHISPER_TIMES = 1_501
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 8),
    "conv_stride": (5, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
    # So few weights learn nothing when some of them are left out.
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), 0.0),
    **dict.fromkeys(("feat_proj_dropout", "final_dropout", "layerdrop"), 0.0),
}
_OWN: dict[str, dict[str, Any]] = {
    "data2vec-audio": {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5},
    "sew": {"squeeze_factor": 2},
    "wavlm": {"num_buckets": 32, "max_bucket_distance": 80},
}


def ctc_model(
    folder: Path, model_type: str = "wav2vec2", *, letters: str = LETTERS, **config: Any
) -> Path:
    """A CTC model that spells with `letters`; with `feat_extract_norm="layer"` it takes masks."""
    import torch  # noqa: PLC0415 - heavy, as below
    from transformers import (  # noqa: PLC0415
        AutoConfig,
        AutoModelForCTC,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
    )

    folder.mkdir(parents=True)
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "|", *letters]
    (folder / "vocab.json").write_text(
        json.dumps({token: number for number, token in enumerate(vocabulary)}), encoding="utf-8"
    )
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    masked = config.get("feat_extract_norm") == "layer"
    Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(folder)
    torch.manual_seed(0)
    settings = _SMALL | _OWN.get(model_type, {}) | {"vocab_size": len(vocabulary)} | config
    made = AutoModelForCTC.from_config(AutoConfig.for_model(model_type, **settings))
    made.save_pretrained(folder)
    return folder


def moonshine_model(folder: Path, texts: Sequence[str], **config: Any) -> Path:
    """A Moonshine whose tokenizer was made from `texts`, of bytes, so that it spells anything."""
    import torch  # noqa: PLC0415 - heavy, as below
    from transformers import (  # noqa: PLC0415
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        Wav2Vec2FeatureExtractor,
    )

    folder.mkdir(parents=True)
    tokenizer = _byte_tokenizer(texts, ["<unk>", "<s>", "</s>"], size=400)
    tokenizer.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "encoder_num_hidden_layers": 2,
        "decoder_num_hidden_layers": 2,
        "encoder_num_attention_heads": 2,
        "decoder_num_attention_heads": 2,
    }
    made = MoonshineForConditionalGeneration(MoonshineConfig(**settings | config))
    made.save_pretrained(folder)
    return folder


def multilingual_whisper(folder: Path, texts: Sequence[str]) -> Path:
    """A Whisper of many languages: CTranslate2 tells one by the empty word in its vocabulary.

    Its words are bytes, some pairs of them in `texts`, and fillers up to the real number; its
    special tokens have the real ids.
    """
    import torch  # noqa: PLC0415 - heavy, as below
    from transformers import (  # noqa: PLC0415
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES  # noqa: PLC0415

    folder.mkdir(parents=True)
    spoken = [f"<|{code}|>" for code in list(LANGUAGES)[:WHISPER_LANGUAGES]]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    special = ["<|endoftext|>", "<|startoftranscript|>", *spoken, *(f"<|{one}|>" for one in tasks)]
    tokenizer = _whisper_tokenizer(texts, special)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in special}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=_WHISPER_WORDS + len(special) + _WHISPER_TIMES,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_start_token_id=start,
        **ends,
    )
    made = WhisperForConditionalGeneration(config)
    made.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        lang_to_id={token: ids[token] for token in spoken},
        task_to_id={task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")},
        is_multilingual=True,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[0, 0]],
        **ends,
    )
    made.save_pretrained(folder)
    return folder


def _whisper_tokenizer(texts: Sequence[str], special: list[str]) -> Any:
    from tokenizers import Tokenizer, models  # noqa: PLC0415
    from transformers import WhisperTokenizerFast  # noqa: PLC0415

    small = json.loads(_trained(texts, [], size=300).to_str())
    words = small["model"]["vocab"]
    words |= {f"<filler {number}>": number for number in range(len(words), _WHISPER_WORDS - 1)}
    words |= {"": _WHISPER_WORDS - 1}
    merges = [tuple(pair) for pair in small["model"]["merges"]]
    made = Tokenizer.from_str(json.dumps(small))
    made.model = models.BPE(vocab=words, merges=merges)
    made.add_special_tokens(special)
    end = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), special[0])
    return WhisperTokenizerFast(tokenizer_object=made, **end)


def _byte_tokenizer(texts: Sequence[str], special: list[str], *, size: int) -> Any:
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    unknown, start, end = special
    return PreTrainedTokenizerFast(
        tokenizer_object=_trained(texts, special, size=size),
        unk_token=unknown,
        bos_token=start,
        eos_token=end,
    )


def _trained(texts: Sequence[str], special: list[str], *, size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made
