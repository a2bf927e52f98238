"""Deletions: projects, patients and volumes are hidden first and purged later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.models import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_HIDDEN = ("projects", "patients", "volumes", "slices")


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("purge_after", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_deletions_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletions")),
    )
    op.create_index(op.f("ix_deletions_project_id"), "deletions", ["project_id"], unique=False)
    op.create_index(op.f("ix_deletions_purge_after"), "deletions", ["purge_after"], unique=False)
    for table in _HIDDEN:
        op.add_column(table, sa.Column("deletion_id", sa.Uuid(), nullable=True))
    op.add_column("assignments", sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("assignments") as batch_op:
        batch_op.drop_column("withdrawn")
    for table in _HIDDEN:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_column("deletion_id")
    op.drop_table("deletions")
