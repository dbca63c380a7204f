"""Alembic migrations; `misheard.database.engine.migrate` runs them."""
