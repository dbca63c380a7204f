"""Whisper weights from CTranslate2 to Transformers and back, so that what is served can be trained.

CTranslate2 publishes a converter in one direction only. Its `model.bin` is simple enough to read
(`ModelSpec._serialize` in ctranslate2/specs/model_spec.py), and each variable has one or more
counterparts in `WhisperForConditionalGeneration`:

- self-attention `linear_0` is the query, key and value projections stacked, `linear_1` the output;
- cross-attention `linear_0` is the query, `linear_1` key and value stacked, `linear_2` the output;
- Whisper's key projection has no bias; CTranslate2 stores zeros there.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from misheard.errors import ModelCorruptError, UnsupportedModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINARY_VERSION = 6
WHISPER_REVISION = 3
# Index = type id in the file (`_dtype_to_type_id` in ctranslate2/specs/model_spec.py).
_DTYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")

Variables = dict[str, "NDArray[Any]"]


def read_variables(model_bin: Path) -> Variables:
    """Name → array of every variable in a CTranslate2 Whisper `model.bin`, aliases as well.

    Raises `UnsupportedModelError` for another model or file version, `ModelCorruptError` for a file
    that ends too early or goes on too long.
    """
    try:
        with model_bin.open("rb") as file:
            return _read_whisper(file, model_bin)
    except OSError as error:
        raise ModelCorruptError(f"'{model_bin}': {error.strerror}.") from error
    except (EOFError, UnicodeDecodeError, LookupError, ValueError) as error:
        raise ModelCorruptError(f"'{model_bin}' is truncated or damaged ({error}).") from error


def _read_whisper(file: BinaryIO, path: Path) -> Variables:
    version = _unpack(file, "<I")
    if version != BINARY_VERSION:
        raise UnsupportedModelError(
            f"'{path}' has CTranslate2 binary version {version}; {BINARY_VERSION} is known."
        )
    name, revision = _read_string(file), _unpack(file, "<I")
    if (name, revision) != ("WhisperSpec", WHISPER_REVISION):
        raise UnsupportedModelError(
            f"'{path}' holds {name} revision {revision}; "
            f"WhisperSpec revision {WHISPER_REVISION} can be converted."
        )
    values: Variables = {}
    for _ in range(_unpack(file, "<I")):
        name = _read_string(file)
        shape = [_unpack(file, "<I") for _ in range(_unpack(file, "<B"))]
        dtype = np.dtype(_DTYPES[_unpack(file, "<B")])
        data = _take(file, _unpack(file, "<I"))
        values[name] = np.frombuffer(data, dtype).reshape(shape)
    # Tied weights, and any two that happen to be equal: biases that are still zero, for instance.
    for _ in range(_unpack(file, "<I")):
        alias, name = _read_string(file), _read_string(file)
        values[alias] = values[name]
    if file.read(1):
        raise ModelCorruptError(f"'{path}' goes on after its last variable.")
    return values


def _unpack(file: BinaryIO, layout: str) -> int:
    value: int = struct.unpack(layout, _take(file, struct.calcsize(layout)))[0]
    return value


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError(f"{count - len(data)} bytes are missing")
    return data


def _read_string(file: BinaryIO) -> str:
    return _take(file, _unpack(file, "<H"))[:-1].decode()


def transformers_state(variables: Variables) -> Variables:
    """The same weights under Transformers' names, as float32; `proj_out` is tied and left out.

    Raises `UnsupportedModelError` for quantised weights: they have lost what training needs.
    """
    quantized = [name for name in variables if name.endswith("weight_scale")]
    if quantized:
        raise UnsupportedModelError(
            f"These weights are quantised ({quantized[0]}, …). Take the float16 or float32 model."
        )
    state: Variables = {}
    for name, value in variables.items():
        if name.endswith(("weight", "bias", "beta", "gamma", "encodings")):
            for target, part in _counterparts(name, value):
                state[f"model.{target}"] = np.ascontiguousarray(part, dtype=np.float32)
    return state


def _counterparts(name: str, value: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Where one variable's values go: (name under `model.`, array) pairs."""
    kind = name.rpartition("/")[2]
    block = re.sub(r"/layer_(\d+)", r"/layers.\1", name.rpartition("/")[0]).replace("/", ".")
    if kind in ("beta", "gamma"):
        block = (
            block.replace("self_attention.layer_norm", "self_attn_layer_norm")
            .replace("attention.layer_norm", "encoder_attn_layer_norm")
            .replace("ffn.layer_norm", "final_layer_norm")
        )
        yield f"{block}.{'bias' if kind == 'beta' else 'weight'}", value
    elif kind == "encodings":
        yield f"{block.replace('position_encodings', 'embed_positions')}.weight", value
    elif block == "decoder.embeddings":
        yield "decoder.embed_tokens.weight", value
    elif ".ffn." in block:
        yield f"{block.replace('ffn.linear_0', 'fc1').replace('ffn.linear_1', 'fc2')}.{kind}", value
    elif "attention.linear_" in block:
        yield from _attention(block, kind, value)
    elif block != "decoder.projection":
        yield f"{block}.{kind}", value


def _attention(block: str, kind: str, value: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    layer, _, rest = block.rpartition(".layers.")
    index, attention, linear = rest.split(".")
    own = attention == "self_attention"
    prefix = f"{layer}.layers.{index}.{'self_attn' if own else 'encoder_attn'}"
    stacked = {
        (True, "linear_0"): ("q_proj", "k_proj", "v_proj"),
        (True, "linear_1"): ("out_proj",),
        (False, "linear_0"): ("q_proj",),
        (False, "linear_1"): ("k_proj", "v_proj"),
        (False, "linear_2"): ("out_proj",),
    }[own, linear]
    for projection, part in zip(stacked, np.split(value, len(stacked)), strict=True):
        if (projection, kind) != ("k_proj", "bias"):
            yield f"{prefix}.{projection}.{kind}", part


def _model_config(variables: Variables, special: dict[str, int]) -> dict[str, Any]:
    """The fields of `WhisperConfig` that the shapes of the weights and the vocabulary tell."""

    def layers(side: str) -> int:
        names = [name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")]
        return 1 + max(int(name.removeprefix("layer_")) for name in names if name[-1].isdigit())

    end = special["<|endoftext|>"]
    return {
        "d_model": variables["encoder/conv1/weight"].shape[0],
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "encoder_layers": layers("encoder"),
        "decoder_layers": layers("decoder"),
        "encoder_attention_heads": int(variables["encoder/num_heads"]),
        "decoder_attention_heads": int(variables["decoder/num_heads"]),
        "encoder_ffn_dim": variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        "decoder_ffn_dim": variables["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": variables["decoder/position_encodings/encodings"].shape[0],
        "vocab_size": variables["decoder/embeddings/weight"].shape[0],
        "decoder_start_token_id": special["<|startoftranscript|>"],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
    }


def _generation_config(config: dict[str, Any], special: dict[str, int]) -> dict[str, Any]:
    """What generation needs beyond the weights, from CTranslate2's `config.json`."""
    end, start = special["<|endoftext|>"], special["<|startoftranscript|>"]
    # English-only vocabularies number their first special token one lower than multilingual ones.
    multilingual = end > 50256
    made: dict[str, Any] = {
        "decoder_start_token_id": start,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "prev_sot_token_id": special["<|startofprev|>"],
        "suppress_tokens": config["suppress_ids"],
        "begin_suppress_tokens": config["suppress_ids_begin"],
        "alignment_heads": config["alignment_heads"],
        "is_multilingual": multilingual,
        "max_length": 448,
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
    }
    if multilingual:
        by_id = {number: token for token, number in special.items()}
        made["lang_to_id"] = {by_id[i]: i for i in config["lang_ids"] if i in by_id}
        made["task_to_id"] = {t: special[f"<|{t}|>"] for t in ("transcribe", "translate")}
    return made


def to_transformers(source: Path, target: Path) -> None:
    """Write the CTranslate2 Whisper in `source` as a Transformers model directory in `target`.

    `source` holds `model.bin`, `config.json` and `tokenizer.json`; `target` afterwards holds what
    `WhisperForConditionalGeneration.from_pretrained` and `AutoTokenizer` read, in float32.
    """
    import torch  # noqa: PLC0415 - heavy; only training and conversion pay for it
    from transformers import (  # noqa: PLC0415 - heavy, as above
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizerFast,
    )

    variables = read_variables(source / "model.bin")
    served = json.loads((source / "config.json").read_text(encoding="utf-8"))
    end = "<|endoftext|>"
    tokenizer = WhisperTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"),
        **dict.fromkeys(("pad_token", "bos_token", "eos_token", "unk_token"), end),
    )
    special = {**tokenizer.get_added_vocab(), end: tokenizer.convert_tokens_to_ids(end)}
    config = WhisperConfig(**_model_config(variables, special))
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    state = {name: torch.from_numpy(value) for name, value in transformers_state(variables).items()}
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(**_generation_config(served, special))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)


def to_ctranslate2(source: Path, target: Path, *, quantization: str = "float16") -> None:
    """Convert a Transformers Whisper directory to CTranslate2; `target` must not exist yet.

    float16 on disk keeps the file small and loses nothing that int8 at load time would keep.
    """
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415 - imports torch
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "model"
        TransformersConverter(str(source)).convert(str(made), quantization=quantization)
        tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.backend_tokenizer.save(str(made / "tokenizer.json"))
        made.rename(target)
