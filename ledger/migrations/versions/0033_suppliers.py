"""Suppliers: their accounts, what they say of themselves, reviews of it, and mail.

What is only ever added to, the database itself keeps from being changed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

ONLY_ADDED_TO = ("audit_entry", "kyb_decision", "kyb_submission", "supplier_status_change")


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id"),
    )
    op.create_index(
        "audit_entry_supplier", "audit_entry", ["supplier_id", "entry_id"], unique=False
    )
    op.create_table(
        "kyb_identity",
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("identity_id"),
        sa.UniqueConstraint("digest", "key_id", name="kyb_identity_digest"),
    )
    op.create_index(op.f("ix_kyb_identity_key_id"), "kyb_identity", ["key_id"], unique=False)
    op.create_table(
        "outbox_mail",
        sa.Column("mail_id", sa.String(), nullable=False),
        sa.Column("to_address", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("token_purpose", sa.String(), nullable=True),
        sa.Column("supplier_id", sa.String(), nullable=True),
        sa.Column("once_key", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at_s", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("sent_at_s", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('waiting','sent','failed')", name="state_known"),
        sa.PrimaryKeyConstraint("mail_id"),
        sa.UniqueConstraint("once_key"),
    )
    op.create_index(
        op.f("ix_outbox_mail_supplier_id"), "outbox_mail", ["supplier_id"], unique=False
    )
    op.create_index("outbox_mail_created", "outbox_mail", ["created_at_s"], unique=False)
    op.create_index(
        "outbox_mail_due",
        "outbox_mail",
        ["due_at_s"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "supplier",
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("kyb_status", sa.String(), nullable=False),
        sa.Column("kyb_version", sa.Integer(), nullable=False),
        sa.Column("kyb_changed_at_s", sa.BigInteger(), nullable=False),
        sa.Column("legal_name", sa.Text(), nullable=True),
        sa.Column("registration_number", sa.String(), nullable=True),
        sa.Column("fee_bps", sa.Integer(), nullable=True),
        sa.Column("totp_ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("totp_wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("totp_kms_key_id", sa.String(), nullable=True),
        sa.Column("totp_confirmed_at_s", sa.BigInteger(), nullable=True),
        sa.Column("totp_last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kyb_status IN ('draft', 'pending', 'under_review', 'revision_needed',"
            " 'approved', 'rejected', 'suspended')",
            name="kyb_status_known",
        ),
        sa.CheckConstraint("role IN ('supplier','reviewer','operator')", name="role_known"),
        sa.CheckConstraint(
            "(totp_ciphertext IS NULL) = (totp_wrapped_key IS NULL)"
            " AND (totp_ciphertext IS NULL) = (totp_kms_key_id IS NULL)",
            name="totp_whole",
        ),
        sa.CheckConstraint("fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
        sa.PrimaryKeyConstraint("supplier_id"),
        sa.UniqueConstraint("email"),
    )
    op.create_index("supplier_changed", "supplier", ["changed_at_s"], unique=False)
    op.create_index(
        "supplier_under_review",
        "supplier",
        ["kyb_changed_at_s"],
        unique=False,
        sqlite_where=sa.text("kyb_status = 'under_review'"),
        postgresql_where=sa.text("kyb_status = 'under_review'"),
    )
    op.create_table(
        "supplier_application",
        sa.Column("application_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("mailed_at_s", sa.BigInteger(), nullable=False),
        sa.Column("verified_at_s", sa.BigInteger(), nullable=True),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("application_id"),
        sa.UniqueConstraint("email"),
    )
    op.create_index(
        op.f("ix_supplier_application_created_at_s"),
        "supplier_application",
        ["created_at_s"],
        unique=False,
    )
    op.create_table(
        "supplier_throttle",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_at_s", sa.BigInteger(), nullable=False),
        sa.Column("ends_at_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index(
        op.f("ix_supplier_throttle_ends_at_s"), "supplier_throttle", ["ends_at_s"], unique=False
    )
    op.create_table(
        "supplier_token",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('verify','sign_up','reset')", name="purpose_known"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index(
        op.f("ix_supplier_token_expires_at_s"), "supplier_token", ["expires_at_s"], unique=False
    )
    op.create_index("supplier_token_email", "supplier_token", ["email", "purpose"], unique=False)
    op.create_table(
        "kyb_decision",
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("is_final", sa.Boolean(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("decided_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('approve','revise','reject','suspend','reinstate')", name="decision_known"
        ),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("decision_id"),
    )
    op.create_index("kyb_decision_of", "kyb_decision", ["supplier_id", "version"], unique=False)
    op.create_table(
        "kyb_document",
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("kms_key_id", sa.String(), nullable=True),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("uploaded_at_s", sa.BigInteger(), nullable=False),
        sa.Column("erase_at_s", sa.BigInteger(), nullable=False),
        sa.Column("erased_at_s", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('business_license','bank_proof','tax_clearance','business_history')",
            name="kind_known",
        ),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("document_id"),
    )
    op.create_index(
        "kyb_document_erase",
        "kyb_document",
        ["erase_at_s"],
        unique=False,
        sqlite_where=sa.text("ciphertext IS NOT NULL"),
        postgresql_where=sa.text("ciphertext IS NOT NULL"),
    )
    op.create_index("kyb_document_kms_key", "kyb_document", ["kms_key_id"], unique=False)
    op.create_index("kyb_document_of", "kyb_document", ["supplier_id", "kind"], unique=False)
    op.create_table(
        "kyb_owner",
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("legal_name", sa.Text(), nullable=False),
        sa.Column("nationality", sa.String(), nullable=False),
        sa.Column("id_type", sa.String(), nullable=False),
        sa.Column("identity_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("share_bps", sa.Integer(), nullable=False),
        sa.CheckConstraint("share_bps BETWEEN 0 AND 10000", name="share_in_range"),
        sa.ForeignKeyConstraint(
            ["identity_id"],
            ["kyb_identity.identity_id"],
        ),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("owner_id"),
    )
    op.create_index("kyb_owner_identity", "kyb_owner", ["identity_id"], unique=False)
    op.create_index("kyb_owner_of", "kyb_owner", ["supplier_id", "position"], unique=False)
    op.create_table(
        "kyb_section",
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("section", sa.String(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("saved_at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("section IN ('entity','owners','source')", name="section_known"),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("supplier_id", "section"),
    )
    op.create_table(
        "kyb_submission",
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("submitted_at_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("supplier_id", "version"),
    )
    op.create_table(
        "supplier_key",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_s", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("key_hash"),
    )
    op.create_index("supplier_key_of", "supplier_key", ["supplier_id"], unique=False)
    op.create_table(
        "supplier_session",
        sa.Column("session_hash", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("created_at_s", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_s", sa.BigInteger(), nullable=False),
        sa.Column("fresh_at_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("session_hash"),
        sa.UniqueConstraint("session_id"),
    )
    op.create_index(
        op.f("ix_supplier_session_expires_at_s"), "supplier_session", ["expires_at_s"], unique=False
    )
    op.create_index("supplier_session_of", "supplier_session", ["supplier_id"], unique=False)
    op.create_table(
        "supplier_status_change",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("supplier_id", sa.String(), nullable=False),
        sa.Column("kyb_status", sa.String(), nullable=False),
        sa.Column("at_s", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kyb_status IN ('draft', 'pending', 'under_review', 'revision_needed',"
            " 'approved', 'rejected', 'suspended')",
            name="kyb_status_known",
        ),
        sa.ForeignKeyConstraint(
            ["supplier_id"],
            ["supplier.supplier_id"],
        ),
        sa.PrimaryKeyConstraint("change_id"),
    )
    op.create_index(
        "supplier_status_change_at", "supplier_status_change", ["supplier_id", "at_s"], unique=False
    )
    _protect()


def downgrade() -> None:
    op.drop_index("supplier_status_change_at", table_name="supplier_status_change")
    op.drop_table("supplier_status_change")
    op.drop_index("supplier_session_of", table_name="supplier_session")
    op.drop_index(op.f("ix_supplier_session_expires_at_s"), table_name="supplier_session")
    op.drop_table("supplier_session")
    op.drop_index("supplier_key_of", table_name="supplier_key")
    op.drop_table("supplier_key")
    op.drop_table("kyb_submission")
    op.drop_table("kyb_section")
    op.drop_index("kyb_owner_of", table_name="kyb_owner")
    op.drop_index("kyb_owner_identity", table_name="kyb_owner")
    op.drop_table("kyb_owner")
    op.drop_index("kyb_document_of", table_name="kyb_document")
    op.drop_index("kyb_document_kms_key", table_name="kyb_document")
    op.drop_index(
        "kyb_document_erase",
        table_name="kyb_document",
        sqlite_where=sa.text("ciphertext IS NOT NULL"),
        postgresql_where=sa.text("ciphertext IS NOT NULL"),
    )
    op.drop_table("kyb_document")
    op.drop_index("kyb_decision_of", table_name="kyb_decision")
    op.drop_table("kyb_decision")
    op.drop_index("supplier_token_email", table_name="supplier_token")
    op.drop_index(op.f("ix_supplier_token_expires_at_s"), table_name="supplier_token")
    op.drop_table("supplier_token")
    op.drop_index(op.f("ix_supplier_throttle_ends_at_s"), table_name="supplier_throttle")
    op.drop_table("supplier_throttle")
    op.drop_index(op.f("ix_supplier_application_created_at_s"), table_name="supplier_application")
    op.drop_table("supplier_application")
    op.drop_index(
        "supplier_under_review",
        table_name="supplier",
        sqlite_where=sa.text("kyb_status = 'under_review'"),
        postgresql_where=sa.text("kyb_status = 'under_review'"),
    )
    op.drop_index("supplier_changed", table_name="supplier")
    op.drop_table("supplier")
    op.drop_index(
        "outbox_mail_due",
        table_name="outbox_mail",
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.drop_index("outbox_mail_created", table_name="outbox_mail")
    op.drop_index(op.f("ix_outbox_mail_supplier_id"), table_name="outbox_mail")
    op.drop_table("outbox_mail")
    op.drop_index(op.f("ix_kyb_identity_key_id"), table_name="kyb_identity")
    op.drop_table("kyb_identity")
    op.drop_index("audit_entry_supplier", table_name="audit_entry")
    op.drop_table("audit_entry")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION only_added_to()")


def _protect() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION only_added_to() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'rows here are only added'; END $$"
        )
        for table in ONLY_ADDED_TO:
            op.execute(
                f"CREATE TRIGGER {table}_only_added_to BEFORE UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION only_added_to()"
            )
        return
    for table in ONLY_ADDED_TO:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'rows here are only added'); END"
            )
