"""The keeper's parts, opened, checked and put together from its settings."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.bindings import Contracts, bind_contracts
from contracts.chain import open_web3
from contracts.deployment import Deployment, load_deployment
from contracts.node_errors import NodeFailure
from contracts.pool import ChainPool
from contracts.reader import check_chain, mask_url
from contracts.transport import HttpTransport
from keeper.duties.duty import Tools
from keeper.duties.positions import PositionsReader
from keeper.duties.registry import KINDS, PAYMENT_KINDS, POSITION_KINDS, Duties
from keeper.errors import KeyMissing, KeyUnreadable
from keeper.metrics import KeeperMetrics
from keeper.node import Node
from keeper.probe import Probe
from keeper.rehearsal import Rehearsal
from keeper.rests import Rests
from keeper.rounds import Keeper
from keeper.settings import KeeperSettings, KeySettings
from keeper.snapshot import SnapshotReader
from keeper.transactor.kms import open_kms
from keeper.transactor.means import Means, no_checkpoint, no_fence
from keeper.transactor.signer import LocalSigner, Signer, open_keyfile
from keeper.watch import Watch
from ledger.database.clock import LedgerClock
from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate

log = structlog.get_logger("keeper")

NOBODY: Final = "0x" + "00" * 20
"""In whose name a dry run without an address tries harvests: anybody may harvest."""


@dataclass(frozen=True, slots=True)
class House:
    """The ledger, node and deployment that every run needs, opened and checked."""

    deployment: Deployment
    contracts: Contracts
    engine: Engine
    node: Node


def open_house(settings: KeeperSettings) -> House:
    """Open the ledger and the node, and check that they and the deployment belong together.

    Raises ``Fatal`` where they do not, ``Retryable`` where one of them cannot be reached.
    """
    deployment = load_deployment(settings.deployment_file)
    urls = settings.rpc_urls()
    transports = {f"{mask_url(url)} #{n}": HttpTransport(url) for n, url in enumerate(urls, 1)}
    pool = ChainPool(transports, chain_id=deployment.chain_id, listener=_note_failure)
    node = Node(pool.transport, endpoints=list(transports.values()), on_nonsense=pool.suspect)
    names = ("position", "adapter", "payouts", "multicall3")
    addresses = {name: getattr(deployment, name) for name in names}
    check_chain(pool, chain_id=deployment.chain_id, addresses=addresses)
    engine = open_engine(settings.ledger_url.get_secret_value())
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    log.info(
        "started", chain_id=deployment.chain_id, rpc=list(transports), schema=revision, **addresses
    )
    # Only to encode calls: what is asked goes through the node.
    return House(deployment, bind_contracts(open_web3(urls[0]), deployment), engine, node)


def _note_failure(endpoint: str, failure: NodeFailure, detail: str) -> None:
    log.info("endpoint_failed", endpoint=endpoint, failure=failure, detail=detail)


def open_signer(settings: KeeperSettings) -> Signer:
    """Return who signs. Raises ``KeyMissing``, ``KeyUnreadable``, ``SigningFailed``."""
    signer = _open_key(settings.settler_key(), region=settings.kms_region)
    if signer is None:
        raise KeyMissing("no KEEPER_… key is set; without one there is only the dry run")
    return signer


def open_payment_signer(settings: KeeperSettings) -> Signer | None:
    """Return who signs payments and payouts, None for the settler. Raises like ``open_signer``."""
    return _open_key(settings.payments_key(), region=settings.kms_region)


def _open_key(key: KeySettings, *, region: str | None) -> Signer | None:
    """Return a key's signer, None where no key is set."""
    if key.kms_key_id is not None:
        return open_kms(key.kms_key_id, region=region)
    if key.keyfile is not None and key.keyfile_password is not None:
        try:
            text = key.keyfile.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            detail = f"{key.keyfile}: {type(error).__name__}"
            raise KeyUnreadable(f"the keyfile cannot be read: {detail}") from None
        return open_keyfile(text, key.keyfile_password.get_secret_value())
    if key.private_key is None:
        return None
    return LocalSigner(key.private_key.get_secret_value())


def build_keeper(
    settings: KeeperSettings,
    house: House,
    stop: threading.Event,
    *,
    fence: Callable[[], None] = no_fence,
    clock: LedgerClock | None = None,
    checkpoint: Callable[[str], None] = no_checkpoint,
) -> Keeper:
    """Put a keeper together. Raises what ``open_signer`` raises.

    ``fence`` raises where the keeper's lock is lost. ``clock`` None: the ledger's own.
    """
    signer = open_signer(settings)
    payment_signer = open_payment_signer(settings)
    duties = build_duties(
        settings,
        house,
        sender=signer.address,
        payment_sender=None if payment_signer is None else payment_signer.address,
    )
    means = Means(
        engine=house.engine,
        node=house.node,
        signer=signer,
        endings=duties,
        rules=settings.send_rules(),
        chain_id=house.deployment.chain_id,
        stop=stop,
        clock=LedgerClock(house.engine) if clock is None else clock,
        fence=fence,
        checkpoint=checkpoint,
        signers_by_kind=(
            {} if payment_signer is None else dict.fromkeys(PAYMENT_KINDS, payment_signer)
        ),
    )
    return Keeper(
        means,
        build_reader(settings, house, duties),
        duties,
        Probe(house.node),
        build_rests(settings, house),
    )


def build_duties(
    settings: KeeperSettings, house: House, *, sender: str, payment_sender: str | None = None
) -> Duties:
    """Put the duties together, in whose trials ``sender`` acts, and ``payment_sender`` in those of
    payments and payouts; None: the same."""
    rules = settings.rules()
    positions = PositionsReader(rules)
    tools = Tools(house.engine, house.node, house.contracts, positions, sender, payment_sender)
    return Duties(tools, rules)


def build_rests(settings: KeeperSettings, house: House) -> Rests:
    """Put together what counts failures."""
    return Rests(
        house.engine,
        kinds=KINDS,
        position_kinds=POSITION_KINDS,
        failures_max=settings.failures_max,
        rest_s=settings.failures_rest_s,
    )


def build_watch(
    settings: KeeperSettings, house: House, keeper: Keeper, *, serve: bool = False
) -> Watch:
    """Put together what counts a keeper's rounds and raises alarms; ``serve`` its metrics.

    Raises ``Fatal`` where their port cannot be had.
    """
    metrics = KeeperMetrics()
    if serve:
        metrics.serve(host=settings.metrics_host, port=settings.metrics_port)
    return Watch(
        house.engine,
        house.node,
        metrics,
        settings.alarm_rules(),
        addresses=keeper.addresses,
        tip_wei=settings.tip_wei,
        interval_s=settings.watch_interval_s,
        repeat_s=settings.alarm_repeat_s,
        stopped_kinds=keeper.stopped_kinds,
        clock=keeper.clock,
    )


def build_rehearsal(settings: KeeperSettings, house: House) -> Rehearsal:
    """Put a dry run together; it needs no key."""
    sender = settings.address
    payment_sender = None
    if settings.has_key:
        sender = open_signer(settings).address
        payment_signer = open_payment_signer(settings)
        payment_sender = None if payment_signer is None else payment_signer.address
    duties = build_duties(settings, house, sender=sender or NOBODY, payment_sender=payment_sender)
    return Rehearsal(
        house.engine,
        house.node,
        build_reader(settings, house, duties),
        duties,
        build_rests(settings, house),
        sender=sender,
    )


def build_reader(settings: KeeperSettings, house: House, duties: Duties) -> SnapshotReader:
    """Put together what reads the world."""
    return SnapshotReader(house.engine, house.node, duties, settings.read_rules())
