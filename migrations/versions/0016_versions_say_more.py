"""What a version of an annotation says of its making: who entered it in its author's name, and under which schema.

Revision: 0016, after 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("annotation_versions", sa.Column("entered_by", sa.String(length=200), nullable=True))
    op.add_column("annotation_versions", sa.Column("schema_version", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("schema_version", sa.Integer(), nullable=False, server_default="1"))


def downgrade() -> None:
    with op.batch_alter_table("projects") as batch_op:
        batch_op.drop_column("schema_version")
    with op.batch_alter_table("annotation_versions") as batch_op:
        batch_op.drop_column("schema_version")
        batch_op.drop_column("entered_by")
