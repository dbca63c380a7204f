"""Three texts in columns: nothing is lost, and every error shows."""

from hypothesis import given
from hypothesis import strategies as st

from misheard.reports.word_columns import Cell, columns
from misheard.scoring.alignment import count_errors

texts = st.lists(st.sampled_from(["press", "pound", "dress", "a", "the", "ound"]), max_size=7).map(
    " ".join
)
ERRORS = {Cell.WRONG, Cell.EXTRA, Cell.MISSING}


@given(texts, texts, texts)
def test_every_line_reads_as_the_text_it_was(reference: str, before: str, after: str) -> None:
    found = columns(reference, before, after)
    assert " ".join(one.spoken for one in found if one.spoken) == reference
    for side, text in (("before", before), ("after", after)):
        heard = [getattr(one, side).text for one in found]
        assert " ".join(word for word in heard if word) == text


@given(texts, texts, texts)
def test_as_many_words_are_marked_as_there_are_errors(
    reference: str, before: str, after: str
) -> None:
    found = columns(reference, before, after)
    for side, text in (("before", before), ("after", after)):
        marked = sum(getattr(one, side).kind in ERRORS for one in found)
        assert marked == count_errors([reference.split()], [text.split()]).errors[0]


@given(texts, texts, texts)
def test_a_right_word_stands_below_the_spoken_one(reference: str, before: str, after: str) -> None:
    for one in columns(reference, before, after):
        assert one.spoken or one.before.text or one.after.text
        for heard in (one.before, one.after):
            assert (heard.kind is Cell.RIGHT) == (heard.text == one.spoken != "")
            assert (heard.kind in {Cell.EXTRA, Cell.NOTHING}) == (not one.spoken)


def test_the_same_extra_word_of_both_stands_in_one_column() -> None:
    found = columns("press pound", "press the pound", "press on the pound")
    extra = [(one.before.text, one.after.text) for one in found if not one.spoken]
    assert extra == [("", "on"), ("the", "the")]
