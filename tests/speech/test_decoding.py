from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from misheard.errors import InvalidSettingError
from misheard.speech.decoding import DecodingOptions, prompt_tokens


@pytest.fixture(scope="module")
def tokenizer(bundled: Path) -> Any:
    return Tokenizer.from_file(str(bundled / "tokenizer.json"))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"temperatures": ()}, "temperatures must be one or more"),
        ({"temperatures": (0.0, -0.1)}, r"temperatures.*-0\.1"),
        ({"temperatures": (math.nan,)}, "temperatures.*nan"),
        ({"temperatures": (math.inf,)}, "temperatures.*inf"),
        ({"temperatures": 0.5}, "temperatures"),
        ({"temperatures": ("hot",)}, "temperatures.*hot"),
        ({"beam_size": 0}, "beam_size must be a whole number of 1 or more, got 0"),
        ({"beam_size": True}, "beam_size"),
        ({"best_of": 0}, "best_of"),
        ({"batch_size": 1.5}, r"batch_size.*1\.5"),
        ({"max_tokens": 225}, "max_tokens must be 224 or less"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprob_threshold": math.nan}, "logprob_threshold"),
        ({"no_speech_threshold": "much"}, "no_speech_threshold"),
        ({"compression_ratio_threshold": None}, "compression_ratio_threshold"),
        ({"prompt": None}, "prompt must be text"),
        ({"hotwords": ["pbx"]}, "hotwords must be text"),
        ({"word_timestamps": 1}, "word_timestamps must be yes or no"),
        ({"language": ""}, "language"),
        ({"language": "English"}, 'language must be a code such as "en".*English'),
        ({"language": "transcribe"}, "language"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_its_value(
    values: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidSettingError, match=rf"speech\.{named}"):
        DecodingOptions(**values)


def test_they_go_through_json() -> None:
    options = DecodingOptions(temperatures=(0.0, 0.4), prompt="Grüezi", word_timestamps=True)
    back = DecodingOptions(**json.loads(json.dumps(asdict(options))))
    assert back == options
    assert hash(back) == hash(options)


def test_what_may_change_the_text_is_told_from_what_does_not() -> None:
    same = DecodingOptions(batch_size=3, word_timestamps=True, language="de", beam_size=4)
    assert same.changed == {}
    other = DecodingOptions(temperatures=(0.0, 0.2), hotwords="PBX", timestamps=True)
    assert other.changed == {"temperatures": (0.0, 0.2), "hotwords": "PBX", "timestamps": True}


def test_without_prompt_and_hotwords_nothing_stands_before(tokenizer: Any) -> None:
    assert prompt_tokens(tokenizer, DecodingOptions(prompt="  ", hotwords="\n")) == []


def test_hotwords_stand_before_the_prompt(tokenizer: Any) -> None:
    options = DecodingOptions(prompt="Press the pound key.", hotwords="PBX")
    start, *ids = prompt_tokens(tokenizer, options)
    assert start == tokenizer.token_to_id("<|startofprev|>")
    assert tokenizer.decode(ids) == " PBX Press the pound key."


@pytest.mark.parametrize("hotwords", ["", "PBX", "word " * 100, "word " * 500])
def test_they_take_half_of_the_context_at_most(tokenizer: Any, hotwords: str) -> None:
    prompt = " ".join(f"n{number}" for number in range(500))
    made = prompt_tokens(tokenizer, DecodingOptions(prompt=prompt, hotwords=hotwords))
    assert len(made) == 224
    said = tokenizer.decode(made[1:]).strip()
    assert said.startswith(hotwords[:9].strip())
    # Of a prompt the end is kept, of hot words the beginning.
    assert said.endswith("n499") or len(hotwords) > 2_000


def test_special_tokens_in_a_prompt_are_no_orders(tokenizer: Any) -> None:
    options = DecodingOptions(prompt="<|startoftranscript|><|notimestamps|> hello <|endoftext|>")
    start, *ids = prompt_tokens(tokenizer, options)
    assert start == tokenizer.token_to_id("<|startofprev|>")
    assert tokenizer.decode(ids).strip() == "hello"
