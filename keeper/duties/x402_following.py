"""Payments that buyers have signed: which are due, whether they would succeed, how they ended.

The outcome of a payment is read from the chain alone, whoever has submitted it. That its nonce is
used is not enough: the payer may have cancelled it, or used the nonce for another transfer. Only
the transfer that USDC logs right behind ``AuthorizationUsed`` is the money.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine

from contracts.authorizations import (
    AGGREGATE_CALLS_MAX,
    AGGREGATE_SELECTOR,
    CANCELED_TOPIC,
    USED_TOPIC,
    decode_aggregate,
    encode_aggregate,
    encode_state,
    find_marks,
    is_transfer,
    read_word,
)
from contracts.bindings import Contracts
from contracts.errors import Retryable, Reverted
from contracts.node_errors import NodeRefused, NodeUnavailable
from keeper.duties.moment import REORGS_DEEPEST
from keeper.duties.x402_choice import X402_KIND
from keeper.gas import is_burnt
from keeper.in_flight import load_in_flight
from keeper.node import Node
from ledger.chain.mirror import MirrorState, find_mirrored
from ledger.database.engine import read, write
from ledger.intents.record import IntentRecord
from ledger.payments.outcomes import (
    PAYER_BURNT,
    blame_payers,
    end_payers,
    end_payment,
    free_unsent,
    load_attempts,
    load_due_payments,
    mark_payments_final,
    reopen_reorged,
    rest_payments,
    settle_payment,
)
from ledger.payments.records import PaymentRecord

log = structlog.get_logger("keeper")

FOLLOWED_MAX: Final = 4 * AGGREGATE_CALLS_MAX
"""Payments that are looked at in one round."""

LOG_BLOCKS: Final = 2_000
"""Blocks that are searched with one request at first; a quarter after each failure."""
SHRINK: Final = 4

REORG_BLOCKS: Final = 64
"""As deep as this below what was seen, a use is looked for: it may have moved."""

EXPIRY_SLACK_S: Final = 60
"""Beyond its time, by the chain's clock, until a payment counts as never to come: no reorg goes
back so far."""

_FAILED: Final = "failed in its block"
_CANCELLED: Final = "cancelled by the payer"
_USED_ELSEWHERE: Final = "its nonce was used for another transfer"
_NOT_FOUND: Final = "its nonce is used, and its transfer is not found"
_EXPIRED: Final = "its time ran out"


@dataclass(frozen=True, slots=True)
class Use:
    """How a nonce was used, where: ``error`` None for the payment itself."""

    tx_hash: str
    block_number: int
    block_hash: str
    error: str | None


@dataclass(slots=True)
class Findings:
    """The changes to write for the examined payments, by payment id."""

    settled: dict[str, Use] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    """Sent, yet unused: their call failed in its block, or never came into one."""
    stuck: dict[str, dict[str, str]] = field(default_factory=lambda: {"sent": {}, "verified": {}})
    """Used, and the money is not seen: by state and id, why."""


def is_payers_doing(attempt: IntentRecord) -> bool:
    """Tell whether a payment that failed in its block failed by its payer's doing alone.

    Where the gas of a shared transaction is burnt, one of its payers had code by then and spoilt
    the others; they go apart from then on, and who fails alone is to blame.
    """
    if attempt.gas_used is None or attempt.payload.get("gas") is None:
        return False
    return is_alone(attempt) or not is_burnt(attempt.payload, attempt.gas_used)


def is_alone(attempt: IntentRecord) -> bool:
    """Tell whether a transaction carried one payment alone, straight to USDC."""
    return not str(attempt.payload["data"]).startswith(AGGREGATE_SELECTOR)


class PaymentFollower:
    """Writes down what the chain says of open payments. ``confirmations`` settle one."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        contracts: Contracts,
        *,
        confirmations: int,
        final_blocks: int,
    ) -> None:
        self._engine = engine
        self._node = node
        self._usdc = contracts.usdc.address
        self._multicall3 = contracts.multicall3.address
        self._confirmations = confirmations
        self._final_blocks = final_blocks
        self._log_blocks = LOG_BLOCKS

    def follow(self, mirror: MirrorState, *, now_s: int) -> None:
        """Look at what is open, as of the mirrored block. A node's failure is for the next round.

        Raises ``LedgerUnavailable``.
        """
        with write(self._engine) as connection:
            for payment_id in reopen_reorged(connection, now_s=now_s):
                log.warning("payment_reorged", payment_id=payment_id)
            # A payer may withdraw what is final: deeper than any reorg that is followed.
            depth = max(self._final_blocks, REORGS_DEEPEST)
            mark_payments_final(connection, until_block=mirror.block_number - depth)
        with read(self._engine) as connection:
            found = load_due_payments(connection, now_s=now_s, limit=FOLLOWED_MAX)
            _, in_flight = load_in_flight(connection, mirrored_block=mirror.block_number)
        if not found:
            return
        try:
            findings = self._look(found, mirror, is_in_flight=X402_KIND in in_flight)
        except (Retryable, Reverted, ValueError) as error:
            log.warning("payments_not_followed", error=str(error))
            return
        self._write(findings, now_s=now_s)

    def _look(
        self, payments: Sequence[PaymentRecord], mirror: MirrorState, *, is_in_flight: bool
    ) -> Findings:
        is_used = self._fetch_states(payments, mirror)
        used = [payment for payment in payments if is_used[payment.payment_id]]
        uses = self._find_uses(used, mirror) if used else {}
        seen = [(use.block_number, use.block_hash) for use in uses.values()]
        with read(self._engine) as connection:
            mirrored = find_mirrored(connection, seen, mirrored_block=mirror.block_number)
        findings = Findings()
        for payment in payments:
            id_ = payment.payment_id
            if not is_used[id_]:
                over_at_s = payment.authorization.valid_before_s + EXPIRY_SLACK_S
                if mirror.block_timestamp_s >= over_at_s:
                    findings.expired.append(id_)
                elif payment.state == "sent" and not is_in_flight:
                    findings.unsent.append(id_)
                continue
            use = uses.get(id_)
            if use is None:
                # An endpoint that lags, or forgets logs: nothing is concluded from what it lacks.
                findings.stuck[payment.state][id_] = _NOT_FOUND
            elif use.error is not None:
                if use.block_number <= mirror.block_number - self._final_blocks:
                    findings.failed[id_] = use.error
                else:
                    findings.stuck[payment.state][id_] = use.error
            elif (use.block_number, use.block_hash) not in mirrored:
                continue  # on a branch of the node's that is not the mirror's
            elif use.block_number <= mirror.block_number - self._confirmations:
                findings.settled[id_] = use
        return findings

    def _fetch_states(
        self, payments: Sequence[PaymentRecord], mirror: MirrorState
    ) -> dict[str, bool]:
        """Tell of each payment whether its nonce is used, or cancelled."""
        states: dict[str, bool] = {}
        for start in range(0, len(payments), AGGREGATE_CALLS_MAX):
            chunk = payments[start : start + AGGREGATE_CALLS_MAX]
            questions = [
                (self._usdc, encode_state(p.authorization.payer, p.authorization.nonce))
                for p in chunk
            ]
            call = {"to": self._multicall3, "data": "0x" + encode_aggregate(questions).hex()}
            answers = decode_aggregate(self._node.call_agreed(call, block=mirror.block_hash))
            for payment, answer in zip(chunk, answers, strict=True):
                word = read_word(answer)
                if word is None:
                    raise ValueError("USDC does not answer for an authorization")
                states[payment.payment_id] = word != 0
        return states

    def _find_uses(self, payments: Sequence[PaymentRecord], mirror: MirrorState) -> dict[str, Use]:
        """Return how each nonce was used, as far as the logs say; the newest blocks first."""
        left = {(p.authorization.payer, p.authorization.nonce): p for p in payments}
        first = max(0, min(p.from_block for p in payments) - REORG_BLOCKS)
        last = mirror.block_number
        found: dict[str, Use] = {}
        receipts: dict[str, list[dict[str, Any]]] = {}
        while left and last >= first:
            payers = sorted({"0x" + 24 * "0" + payer[2:] for payer, _ in left})
            query = {
                "address": self._usdc,
                "topics": [[USED_TOPIC, CANCELED_TOPIC], payers, sorted({n for _, n in left})],
                "fromBlock": hex(max(first, last - self._log_blocks + 1)),
                "toBlock": hex(last),
            }
            searched = self._log_blocks
            logs = self._search(query)
            if logs is None:
                continue
            for pair, mark in find_marks(logs, token=self._usdc).items():
                payment = left.pop(pair, None)
                if payment is not None:
                    found[payment.payment_id] = self._judge(payment, mark, receipts)
            last -= searched
        return found

    def _search(self, query: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the logs of a range; None where a shorter one is to be tried, from then on.

        Nodes limit ranges in words of their own or in none, so any failure is a reason. Raises what
        the node raises for a single block.
        """
        try:
            return self._node.search_logs(query)
        except (NodeUnavailable, NodeRefused):
            if self._log_blocks == 1:
                self._log_blocks = LOG_BLOCKS
                raise
            self._log_blocks = max(1, self._log_blocks // SHRINK)
            return None

    def _judge(
        self,
        payment: PaymentRecord,
        mark: Mapping[str, Any],
        receipts: dict[str, list[dict[str, Any]]],
    ) -> Use:
        """Return what a log of a nonce means: the next log of its transaction says it."""
        tx_hash = str(mark["transactionHash"]).lower()
        where = (tx_hash, int(mark["blockNumber"], 16), str(mark["blockHash"]).lower())
        if mark["topics"][0].lower() == CANCELED_TOPIC:
            return Use(*where, error=_CANCELLED)
        if tx_hash not in receipts:
            receipts[tx_hash] = self._node.fetch_transaction_logs(tx_hash)
        behind = int(mark["logIndex"], 16) + 1
        following = [one for one in receipts[tx_hash] if int(one["logIndex"], 16) == behind]
        signed = payment.authorization
        is_ours = is_transfer(
            following[0] if following else None,
            token=self._usdc,
            payer=signed.payer,
            payee=signed.payee,
            value_usdc=signed.value_usdc,
        )
        return Use(*where, error=None if is_ours else _USED_ELSEWHERE)

    def _settle(self, payment_id: str, use: Use, *, now_s: int) -> None:
        """Credit each payment in its own transaction: a failure stops no other payment."""
        try:
            with write(self._engine) as connection:
                settle_payment(
                    connection,
                    payment_id,
                    tx_hash=use.tx_hash,
                    block_number=use.block_number,
                    block_hash=use.block_hash,
                    now_s=now_s,
                )
        except ValueError as error:
            log.error("payment_not_credited", payment_id=payment_id, error=str(error))
            return
        log.info("payment_settled", payment_id=payment_id, tx_hash=use.tx_hash)

    def _blame(
        self, connection: Connection, unused: Sequence[str], findings: Findings, *, now_s: int
    ) -> None:
        """Note whose payments failed in a block by the payers' own doing, and end what else is
        written down of payers whose payment failed there alone, right after it passed its trial.

        ``unused`` are payments whose nonce is unused after it. Whoever used or cancelled a nonce
        for something else while our transaction was on its way failed it too.
        """
        used = {id_ for id_, why in findings.stuck["sent"].items() if why != _NOT_FOUND}
        attempts = load_attempts(connection, [*unused, *sorted(used), *findings.failed])
        blamed = [
            id_
            for id_, attempt in attempts.items()
            if attempt.gas_used is not None and (id_ not in unused or is_payers_doing(attempt))
        ]
        if not blamed:
            return
        log.warning("payers_refused", payment_ids=blamed)
        blame_payers(connection, blamed, now_s=now_s)
        burners = [id_ for id_ in blamed if id_ in unused and is_alone(attempts[id_])]
        for id_, lost_usdc in end_payers(connection, burners, now_s=now_s).items():
            log.warning("payment_ended", payment_id=id_, state="failed", error=PAYER_BURNT)
            if lost_usdc:
                log.error("payment_lost", payment_id=id_, lost_usdc=lost_usdc)

    def _write(self, findings: Findings, *, now_s: int) -> None:
        for payment_id, use in sorted(findings.settled.items()):
            self._settle(payment_id, use, now_s=now_s)
        ended = [(id_, "failed", error) for id_, error in findings.failed.items()]
        ended += [(id_, "expired", _EXPIRED) for id_ in findings.expired]
        with write(self._engine) as connection:
            failed = free_unsent(connection, findings.unsent, now_s=now_s)
            refusals = dict.fromkeys(failed, _FAILED)
            rest_payments(connection, refusals, was_sent=True, now_s=now_s)
            for state, reasons in findings.stuck.items():
                rest_payments(connection, reasons, was_sent=state == "sent", now_s=now_s)
            self._blame(connection, failed, findings, now_s=now_s)
            lost = {
                id_: end_payment(connection, id_, state=state, error=error, now_s=now_s)
                for id_, state, error in sorted(ended)
            }
        for reasons in findings.stuck.values():
            for payment_id, error in reasons.items():
                log.warning("payment_stuck", payment_id=payment_id, error=error)
        for payment_id, state, error in ended:
            log.warning("payment_ended", payment_id=payment_id, state=state, error=error)
            if lost[payment_id]:
                log.error("payment_lost", payment_id=payment_id, lost_usdc=lost[payment_id])
