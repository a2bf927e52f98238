"""pages: long lists are read in the order of their index

Revision: 0011, after 0010.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_project", "jobs", ["project_id", "id"])
    op.drop_index("ix_jobs_project_id", "jobs")
    op.create_index("ix_webhook_deliveries_webhook", "webhook_deliveries", ["webhook_id", "id"])
    op.drop_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries")
    op.create_index("ix_metrics_round_page", "metrics", ["round_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_metrics_round_page", "metrics")
    op.create_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries", ["webhook_id"])
    op.drop_index("ix_webhook_deliveries_webhook", "webhook_deliveries")
    op.create_index("ix_jobs_project_id", "jobs", ["project_id"])
    op.drop_index("ix_jobs_project", "jobs")
