"""Watching the loop: where it stands and what happens next."""
