from __future__ import annotations

import json
import subprocess
import sys

from tests.clock import processor_s

HEAVY = ("torch", "ctranslate2", "transformers", "sqlalchemy", "numpy", "fastapi")


def fastest(program: str, runs: int = 5) -> float:
    """Seconds of the fastest of several runs: what the work takes when nothing is in the way.

    They are of the processor, for what else runs on the machine takes of the clock's.
    """
    spent = []
    for _ in range(runs):
        before = processor_s()
        subprocess.run([sys.executable, "-c", program], check=True)
        spent.append(processor_s() - before)
    return min(spent)


def test_importing_misheard_costs_next_to_nothing() -> None:
    assert fastest("import misheard") - fastest("pass") <= 0.15


def test_importing_misheard_brings_no_heavy_library() -> None:
    program = (
        f"import sys, json, misheard; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert json.loads(out.stdout) == []


def test_help_loads_no_model_library() -> None:
    program = (
        "import sys, misheard.cli\n"
        "sys.argv = ['misheard', '--help']\n"
        "try: misheard.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'ctranslate2', 'transformers') if m in sys.modules]\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_no_library_of_a_cloud_is_loaded_before_a_bucket_is_opened() -> None:
    program = (
        "import sys, misheard, misheard.blobs.opening, misheard.blobs.transfers\n"
        "import misheard.blobs.gcs, misheard.blobs.s3, misheard.cli\n"
        "sys.argv = ['misheard', '--help']\n"
        "try: misheard.cli.main()\n"
        "except SystemExit: pass\n"
        "of_clouds = ('google', 'obstore', 'requests')\n"
        "clouds = [m for m in sys.modules if m.split('.')[0] in of_clouds]\n"
        "sys.exit(repr(clouds) if clouds else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
