"""Alembic runs inside a connection that the program hands over; there is no URL and no offline mode here."""

from alembic import context

from kuma_sync.store.schema import metadata

told = context.config.attributes.get("told")


def reached(step, **_facts) -> None:
    """Tell which revision is reached."""
    if told is not None:
        told(step.up_revision_id)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    on_version_apply=reached,
)
context.run_migrations()
