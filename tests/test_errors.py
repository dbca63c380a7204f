from __future__ import annotations

import inspect

import pytest

from misheard import errors

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.MisheardError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_docstring_is_the_message_and_the_detail_follows_it(
    kind: type[errors.MisheardError],
) -> None:
    message = inspect.cleandoc(kind.__doc__ or "")
    assert message.endswith(".")
    assert str(kind()) == message
    assert str(kind("'x.wav' is 3 bytes.")) == f"{message} 'x.wav' is 3 bytes."
    assert kind("more").detail == "more"


def test_bad_input_leaves_with_2_and_everything_else_with_1() -> None:
    for kind in CLASSES:
        assert kind.exit_code == (2 if issubclass(kind, errors.BadInputError) else 1)


def test_a_long_docstring_gives_its_first_paragraph_on_one_line() -> None:
    class LongError(errors.MisheardError):
        """It went
        wrong.

        And this is for developers.
        """

    assert str(LongError("Here.")) == "It went wrong. Here."
