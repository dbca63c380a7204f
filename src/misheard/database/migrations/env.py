"""Run migrations on the connection that `misheard.database.engine.migrate` passes in."""

from typing import Any, Literal

from alembic import context

from misheard.database.schema import UtcDateTime, metadata


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    if kind == "type" and isinstance(item, UtcDateTime):
        return "UtcDateTime()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=_render,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
