"""A Whisper with random weights: a whole job with it takes seconds, and its files little room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SIZE = 32
_BYTES = 256
_TIMES = 1501
_END = "<|endoftext|>"


def tiny_whisper(
    folder: Path, like: Path, *, layers: int = 2, seed: int = 0, says: str = ""
) -> Path:
    """An artefact as it is served; it spells bytes, with the special tokens of the one in `like`.

    It hears nothing and is not meant to: what is tested is what is done with its weights. With
    `says`, a letter, it says that eight times, whatever it is given.
    """
    import torch  # noqa: PLC0415 - heavy, as below
    from transformers import (  # noqa: PLC0415
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizerFast,
    )

    from misheard.speech.convert import to_ctranslate2  # noqa: PLC0415

    source = folder / "source"
    source.mkdir(parents=True)
    tokens = _tokenizer(like / "tokenizer.json", source / "tokenizer.json")
    end, start = tokens[_END], tokens["<|startoftranscript|>"]
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    ids["decoder_start_token_id"] = start
    sizes = {"d_model": _SIZE, "num_mel_bins": 80, "vocab_size": len(tokens) + _BYTES + _TIMES}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": 2}
        sizes[f"{side}_ffn_dim"] = 2 * _SIZE
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **ids))
    model.generation_config = GenerationConfig(
        **ids,
        no_timestamps_token_id=tokens["<|notimestamps|>"],
        prev_sot_token_id=tokens["<|startofprev|>"],
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        alignment_heads=[[layers - 1, 0]],
        is_multilingual=False,
        lang_to_id={"<|en|>": tokens["<|en|>"]},
        max_length=448,
    )
    if says:
        _say_only(model, says, end)
    model.save_pretrained(source)
    special: dict[str, Any] = dict.fromkeys(("pad_token", "bos_token", "eos_token"), _END)
    made = WhisperTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"), unk_token=_END, **special
    )
    made.save_pretrained(source)
    WhisperFeatureExtractor(feature_size=sizes["num_mel_bins"]).save_pretrained(source)
    to_ctranslate2(source, folder / "served")
    return folder / "served"


def _say_only(model: Any, letter: str, end: int) -> None:
    """Let the last layer point at one letter, and after eight of them at the end.

    GPT-2's bytes begin to number at "!". One direction of the decoder's space holds nothing but the
    position, so large that the others vanish beside it: it points away from the end, then at it.
    """
    import torch  # noqa: PLC0415 - as above

    decoder = model.model.decoder
    with torch.no_grad():
        tokens = decoder.embed_tokens.weight
        tokens[:, 0] = 0.0
        tokens[end] = 0.0
        tokens[end, 0] = 1.0
        aim = tokens[ord(letter) - ord("!")]
        aim *= 10 / aim.norm()
        # Two tokens of the prompt come first.
        decoder.embed_positions.weight[:9, 0] = -1e4
        decoder.embed_positions.weight[9:, 0] = 1e4
        decoder.layer_norm.weight.zero_()
        decoder.layer_norm.weight[0] = 100.0
        decoder.layer_norm.bias.copy_(aim)


def _tokenizer(known: Path, target: Path) -> dict[str, int]:
    """Write a tokenizer that spells bytes, numbered from 0; its special tokens by their text."""
    made = json.loads(known.read_text(encoding="utf-8"))
    vocab = sorted(made["model"]["vocab"], key=made["model"]["vocab"].get)
    special = sorted(made["added_tokens"], key=lambda token: token["id"])
    for number, token in enumerate(special, _BYTES):
        token["id"] = number
    numbers = {token["content"]: token["id"] for token in special}
    made["added_tokens"] = special
    made["model"]["vocab"] = {token: number for number, token in enumerate(vocab[:_BYTES])}
    made["model"]["vocab"][_END] = numbers[_END]
    made["model"]["merges"] = []
    for name, token in made["post_processor"]["special_tokens"].items():
        token["ids"] = [numbers[name]]
    target.write_text(json.dumps(made), encoding="utf-8")
    return numbers
