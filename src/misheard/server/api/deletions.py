"""`/api/v1/deletions`: one person's data, from everywhere."""

from __future__ import annotations

from fastapi import APIRouter

from misheard.forgetting.forgetting import Forgotten
from misheard.forgetting.person import IdKind, Person
from misheard.server.api.callers import Administrator
from misheard.server.api.models import model_of
from misheard.server.api.parameters import Flag, Given, GivenReason, Id, InWorkspace


class Deleting(Given):
    """Whose data is to go."""

    kind: IdKind
    """What the id is of: all of a speaker, or only one session."""
    id: Id
    """As it was recorded with."""
    reason: GivenReason
    dry_run: Flag = False
    """Say what there is, and change nothing."""
    delete_backups: Flag = False
    """Delete the copies of the database, too: all of them."""


def router() -> APIRouter:
    """Routes for requests to delete."""
    made = APIRouter(prefix="/deletions", tags=["deletions"])

    @made.post(
        "",
        response_model=model_of(Forgotten),
        summary="Delete what belongs to one person",
        description="Asked again, it finishes; `is_complete` says whether anything is left.",
    )
    def forget(workspace: InWorkspace, caller: Administrator, given: Deleting) -> Forgotten:
        person = Person(kind=given.kind, id=given.id)
        if given.dry_run:
            return workspace.forgetting.look(person)
        return workspace.forgetting.forget(
            person,
            actor=caller.actor,
            reason=given.reason,
            delete_backups=given.delete_backups,
        )

    return made
