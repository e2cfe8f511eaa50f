"""Webhooks of positions: set, told of changes in order, tried again, replayed.

An endpoint's deliveries have numbers without gaps. Only the lowest that waits is tried, by the
one process that holds the endpoint (``claim``); the next one has its turn when that was delivered,
or given up. A delivery may arrive twice, where a process ends between its arrival and its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from contracts.errors import Rejected
from ledger.database.locks import lock_positions
from ledger.tables import ChildKey, Position, Webhook, WebhookDelivery, table_of

WEBHOOKS_MAX: Final = 10
"""Live endpoints of one position."""
KEPT_S: Final = 30 * 86_400
"""How long a delivery is kept after its end, seconds."""
DELIVERIES_MAX: Final = 10_000
"""Deliveries that wait for one endpoint; what is beyond is not told."""

_child_key = table_of(ChildKey)
_position = table_of(Position)
_webhook = table_of(Webhook)
_delivery = table_of(WebhookDelivery)


class UnknownWebhook(Rejected):
    """The position has no live webhook, or no delivery, of this id."""


class TooManyWebhooks(Rejected):
    """The position has as many webhooks as it may."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell an endpoint."""

    message_id: str
    kind: str
    body: str


def create_webhook(connection: Connection, values: dict[str, Any]) -> None:
    """Store an endpoint: the columns of ``Webhook``. Raises ``TooManyWebhooks``."""
    token_id = values["token_id"]
    lock_positions(connection, [token_id])
    live = connection.execute(
        select(func.count())
        .select_from(_webhook)
        .where(_webhook.c.token_id == token_id, _webhook.c.ended_at_s.is_(None))
    ).scalar_one()
    if live >= WEBHOOKS_MAX:
        raise TooManyWebhooks(f"the position has {live} webhooks")
    connection.execute(insert(_webhook).values(values))


def change_webhook(
    connection: Connection, webhook_id: str, *, token_id: int, changes: dict[str, Any]
) -> RowMapping:
    """Change a live endpoint of a position; return its row. Raises ``UnknownWebhook``."""
    is_it = (
        (_webhook.c.webhook_id == webhook_id)
        & (_webhook.c.token_id == token_id)
        & _webhook.c.ended_at_s.is_(None)
    )
    if not connection.execute(update(_webhook).where(is_it).values(changes)).rowcount:
        raise UnknownWebhook(f"no webhook {webhook_id}")
    return (
        connection.execute(select(_webhook).where(_webhook.c.webhook_id == webhook_id))
        .mappings()
        .one()
    )


def load_webhook(connection: Connection, webhook_id: str, *, token_id: int) -> RowMapping:
    """Return a live endpoint of a position, locked until the transaction ends.

    Raises ``UnknownWebhook``.
    """
    return change_webhook(connection, webhook_id, token_id=token_id, changes={"token_id": token_id})


def load_webhooks(connection: Connection, *, token_id: int) -> Sequence[RowMapping]:
    """Return a position's live endpoints, oldest first."""
    query = select(_webhook).where(_webhook.c.token_id == token_id, _webhook.c.ended_at_s.is_(None))
    return connection.execute(query.order_by(_webhook.c.webhook_id)).mappings().all()


def load_watched(connection: Connection) -> list[tuple[RowMapping, RowMapping]]:
    """Return every live endpoint with the row of its position."""
    hooks = (
        connection.execute(select(_webhook).where(_webhook.c.ended_at_s.is_(None))).mappings().all()
    )
    ids = {hook["token_id"] for hook in hooks}
    rows = connection.execute(select(_position).where(_position.c.token_id.in_(ids))).mappings()
    positions = {row["token_id"]: row for row in rows}
    return [(hook, positions[hook["token_id"]]) for hook in hooks if hook["token_id"] in positions]


def tell(
    connection: Connection,
    webhook_id: str,
    messages: Sequence[Message],
    *,
    now_s: int,
    seen: tuple[str, str] | None = None,
) -> bool:
    """Add deliveries at the end of an endpoint's order; tell whether they were added.

    ``seen``: what it had seen before, and has seen now; where it is another by now, somebody else
    was faster and nothing is added.
    """
    is_it = (_webhook.c.webhook_id == webhook_id) & _webhook.c.ended_at_s.is_(None)
    changes: dict[str, Any] = {"next_number": _webhook.c.next_number + len(messages)}
    if seen is not None:
        is_it = is_it & (_webhook.c.seen == seen[0])
        changes["seen"] = seen[1]
    if not connection.execute(update(_webhook).where(is_it).values(changes)).rowcount:
        return False
    number = connection.execute(
        select(_webhook.c.next_number).where(_webhook.c.webhook_id == webhook_id)
    ).scalar_one()
    first = number - len(messages)
    for place, message in enumerate(messages):
        connection.execute(
            insert(_delivery).values(
                delivery_id=f"{webhook_id}.{first + place}",
                webhook_id=webhook_id,
                number=first + place,
                message_id=message.message_id,
                kind=message.kind,
                body=message.body,
                state="waiting",
                tries=0,
                next_try_at_s=now_s,
                created_at_s=now_s,
            )
        )
    return True


def claim_due(
    connection: Connection, *, now_s: int, lasting_s: int, most: int
) -> list[tuple[RowMapping, RowMapping]]:
    """Take endpoints whose next delivery is due; return each with that delivery.

    Nobody else takes them for ``lasting_s``, or until ``release``.
    """
    first = (
        select(_delivery.c.webhook_id, func.min(_delivery.c.number).label("number"))
        .where(_delivery.c.state == "waiting")
        .group_by(_delivery.c.webhook_id)
        .subquery()
    )
    due = connection.execute(
        select(_delivery)
        .join(
            first,
            (first.c.webhook_id == _delivery.c.webhook_id) & (first.c.number == _delivery.c.number),
        )
        .where(_delivery.c.next_try_at_s <= now_s)
        .order_by(_delivery.c.next_try_at_s)
        .limit(most)
    ).mappings()
    taken = []
    for delivery in due.all():
        is_free = (
            (_webhook.c.webhook_id == delivery["webhook_id"])
            & (_webhook.c.busy_until_s <= now_s)
            & _webhook.c.ended_at_s.is_(None)
        )
        claimed = update(_webhook).where(is_free).values(busy_until_s=now_s + lasting_s)
        if connection.execute(claimed).rowcount:
            hook = (
                connection.execute(
                    select(_webhook).where(_webhook.c.webhook_id == delivery["webhook_id"])
                )
                .mappings()
                .one()
            )
            taken.append((hook, delivery))
    return taken


def note_try(
    connection: Connection,
    delivery: RowMapping,
    *,
    said: str,
    state: str,
    now_s: int,
    next_try_at_s: int,
    is_gone: bool,
) -> None:
    """Record what came of a try, and let the endpoint go. ``is_gone``: it wants no more."""
    ends = None if state == "waiting" else now_s
    connection.execute(
        update(_delivery)
        .where(_delivery.c.delivery_id == delivery["delivery_id"], _delivery.c.state == "waiting")
        .values(
            said=said,
            state=state,
            tries=_delivery.c.tries + 1,
            next_try_at_s=next_try_at_s,
            ended_at_s=ends,
        )
    )
    changes: dict[str, Any] = {"busy_until_s": 0}
    if is_gone:
        changes["ended_at_s"] = now_s
    connection.execute(
        update(_webhook).where(_webhook.c.webhook_id == delivery["webhook_id"]).values(changes)
    )


def load_deliveries(
    connection: Connection, webhook_id: str, *, token_id: int, limit: int
) -> Sequence[RowMapping]:
    """Return an endpoint's newest deliveries, the newest first. Raises ``UnknownWebhook``."""
    _check_webhook(connection, webhook_id, token_id)
    query = select(_delivery).where(_delivery.c.webhook_id == webhook_id)
    return (
        connection.execute(query.order_by(_delivery.c.number.desc()).limit(limit)).mappings().all()
    )


def replay(
    connection: Connection, webhook_id: str, number: int, *, token_id: int, now_s: int
) -> int:
    """Tell an endpoint something again, after all that waits; return the new number.

    Raises ``UnknownWebhook``.
    """
    _check_webhook(connection, webhook_id, token_id)
    row = (
        connection.execute(
            select(_delivery).where(
                _delivery.c.webhook_id == webhook_id, _delivery.c.number == number
            )
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise UnknownWebhook(f"no delivery {number}")
    message = Message(row["message_id"], row["kind"], row["body"])
    tell(connection, webhook_id, [message], now_s=now_s)
    return int(
        connection.execute(
            select(_webhook.c.next_number).where(_webhook.c.webhook_id == webhook_id)
        ).scalar_one()
        - 1
    )


def forget_deliveries(connection: Connection, *, now_s: int) -> int:
    """Forget deliveries that ended long ago, and ended endpoints' that still wait."""
    ended = select(_webhook.c.webhook_id).where(_webhook.c.ended_at_s.is_not(None))
    old = (_delivery.c.ended_at_s < now_s - KEPT_S) | (
        _delivery.c.webhook_id.in_(ended) & (_delivery.c.state == "waiting")
    )
    return connection.execute(delete(_delivery).where(old)).rowcount


def load_revoked(connection: Connection, *, token_id: int) -> list[str]:
    """Return the ids of a position's revoked child keys, the first one first."""
    query = select(_child_key.c.key_id).where(
        _child_key.c.token_id == token_id, _child_key.c.revoked_at_s.is_not(None)
    )
    order = (_child_key.c.revoked_at_s, _child_key.c.key_id)
    return [str(key_id) for key_id in connection.execute(query.order_by(*order)).scalars()]


def _check_webhook(connection: Connection, webhook_id: str, token_id: int) -> None:
    is_it = (
        (_webhook.c.webhook_id == webhook_id)
        & (_webhook.c.token_id == token_id)
        & _webhook.c.ended_at_s.is_(None)
    )
    if connection.execute(select(_webhook.c.webhook_id).where(is_it)).one_or_none() is None:
        raise UnknownWebhook(f"no webhook {webhook_id}")
