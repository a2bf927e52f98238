"""Blobs of purged rows that wait until nobody can be about to name them.

Revision: 0017, after 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.models import UtcDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "purged_blobs",
        sa.Column("blob", sa.String(length=80), nullable=False),
        sa.Column("purged_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_purged_blobs")),
    )


def downgrade() -> None:
    op.drop_table("purged_blobs")
