from __future__ import annotations

import pytest

from misheard.access.roles import Role


@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_what_those_before_it_may_and_no_more(role: Role) -> None:
    allowed = [needed for needed in Role if role.may(needed)]
    assert allowed == list(Role)[: list(Role).index(role) + 1]


def test_the_ladder_is_in_the_order_of_what_can_be_broken() -> None:
    assert list(Role) == ["transcribe", "review", "operate", "administer"]
