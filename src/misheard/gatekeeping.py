"""What it takes to judge a version: which set decides, against whom, and whether it may go live."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from misheard import audio
from misheard.datasets.datasets import Dataset, Purpose
from misheard.datasets.samples import Sample
from misheard.datasets.split import Split, SplitShares, split_of
from misheard.errors import BadInputError, EmptyDatasetError, GateRefusedError, NoSuiteError
from misheard.gates.comparison import Comparison
from misheard.gates.contender import Contender, Transcribe
from misheard.gates.suites import SuiteKind, SuiteRun
from misheard.gates.validation import Validation
from misheard.rooms.rooms import Rooms
from misheard.speech.transcriber import Progress, no_progress

Observe = Callable[[str, int], Progress]
"""Is told what is done, and how many clips it is; gives the progress of it."""


_INSTEAD = "Run a cycle, or deploy it with --force if you know better."
_OF_GENERAL = SplitShares(train_percent=0, validation_percent=25, test_percent=75)


def unobserved(_what: str, _total: int) -> Progress:
    """For whoever does not want to know."""
    return no_progress


class Gatekeeping(Rooms):
    """The rooms, and the gates as a person asks for them."""

    def held_out(self) -> Dataset:
        """The set that decides where none is named: held-out recordings, else a test split."""
        found = self.datasets.latest("held-out")
        if found is not None:
            return found
        for dataset in self.datasets.listed(purpose=Purpose.TRAINING):
            if dataset.counts.get("test"):
                return dataset
        raise EmptyDatasetError(
            "Nothing was held out, so there is nothing to test on. Hold recordings out (misheard "
            "dataset hold-out test.jsonl), or name an evaluation set."
        )

    def evaluation_set(self, name: str, samples: Sequence[Sample]) -> Dataset:
        """Keep `samples` as a held-out set; the same ones give the set that is there already.

        A quarter of the general set, by its sentences, helps to choose the weights of a fine-tune;
        the gate judges on the rest, for what was chosen on a set says little about it.
        """
        if not samples:
            raise EmptyDatasetError(f"'{name}' holds no sample.")
        if name != self.settings.validation.general_set:
            return self.datasets.add_evaluation(name, samples)
        normalize = self.normalizer.without_equivalents

        def split(sample: Sample) -> Split:
            fallback = audio.sha256_of(sample.data)
            return split_of(normalize(sample.reference), _OF_GENERAL, fallback=fallback)

        return self.datasets.add_evaluation(name, samples, split=split)

    def function_contender(
        self, name: str, function: Transcribe, samples: Sequence[Sample] = ()
    ) -> Contender:
        """Any function as one side of a gate; it is given the samples' own paths or arrays."""
        keys = [audio.sha256_of(sample.data) for sample in samples]
        pairs = list(zip(keys, samples, strict=True))
        return self.validations.contender(
            name,
            function,
            paths={key: one.path for key, one in pairs if one.path is not None},
            arrays={key: one.array for key, one in pairs if one.array is not None},
        )

    def candidate(self) -> str:
        """The newest version since the live one that was never live itself, else the live one."""
        live = self.deployments.live().version_id
        once = set(self.deployments.ever_live(slot=None))
        since = self.registry.get(live).created_at
        for version in self.registry.listed():
            if version.created_at >= since and version.id not in once and version.pruned_at is None:
                return version.id
        return live

    def decides(self, set_name: str | None = None) -> Dataset:
        """The set that is meant: by id, by the newest of a name, or the one that is held out."""
        if set_name is None:
            return self.held_out()
        return self.datasets.latest(set_name) or self.datasets.get(set_name)

    def validate(
        self,
        version_id: str | None = None,
        *,
        against: str | None = None,
        set_name: str | None = None,
        observe: Observe = unobserved,
    ) -> Validation:
        """Judge a version by the first gate, and keep the verdict.

        By default the newest candidate, against the live version, on the held-out set. `observe` is
        told what is done, and of how many clips, and gives the progress of it.
        """
        wanted, baseline, dataset = self._sides(version_id or self.candidate(), against, set_name)
        return self.validations.run(
            self.contender(wanted),
            self.contender(baseline),
            dataset,
            progress=observe("validating", self.validations.clips(dataset)),
        )

    def compare(
        self,
        baseline: str,
        candidate: str,
        *,
        set_name: str | None = None,
        observe: Observe = unobserved,
    ) -> Comparison:
        """Two versions on one set, without a verdict."""
        wanted, before, dataset = self._sides(candidate, baseline, set_name)
        clips = len(self.datasets.test_rows(dataset))
        return self.validations.compare(
            self.contender(wanted),
            self.contender(before),
            dataset,
            progress=observe("comparing", 2 * clips),
        )

    def regress(
        self,
        version_id: str | None = None,
        *,
        against: str | None = None,
        names: Sequence[str] = (),
        kinds: Sequence[SuiteKind] = (),
        observe: Observe = unobserved,
    ) -> list[SuiteRun]:
        """Run the regression suites on a version, and keep the runs.

        By default all suites, on the newest candidate, against the live version. `NoSuiteError`
        where none is left to run.
        """
        wanted = self.registry.get(version_id or self.candidate()).id
        baseline = self.registry.get(against or self.deployments.live().version_id).id
        chosen = [self.suites.named(name) for name in names] or self.suites.listed()
        if not any(not kinds or suite.kind in kinds for suite in chosen):
            meant = f" of the kind {' or '.join(kinds)}" if kinds else ""
            raise NoSuiteError(f"Add one{meant}: misheard suite add NAME test.jsonl")
        return self.suites.run_all(
            self.contender(wanted),
            self.contender(baseline),
            names={suite.name for suite in chosen},
            kinds=kinds or None,
            observe=observe,
        )

    def _sides(
        self, version_id: str, against: str | None, set_name: str | None
    ) -> tuple[str, str, Dataset]:
        wanted = self.registry.get(version_id).id
        baseline = self.registry.get(against or self.deployments.live().version_id).id
        if wanted == baseline:
            raise BadInputError(
                f"{wanted} would be compared with itself. Name another version: misheard versions"
            )
        return wanted, baseline, self.decides(set_name)

    def require_gates(self, version_id: str) -> None:
        """Raises `GateRefusedError` unless a version may go live by what the gates say of it."""
        if not self.passed_validation(version_id):
            raise GateRefusedError(f"{version_id} has not passed validation. {_INSTEAD}")
        failed = [run for run in self.suites.runs_of(version_id) if not run.verdict.passed]
        if failed:
            names = ", ".join(f"'{self.suites.get(run.suite_id).name}'" for run in failed)
            raise GateRefusedError(f"{version_id} fails the suites {names}. {_INSTEAD}")

    def require_working(self, version_id: str) -> None:
        """Raises `GateRefusedError` unless a version works in a fresh process.

        One that has done so already, under the present settings, is not tried again.
        """
        if self.infrastructure.works(version_id):
            return
        validation = self.validations.latest_of(version_id)
        checked = self.check_files(version_id, validation.dataset_id if validation else None)
        if checked is not None and not checked.passed:
            raise GateRefusedError(f"{version_id} {checked.detail}. {_INSTEAD}")

    def passed_validation(self, version_id: str) -> bool:
        """Whether the newest verdict on a version, ours before one told to us, let it through."""
        ours = self.validations.latest_of(version_id)
        if ours is not None:
            return ours.verdict.passed
        return bool((self.registry.get(version_id).verdict or {}).get("passed"))
