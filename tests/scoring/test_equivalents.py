from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from misheard.errors import InvalidSettingError
from misheard.scoring.equivalents import Equivalents
from misheard.scoring.normalize import normalizer
from misheard.scoring.score import score

WORDS = st.sampled_from("abcdefg")
SPELLING = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TABLE = st.lists(st.lists(SPELLING, min_size=2, max_size=3, unique=True), min_size=1, max_size=3)


def plain(text: str) -> str:
    return " ".join(text.split())


def by_hand(groups: list[list[str]], text: str) -> str:
    """The rule as it is told: from the left, of all spellings that begin here the longest."""
    spellings = {tuple(one.split()): group[0].split() for group in groups for one in group}
    left, made = text.split(), []
    while left:
        fits = [one for one in spellings if tuple(left[: len(one)]) == one]
        longest = max(fits, key=len, default=())
        made += spellings[longest] if longest else left[:1]
        left = left[max(1, len(longest)) :]
    return " ".join(made)


@given(groups=TABLE, text=st.lists(WORDS, max_size=12).map(" ".join))
def test_the_longest_spelling_from_the_left_becomes_the_first_of_its_group(
    groups: list[list[str]], text: str
) -> None:
    try:
        table = Equivalents(groups, normalize=plain)
    except InvalidSettingError:
        assume(False)
    assert table(text) == by_hand(groups, text)


@given(groups=TABLE)
def test_every_spelling_of_a_group_becomes_its_first(groups: list[list[str]]) -> None:
    try:
        table = Equivalents(groups, normalize=plain)
    except InvalidSettingError:
        assume(False)
    for group in groups:
        assert {table(spelling) for spelling in group} == {group[0]}


def test_both_sides_of_a_comparison_go_through_the_same_table() -> None:
    own = normalizer("basic", [["PBX", "P.B.X.", "private branch exchange"]])
    scored = score(
        ["The private branch exchange is down.", "my p b x"],
        ["the PBX is down", "my pbx"],
        normalizer=own,
    )
    assert scored.wer == 0.0
    assert scored.words.reference_length.tolist() == [4, 2]
    assert scored.normalizer == own.name


def test_only_whole_words_are_replaced() -> None:
    table = Equivalents([["ok", "okay"], ["mail", "post"]], normalize=plain)
    assert table("okayed the postbox okay") == "okayed the postbox ok"


def test_a_first_spelling_that_holds_another_of_its_group_stays_as_it_is() -> None:
    table = Equivalents([["pbx system", "pbx"]], normalize=plain)
    assert table("pbx and pbx system") == "pbx system and pbx system"


def test_the_name_tells_one_table_from_another() -> None:
    first = normalizer("whisper-english", [["pbx", "switchboard"]])
    assert first.name.startswith("whisper-english+")
    assert len(first.name) == len("whisper-english+3f9a2c71")
    assert first.spec == "whisper-english"
    assert first.equivalents == (("pbx", "switchboard"),)
    assert first.name != normalizer("whisper-english", [["pbx", "exchange"]]).name
    assert first.name != normalizer("whisper-english", [["switchboard", "pbx"]]).name


def test_tables_that_do_the_same_have_the_same_name() -> None:
    one = normalizer("basic", [["a b", "ab", "a-b-"], ["ok", "okay", "o k"]])
    other = normalizer("basic", (("OK", "O.K.", "Okay"), ("A B", "ab")))
    assert one.name == other.name
    assert one.equivalents != other.equivalents


def test_a_group_of_the_workspace_adds_to_those_of_english() -> None:
    own = normalizer("whisper-english", [["voice mail", "voicemail", "VM"]])
    assert own("my VM, my voice mail") == "my voicemail my voicemail"


def test_a_group_that_says_what_the_normaliser_does_anyway_is_no_error() -> None:
    own = normalizer("whisper-english", [["colour", "color"], ["e-mail", "email"]])
    assert own("colour e mail") == "color email"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["pbx", "p b x"], ["switch", "P.B.X."]], "'p b x' stands in two groups.*one group"),
        ([["ok", "okay"], ["ok", "yes"]], "'ok' stands in two groups"),
        ([["pbx", "..."]], r"'\.\.\.' can have no equivalent: nothing is left of it after 'basic'"),
        ([["pbx", ""]], "can have no equivalent"),
        ([["pbx"]], "at least two"),
        ([[]], "at least two"),
        (["pbx"], "no group of equivalents"),
        ([["pbx", 3]], "no group of equivalents"),
        ([["web site", "website"], ["website builder", "sitebuilder"]], "Write it with 'web site'"),
        ([["x y", "z"], ["z w", "x"]], "which another group makes"),
    ],
)
def test_a_table_that_says_two_things_or_none_is_refused(
    groups: list[list[str]], message: str
) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        normalizer("basic", groups)


def test_a_million_texts_with_nothing_to_replace_cost_little() -> None:
    """Under 2 µs each (measured: about 0.5), where `whisper-english` takes 100."""
    table = Equivalents([[f"word{n}", f"word {n}"] for n in range(500)], normalize=plain)
    text = "the caller was not sure which of the options would bring her back"
    spent = []
    for _ in range(50):
        started = time.thread_time()  # of the processor: the clock's is others' too
        for _ in range(2_000):
            table(text)
        spent.append(time.thread_time() - started)
    assert min(spent) / 2_000 < 2e-6
