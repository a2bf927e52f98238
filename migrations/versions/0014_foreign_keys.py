"""Indexes for rows that are looked up by their slice, volume or round alone.

Revision: 0014, after 0013.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_LOOKED_UP = (("picks", "slice_id"), ("metrics", "volume_id"), ("predictions", "volume_id"), ("jobs", "round_id"))


def upgrade() -> None:
    for table, column in _LOOKED_UP:
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table, column in reversed(_LOOKED_UP):
        op.drop_index(f"ix_{table}_{column}", table)
