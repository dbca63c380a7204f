"""Transcribes for many at once, with what is live; no HTTP."""
