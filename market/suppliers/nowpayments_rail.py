"""Payouts by NOWPayments: asked for once, confirmed by a code, followed to their end.

::

    due ──► written down as submitted ──► asked for ──► its id is noted ──► confirmed ──► followed
                 │                          └── no answer: their list is read; what it has is noted,
                 │                              what it has not, after a while, is asked for again
                 └── refused: pending again; an address that must be whitelisted first; failed only
                     for an address that they never pay, and certainly not for the account's sake

What they call failed may still be sent by them: it needs the operator, and no second payout is ever
made by itself. A batch is confirmed only as it was asked for. ``sent`` is only what they say is
finished when they are asked, to the right address and of the right amount.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from sqlalchemy import Connection, RowMapping

from ledger.suppliers.supplier_payouts import (
    ASKED,
    UNSENT,
    build_reference,
    is_batch_stopped,
    move_payout,
    note_payout_failed,
    note_payout_sent,
    note_submitted,
    take_due_payouts,
)
from market.records.database import Database
from market.suppliers.nowpayments import (
    BUSY,
    AnswerLost,
    NowPayments,
    ProviderRefused,
    Refusal,
    SentPayout,
    Withdrawal,
)
from market.suppliers.nowpayments_ipn import is_news
from market.suppliers.payout_addresses import CURRENCIES, Network
from serving.process.ids import new_id

log = structlog.get_logger("market")

RAIL: Final = "nowpayments"
BATCH: Final = 50
CLAIM_S: Final = 300
"""How long a process may take for what it has taken."""
LATER_S: Final = 300
LATER: Final = "NOWPayments does not send it just now: it is asked again"
WHITELIST: Final = "the address has to be put on NOWPayments' whitelist first"
WHITELIST_S: Final = 3_600
POLL_S: Final = 60
NEEDS_OPERATOR_POLL_S: Final = 3_600
RESEND_AFTER_S: Final = 900
"""For how long a payout may be missing from their list until it is asked for again."""
CODE_S: Final = 31
"""Until the next one-time code counts."""
VERIFY_TRIES_MAX: Final = 5
_PASSING: Final = frozenset({408, 429, 502, 503})
"""Statuses that end by themselves."""
Row = Mapping[Any, Any]
Member = tuple[Row, SentPayout]
"""A payout of a batch: ours, and as they have it."""


class NowPaymentsRail:
    """Sends and follows payouts; one step takes what is due."""

    def __init__(self, database: Database, provider: NowPayments) -> None:
        self._database = database
        self._provider = provider

    async def close(self) -> None:
        """Close the connections to them."""
        await self._provider.close()

    async def step(self) -> None:
        """Bring all due payouts one step on."""
        await self._send_due()
        await self._follow_due()

    async def _take(self, statuses: Sequence[str]) -> list[RowMapping]:
        now_s = self._database.now_s()
        return await self._database.write(
            lambda connection: take_due_payouts(
                connection,
                rail=RAIL,
                statuses=statuses,
                claim_s=CLAIM_S,
                now_s=now_s,
                limit=BATCH,
            )
        )

    async def _move(self, row: Row, before: Sequence[str], **values: Any) -> None:
        now_s = self._database.now_s()
        wait_s = values.pop("wait_s", 0)
        await self._database.persist(
            lambda connection: move_payout(
                connection,
                row["payout_id"],
                before=before,
                now_s=now_s,
                next_try_at_s=now_s + wait_s,
                **values,
            )
        )

    # ------------------------------------------------------------------------------------ sending

    async def _send_due(self) -> None:
        rows = await self._take(UNSENT)
        if not rows:
            return
        refusal = await self._send([row["payout_id"] for row in rows])
        if refusal in (None, Refusal.ACCOUNT) or len(rows) == 1:
            return
        # One of them was refused, and with it all: each alone tells which.
        for row in rows:
            if await self._send([row["payout_id"]]) is Refusal.ACCOUNT:
                return

    async def _send(self, payout_ids: Sequence[str]) -> Refusal | None:
        """Ask for payouts in one batch; return why they were refused, None where they were not."""
        now_s = self._database.now_s()
        asked = await self._database.write(
            lambda connection: note_submitted(connection, payout_ids, now_s=now_s)
        )
        if not asked:
            return None
        try:
            sent = await self._provider.create([_build_withdrawal(row) for row in asked])
        except AnswerLost as error:
            log.warning("payouts_unanswered", payouts=len(asked), error=str(error))
            for row in asked:
                await self._move(row, ("submitted",), wait_s=POLL_S)
            return None
        except ProviderRefused as refused:
            await self._take_refusal(asked, refused)
            return refused.refusal
        by_reference = {one.reference: one for one in sent}
        batches: dict[str, list[Member]] = defaultdict(list)
        for row in asked:
            one = by_reference.get(build_reference(row))
            if one is None:
                await self._move(row, ("submitted",), wait_s=POLL_S)
                continue
            await self._note(row, one)
            batches[one.batch_id].append((row, one))
        for batch_id, members in batches.items():
            await self._verify(batch_id, members)
        return None

    async def _take_refusal(self, rows: Sequence[Row], refused: ProviderRefused) -> None:
        """Nothing was accepted: wait, unless it is certain what is wrong with the one payout."""
        refusal, reason = refused.refusal, str(refused)
        log.warning("payouts_refused", payouts=len(rows), status=refused.status, about=refusal)
        if refusal is Refusal.ADDRESS and len(rows) == 1:
            await self._fail(rows[0], reason, before=("submitted",))
            return
        # A supplier reads the reason: how the operator stands with them is not its business.
        values: dict[str, Any] = {"status": "pending", "reason": LATER, "wait_s": LATER_S}
        if refusal is Refusal.WHITELIST and len(rows) == 1:
            values |= {"status": "address_pending_whitelist", "wait_s": WHITELIST_S}
            values["reason"] = WHITELIST
        elif refusal is not Refusal.WHITELIST and refused.status not in _PASSING:
            # It waits for somebody, and not for a moment.
            log.error("alarm", alarm="payouts_refused", payouts=len(rows), reason=reason)
        for row in rows:
            await self._move(row, ("submitted",), **values)

    async def _fail(self, row: Row, reason: str, *, before: Sequence[str], **values: Any) -> None:
        log.error("alarm", alarm="payout_failed", payout_id=row["payout_id"], reason=reason)
        now_s = self._database.now_s()
        await self._database.persist(
            lambda connection: note_payout_failed(
                connection,
                row["payout_id"],
                reason=reason,
                make_id=new_id,
                now_s=now_s,
                before=before,
                **values,
            )
        )

    async def _note(self, row: Row, one: SentPayout) -> None:
        """Note their ids of a payout."""
        await self._move(
            row,
            ("submitted",),
            external_id=one.external_id,
            external_batch=one.batch_id,
            external_state=one.state,
        )

    async def _verify(self, batch_id: str, members: Sequence[Member]) -> None:
        """Confirm a batch by a one-time code, if they have it as it was asked for.

        A code that they refuse is followed by another; that they are busy is no word about a code.
        """
        if not await self._is_as_asked(batch_id, members):
            return
        try:
            await self._provider.verify(batch_id)
        except AnswerLost:
            for row, _ in members:
                await self._move(row, ("submitted",), wait_s=POLL_S)
            return
        except ProviderRefused as refused:
            values: dict[str, Any] = {"reason": LATER, "wait_s": LATER_S}
            tries = max(int(row["code_tries"]) for row, _ in members)
            if refused.status not in BUSY:
                tries += 1
                values |= {"code_tries": tries, "wait_s": CODE_S}
            log.warning(
                "payouts_unconfirmed", batch=batch_id, status=refused.status, error=str(refused)
            )
            if tries >= VERIFY_TRIES_MAX:
                values |= {"status": "needs_operator", "wait_s": NEEDS_OPERATOR_POLL_S}
            for row, _ in members:
                await self._move(row, ("submitted",), **values)
            return
        for row, _ in members:
            await self._move(
                row,
                ("submitted",),
                status="sending",
                is_verified=True,
                reason=None,
                wait_s=POLL_S,
            )

    async def _is_as_asked(self, batch_id: str, members: Sequence[Member]) -> bool:
        """Tell whether a batch may be confirmed; else have the operator look at all of it."""
        wrong = [row["payout_id"] for row, one in members if not is_as_asked(row, one)]
        if not wrong and not await self._database.read(
            lambda connection: is_batch_stopped(connection, batch_id)
        ):
            return True
        reason = "NOWPayments has the batch otherwise than it was asked for: it was not confirmed"
        for row, one in members:
            await self._need_operator(row, one, reason)
        return False

    # ---------------------------------------------------------------------------------- following

    async def _follow_due(self) -> None:
        rows = await self._take(ASKED)
        unknown = [row for row in rows if row["external_id"] is None]
        if unknown:
            await self._find(unknown)
        unverified: dict[str, list[Member]] = defaultdict(list)
        for row in rows:
            if row["external_id"] is not None:
                one = await self._ask(row)
                if one is not None and await self._apply(row, one):
                    unverified[one.batch_id or str(row["external_batch"])].append((row, one))
        for batch_id, members in unverified.items():
            await self._verify(batch_id, members)

    async def _find(self, rows: Sequence[RowMapping]) -> None:
        """Look payouts up whose answer was lost: nothing is sent again before."""
        wanted = frozenset(build_reference(row) for row in rows)
        try:
            found = await self._provider.list_recent(wanted)
        except (AnswerLost, ProviderRefused) as error:
            log.warning("payouts_not_listed", error=str(error))
            return
        now_s = self._database.now_s()
        for row in rows:
            one = found.get(build_reference(row))
            if one is not None:
                await self._note(row, one)
            elif now_s - int(row["submitted_at_s"]) >= RESEND_AFTER_S:
                reason = "NOWPayments does not have it: asked for again"
                await self._move(row, ("submitted",), status="pending", reason=reason)
            else:
                await self._move(row, ("submitted",), wait_s=POLL_S)

    async def _ask(self, row: Row) -> SentPayout | None:
        try:
            return await self._provider.get(str(row["external_id"]))
        except (AnswerLost, ProviderRefused) as error:
            log.warning("payout_not_told", payout_id=row["payout_id"], error=str(error))
            return None

    async def _apply(self, row: Row, one: SentPayout) -> bool:
        """Take in how a payout stands; tell whether it waits for its code."""
        if one.state in ("creating", "waiting") and row["status"] == "submitted":
            return True
        wait_s = NEEDS_OPERATOR_POLL_S if row["status"] == "needs_operator" else POLL_S
        if not is_news(row["external_state"], one.state):
            await self._move(row, ASKED, wait_s=wait_s)
            return False
        if one.state == "finished":
            await self._finish(row, one)
        elif one.state == "rejected":
            reason = f"rejected by NOWPayments: {one.error or 'no reason given'}"
            await self._fail(row, reason, before=ASKED, external_state=one.state)
        elif one.state == "failed":
            reason = f"failed at NOWPayments, who may still send it: {one.error or 'no reason'}"
            await self._need_operator(row, one, reason)
        else:
            await self._move(
                row,
                ("submitted", "sending"),
                status="sending",
                is_verified=True,
                external_state=one.state,
                wait_s=POLL_S,
            )
        return False

    async def _finish(self, row: Row, one: SentPayout) -> None:
        is_right = is_as_asked(row, one)
        if not is_right or one.tx_hash is None:
            reason = "NOWPayments says that it sent something else than was asked for"
            if is_right:
                reason = "NOWPayments says that it was sent, and names no transaction"
            await self._need_operator(row, one, reason)
            return
        tx_hash, now_s = one.tx_hash, self._database.now_s()

        def write(connection: Connection) -> bool:
            return note_payout_sent(
                connection,
                row["payout_id"],
                tx_hash=tx_hash,
                make_id=new_id,
                now_s=now_s,
                external_state=one.state,
            )

        await self._database.persist(write)

    async def _need_operator(self, row: Row, one: SentPayout, reason: str) -> None:
        log.error("alarm", alarm="payout_stuck", payout_id=row["payout_id"], reason=reason)
        # What is finished is asked for again: they may name the transaction later.
        state = row["external_state"] if one.state == "finished" else one.state
        await self._move(
            row,
            ASKED,
            status="needs_operator",
            external_state=state,
            reason=reason,
            wait_s=NEEDS_OPERATOR_POLL_S,
        )


def is_as_asked(row: Row, one: SentPayout) -> bool:
    """Tell whether they have a payout as it was asked for: where, what and how much. Pure."""
    wanted = _build_withdrawal(row)
    said, address = one.address, wanted.address
    if Network(row["network"]) is not Network.TRC20:
        said, address = said.lower(), address.lower()
    return (said, one.currency, one.amount_usdc) == (address, wanted.currency, wanted.amount_usdc)


def _build_withdrawal(row: Row) -> Withdrawal:
    return Withdrawal(
        reference=build_reference(row),
        address=row["address"],
        currency=CURRENCIES[Network(row["network"])].ticker,
        amount_usdc=int(row["net_usdc"]),
    )
