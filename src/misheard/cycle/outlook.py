"""What happens next with a cycle, and who has to act. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from misheard.cycle.states import Cycle, CycleState
from misheard.cycle.watching import Watch

_S = CycleState


class Who(StrEnum):
    """Who has to act for a cycle to go on."""

    MISHEARD = "misheard"
    """A worker, or whatever calls `misheard cycle advance`."""
    PERSON = "a person"
    TRAINER = "a trainer"
    """Somebody else's program that trains."""
    TIME = "time"
    """Nobody: it is watched for a while."""
    NOBODY = "nobody"
    """It has ended."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What comes next."""

    what: str
    who: Who
    commands: tuple[str, ...]
    """What may be typed; the first is what is expected."""


def outlook(cycle: Cycle, *, asks: bool, watch: Watch | None = None) -> Outlook:
    """What comes next, by the state that a cycle is in.

    `asks` says whether a person has to say yes before a candidate goes live; `watch` is how the
    watch over a deployed one stands.
    """
    if cycle.state is _S.DEPLOYED and watch is not None:
        return _of_watch(cycle, watch)
    if cycle.waits_for_trainer:
        command = f"misheard cycle take-model {cycle.id} DIRECTORY"
        what = "the model that is trained elsewhere becomes the candidate"
        return Outlook(what=what, who=Who.TRAINER, commands=(command,))
    if cycle.state.waits_for_person:
        return _of_question(cycle)
    if cycle.state.is_final:
        return _of_end(cycle)
    return Outlook(
        what=_by_itself(cycle, asks=asks),
        who=Who.MISHEARD,
        commands=("misheard worker", f"misheard cycle advance {cycle.id}"),
    )


def _by_itself(cycle: Cycle, *, asks: bool) -> str:
    adopts = bool(cycle.options.model_directory)
    then = "a person is asked" if asks else "it goes live"
    return {
        _S.TRIGGERED: (
            f"the model in '{cycle.options.model_directory}' becomes the candidate"
            if adopts
            else "a dataset version is built from the corrections"
        ),
        _S.DATASET: "the training is submitted",
        _S.TRAINING: "the training ends, and its model becomes the candidate",
        _S.CONVERTED: f"the candidate is validated against {cycle.baseline_id}",
        _S.VALIDATED: "the regression suites are run on the candidate",
        _S.REGRESSION: f"the candidate's files are tried in a fresh process, then {then}",
        _S.WATCHED: "it is closed",
    }.get(cycle.state, "it goes on")


def _of_question(cycle: Cycle) -> Outlook:
    what = "it trains" if cycle.state is _S.PROPOSED else f"{cycle.version_id} goes live"
    return Outlook(
        what=f"{what} once somebody says yes",
        who=Who.PERSON,
        commands=(
            f"misheard cycle approve {cycle.id} --reason WHY",
            f"misheard cycle reject {cycle.id} --reason WHY",
        ),
    )


def _of_watch(cycle: Cycle, watch: Watch) -> Outlook:
    if watch.left_by is not None:
        return Outlook(
            what=f"its watch ends: {watch.left_by.version_id} has gone live",
            who=Who.MISHEARD,
            commands=("misheard worker", f"misheard cycle advance {cycle.id}"),
        )
    until = f"until {watch.until.astimezone():%Y-%m-%d %H:%M}"
    if watch.wanted:
        until += f" and {watch.wanted:,} transcripts, of which {watch.inferences:,} are there"
    return Outlook(
        what=f"it is watched {until}, then closed; so far {watch}",
        who=Who.TIME,
        commands=("misheard rollback --reason WHY",),
    )


def _of_end(cycle: Cycle) -> Outlook:
    if cycle.state is _S.FAILED:
        command = f"misheard cycle retry {cycle.id}"
        what = "nothing by itself; it can be tried again where it failed"
        return Outlook(what=what, who=Who.PERSON, commands=(command,))
    return Outlook(
        what={
            _S.CLOSED: "nothing: its version went live, and the watch over it has ended",
            _S.ROLLED_BACK: "nothing: what was live before is live again",
        }.get(cycle.state, f"nothing: {cycle.baseline_id} stays, until errors trigger another"),
        who=Who.NOBODY,
        commands=(),
    )
