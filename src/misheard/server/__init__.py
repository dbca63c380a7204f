"""HTTP over a workspace: routes and pages, nothing else."""
