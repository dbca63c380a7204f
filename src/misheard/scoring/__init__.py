"""Scoring: pure functions over text and arrays. No I/O, no database."""
