"""All rooms, and the cycle, which needs most of them."""

from __future__ import annotations

from functools import cached_property

from sqlalchemy import Connection

from misheard.cycle.cycles import Cycles
from misheard.cycle.stages import CycleRules, Stages
from misheard.cycle.watching import WatchRules
from misheard.datasets.split import SplitShares
from misheard.deployment import PRODUCTION, Deployment
from misheard.finetune.recipe import Recipe
from misheard.monitoring.conditions import Rule
from misheard.rollouts.rollouts import Rollouts
from misheard.rollouts.states import Rollout
from misheard.rooms.capture import CaptureRooms
from misheard.rooms.gates import GateRooms
from misheard.rooms.monitoring import MonitoringRooms
from misheard.rooms.safekeeping import SafekeepingRooms
from misheard.triggers import Drift


class Rooms(CaptureRooms, GateRooms, SafekeepingRooms, MonitoringRooms):
    """Hands out every room, made when it is first asked for; `Workspace` does things with them."""

    @cached_property
    def cycles(self) -> Cycles:
        """The loop itself."""
        stages = Stages(
            cases=self.cases,
            datasets=self.datasets,
            jobs=self.jobs,
            registry=self.registry,
            validations=self.validations,
            suites=self.suites,
            deployments=self.deployments,
            observations=self.observations,
            contender=self.contender,
            check_files=self.check_files,
            get_ready=self.get_ready,
            before_deployment=self._back_up,
            after_deployment=lambda: self._prune("retention"),
            rules=self._cycle_rules(),
        )
        return Cycles(
            self._engine,
            observations=self.observations,
            deployments=self.deployments,
            stages=stages,
            drift=self._suspicion_drift,
        )

    @cached_property
    def rollouts(self) -> Rollouts:
        """What is tried on live traffic, and what that has shown."""
        return Rollouts(
            self._engine,
            self._log_engine,
            before_deployment=lambda one: self._back_up(self.deployments.live(one.slot)),
            get_ready=lambda one, who: self.get_ready(one.version_id, who, slot=one.slot),
            unready=self._unready,
            went_live=self._note_live,
            after_deployment=lambda: self._prune("retention"),
        )

    def _unready(self, rollout: Rollout) -> list[str]:
        """Servers that took no part in a canary: they began late, or could not load it."""
        alive = self.fleet.alive(rollout.slot)
        return [one.called for one in alive if rollout.version_id not in one.loaded]

    def _note_live(self, connection: Connection, made: Deployment) -> None:
        if made.slot == PRODUCTION:
            self.cycles.note_live_in(
                connection, made.version_id, actor=made.actor, reason=made.reason
            )

    def _cycle_rules(self) -> CycleRules:
        """What the settings say of cycles, section by section."""
        rules = self.settings.datasets
        return CycleRules(
            triggers=self.settings.triggers,
            shares=SplitShares(
                train_percent=rules.train_percent,
                validation_percent=rules.validation_percent,
                test_percent=rules.test_percent,
            ),
            replay_per_error=rules.replay_per_error,
            balance_error_types=rules.balance_error_types,
            min_quality=rules.min_quality,
            recipe=Recipe.from_dict(dict(self.settings.recipe)),
            require_approval=self.settings.deployment.require_approval,
            run_suites=self.settings.regression.run_on_deploy,
            normalizer=self.normalizer,
            watch=WatchRules(
                hours=self.settings.deployment.watch_hours,
                inferences=self.settings.deployment.watch_inferences,
            ),
        )

    def _suspicion_drift(self) -> Drift | None:
        """Whether the live version's suspicion is known to have risen: an alert of it is open."""
        if "suspicion" not in self.settings.alerts.drift_of:
            return None
        live = self.deployments.live().version_id
        for alert in self.alerts.listed(open_only=True):
            if alert.rule == Rule.DRIFT_SUSPICION and alert.subject == live:
                return Drift(detail=alert.detail, has_drifted=True)
        return Drift(detail="the suspicion of what is heard has not risen", has_drifted=False)
