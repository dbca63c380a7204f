"""Rollouts on a database, with a version that is live and one that wants to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine

from misheard.deployment import Deployment, Deployments
from misheard.registry import ModelVersion
from misheard.rollouts.rollouts import Rollouts


@pytest.fixture
def deployments(engine: Engine) -> Deployments:
    return Deployments(engine)


@pytest.fixture
def live(deployments: Deployments, register: Callable[..., ModelVersion]) -> str:
    version = register("live").id
    deployments.deploy(version, actor="ann", reason="first")
    return version


@pytest.fixture
def candidate(register: Callable[..., ModelVersion]) -> str:
    return register("candidate").id


@pytest.fixture
def told() -> list[str]:
    """What was done before, in and after a promotion."""
    return []


@pytest.fixture
def rollouts(engine: Engine, live: str, told: list[str]) -> Rollouts:
    def went_live(_: Connection, made: Deployment) -> None:
        told.append(f"live: {made.version_id}")

    return Rollouts(
        engine,
        engine,
        before_deployment=lambda one: told.append(f"before: {one.slot}"),
        went_live=went_live,
        after_deployment=lambda: told.append("after"),
    )
