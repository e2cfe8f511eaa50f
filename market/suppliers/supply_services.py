"""What the routes of suppliers' offers and pay work with, and what is done beside them."""

from dataclasses import dataclass
from typing import Final

import structlog

from contracts.errors import Retryable
from ledger.suppliers.chain_payouts import follow_on_chain, submit_on_chain
from ledger.suppliers.settlement import SettlementTerms
from ledger.suppliers.supplier_payouts import count_payouts
from market.metrics import Metrics
from market.records.database import Database
from market.suppliers.nowpayments_rail import NowPaymentsRail
from market.suppliers.probing import Prober
from market.suppliers.settlement_worker import SettlementWorker
from serving.process.ids import new_id

log = structlog.get_logger("market")

CHAIN_BATCH: Final = 500
LATE_S: Final = 3_600
STUCK_S: Final = 86_400


@dataclass(frozen=True)
class SupplyServices:
    """Everything of suppliers' offers and pay that lives as long as the application runs."""

    database: Database
    prober: Prober
    worker: SettlementWorker
    terms: SettlementTerms
    rail: NowPaymentsRail | None
    """None: USDT is paid by hand."""
    cooling_s: int
    settles_at: str
    ipn_secret: str
    metrics: Metrics

    def __repr__(self) -> str:
        return "SupplyServices(…)"

    async def settle(self) -> None:
        """Settle days that are due, and bring payouts on. Does nothing while this host's clock is
        far off.

        What goes wrong in one step is logged and keeps no other from being made: a day that cannot
        be settled holds up no payout of another, and is told of.
        """
        if not self.database.clock.may_sweep:
            return
        steps = (self._settle_days, self._submit, self._follow, self._pay, self._watch)
        for step in steps:
            try:
                await step()
            except Retryable as error:
                log.warning("supply_step_failed", step=step.__name__, error=str(error))
            except Exception:
                log.exception("supply_step_failed", step=step.__name__)

    async def _settle_days(self) -> None:
        await self.worker.settle_due(self.database.now_s())

    async def _submit(self) -> None:
        """Hand all payouts that are due to the keeper, a batch at a time."""
        submitted = CHAIN_BATCH
        while submitted == CHAIN_BATCH:
            now_s = self.database.now_s()
            submitted = await self.database.write(
                lambda connection: submit_on_chain(connection, now_s=now_s, limit=CHAIN_BATCH)  # noqa: B023
            )

    async def _follow(self) -> None:
        now_s = self.database.now_s()
        await self.database.write(
            lambda connection: follow_on_chain(connection, make_id=new_id, now_s=now_s)
        )

    async def _pay(self) -> None:
        if self.rail is not None:
            await self.rail.step()

    async def _watch(self) -> None:
        """Say what waits too long, in metrics and in the log."""
        now_s, metrics = self.database.now_s(), self.metrics
        payouts = await self.database.read(count_payouts)
        metrics.note_payouts(payouts, now_s=now_s)
        metrics.settlement_late.set(self.worker.late_s)
        if self.worker.late_s > LATE_S:
            log.error("alarm", alarm="settlement_late", late_s=self.worker.late_s)
        for status, (count, oldest_s) in payouts.items():
            age_s = 0 if oldest_s is None else now_s - oldest_s
            if status in ("needs_operator", "failed") or age_s > STUCK_S:
                log.error("alarm", alarm="payout_stuck", status=status, payouts=count, age_s=age_s)

    async def close(self) -> None:
        """Close what has connections of its own."""
        if self.rail is not None:
            await self.rail.close()
