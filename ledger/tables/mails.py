"""Mail that is to be sent: written with its cause, sent afterwards."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel


class OutboxMail(SQLModel, table=True):
    """A mail, by what it says; its text is made when it is sent. Market.

    A token that it carries is made then too: no row holds one.
    """

    __tablename__ = "outbox_mail"
    __table_args__ = (
        CheckConstraint("state IN ('waiting','sent','failed')", name="state_known"),
        Index(
            "outbox_mail_due",
            "due_at_s",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("outbox_mail_created", "created_at_s"),
    )

    mail_id: str = Field(primary_key=True)
    to_address: str
    template: str
    facts: str = Field(sa_type=Text)
    """What the template shows, JSON."""
    token_purpose: str | None = None
    """What the link in it is for; None: it has none that signs in or verifies."""
    supplier_id: str | None = Field(default=None, index=True)
    once_key: str | None = Field(default=None, unique=True)
    """What at most one mail is written for, ever; None: nothing of the kind."""
    state: str = "waiting"
    tries: int = 0
    due_at_s: int = Field(sa_type=BigInteger)
    """When it is tried next; while a process sends it: when others may try."""
    error: str | None = None
    """Why the last try failed, a word."""
    created_at_s: int = Field(sa_type=BigInteger)
    sent_at_s: int | None = Field(default=None, sa_type=BigInteger)
