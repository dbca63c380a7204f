"""What a command sets before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOOK = """
import atexit, json, sys
from misheard.cli import main

def look():
    import numpy, threadpoolctl
    pools = threadpoolctl.threadpool_info()
    print(json.dumps([one["num_threads"] for one in pools if one["user_api"] == "blas"]))

atexit.register(look)
sys.argv = ["misheard", "--version"]
main()
"""


@pytest.mark.parametrize(("given", "threads"), [({}, [1]), ({"OPENBLAS_NUM_THREADS": "2"}, [2])])
def test_numpy_computes_on_one_core_unless_told_otherwise(
    given: dict[str, str], threads: list[int]
) -> None:
    if (os.cpu_count() or 1) < 2:
        threads = [1]
    unset = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | given
    command = [sys.executable, "-c", LOOK]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == str(threads)
