"""Webhooks of positions: set, told of changes in order, tried again, replayed.

An endpoint's deliveries have numbers without gaps. Only the lowest that waits is tried, by the
one process that holds the endpoint (``claim``); the next one has its turn when that was delivered,
or given up. A delivery may arrive twice, where a process ends between its arrival and its record.
Positions take turns, so that nobody waits for what another has waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, true, update

from contracts.errors import Rejected
from ledger.database.locks import lock_positions
from ledger.tables import ChildKey, Position, Webhook, WebhookDelivery, table_of

WEBHOOKS_MAX: Final = 10
"""Live endpoints of one position."""
KEPT_S: Final = 30 * 86_400
"""How long a delivery is kept after its end, seconds."""
DELIVERIES_MAX: Final = 200
"""Deliveries that wait for one endpoint; news beyond that are kept as failed, to be replayed."""
ASKED_MAX: Final = 100
"""Where as many wait, nothing more can be asked for: half of the places are for news."""
AT_ONCE_MAX: Final = 2
"""Endpoints of one position that are tried at the same time."""
SET_AN_HOUR_MAX: Final = 50
"""Endpoints that a position may set within an hour, ended ones counted."""
ENDED_KEPT_S: Final = 3_600
"""How long an ended endpoint's row is kept, seconds: it counts for ``SET_AN_HOUR_MAX``."""
ASKED_A_MINUTE_MAX: Final = 30
"""Deliveries of one position within a minute beyond which nothing can be asked for: whoever owns a
position cannot have a server of somebody else's called as fast as it answers."""
MINUTE_S: Final = 60
KEPT_MAX: Final = 1_000
"""Deliveries that are kept of an endpoint; older ones that ended are forgotten earlier."""
SWIFT_MS: Final = 2_000
"""An endpoint whose last try took no longer is swift, milliseconds."""

_child_key = table_of(ChildKey)
_position = table_of(Position)
_webhook = table_of(Webhook)
_delivery = table_of(WebhookDelivery)


class UnknownWebhook(Rejected):
    """The position has no live webhook, or no delivery, of this id."""


class TooManyWebhooks(Rejected):
    """The position has as many webhooks as it may."""


class TooManyDeliveries(Rejected):
    """As much waits for the endpoint, or was told lately, that nothing can be asked for."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
    new = _webhook.c.created_at_s > values["created_at_s"] - 3_600
    set_lately = connection.execute(
        select(func.count()).select_from(_webhook).where(_webhook.c.token_id == token_id, new)
    ).scalar_one()
    if set_lately >= SET_AN_HOUR_MAX:
        raise TooManyWebhooks(f"the position has set {set_lately} webhooks within an hour")
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
    is_last: bool = False,
) -> bool:
    """Add deliveries at the end of an endpoint's order; tell whether they were added.

    ``seen``: what it had seen before, and has seen now; where it is another by now, somebody else
    was faster and nothing is added. ``is_last``: what waits before them is given up. Where
    ``DELIVERIES_MAX`` wait, they are added as failed.
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
    if is_last:
        waits = (_delivery.c.webhook_id == webhook_id) & (_delivery.c.state == "waiting")
        given_up = {"state": "failed", "said": "the key was revoked", "ended_at_s": now_s}
        connection.execute(update(_delivery).where(waits).values(given_up))
    places = DELIVERIES_MAX - count_waiting(connection, webhook_id)
    for place, message in enumerate(messages):
        is_told = place < places
        connection.execute(
            insert(_delivery).values(
                delivery_id=f"{webhook_id}.{first + place}",
                webhook_id=webhook_id,
                number=first + place,
                message_id=message.message_id,
                kind=message.kind,
                body=message.body,
                state="waiting" if is_told else "failed",
                tries=0,
                next_try_at_s=now_s,
                created_at_s=now_s,
                ended_at_s=None if is_told else now_s,
                said=None if is_told else f"{DELIVERIES_MAX} deliveries waited before it",
            )
        )
    return True


def ask(
    connection: Connection, webhook_id: str, message: Message, *, token_id: int, now_s: int
) -> int:
    """Add what an owner asks to be told, after all that waits; return its number.

    Raises ``UnknownWebhook``, and ``TooManyDeliveries`` where ``ASKED_MAX`` wait for the endpoint,
    or ``ASKED_A_MINUTE_MAX`` were added for the position's endpoints within a minute.
    """
    lock_positions(connection, [token_id])
    hook = load_webhook(connection, webhook_id, token_id=token_id)
    waiting = count_waiting(connection, webhook_id)
    if waiting >= ASKED_MAX:
        refusal = f"{waiting} deliveries wait for the endpoint"
        raise TooManyDeliveries(refusal, retry_after_s=MINUTE_S)
    lately = _count_lately(connection, token_id=token_id, since_s=now_s - MINUTE_S)
    if lately >= ASKED_A_MINUTE_MAX:
        refusal = f"{lately} deliveries were added for the position within a minute"
        raise TooManyDeliveries(refusal, retry_after_s=MINUTE_S)
    tell(connection, webhook_id, [message], now_s=now_s)
    return int(hook["next_number"])


def _count_lately(connection: Connection, *, token_id: int, since_s: int) -> int:
    """Return how many deliveries were added for a position, ``ASKED_A_MINUTE_MAX`` of each endpoint
    at most: few rows are looked at, however many there are."""
    query = (
        select(func.count())
        .select_from(_delivery)
        .join(_webhook, _webhook.c.webhook_id == _delivery.c.webhook_id)
        .where(
            _webhook.c.token_id == token_id,
            _delivery.c.number >= _webhook.c.next_number - ASKED_A_MINUTE_MAX,
            _delivery.c.created_at_s > since_s,
        )
    )
    return int(connection.execute(query).scalar_one())


def count_waiting(connection: Connection, webhook_id: str) -> int:
    """Return how many deliveries wait for an endpoint."""
    waits = (_delivery.c.webhook_id == webhook_id) & (_delivery.c.state == "waiting")
    query = select(func.count()).select_from(_delivery).where(waits)
    return int(connection.execute(query).scalar_one())


def end_webhook(connection: Connection, webhook_id: str, *, now_s: int) -> None:
    """Tell an endpoint nothing more, not even what waits."""
    is_it = (_webhook.c.webhook_id == webhook_id) & _webhook.c.ended_at_s.is_(None)
    connection.execute(update(_webhook).where(is_it).values(ended_at_s=now_s))


def claim_due(
    connection: Connection, *, now_s: int, lasting_s: int, most: int, only_swift: bool = False
) -> list[tuple[RowMapping, RowMapping]]:
    """Take endpoints whose next delivery is due; return each with that delivery.

    Nobody else takes them for ``lasting_s``, or until ``note_try``. Of a position at most
    ``AT_ONCE_MAX`` are held at a time; each position has one before any has a second, and the one
    whose turn was longest ago comes first, however long its deliveries have waited. ``only_swift``:
    those whose last try took ``SWIFT_MS`` at most.
    """
    if most <= 0:
        return []
    first = (
        select(_delivery.c.webhook_id, func.min(_delivery.c.number).label("number"))
        .where(_delivery.c.state == "waiting")
        .group_by(_delivery.c.webhook_id)
        .subquery()
    )
    held = _webhook.alias("held")
    held_now = (
        select(func.count())
        .where(held.c.token_id == _webhook.c.token_id, held.c.busy_until_s > now_s)
        .scalar_subquery()
    )
    token_id = _webhook.c.token_id
    in_turn = (_webhook.c.busy_until_s, _delivery.c.next_try_at_s, _delivery.c.delivery_id)
    ready = (
        select(
            _delivery.c.delivery_id,
            _delivery.c.next_try_at_s,
            (held_now + func.row_number().over(partition_by=token_id, order_by=in_turn)).label(
                "place"
            ),
            func.max(_webhook.c.busy_until_s).over(partition_by=token_id).label("had_turn_at_s"),
        )
        .join(
            first,
            (first.c.webhook_id == _delivery.c.webhook_id) & (first.c.number == _delivery.c.number),
        )
        .join(_webhook, _webhook.c.webhook_id == _delivery.c.webhook_id)
        .where(_delivery.c.next_try_at_s <= now_s, _webhook.c.busy_until_s <= now_s)
        .where(_webhook.c.ended_at_s.is_(None))
        .where(_webhook.c.answer_ms <= SWIFT_MS if only_swift else true())
        .subquery()
    )
    due = connection.execute(
        select(_delivery)
        .join(ready, ready.c.delivery_id == _delivery.c.delivery_id)
        .where(ready.c.place <= AT_ONCE_MAX)
        .order_by(ready.c.place, ready.c.had_turn_at_s, ready.c.next_try_at_s)
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
    answer_ms: int | None = None,
) -> None:
    """Record what came of a try, and let the endpoint go. ``is_gone``: it wants no more;
    ``answer_ms``: how long the try took."""
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
    changes: dict[str, Any] = {"busy_until_s": now_s, "answer_ms": answer_ms}
    if is_gone:
        changes["ended_at_s"] = now_s
    connection.execute(
        update(_webhook).where(_webhook.c.webhook_id == delivery["webhook_id"]).values(changes)
    )


def let_go(connection: Connection, webhook_id: str, *, now_s: int, answer_ms: int) -> None:
    """Let an endpoint go whose try was broken off: no try is counted, and its delivery is due as it
    was. ``answer_ms``: how long it has not answered at least."""
    changes = {"busy_until_s": now_s, "answer_ms": answer_ms}
    connection.execute(update(_webhook).where(_webhook.c.webhook_id == webhook_id).values(changes))


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

    Raises ``UnknownWebhook``, ``TooManyDeliveries``.
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
    return ask(connection, webhook_id, message, token_id=token_id, now_s=now_s)


def forget_deliveries(connection: Connection, *, now_s: int) -> int:
    """Forget deliveries that ended long ago, what is beyond ``KEPT_MAX`` of an endpoint, and
    endpoints that ended with all that they were told; return how many deliveries."""
    gone_s = now_s - ENDED_KEPT_S
    is_gone = (_webhook.c.ended_at_s < gone_s) & (_webhook.c.busy_until_s < gone_s)
    gone = select(_webhook.c.webhook_id).where(is_gone)
    ended = select(_webhook.c.webhook_id).where(_webhook.c.ended_at_s.is_not(None))
    newest = select(_webhook.c.next_number).where(_webhook.c.webhook_id == _delivery.c.webhook_id)
    old = (
        (_delivery.c.ended_at_s < now_s - KEPT_S)
        | (_delivery.c.webhook_id.in_(ended) & (_delivery.c.state == "waiting"))
        | _delivery.c.webhook_id.in_(gone)
        | (
            (_delivery.c.state != "waiting")
            & (_delivery.c.number < newest.scalar_subquery() - KEPT_MAX)
        )
    )
    forgotten = connection.execute(delete(_delivery).where(old)).rowcount
    connection.execute(delete(_webhook).where(is_gone))
    return forgotten


def load_revoked(connection: Connection, *, token_id: int, since_s: int) -> dict[str, int]:
    """Return a position's child keys that were revoked after a time, and when; first ones first."""
    query = select(_child_key.c.key_id, _child_key.c.revoked_at_s).where(
        _child_key.c.token_id == token_id, _child_key.c.revoked_at_s > since_s
    )
    order = (_child_key.c.revoked_at_s, _child_key.c.key_id)
    return {str(row[0]): int(row[1]) for row in connection.execute(query.order_by(*order))}


def _check_webhook(connection: Connection, webhook_id: str, token_id: int) -> None:
    is_it = (
        (_webhook.c.webhook_id == webhook_id)
        & (_webhook.c.token_id == token_id)
        & _webhook.c.ended_at_s.is_(None)
    )
    if connection.execute(select(_webhook.c.webhook_id).where(is_it)).one_or_none() is None:
        raise UnknownWebhook(f"no webhook {webhook_id}")
