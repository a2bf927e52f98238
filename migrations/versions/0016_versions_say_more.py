"""What a version of an annotation says of its making: who entered it in its author's name.

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


def downgrade() -> None:
    with op.batch_alter_table("annotation_versions") as batch_op:
        batch_op.drop_column("entered_by")
