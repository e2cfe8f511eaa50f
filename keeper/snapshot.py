"""Reading everything that a round decides from: one ledger transaction, and calls at its block."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.calls import build_harvest, read_harvest
from keeper.errors import MirrorStale
from keeper.facts import (
    HarvestQuote,
    Kind,
    PaymentFacts,
    PayoutFacts,
    PositionFacts,
    Rules,
    Snapshot,
)
from keeper.fees import FeeRules, gas_cost_usdc
from keeper.node import Node
from keeper.node_values import WORD_BYTES
from keeper.payment_trial import PaymentTrial, load_payments_to_try
from keeper.planning import PAYMENT_GAS
from keeper.rows import load_in_flight, load_owed_since, load_positions
from ledger.chain.harvests import DueHarvest, load_due_harvests
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.database.engine import read
from ledger.payments.records import PaymentRecord
from ledger.selling.payouts import load_payable

log = structlog.get_logger("keeper")

HARVEST_GAS_USUAL: Final = 150_000
"""What a harvest uses as a rule, to weigh it; the limit allows more."""


@dataclass(frozen=True, slots=True)
class ReadRules:
    """How the world is read."""

    max_staleness_s: int
    harvest_gas: int
    ether_price_usdc: int
    fees: FeeRules
    payment_gas: int = PAYMENT_GAS


class SnapshotReader:
    """Builds snapshots. ``sender`` is in whose name harvests are tried."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        contracts: Contracts,
        rules: Rules,
        read_rules: ReadRules,
        *,
        sender: str,
    ) -> None:
        self._engine = engine
        self._node = node
        self._contracts = contracts
        self._rules = rules
        self._read_rules = read_rules
        self._sender = sender
        self._trial = PaymentTrial(node, contracts, gas_each=read_rules.payment_gas, sender=sender)

    def check_mirror(self, *, now_s: int) -> MirrorState:
        """Return how far the mirror is. Raises ``MirrorStale`` where it must not be acted on."""
        with read(self._engine) as connection:
            mirror = load_mirror(connection)
        return self._checked(mirror, now_s=now_s)

    def _checked(self, mirror: MirrorState | None, *, now_s: int) -> MirrorState:
        if mirror is None:
            raise MirrorStale("the ledger mirrors no block yet; is the indexer running?")
        age_s = mirror.age_s(now_s=now_s)
        if age_s > self._read_rules.max_staleness_s:
            raise MirrorStale(f"the mirror was last at the head {age_s} s ago")
        if not self._node.has_block(mirror.block_number, mirror.block_hash):
            raise MirrorStale(f"our node does not know the mirror's block {mirror.block_number}")
        return mirror

    def read(
        self,
        *,
        now_s: int,
        kinds: Collection[Kind] = frozenset(Kind),
        resting: frozenset[tuple[Kind, int | str]] = frozenset(),
    ) -> Snapshot:
        """Return the world at the mirrored block, as far as ``kinds`` need it.

        ``resting`` is what to leave alone. Raises ``MirrorStale``.
        """
        with read(self._engine) as connection:
            at = load_mirror(connection)
            # A hold dies by the chain's clock; where ours is ahead, the chain's soon will be too.
            chain_now_s = now_s if at is None else max(now_s, at.block_timestamp_s)
            mirrored_block = -1 if at is None else at.block_number
            in_flight, kinds_in_flight = load_in_flight(connection, mirrored_block=mirrored_block)
            # Due by the chain's own clock: before that, a look would only start a rest.
            mirrored_at_s = 0 if at is None else at.block_timestamp_s
            harvests_max = self._rules.harvests_max if Kind.HARVEST in kinds else 0
            harvesting = sum(kind is Kind.HARVEST for kind, _ in in_flight)
            due = load_due_harvests(
                connection, now_s=mirrored_at_s, limit=harvests_max and harvests_max + harvesting
            )
            owed_since_s = load_owed_since(connection) if Kind.SWEEP in kinds else None
            positions: tuple[PositionFacts, ...] = ()
            if not {Kind.SETTLE, Kind.HOLD}.isdisjoint(kinds):
                positions = load_positions(
                    connection, self._rules, now_s=now_s, chain_s=chain_now_s
                )
            payouts: tuple[PayoutFacts, ...] = ()
            if Kind.PAYOUT in kinds:
                # Those that rest must not take the place of the ones behind them.
                left_alone = sum(kind is Kind.PAYOUT for kind, _ in resting)
                limit = self._rules.items_max + left_alone
                payouts = _load_payouts(connection, now_s=chain_now_s, limit=limit)
            payments: tuple[PaymentRecord, ...] = ()
            if Kind.X402 in kinds and Kind.X402 not in kinds_in_flight:
                limit = 2 * self._rules.payment_items_max
                payments = load_payments_to_try(connection, now_s=now_s, limit=limit)
        mirror = self._checked(at, now_s=now_s)
        snapshot = Snapshot(
            block_number=mirror.block_number,
            block_hash=mirror.block_hash,
            now_s=chain_now_s,
            mirrored_at_s=mirrored_at_s,
            positions=positions,
            payouts=payouts,
            payments=self._try_payments(payments, mirror),
            owed_since_s=owed_since_s,
            in_flight=in_flight,
            kinds_in_flight=kinds_in_flight,
            resting=resting,
        )
        waiting = [found for found in due if (Kind.HARVEST, found.token_id) not in in_flight]
        return self._read_chain(snapshot, waiting[:harvests_max])

    def _try_payments(
        self, payments: Sequence[PaymentRecord], mirror: MirrorState
    ) -> tuple[PaymentFacts, ...]:
        return tuple(self._trial.run(payments, block_hash=mirror.block_hash))

    def _read_chain(self, snapshot: Snapshot, due: Sequence[DueHarvest]) -> Snapshot:
        """Add what only calls at the snapshot's block can tell."""
        credits_usdc = self._try_harvests([found.token_id for found in due], snapshot)
        quotes = [
            (credited_usdc is None, _quote(found, credited_usdc or 0))
            for found, credited_usdc in zip(due, credits_usdc, strict=True)
        ]
        harvest_gas_usdc = 0
        if quotes:
            fee_wei = self._node.fetch_base_fee_wei() + self._read_rules.fees.tip_wei
            harvest_gas_usdc = gas_cost_usdc(
                HARVEST_GAS_USUAL, fee_wei, ether_price_usdc=self._read_rules.ether_price_usdc
            )
        owed_usdc = 0 if snapshot.owed_since_s is None else self._fetch_owed(snapshot.block_hash)
        treasury_usdc = self._fetch_treasury(snapshot.block_hash) if snapshot.payouts else 0
        return replace(
            snapshot,
            harvests=tuple(quote for is_refused, quote in quotes if not is_refused),
            harvests_refused=tuple(quote for is_refused, quote in quotes if is_refused),
            harvest_gas_usdc=harvest_gas_usdc,
            owed_usdc=owed_usdc,
            treasury_usdc=treasury_usdc,
        )

    def _try_harvests(self, token_ids: Sequence[int], snapshot: Snapshot) -> list[int | None]:
        """Return what each harvest would credit, None where it would fail.

        As many at once first as will be sent together. Those that fail there are tried by
        themselves, each with its own gas: a vault that burns all it gets spoils no other quote.
        """
        credits_usdc: list[int | None] = []
        for start in range(0, len(token_ids), self._rules.harvest_items_max):
            chunk = token_ids[start : start + self._rules.harvest_items_max]
            credits_usdc += self._try_together(chunk, snapshot)
        return credits_usdc

    def _try_together(self, token_ids: Sequence[int], snapshot: Snapshot) -> list[int | None]:
        call = build_harvest(self._contracts, token_ids, gas_each=self._read_rules.harvest_gas)
        request = {
            "from": self._sender,
            "to": call.to,
            "data": call.data,
            "gas": hex(call.gas or 0),
        }
        try:
            together = read_harvest(self._node.try_call(request, block=snapshot.block_hash))
        except (Reverted, ValueError):
            together = []
        if len(together) != len(token_ids):
            together = [None] * len(token_ids)
        return [
            self._try_harvest(token_id, snapshot) if credited_usdc is None else credited_usdc
            for token_id, credited_usdc in zip(token_ids, together, strict=True)
        ]

    def _try_harvest(self, token_id: int, snapshot: Snapshot) -> int | None:
        adapter = self._contracts.adapter
        call = {
            "from": self._sender,
            "to": adapter.address,
            "data": adapter.encode_abi("harvest", args=[token_id]),
            "gas": hex(self._read_rules.harvest_gas),
        }
        try:
            answer = self._node.try_call(call, block=snapshot.block_hash)
        except Reverted as error:
            log.warning("harvest_refused", token_id=token_id, reason=error.reason)
            return None
        return int.from_bytes(answer) if len(answer) == WORD_BYTES else None

    def _fetch_owed(self, block_hash: str) -> int:
        position = self._contracts.position
        data = position.encode_abi("owed", args=[])
        return self._node.fetch_word(position.address, data, block=block_hash)

    def _fetch_treasury(self, block_hash: str) -> int:
        payouts = self._contracts.payouts
        data = payouts.encode_abi("available", args=[])
        return self._node.fetch_word(payouts.address, data, block=block_hash)


def _load_payouts(connection: Connection, *, now_s: int, limit: int) -> tuple[PayoutFacts, ...]:
    found = load_payable(connection, now_s=now_s, limit=limit)
    return tuple(PayoutFacts(p.payout_id, p.payee, p.amount_usdc, p.payable_at_s) for p in found)


def _quote(due: DueHarvest, credited_usdc: int) -> HarvestQuote:
    return HarvestQuote(
        token_id=due.token_id,
        due_at_s=due.due_at_s,
        credited_usdc=credited_usdc,
        last_harvest_at_s=due.last_harvest_at_s,
        failures=due.failures,
        is_suspect=due.sent_at_s > due.last_harvest_at_s,
    )
