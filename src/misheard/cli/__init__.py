"""The command line: one file a verb. A command parses, makes one call, prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `misheard` command."""
    from misheard.cli.group import cli  # noqa: PLC0415 - nobody who imports this package needs it

    sys.exit(cli())
