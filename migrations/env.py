"""Alembic runs inside a connection that the program hands over; there is no URL and no offline mode here."""

from alembic import context

from kuma_sync.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
