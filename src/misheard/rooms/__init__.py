"""Builds every room of the loop, and passes it what it needs."""
