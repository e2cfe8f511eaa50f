"""Putting together what suppliers' offers and pay are served with, from the settings."""

from market.endpoints.client import SellerClient
from market.endpoints.sealing import Sealer
from market.metrics import Metrics
from market.records.database import Database
from market.routing.book import Book
from market.settings import MarketSettings
from market.suppliers.nowpayments import NowPayments
from market.suppliers.nowpayments_rail import NowPaymentsRail
from market.suppliers.probing import Prober
from market.suppliers.settlement_worker import SettlementWorker
from market.suppliers.supply_services import SupplyServices
from market.text.answered import AnswerCheck


def build_supply(
    settings: MarketSettings,
    database: Database,
    book: Book,
    sealer: Sealer,
    client: SellerClient,
    answer_check: AnswerCheck,
    metrics: Metrics,
) -> SupplyServices:
    """Return the services. To be made inside a running event loop."""
    terms = settings.settlement_terms()
    rail = None
    if settings.has_nowpayments:
        account = settings.nowpayments_account(settings.public_url)
        rail = NowPaymentsRail(database, NowPayments(account, wall_clock=database.clock.now))
    return SupplyServices(
        database=database,
        prober=Prober(database, book, sealer, client, answer_check, metrics),
        worker=SettlementWorker(
            database.read, database.write, terms, settle_at_s=settings.settle_at_s
        ),
        terms=terms,
        rail=rail,
        cooling_s=settings.address_cooling_s,
        settles_at=settings.settle_at,
        ipn_secret=settings.nowpayments_ipn_secret.get_secret_value(),
        metrics=metrics,
    )
