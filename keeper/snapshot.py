"""Reading everything that a round decides from: one ledger transaction, and calls at its block."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.bindings import Contracts
from contracts.errors import Reverted
from keeper.backoff import HarvestBackoff
from keeper.errors import MirrorStale
from keeper.facts import HarvestQuote, Kind, Rules, Snapshot
from keeper.fees import FeeRules, gas_cost_usdc
from keeper.node import Node
from keeper.rows import load_due, load_in_flight, load_owed_since, load_positions
from ledger.engine import read
from ledger.mirror import MirrorState, load_mirror

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


class SnapshotReader:
    """Builds snapshots. ``sender`` is in whose name harvests are tried."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        contracts: Contracts,
        rules: Rules,
        read_rules: ReadRules,
        backoff: HarvestBackoff,
        *,
        sender: str,
    ) -> None:
        self._engine = engine
        self._node = node
        self._contracts = contracts
        self._rules = rules
        self._read_rules = read_rules
        self._backoff = backoff
        self._sender = sender

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
        header = self._node.fetch_header(mirror.block_number)
        if header is None or header.block_hash != mirror.block_hash:
            raise MirrorStale(f"our node does not know the mirror's block {mirror.block_number}")
        return mirror

    def read(self, *, now_s: int) -> Snapshot:
        """Return the world at the mirrored block. Raises ``MirrorStale``."""
        with read(self._engine) as connection:
            at = load_mirror(connection)
            # A hold dies by the chain's clock; where ours is ahead, the chain's soon will be too.
            chain_now_s = now_s if at is None else max(now_s, at.block_timestamp_s)
            mirrored_block = -1 if at is None else at.block_number
            in_flight, kinds = load_in_flight(connection, mirrored_block=mirrored_block)
            harvesting = {token_id for kind, token_id in in_flight if kind is Kind.HARVEST}
            due = load_due(
                connection,
                # Due by the chain's own clock: before that, a look would only start a rest.
                now_s=0 if at is None else at.block_timestamp_s,
                skip=harvesting | self._backoff.resting(now_s=chain_now_s),
                limit=self._rules.harvest_items_max,
            )
            owed_since_s = load_owed_since(connection)
            positions = load_positions(connection, self._rules, now_s=now_s, chain_s=chain_now_s)
        mirror = self._checked(at, now_s=now_s)
        snapshot = Snapshot(
            block_number=mirror.block_number,
            block_hash=mirror.block_hash,
            now_s=chain_now_s,
            positions=positions,
            owed_since_s=owed_since_s,
            in_flight=in_flight,
            kinds_in_flight=kinds,
        )
        return self._read_chain(snapshot, due)

    def _read_chain(self, snapshot: Snapshot, due: Iterable[tuple[int, int]]) -> Snapshot:
        """Add what only calls at the snapshot's block can tell."""
        quotes = [
            HarvestQuote(token_id, due_at_s, credited_usdc)
            for token_id, due_at_s in due
            if (credited_usdc := self._try_harvest(token_id, snapshot)) is not None
        ]
        harvest_gas_usdc = 0
        if quotes:
            fee_wei = self._node.fetch_base_fee_wei() + self._read_rules.fees.tip_wei
            harvest_gas_usdc = gas_cost_usdc(
                HARVEST_GAS_USUAL, fee_wei, ether_price_usdc=self._read_rules.ether_price_usdc
            )
        owed_usdc = 0 if snapshot.owed_since_s is None else self._fetch_owed(snapshot.block_hash)
        return replace(
            snapshot,
            harvests=tuple(quotes),
            harvest_gas_usdc=harvest_gas_usdc,
            owed_usdc=owed_usdc,
        )

    def _try_harvest(self, token_id: int, snapshot: Snapshot) -> int | None:
        """Return what a harvest would credit, or None where it would fail.

        One by one, each with its own gas: a vault that burns all it gets spoils no other quote.
        """
        adapter = self._contracts.adapter
        call = {
            "from": self._sender,
            "to": adapter.address,
            "data": adapter.encode_abi("harvest", args=[token_id]),
            "gas": hex(self._read_rules.harvest_gas),
        }
        try:
            return int.from_bytes(self._node.call(call, block=snapshot.block_hash))
        except Reverted as error:
            self._backoff.fail(token_id, now_s=snapshot.now_s)
            log.warning("harvest_refused", token_id=token_id, reason=error.reason)
            return None

    def _fetch_owed(self, block_hash: str) -> int:
        position = self._contracts.position
        call = {"to": position.address, "data": position.encode_abi("owed", args=[])}
        return int.from_bytes(self._node.call(call, block=block_hash))
