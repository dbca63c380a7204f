"""A fire drill: deploy, roll back twice, go back to a named version, read the log.

    python examples/rollback_practice.py [--workspace DIR]

What is deployed is a copy of the live version, so callers hear no difference while you practise. At
the end the version that was live at the beginning is live again. A few seconds.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

# The guide's import paths start at the root of the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from misheard.errors import MisheardError
from misheard.workspace import Workspace
from src.data.model_deployer import ModelDeployer


def run(directory: Path) -> None:
    """Five changes of what is live."""
    workspace = Workspace.open(directory)
    deployer = ModelDeployer(storage_dir=directory, use_gcs=False)
    before = deployer.get_active_version()
    if before is None or not deployer.list_versions(status="archived"):
        raise SystemExit(
            f"'{directory}' has had only one live version, so there is nothing to roll back to. "
            "Fill a workspace first: make demo"
        )
    clip = next(iter(sorted((directory / "evaluation" / "clips").glob("*"))), None)

    def live() -> str:
        """The id of what is live, and what it hears."""
        active = deployer.get_active_version()
        assert active is not None, "one was live"  # noqa: S101 - for the type checker
        heard = workspace.transcribe_function(active.version_id)(clip) if clip else {}
        return f"{active.version_id}, which hears: '{heard.get('transcript', '')}'"

    print(f"live:                 {live()}")
    # The files are copied in; what you register is never moved or changed.
    drill = deployer.register_model("drill", workspace.registry.directory(before.version_id))
    if not deployer.deploy_model(drill):
        # It was never validated. Here we know better: it is a copy of what was live.
        deployer.deploy_model(drill, force=True)
    print(f"deployed:             {live()}")
    deployer.rollback()
    print(f"rolled back:          {live()}")
    # A second rollback goes one further back, never forward to what was just left.
    deployer.rollback()
    print(f"rolled back again:    {live()}")
    deployer.rollback(target_version_id=drill)
    print(f"to a named version:   {live()}")
    deployer.rollback()
    deployer.deploy_model(before.version_id)  # does nothing where it is live already
    print(f"as before:            {live()}")

    print("\nWho did what:")
    for entry in reversed(workspace.audit.entries(limit=6)):
        print(f"  {entry.created_at:%H:%M:%S} {entry.actor}: {entry.action} {entry.to_value}")


def main() -> None:
    """Read the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("data"), metavar="DIR")
    try:
        run(parser.parse_args().workspace)
    except MisheardError as error:
        sys.exit(f"error: {error}\nThis example needs a workspace that was filled: make demo")


if __name__ == "__main__":
    main()
