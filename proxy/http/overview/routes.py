"""The deployment at a glance."""

from dataclasses import asdict

from fastapi import APIRouter

from contracts.deployment import Deployment
from proxy.books_proof import BookProof
from proxy.http.dependencies import ServicesDep
from proxy.http.overview.schemas import (
    BooksView,
    ContractsView,
    DeploymentView,
    OverviewView,
    SharePriceView,
    VaultView,
)
from proxy.vault_watch import VaultFigures, measure_pace
from serving.http.document.schemas import errors_of

router = APIRouter(tags=["positions"])


@router.get("/deployment", responses=errors_of())
async def show_deployment(services: ServicesDep) -> DeploymentView:
    """Show the chain and where the contracts are: what an owner needs who calls them without us.

    From the deployment's record: neither the chain nor the ledger is asked.
    """
    deployment = services.deployment
    return DeploymentView(
        chain_id=deployment.chain_id,
        contracts=_list_contracts(deployment),
        vault_address=deployment.vault,
        block_number=deployment.block_number,
    )


@router.get("/overview", responses=errors_of())
async def show_overview(services: ServicesDep) -> OverviewView:
    """Show the contracts, the reviewed vault's figures, and whether books and chain agree.

    Answers without the chain too: what it does not say is null.
    """
    deployment = services.deployment
    figures = await services.vault_watch.fetch()
    books = await services.books_watch.fetch()
    return OverviewView(
        chain_id=deployment.chain_id,
        contracts=_list_contracts(deployment),
        vault_address=deployment.vault,
        vault=None if figures is None else _describe_vault(deployment.vault, figures),
        books=None if books is None else _describe_books(books),
        domain=services.sign_in.domain,
        now_s=services.meter.now_s(),
    )


def _list_contracts(deployment: Deployment) -> ContractsView:
    return ContractsView(
        position=deployment.position,
        adapter=deployment.adapter,
        payouts=deployment.payouts,
        usdc=deployment.usdc,
        multicall3=deployment.multicall3,
    )


def _describe_vault(address: str, figures: VaultFigures) -> VaultView:
    pace = measure_pace(figures.history)
    return VaultView(
        address=address,
        name=figures.name,
        symbol=figures.symbol,
        decimals=figures.decimals,
        total_assets_usdc=figures.total_assets_usdc,
        liquid_usdc=figures.liquid_usdc,
        lost_assets_usdc=figures.lost_assets_usdc,
        fee_ppm=figures.fee_ppm,
        year_yield_ppm=None if pace is None else pace.year_ppm,
        measured_over_s=None if pace is None else pace.over_s,
        history=[
            SharePriceView(block_number=p.block_number, at_s=p.at_s, price=str(p.price))
            for p in figures.history
        ],
    )


def _describe_books(books: BookProof) -> BooksView:
    return BooksView(agrees=books.agrees, **asdict(books))
