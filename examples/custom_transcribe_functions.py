"""Any recogniser through the gates: all they need is a function from audio to text.

    python examples/custom_transcribe_functions.py [--workspace DIR]

The recogniser here is faster-whisper, used directly: misheard sees only its function. The live
version is compared with it on six prompts, and then held to what it reached, as a regression test.
A few seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# The guide's import paths start at the root of the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faster_whisper import WhisperModel

from misheard import audio
from misheard.errors import MisheardError
from misheard.workspace import Workspace
from src.data.model_validator import ModelValidator
from src.data.regression_tester import RegressionTester

CLIPS = 6


def stranger(model_directory: Path) -> Callable[[str], str]:
    """A recogniser of your own: a vendor's API, another toolkit, anything.

    It takes the path of an audio file and gives the text, or a dict with `transcript`. Where it
    raises, that clip counts as misheard, and the reason is kept.
    """
    model = WhisperModel(str(model_directory), device="cpu", compute_type="int8")

    def transcribe(path: str) -> str:
        segments, _ = model.transcribe(audio.read(path).samples, language="en", beam_size=1)
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def run(directory: Path) -> None:
    """Validation, then regression."""
    workspace = Workspace.open(directory)
    samples = _first_samples(directory / "evaluation" / "test.jsonl")

    live = workspace.deployments.live().version_id
    oldest = workspace.registry.listed()[-1].id
    ours = workspace.transcribe_function(live)
    theirs = stranger(workspace.registry.directory(oldest))

    print(f"Comparing {live} (live) with faster-whisper on {CLIPS} clips ...")
    validator = ModelValidator(storage_dir=directory, use_gcs=False)
    result = validator.validate_model(
        model_id="live",
        model_transcribe_fn=ours,
        baseline_id="faster-whisper",
        baseline_transcribe_fn=theirs,
        evaluation_set=samples,
        validation_set_name="first six",
    )
    print(f"  WER {result.baseline_wer:.2%} -> {result.model_wer:.2%}, p = {result.p_value:.2g}")
    print(
        f"  passed: {result.passed}" + (f" ({result.failure_reason})" if not result.passed else "")
    )
    for sample in result.failed_samples:
        print(f"  worse: '{sample['reference']}' was heard as '{sample['candidate']}'")

    print("The same clips as a regression test, held to what faster-whisper reached ...")
    tester = RegressionTester(storage_dir=directory, use_gcs=False)
    with tempfile.TemporaryDirectory() as folder:
        # A test keeps a copy of its recordings, so the list may go.
        listed = Path(folder) / "first-six.json"
        listed.write_text(json.dumps(samples), encoding="utf-8")
        test_id = tester.register_test(
            test_name="first six",
            test_type="benchmark",
            test_data_path=listed,
            baseline_wer=result.baseline_wer,
            baseline_cer=result.baseline_cer,
            baseline_version="faster-whisper",
            description="six prompts; an example",
        )
    kept = tester.run_test(test_id, "live", ours)
    print(f"  WER changes by {kept.wer_degradation:+.2%}, passed: {kept.passed}")
    if kept.failure_reason:
        print(f"  {kept.failure_reason}")


def _first_samples(listed: Path) -> list[dict[str, str]]:
    """Each has an `audio_path` and a `reference`, as yours have to."""
    if not listed.exists():
        raise SystemExit(f"There is no '{listed}'. Fill a workspace first: make demo")
    lines = listed.read_text(encoding="utf-8").split("\n")[:CLIPS]
    samples: list[dict[str, str]] = [json.loads(line) for line in lines if line]
    # Paths in the list are relative to it.
    return [
        one | {"audio_path": str((listed.parent / one["audio_path"]).resolve())} for one in samples
    ]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("data"), metavar="DIR")
    try:
        run(parser.parse_args().workspace)
    except MisheardError as error:
        sys.exit(f"error: {error}\nThis example needs a workspace that was filled: make demo")


if __name__ == "__main__":
    main()
