"""All six components of the quick-start guide on real telephone speech, with real training.

    python experiments/demo_finetuning_orchestration.py            # about 10 minutes on 2 cores
    python experiments/demo_finetuning_orchestration.py --quick    # a dozen clips, 2 minutes

It is the walk of `make demo`, component by component, and then shows what each of them has to say
in the guide's own calls. It fills a workspace in ./data, in which every snippet of
docs/QUICK_START.md works afterwards.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The guide's import paths start at the root of the checkout.
sys.path.insert(0, str(ROOT))

from rich.rule import Rule  # noqa: E402

from misheard.cli.output import Bars, bars, err, out, percent  # noqa: E402
from misheard.cycle.states import Cycle, CycleState  # noqa: E402
from misheard.demo.walk import EVALUATION, DemoResult, DemoSize, run_demo  # noqa: E402
from misheard.errors import MisheardError  # noqa: E402
from src.data.data_manager import DataManager  # noqa: E402
from src.data.finetuning_coordinator import FinetuningCoordinator  # noqa: E402

QUICK = DemoSize(
    clips_per_split=12,
    # A dozen clips cannot carry a significance test, and two epochs of them are no fine-tune worth
    # deploying: here the gates only measure.
    settings={
        "triggers": {"min_error_cases": 3, "min_corrected_cases": 3},
        "recipe": {"epochs": 2, "batch_size": 2, "learning_rate": 4e-5},
        "validation": {
            "require_significance": False,
            "min_wer_improvement": -1000.0,
            "min_cer_improvement": -1000.0,
            "max_wer_degradation_rate": 1.0,
            "require_no_major_degradation": False,
        },
        "regression": {
            "max_wer_degradation": 1000.0,
            "max_critical_wer_degradation": 1000.0,
            "max_edge_case_wer_degradation": 1000.0,
            "fail_on_critical_degradation": False,
            "max_failed_samples_rate": 1.0,
        },
    },
)
BY_LINE = {
    "1": "Data Manager",
    "2": "Data Manager",
    "3": "Data Manager",
    "4": "Regression Tester",
    "5": "Fine-Tuning Orchestrator",
    "6": "Complete Workflow Coordinator",
    "7": "Model Deployer",
}
"""Who is at work in each line that the walk says."""
BY_STATE = {
    CycleState.TRIGGERED: "Fine-Tuning Orchestrator: preparing the dataset",
    CycleState.DATASET: "Fine-Tuning Orchestrator: training",
    CycleState.CONVERTED: "Model Validator: is it better than what is live?",
    CycleState.VALIDATED: "Regression Tester: is it worse at anything that worked?",
    CycleState.REGRESSION: "Complete Workflow Coordinator: may it be deployed?",
}
"""Who goes on from each state of the cycle."""


class Announcer(Bars):
    """Names the component that goes on after each step."""

    def step(self, cycle: Cycle) -> None:
        """See `Observer`."""
        super().step(cycle)
        if cycle.state in BY_STATE:
            name(BY_STATE[cycle.state])


def name(component: str) -> None:
    """A line that says who is at work."""
    err.print(Rule(f"[bold cyan]{component}[/]", align="left"))


def walk(directory: Path, size: DemoSize) -> DemoResult:
    """The walk of `make demo`, each line under the name of its component."""

    def say(text: str) -> None:
        number, _, rest = text.partition(". ")
        name(f"{BY_LINE[number]}: {rest}")

    with bars(Announcer) as shown:
        return run_demo(directory, observer=shown, say=say, size=size)


def show(directory: Path, result: DemoResult) -> None:
    """What each component has to say about it, in the guide's calls."""
    data_manager = DataManager(local_storage_dir=directory, use_gcs=False)
    coordinator = FinetuningCoordinator(data_manager=data_manager)
    live = data_manager.workspace.deployments.live().version_id
    transcribe = data_manager.workspace.transcribe_function(live)

    name("Data Manager")
    statistics = data_manager.get_statistics()
    out.print(
        f"{statistics['total_failed_cases']} failed cases, "
        f"{statistics['correction_rate']:.0%} corrected; {statistics['error_type_distribution']}"
    )
    name("Fine-Tuning Orchestrator")
    trigger = coordinator.orchestrator.check_trigger_conditions()
    out.print(f"Should trigger again: {trigger['should_trigger']}")
    for reason in trigger["reasons"]:
        out.print(f"  {reason}")
    for job in coordinator.orchestrator.list_jobs():
        out.print(f"{job.job_id}: {job.status}, {job.trigger_reason}")
    name("Model Validator")
    report = coordinator.validator.generate_validation_report(directory / "validation.json")
    for one in report["recent_validations"]:
        out.print(
            f"{one['model_id']}: WER {percent(one['baseline_wer'])} → {percent(one['model_wer'])}, "
            f"p = {one['p_value']:.2g}, {'passed' if one['passed'] else 'failed'}"
        )
    name("Regression Tester")
    test_id = coordinator.regression_tester.register_test(
        test_name="Critical Benchmark",
        test_type="benchmark",
        test_data_path=directory / EVALUATION / "test.jsonl",
        baseline_wer=result.comparison.baseline.wer,
        baseline_cer=result.comparison.baseline.cer,
        baseline_version=result.cycle.baseline_id,
    )
    test = coordinator.regression_tester.run_test(test_id, live, transcribe)
    out.print(
        f"Critical Benchmark, {test.num_samples} samples: WER {percent(test.model_wer)}, "
        f"the baseline's is {percent(test.baseline_wer)}; "
        f"{'passed' if test.passed else test.failure_reason}"
    )
    coordinator.regression_tester.generate_regression_report(directory / "regression.json")
    name("Model Deployer")
    coordinator.deployer.print_status()
    coordinator.deployer.generate_deployment_report(directory / "deployment.json")
    name("Metadata Tracker")
    trend = coordinator.metadata_tracker.get_performance_trend("wer", time_window_days=30)
    out.print(f"WER improvement over 30 days: {trend['improvement']:.4f}")
    coordinator.metadata_tracker.generate_performance_report(directory / "performance.json")
    name("Complete Workflow Coordinator")
    coordinator.print_status()
    out.print(f"\nReports to open in a browser: {directory}/*.html")


def main() -> int:
    """Parse the command line, walk, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--quick", action="store_true", help="a dozen clips a split, 2 epochs")
    arguments = parser.parse_args()
    try:
        result = walk(arguments.directory, QUICK if arguments.quick else DemoSize())
    except MisheardError as error:
        err.print(f"[bold red]error:[/] {error}")
        return error.exit_code
    show(arguments.directory, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
