"""What the API answers with: the records of the rooms, as Pydantic models with their docs.

A record is told as it is: its fields, their types, and the docstrings under them. Three things are
otherwise. A number that is not finite is null, since JSON has no word for it. Some properties are
told, too (`TOLD`), and what would make an answer of many megabytes, or concerns only this machine,
is not (`UNTOLD`, `PLACELESS`).
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, reduce
from itertools import pairwise
from operator import attrgetter, or_
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from misheard.cases import review
from misheard.cases.agreement import Pair, Together
from misheard.cases.records import CaseStandings
from misheard.cycle.options import CycleOptions
from misheard.cycle.states import Cycle, CycleStep
from misheard.datasets.datasets import Dataset
from misheard.errors import UnknownIdError
from misheard.fleet import ServerState
from misheard.forgetting.forgetting import Forgotten
from misheard.gates.comparison import Comparison, Side
from misheard.gates.validation import Validation
from misheard.gates.verdict import Verdict
from misheard.monitoring.delivery import Delivery
from misheard.reports import status
from misheard.reports.status import Status
from misheard.rollouts.judging import SignalEvidence
from misheard.rollouts.states import Rollout
from misheard.server.places import without_places

T = TypeVar("T")

TOLD: Mapping[type, tuple[str, ...]] = {
    CaseStandings: ("open",),
    Comparison: ("gain", "relative_reduction", "slowdown", "degraded"),
    Delivery: ("is_given_up",),
    Forgotten: ("is_complete",),
    Pair: ("is_exact",),
    Rollout: ("share",),
    SignalEvidence: ("is_alarm",),
    Together: ("exact_share", "wer"),
    Verdict: ("answer", "passed", "words_needed"),
}
"""Properties that belong to what a record says."""
UNTOLD: Mapping[type, tuple[str, ...]] = {
    Comparison: ("changed", "missed"),
    CycleOptions: ("model_directory",),
    Dataset: ("manifest_sha256",),
    Forgotten: ("backups", "rewritten"),
    Side: ("confusions",),
    Status: ("evaluation", "rules", "storage"),
    Validation: ("utterances_sha256",),
}
"""Fields that are left out."""
PLACELESS: Mapping[type, tuple[str, ...]] = {
    Cycle: ("detail", "error"),
    CycleStep: ("detail",),
    ServerState: ("failed",),
    status.Waiting: ("error",),
}
"""Fields that may quote an error, and with it paths of this machine: they are told without."""
NAMED: Mapping[type, str] = {review.Waiting: "QueueLength"}
"""What is called otherwise than its class, since another one is called so, too."""

DEEPEST = 50
"""Objects and lists in one another."""


class Model(BaseModel):
    """What every model of an answer is."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A part of what is listed."""

    items: list[T]
    next: str | None
    """What to give as `before` for the page after this one; null where this is the last."""


def page(found: Sequence[T], limit: int, *, by: str = "id") -> Page[T]:
    """The first `limit` of `found`, which was asked for with one more; `by` is what they go by."""
    items = list(found[:limit])
    is_last = len(found) <= limit
    return Page(items=items, next=None if is_last else str(attrgetter(by)(items[-1])))


def page_of_few(found: Sequence[T], limit: int, before: str | None, *, by: str = "id") -> Page[T]:
    """A page of what is read whole, since there is never much of it."""
    start = 0
    if before is not None:
        names = [str(attrgetter(by)(one)) for one in found]
        if before not in names:
            raise UnknownIdError(
                f"There is no '{before}' to go on after. Begin with the first page."
            )
        start = names.index(before) + 1
    return page(found[start:], limit, by=by)


@cache
def model_of(record: type) -> type[Model]:
    """The model of a record, a dataclass; it is read from one, field by field."""
    hints, told = get_type_hints(record), _docs(record)
    left_out = UNTOLD.get(record, ())
    placeless = PLACELESS.get(record, ())
    made: dict[str, Any] = {
        field.name: (
            Annotated[_shown(hints[field.name]), BeforeValidator(_placeless)]
            if field.name in placeless
            else _shown(hints[field.name]),
            Field(description=told.get(field.name)),
        )
        for field in fields(record)
        if field.name not in left_out
    }
    for one in TOLD.get(record, ()):
        getter = getattr(record, one).fget
        description = inspect.cleandoc(getter.__doc__)
        made[one] = (_shown(get_type_hints(getter)["return"]), Field(description=description))
    name = NAMED.get(record, record.__name__)
    return create_model(name, __base__=Model, __doc__=record.__doc__, __module__=__name__, **made)


@cache
def page_of(record: type) -> type[Model]:
    """The model of a page of records."""
    told = _docs(Page)["next"]
    return create_model(
        f"{record.__name__}Page",
        __base__=Model,
        __doc__=f"A part of the list of `{record.__name__}`.",
        __module__=__name__,
        items=(_LIST[model_of(record)], ...),
        next=(str | None, Field(description=told)),
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items()}
    return without_places(value) if isinstance(value, str) else value


def _plain(value: Any, depth: int = 0) -> Any:
    """What somebody wanted remembered, as JSON in UTF-8 can say it.

    Half of a pair of surrogates is replaced; what lies too deep to be written is null.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping | list | tuple) and depth == DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    return _finite(value)


# Types that are made while this runs are none that a type checker knows.
_LIST: Any = list
_GENERIC: Mapping[Any, Any] = {list: list, dict: dict, Mapping: dict, tuple: tuple}
_Number = Annotated[float | None, BeforeValidator(_finite)]
_Plain = Annotated[Any, BeforeValidator(_plain)]
_Object = Annotated[dict[str, Any], BeforeValidator(_plain)]
_LEAVES: Mapping[Any, Any] = {
    float: _Number,
    Any: _Plain,
    dict[str, Any]: _Object,
    Mapping[str, Any]: _Object,
}


def _shown(hint: Any) -> Any:
    """The type of an answer that a type of a record is told as."""
    if hint in _LEAVES:
        return _LEAVES[hint]
    if isinstance(hint, type) and is_dataclass(hint):
        return model_of(hint)
    origin, inner = get_origin(hint), tuple(map(_shown, get_args(hint)))
    if origin in (Union, UnionType):
        # A number may be null by itself.
        members = [one for one in inner if not (one is NoneType and _Number in inner)]
        return reduce(or_, members)
    if origin is tuple and inner[-1] is Ellipsis:
        return _LIST[inner[0]]
    return _GENERIC[origin][inner] if origin in _GENERIC else hint


def _docs(record: type) -> dict[str, str]:
    """The docstring under each field that has one."""
    found: dict[str, str] = {}
    for one in reversed(record.__mro__):
        if not is_dataclass(one):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - for mypy
        for field, after in pairwise(body.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found
