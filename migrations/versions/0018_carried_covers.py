"""The distances that K-Center Greedy carries from round to round.

Revision: 0018, after 0017.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rounds", sa.Column("cover_key", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("rounds", "cover_key")
