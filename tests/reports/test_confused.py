"""Words misheard most, side by side: no count is made up."""

from typing import Any

from misheard.reports.confused import SHOWN, mistakes


def side(**counts: int) -> dict[str, Any]:
    rows = [
        {"reference": words.split("_")[0], "hypothesis": words.split("_")[1], "count": count}
        for words, count in counts.items()
    ]
    return {"substituted": rows, "deleted": [], "inserted": []}


def test_a_mistake_that_a_complete_list_has_not_was_never_made() -> None:
    (found,) = mistakes(side(caller_color=5), side(), "substituted", kept=20)
    assert (found.before.amount, found.after.amount, found.change) == (5, 0, -5)
    assert found.after.exact and not found.is_bound


def test_what_a_cut_list_has_not_is_bounded_by_its_last() -> None:
    cut = side(iax_eats=4, pound_pond=2)
    found = mistakes(side(caller_color=5), cut, "substituted", kept=2)
    told = {one.spoken: one for one in found}
    assert (told["caller"].after.amount, told["caller"].after.exact) == (2, False)
    assert told["caller"].is_bound and told["caller"].change == -3
    assert told["iax"].before.exact and told["iax"].before.amount == 0


def test_what_says_nothing_of_either_is_not_told() -> None:
    cut = side(iax_eats=4, pound_pond=2)
    assert [one.spoken for one in mistakes(side(a_the=2), cut, "substituted", kept=2)] == [
        "iax",
        "pound",
    ]


def test_the_most_frequent_come_first_and_no_more_than_have_room() -> None:
    many = side(**{f"w{n}_v{n}": n for n in range(1, SHOWN + 5)})
    found = mistakes(many, side(w3_v3=100), "substituted", kept=100)
    assert len(found) == SHOWN
    assert found[0].spoken == "w3" and found[1].spoken == f"w{SHOWN + 4}"


def test_a_validation_without_confusions_has_none() -> None:
    assert mistakes({}, {}, "deleted", kept=20) == ()
