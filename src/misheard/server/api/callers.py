"""Who may ask for what, as dependencies of routes and routers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from misheard.access.roles import Role
from misheard.server.security import Caller, caller_may

REVIEW = Depends(caller_may(Role.REVIEW))
ADMINISTER = Depends(caller_may(Role.ADMINISTER))

Reviewer = Annotated[Caller, REVIEW]
Operator = Annotated[Caller, Depends(caller_may(Role.OPERATE))]
Administrator = Annotated[Caller, ADMINISTER]
