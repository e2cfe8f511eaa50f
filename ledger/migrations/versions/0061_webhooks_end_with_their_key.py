"""The key epoch of webhooks, and the child keys that they were told of by id."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None
# Code of before cannot read what webhooks have seen now.
oldest_revision = "0061"

Seen = dict[str, Any]
Revoked = Sequence[Any]
"""Ids of revoked child keys and when they were, in order."""

_webhook = sa.table(
    "webhook",
    sa.column("webhook_id", sa.String()),
    sa.column("token_id", sa.BigInteger()),
    sa.column("key_epoch", sa.BigInteger()),
    sa.column("seen", sa.Text()),
)
_position = sa.table(
    "position", sa.column("token_id", sa.BigInteger()), sa.column("key_epoch", sa.BigInteger())
)
_child_key = sa.table(
    "child_key",
    sa.column("key_id", sa.String()),
    sa.column("token_id", sa.BigInteger()),
    sa.column("revoked_at_s", sa.BigInteger()),
)


def upgrade() -> None:
    column = sa.Column("key_epoch", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("webhook", column)
    # The key that set a webhook was not kept: it is taken for one of the position's epoch now.
    epoch = sa.select(_position.c.key_epoch).where(_position.c.token_id == _webhook.c.token_id)
    now = sa.func.coalesce(epoch.scalar_subquery(), 0)
    op.execute(sa.update(_webhook).values(key_epoch=now))
    _change_seen(_name_revoked)


def downgrade() -> None:
    _change_seen(_count_revoked)
    op.drop_column("webhook", "key_epoch")


def _change_seen(change: Callable[[Seen, Revoked], Seen]) -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(_webhook)).mappings().all():
        query = sa.select(_child_key.c.key_id, _child_key.c.revoked_at_s).where(
            _child_key.c.token_id == row["token_id"], _child_key.c.revoked_at_s.is_not(None)
        )
        order = (_child_key.c.revoked_at_s, _child_key.c.key_id)
        revoked = connection.execute(query.order_by(*order)).all()
        seen = json.dumps(change(json.loads(row["seen"]), revoked))
        is_it = _webhook.c.webhook_id == row["webhook_id"]
        connection.execute(sa.update(_webhook).where(is_it).values(seen=seen))


def _name_revoked(seen: Seen, revoked: Revoked) -> Seen:
    told = revoked[: seen["children_revoked"]]
    last_s = told[-1][1] if told else 0
    # Of the last one's second only the ids say which are told.
    known = [key_id for key_id, at_s in told if at_s == last_s]
    return {**seen, "revoked_since_s": max(0, last_s - 1), "children_revoked": known}


def _count_revoked(seen: Seen, revoked: Revoked) -> Seen:
    since_s, known = seen.pop("revoked_since_s"), seen["children_revoked"]
    count = sum(at_s <= since_s or key_id in known for key_id, at_s in revoked)
    return {**seen, "children_revoked": count}
