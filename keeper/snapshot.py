"""Reading everything that a round decides from: one ledger transaction, and calls at its block."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from sqlalchemy import Engine

from contracts.errors import Retryable
from keeper.budgets import Budgets
from keeper.duties.moment import Moment, Subject
from keeper.duties.registry import Duties
from keeper.errors import MirrorStale
from keeper.gas import GasPrice
from keeper.in_flight import load_in_flight
from keeper.l1_fees import L1FeeReader
from keeper.node import Node
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.database.engine import read
from ledger.intents.days import load_gas

log = structlog.get_logger("keeper")

CLOCK_SLACK_S: Final = 5
"""Clocks of two machines may differ by so much without a word."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a round decides from, as of one block: the moment, and each duty's facts."""

    moment: Moment
    facts: Mapping[str, Any]
    """The facts of each kind of duty that was asked for."""


@dataclass(frozen=True, slots=True)
class ReadRules:
    """How the world is read. ``tip_wei`` is the tip per gas that a transaction offers at first.

    ``l1_fee_wei_max`` is the most that is believed of the L1 data fee, see ``keeper.l1_fees``.
    """

    max_staleness_s: int
    ether_price_usdc: int
    tip_wei: int
    l1_fee_wei_max: int
    gas_day_usdc_max: int = 0
    gas_account_day_usdc_max: int = 0
    """What a day's transactions of a kind, and of an account in it, may cost; 0: anything."""


class SnapshotReader:
    """Builds snapshots."""

    def __init__(self, engine: Engine, node: Node, duties: Duties, rules: ReadRules) -> None:
        self._engine = engine
        self._node = node
        self._duties = duties
        self._rules = rules
        self._l1_fees = L1FeeReader(node, fee_wei_max=rules.l1_fee_wei_max)

    def check_mirror(self, *, now_s: int) -> MirrorState:
        """Return how far the mirror is. Raises ``MirrorStale`` where it must not be acted on."""
        with read(self._engine) as connection:
            mirror = _require(load_mirror(connection))
        self._check(mirror, now_s=now_s)
        return mirror

    def _check(self, mirror: MirrorState, *, now_s: int) -> None:
        """Check that the mirror is young, and of our node's chain.

        The indexer's clock stamped it. Where our clock is behind that stamp it cannot tell the
        mirror's age, so the chain does: by how much our node's newest block is newer.
        """
        if mirror.observed_at_s == 0:
            raise MirrorStale("the mirror has not been at the head yet: the indexer reads history")
        age_s = now_s - mirror.observed_at_s
        limit_s = self._rules.max_staleness_s
        if age_s > limit_s:
            raise MirrorStale(f"the mirror was last at the head {age_s} s ago{self._doubt(mirror)}")
        if age_s < -CLOCK_SLACK_S:
            log.warning("clock_behind", seconds=-age_s)
            behind_s = self._node.fetch_head().timestamp_s - mirror.block_timestamp_s
            if behind_s > limit_s:
                raise MirrorStale(f"the mirror is {behind_s} s behind our node's newest block")
        if not self._node.has_block(mirror.block_number, mirror.block_hash):
            raise MirrorStale(f"our node does not know the mirror's block {mirror.block_number}")

    def _doubt(self, mirror: MirrorState) -> str:
        """Return what else may be wrong with a mirror that seems old: our clock may be ahead."""
        try:
            is_at_head = self._node.fetch_head().number <= mirror.block_number
        except Retryable:
            return ""
        if not is_at_head:
            return ""
        return ", yet it has our node's newest block: this clock is ahead, or the indexer stopped"

    def read(
        self, *, now_s: int, kinds: Collection[str], resting: frozenset[Subject] = frozenset()
    ) -> Snapshot:
        """Return the world at the mirrored block, as far as ``kinds`` need it.

        ``resting`` is what to leave alone. Raises ``MirrorStale``.
        """
        duties = [duty for duty in self._duties if duty.kind in kinds]
        with read(self._engine) as connection:
            mirror = _require(load_mirror(connection))
            # Proxies and the market stamp what they write; the indexer's stamp shows how late it
            # is at least where our own clock is behind.
            wall_s = max(now_s, mirror.observed_at_s)
            in_flight, kinds_in_flight = load_in_flight(
                connection, mirrored_block=mirror.block_number
            )
            moment = Moment(
                block_number=mirror.block_number,
                block_hash=mirror.block_hash,
                # A hold dies by the chain's clock; where ours is ahead, the chain's soon will be.
                now_s=max(wall_s, mirror.block_timestamp_s),
                mirrored_at_s=mirror.block_timestamp_s,
                wall_s=wall_s,
                in_flight=in_flight,
                kinds_in_flight=kinds_in_flight,
                resting=resting,
                budgets=Budgets(
                    kind_usdc_max=self._rules.gas_day_usdc_max,
                    account_usdc_max=self._rules.gas_account_day_usdc_max,
                    spent_usdc=load_gas(connection, now_s=wall_s),
                ),
            )
            loaded = {duty.kind: duty.load(connection, moment) for duty in duties}
        self._check(mirror, now_s=now_s)
        gas_price = self._fetch_gas_price(mirror.block_hash)
        moment = replace(moment, gas_price=gas_price, tip_wei=self._rules.tip_wei)
        return Snapshot(
            moment, {duty.kind: duty.look(loaded[duty.kind], moment) for duty in duties}
        )

    def _fetch_gas_price(self, block_hash: str) -> GasPrice:
        fee_wei = self._node.fetch_base_fee_wei() + self._rules.tip_wei
        l1_fee = self._l1_fees.fetch(block_hash=block_hash)
        return GasPrice(fee_wei, self._rules.ether_price_usdc, l1_fee)


def _require(mirror: MirrorState | None) -> MirrorState:
    if mirror is None:
        raise MirrorStale("the ledger mirrors no block yet; is the indexer running?")
    return mirror
