"""The command line: one file a verb. A command parses, makes one call, prints."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the `misheard` command."""
    # Before numpy is loaded. Its OpenBLAS gives every product of matrices all cores, and its
    # threads go on spinning after it: those that decode speech beside them were a third slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from misheard.cli.group import cli  # noqa: PLC0415 - nobody who imports this package needs it

    sys.exit(cli())
