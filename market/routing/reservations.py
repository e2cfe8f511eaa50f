"""One attempt that has its reservation: charged, kept, or given back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog
from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.selling.sale_calls import PostSale, VoidSale
from ledger.selling.sale_records import NewSale, SaleFigures
from ledger.selling.sales import renew_sale
from market.pricing.split import split_cost
from market.records.database import Database
from market.routing.book import Book
from market.routing.ranking import Verdict
from serving.models.prices import Price, Tokens

log = structlog.get_logger("market")


class ReservedSale:
    """A sale that is reserved."""

    def __init__(
        self, database: Database, book: Book, sale: NewSale, *, verdict: Verdict, lease_s: int
    ) -> None:
        self.sale = sale
        self.sale_id = sale.sale_id
        self.verdict = verdict
        self.lease_s: float = lease_s
        self._database = database
        self._book = book

    async def post(
        self,
        tokens: Tokens,
        *,
        also: Callable[[Connection], object] | None = None,
        is_cut: bool = False,
    ) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``.

        ``is_cut`` says whether the seller reported more than can be true: that is written down, and
        counts against it. ``also`` is done in the same transaction, and so must be harmless when
        done again.
        """
        figures = replace(self._count(tokens), is_cut=is_cut)
        now_s = self._database.now_s()
        post = PostSale(self.sale_id, figures, now_s, also)
        self._book.note_used(await self._database.persist(post))
        self._book.note_report(self.sale.offer_id, is_cut=is_cut)
        log.info(
            "sale_posted",
            sale_id=self.sale_id,
            offer_id=self.sale.offer_id,
            model=self.sale.model,
            prompt_tokens=figures.prompt_tokens,
            cached_tokens=figures.cached_tokens,
            completion_tokens=figures.completion_tokens,
            cost_usdc=figures.cost_usdc,
            earning_usdc=figures.earning_usdc,
            fee_usdc=figures.fee_usdc,
        )
        return figures.cost_usdc

    def get_cost_usdc(self, tokens: Tokens) -> int:
        """Return what ``post`` will charge for these tokens, in 1e-6 USDC."""
        return self._count(tokens).cost_usdc

    def _count(self, tokens: Tokens) -> SaleFigures:
        price = self.verdict.offer.get_price(tokens.prompt)
        return build_figures(self.sale, tokens, price)

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back. Where that cannot be written, its lease runs out."""
        now_s = self._database.now_s()
        try:
            used = await self._database.persist(
                VoidSale(self.sale_id, reason, is_seller_failure, now_s)
            )
        except CurrentError as error:
            log.error("void_failed", sale_id=self.sale_id, error=str(error))
            return
        if used is not None:
            self._book.note_used(used)

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        expires_at_s = int(self._database.clock.now() + self.lease_s)
        await self._database.write(
            lambda connection: renew_sale(connection, self.sale_id, lease_expires_at_s=expires_at_s)
        )


class SaleTerms(Protocol):
    """What a sale was reserved at, beside its price. Amounts in 1e-6 USDC."""

    @property
    def fee_bps(self) -> int: ...
    @property
    def ceiling_usdc(self) -> int: ...
    @property
    def flat_fee_usdc(self) -> int: ...


def build_figures(sale: SaleTerms, tokens: Tokens, price: Price) -> SaleFigures:
    """Return what a sale comes to, at the fee of its reservation. Pure.

    ``price`` is the reserved offer's, for a prompt of the counted length.
    """
    split = split_cost(
        tokens,
        price,
        ceiling_usdc=sale.ceiling_usdc - sale.flat_fee_usdc,
        fee_bps=sale.fee_bps,
    )
    return SaleFigures(
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cost_usdc=split.cost_usdc + sale.flat_fee_usdc,
        earning_usdc=split.earning_usdc,
        fee_usdc=split.fee_usdc,
        margin_usdc=sale.flat_fee_usdc,
        input_usdc_per_mtok=price.input_usdc_per_mtok,
        output_usdc_per_mtok=price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=price.cached_input_usdc_per_mtok,
        per_request_usdc=price.per_request_usdc,
        cached_tokens=tokens.cached,
    )
