"""How large parked pieces of KUMA's answer are, so that nobody must read them to tell."""

import zlib

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

AT_ONCE = 1024 * 1024


def upgrade() -> None:
    op.add_column("parked", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    parked = sa.table("parked", sa.column("digest"), sa.column("raw", sa.LargeBinary), sa.column("size"))
    connection = op.get_bind()
    for digest in connection.execute(sa.select(parked.c.digest)).scalars().all():
        this = parked.c.digest == digest
        packed = connection.execute(sa.select(parked.c.raw).where(this)).scalar_one()
        connection.execute(sa.update(parked).where(this).values(size=_unpacked(bytes(packed))))


def _unpacked(packed: bytes) -> int:
    """Count a piece's bytes without holding more than a part of them."""
    unpacking, size = zlib.decompressobj(), 0
    while packed:
        size += len(unpacking.decompress(packed, AT_ONCE))
        packed = unpacking.unconsumed_tail
    return size + len(unpacking.flush())
