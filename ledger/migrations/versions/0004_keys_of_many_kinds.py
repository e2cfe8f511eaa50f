"""The keys that a buyer divides, and what else the proxy keeps."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
