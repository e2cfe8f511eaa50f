"""The keeper's parts, opened, checked and put together from its settings."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.bindings import Contracts, bind_contracts
from contracts.chain import check_chain, mask_url, open_web3
from contracts.deployment import Deployment, load_deployment
from keeper.backoff import HarvestBackoff
from keeper.breaker import Breaker
from keeper.errors import KeyMissing
from keeper.jobs import Keeper
from keeper.node import Node
from keeper.planning import Planner, SettlementEndings
from keeper.rehearsal import Rehearsal
from keeper.settings import KeeperSettings
from keeper.signer import LocalSigner
from keeper.snapshot import SnapshotReader
from keeper.transactor import Means, no_checkpoint
from ledger.engine import open_engine, write
from ledger.schema import bind_deployment, migrate

log = structlog.get_logger("keeper")

NOBODY: Final = "0x" + "00" * 20
"""In whose name a dry run without an address tries harvests: anybody may harvest."""


@dataclass(frozen=True, slots=True)
class House:
    """What every way of running stands on, opened and checked."""

    deployment: Deployment
    contracts: Contracts
    engine: Engine
    node: Node


def open_house(settings: KeeperSettings) -> House:
    """Open the ledger and the node, and check that they and the deployment belong together.

    Raises ``Fatal`` where they do not, ``Retryable`` where one of them cannot be reached.
    """
    deployment = load_deployment(settings.deployment_file)
    rpc_url = settings.rpc_url.get_secret_value()
    web3 = open_web3(rpc_url)
    node = Node(web3)
    names = ("position", "adapter", "multicall3")
    addresses = {name: getattr(deployment, name) for name in names}
    check_chain(node, chain_id=deployment.chain_id, addresses=addresses)
    engine = open_engine(settings.ledger_url.get_secret_value())
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    log.info(
        "started", chain_id=deployment.chain_id, rpc=mask_url(rpc_url), schema=revision, **addresses
    )
    return House(deployment, bind_contracts(web3, deployment), engine, node)


def build_keeper(
    settings: KeeperSettings,
    house: House,
    stop: threading.Event,
    *,
    clock: Callable[[], float] = time.time,
    checkpoint: Callable[[str], None] = no_checkpoint,
) -> Keeper:
    """Put a keeper together. Raises ``KeyMissing``. The last two arguments are for tests."""
    if settings.private_key is None:
        raise KeyMissing("KEEPER_PRIVATE_KEY is not set; without it there is only the dry run")
    signer = LocalSigner(settings.private_key.get_secret_value())
    means = Means(
        engine=house.engine,
        node=house.node,
        signer=signer,
        endings=SettlementEndings(house.node, house.contracts),
        rules=settings.send_rules(),
        chain_id=house.deployment.chain_id,
        stop=stop,
        clock=clock,
        checkpoint=checkpoint,
    )
    backoff = HarvestBackoff(rest_s=settings.harvest_recheck_s)
    return Keeper(
        means,
        _build_reader(settings, house, backoff, sender=signer.address),
        Planner(house.contracts, harvest_gas=settings.harvest_gas),
        settings.rules(),
        backoff,
        Breaker(failures_max=settings.failures_max, rest_s=settings.failures_rest_s),
    )


def build_rehearsal(settings: KeeperSettings, house: House) -> Rehearsal:
    """Put a dry run together; it needs no key."""
    sender = settings.address
    if settings.private_key is not None:
        sender = LocalSigner(settings.private_key.get_secret_value()).address
    backoff = HarvestBackoff(rest_s=settings.harvest_recheck_s)
    return Rehearsal(
        house.engine,
        house.node,
        _build_reader(settings, house, backoff, sender=sender or NOBODY),
        Planner(house.contracts, harvest_gas=settings.harvest_gas),
        settings.rules(),
        sender=sender,
    )


def _build_reader(
    settings: KeeperSettings, house: House, backoff: HarvestBackoff, *, sender: str
) -> SnapshotReader:
    return SnapshotReader(
        house.engine,
        house.node,
        house.contracts,
        settings.rules(),
        settings.read_rules(),
        backoff,
        sender=sender,
    )
