"""assignments, two clocks, drafts, reviews

Revision: 0007, after 0006.

Every pick becomes its first reader's assignment. Leases are made anew: those alive at the time of the migration end,
and what their holders submit is taken while nobody else holds the slice, as after any expiry.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.models import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _keys(table: str, **targets: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}_{target}"))
        for column, target in targets.items()
    ]


def upgrade() -> None:
    with op.batch_alter_table("projects") as batch_op:
        batch_op.add_column(sa.Column("overlap", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("adjudicate", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("review_percent", sa.Float(), nullable=False, server_default="0"))
    with op.batch_alter_table("slices") as batch_op:
        batch_op.add_column(sa.Column("excluded", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("annotation_versions") as batch_op:
        batch_op.add_column(sa.Column("purpose", sa.String(length=16), nullable=False, server_default="annotate"))
        batch_op.add_column(sa.Column("origin_id", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("prediction_id", sa.Uuid(), nullable=True))
        batch_op.create_index("ix_annotation_versions_author", ["author", "id"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("order", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("seat", sa.Integer(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        *_keys("assignments", project_id="projects", round_id="rounds", slice_id="slices"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("slice_id", "purpose", "seat", name=op.f("uq_assignments_slice_id_purpose_seat")),
    )
    place = ["project_id", "purpose", "round_id", "order", "seat"]
    _partial_index("ix_assignments_open", "assignments", place, "NOT done")
    _partial_index("ix_assignments_open_in_round", "assignments", ["round_id"], "NOT done")
    op.execute(
        'INSERT INTO assignments (id, project_id, round_id, slice_id, "order", purpose, seat, done) '
        "SELECT id, project_id, round_id, slice_id, \"order\", 'annotate', 1, annotated FROM picks"
    )
    with op.batch_alter_table("picks") as batch_op:
        batch_op.drop_index("ix_picks_free")
        batch_op.drop_column("leased_until")
    op.drop_table("leases")
    op.create_table(
        "leases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("live_until", UtcDateTime(), nullable=True),
        sa.Column("skip_reason", sa.String(length=16), nullable=True),
        sa.Column("skip_note", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        *_keys("leases", project_id="projects", assignment_id="assignments", slice_id="slices"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    op.create_index("ix_leases_project_holder", "leases", ["project_id", "holder", "state"], unique=False)
    op.create_index("ix_leases_slice_holder", "leases", ["slice_id", "holder"], unique=False)
    _partial_index("uq_leases_active_assignment", "leases", ["assignment_id"], "state = 'active'", unique=True)
    _create_drafts_and_reviews()


def _create_drafts_and_reviews() -> None:
    op.create_table(
        "drafts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("tag", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("base_version", sa.String(length=64), nullable=False),
        sa.Column("lead_time_ms", sa.Integer(), nullable=True),
        sa.Column("mask", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        *_keys("drafts", slice_id="slices"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
        sa.UniqueConstraint("slice_id", "author", name=op.f("uq_drafts_slice_id_author")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("reviewer", sa.String(length=200), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("x", sa.Double(), nullable=True),
        sa.Column("y", sa.Double(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        *_keys("reviews", version_id="annotation_versions"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_version_id"), "reviews", ["version_id"], unique=False)


def downgrade() -> None:
    op.drop_table("reviews")
    op.drop_table("drafts")
    op.drop_table("leases")
    op.drop_table("assignments")
    op.create_table(
        "leases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("pick_id", sa.Uuid(), nullable=False),
        sa.Column("slice_id", sa.Uuid(), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        *_keys("leases", project_id="projects", pick_id="picks", slice_id="slices"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    op.create_index("ix_leases_project_holder", "leases", ["project_id", "holder", "state"], unique=False)
    _partial_index("uq_leases_active_slice", "leases", ["slice_id"], "state = 'active'", unique=True)
    with op.batch_alter_table("picks") as batch_op:
        batch_op.add_column(sa.Column("leased_until", UtcDateTime(), nullable=True))
    _partial_index("ix_picks_free", "picks", ["project_id", "round_id", "order"], "NOT annotated")
    with op.batch_alter_table("annotation_versions") as batch_op:
        batch_op.drop_index("ix_annotation_versions_author")
        for column in ("prediction_id", "origin_id", "purpose"):
            batch_op.drop_column(column)
    with op.batch_alter_table("slices") as batch_op:
        batch_op.drop_column("excluded")
    with op.batch_alter_table("projects") as batch_op:
        for column in ("review_percent", "adjudicate", "overlap"):
            batch_op.drop_column(column)
