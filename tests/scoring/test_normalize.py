from __future__ import annotations

import functools
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misheard.errors import (
    InvalidSettingError,
    InvalidTranscriptError,
    MisheardError,
    NormalizerFailedError,
)
from misheard.scoring import normalize
from misheard.scoring.normalize import NORMALIZERS, NormalizerWarning, normalizer, require_text


def shouted(text: str) -> str:
    """A normaliser of a user's own."""
    return f"  {text.upper()}\n"


def no_str(text: str) -> int:
    return len(text)


def raising(text: str) -> str:
    return text[99]


class Stateful:
    def __call__(self, text: str) -> str:
        return text[::-1]

    def method(self, text: str) -> str:
        return text


stateful = Stateful()
HERE = __name__
NOT_CALLABLE = 3


@pytest.fixture
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just begun."""
    monkeypatch.setattr(normalize, "_WARNED", set())
    normalize._basic.cache_clear()
    normalize._english.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Press TWO, now!", "press 2 now"),
        ("I'm Dr. Smith.", "i am doctor smith"),
        ("the conference...", "the conference"),
        ("... for ...", "for"),
        ("um, hello", "hello"),
        ("", ""),
        ("[ tones ]", ""),
        ("Your voice mail, O.K.?", "your voicemail ok"),
        ("E-mail at 10 a.m.", "email at 10 am"),
        ("the voice, mail it", "the voicemail it"),
        ("voice mails", "voice mails"),
    ],
)
def test_the_english_normaliser(text: str, expected: str) -> None:
    assert normalizer("whisper-english")(text) == expected


def test_the_table_of_english_is_part_of_a_recorded_name_and_changes_only_on_purpose() -> None:
    """Figures under the name `whisper-english` are compared with those that were kept."""
    table = normalize._english_equivalents()
    assert table.fingerprint == "38e63827"
    assert len(table.groups) > 100


@pytest.mark.parametrize("name", ["basic", "none", "unicode"])
def test_only_the_english_normaliser_has_the_table_of_english(name: str) -> None:
    assert normalizer(name)("voice mail") == "voice mail"


def test_none_only_joins_white_space() -> None:
    assert normalizer("none")("  Press\n ONE. ") == "Press ONE."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("«Привет», мир!", "привет мир"),
        ("हिन्दी में — बात करें।", "हिन्दी में बात करें"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("Straße, ＡＢＣ ﬁn", "strasse abc fin"),
        ("5 € + 3", "5 3"),
        ("cafe\u0301 = café", "café café"),
        ("I ❤️ it", "i it"),
        ("می\u200cخواهم", "میخواهم"),
        ("don't", "don t"),
        ("...", ""),
    ],
)
def test_the_unicode_normaliser_keeps_the_letters_of_every_script(text: str, expected: str) -> None:
    assert normalizer("unicode")(text) == expected


@given(text=st.text(max_size=40))
def test_the_unicode_normaliser_leaves_its_own_work_alone(text: str) -> None:
    made = normalizer("unicode")(text)
    assert normalizer("unicode")(made) == made


@pytest.mark.parametrize("name", sorted(NORMALIZERS))
@given(text=st.text(max_size=40))
def test_no_normaliser_leaves_white_space_at_the_ends_or_double(name: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NormalizerWarning)
        made = normalizer(name)(text)
    assert made == " ".join(made.split())


def test_an_unknown_normaliser_is_an_error_that_names_the_known() -> None:
    with pytest.raises(
        InvalidSettingError, match=r"'whisper-dutch'.*basic, none, unicode, whisper-english"
    ):
        normalizer("whisper-dutch")


@pytest.mark.parametrize(
    ("name", "text", "script", "after"),
    [
        ("basic", "यह हिन्दी है", "Devanagari", "of 'हिन्दी'"),
        ("whisper-english", "தமிழ்", "Tamil", "of 'தமிழ்'"),
        ("basic", "ที่นี่", "Thai", "of 'ที่นี่'"),
        ("basic", "বাংলা", "Bengali", "unicode"),
        ("basic", "ខ្មែរ", "Khmer", "unicode"),
        ("whisper-english", "hello മലയാളം", "Malayalam", "of 'മലയാളം'"),
    ],
)
def test_a_normaliser_that_strips_letters_says_which_and_what_to_use(
    name: str, text: str, script: str, after: str, nothing_warned: None
) -> None:
    with pytest.warns(NormalizerWarning, match=f"'{name}' strips letters of {script}.*{after}"):
        normalizer(name)(text)


def test_the_warning_comes_once_for_each_script(nothing_warned: None) -> None:
    made = normalizer("basic")
    with pytest.warns(NormalizerWarning) as seen:
        for text in ("हिन्दी", "करें", "தமிழ்", "मेरा", "வணக்கம்"):
            made(text)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unicode", "हिन्दी தமிழ் ที่นี่"),
        ("none", "हिन्दी"),
        ("basic", "naïve café Ελλάδα Привет 你好 שלום مرحبا"),
        ("whisper-english", "naïve"),
        ("basic", "नमन"),
    ],
)
def test_nothing_is_said_where_no_letter_is_lost(
    name: str, text: str, nothing_warned: None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalizer(name)(text)


@pytest.mark.parametrize("spec", [shouted, f"{HERE}:shouted"], ids=["callable", "path"])
def test_a_function_of_ones_own_is_called_by_its_import_path(spec: object) -> None:
    made = normalizer(spec)  # type: ignore[arg-type]
    assert made("voice mail") == "VOICE MAIL"
    assert made.name == made.spec == made.require_spec() == f"{HERE}:shouted"
    assert normalizer(made.spec)("a") == "A"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda text: text.upper(), "<lambda>"),
        (stateful, "Stateful"),
        (stateful.method, "Stateful.method"),
        (functools.partial(shouted), "functools:partial"),
    ],
    ids=["lambda", "object", "method", "partial"],
)
def test_what_no_other_process_can_import_has_a_name_and_no_spec(
    function: object, name: str
) -> None:
    made = normalizer(function)  # type: ignore[arg-type]
    assert name in made.name
    assert made.spec == ""
    assert isinstance(made("one two"), str)
    with pytest.raises(InvalidSettingError, match="cannot be handed to the training process"):
        made.require_spec()


def test_a_function_of_the_main_program_has_no_spec() -> None:
    program = (
        "from misheard.scoring.normalize import normalizer\n"
        "def own(text): return text\n"
        "made = normalizer(own)\n"
        "print(made.name, repr(made.spec))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.decode().strip() == "__main__:own ''"


def test_a_path_leads_to_what_a_class_holds() -> None:
    assert normalizer(f"{HERE}:Stateful.__call__").name == f"{HERE}:Stateful.__call__"
    assert normalizer(f"{HERE}:stateful")("abc") == "cba"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_package.module:function", "cannot be imported: ModuleNotFoundError.*PYTHONPATH"),
        (f"{HERE}:no_such_function", "has no 'no_such_function'"),
        (f"{HERE}:NOT_CALLABLE", "is int, no normaliser"),
        (f"{HERE}:", "has no ''"),
        (":function", "cannot be imported"),
        (3, "not 3"),
        (None, "not None"),
        ("whisper-english+3f9a2c71", "ask for 'whisper-english'"),
    ],
)
def test_a_normaliser_that_cannot_be_found_says_why(spec: object, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        normalizer(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_str, "no_str' made int of 'hello'; it must give a str"),
        (raising, "raising' raised IndexError on 'hello': string index"),
        (lambda text: None, "made NoneType"),
    ],
)
def test_a_normaliser_that_fails_names_itself_and_the_text(function: object, message: str) -> None:
    with pytest.raises(NormalizerFailedError, match=message):
        normalizer(function)("hello")  # type: ignore[arg-type]


def test_a_long_text_is_shortened_in_the_message() -> None:
    with pytest.raises(NormalizerFailedError) as caught:
        normalizer(no_str)("word " * 1000)
    assert len(str(caught.value)) < 250
    assert "…'; it must" in str(caught.value)


def test_a_finished_normaliser_is_given_back() -> None:
    made = normalizer("basic")
    assert normalizer(made) is made
    with pytest.raises(MisheardError, match="'basic' is made already"):
        normalizer(made, [["a", "b"]])


@pytest.mark.parametrize("text", ["", "hello", "你好 🎤", "a\nb"])
def test_text_that_can_be_stored_is_given_back(text: str) -> None:
    assert require_text(text, what="it") is text


@pytest.mark.parametrize("text", [None, 1, 1.5, b"bytes", ["a"], {"a": 1}, True])
def test_what_is_no_text_is_refused_with_its_type(text: object) -> None:
    with pytest.raises(InvalidTranscriptError, match=f"call 7: .*{type(text).__name__}"):
        require_text(text, what="call 7")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "nul \0"], ids=ascii)
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(InvalidTranscriptError, match="call 7"):
        require_text(text, what="call 7")


def test_without_its_table_a_normaliser_is_what_it_was_before_there_was_one() -> None:
    plain, extended = normalizer("basic"), normalizer("basic", [["pbx", "p b x"]])
    assert extended("P.B.X.") == "pbx"
    assert extended.without_equivalents("P.B.X.") == plain("P.B.X.") == "p b x"
    assert plain.without_equivalents("P.B.X.") == "p b x"


def test_the_table_of_the_english_one_is_left_out_too() -> None:
    for made in (normalizer("whisper-english"), normalizer("whisper-english", [["a", "an"]])):
        assert made("Voice mail") == "voicemail"
        assert made.without_equivalents("Voice mail") == "voice mail"
