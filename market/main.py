"""The market's composition root."""

import structlog

from contracts.chain import Web3Transport, open_web3
from contracts.deployment import Deployment, load_deployment
from contracts.errors import Retryable
from contracts.reader import ChainReader, check_chain, mask_url
from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate
from market.app import create_app
from market.endpoints.sealing import open_kms
from market.settings import MarketSettings
from serving.http.front import Front

log = structlog.get_logger("market")


def build(settings: MarketSettings) -> Front:
    """Open everything, check that it belongs together, and return the application.

    Raises ``Fatal`` where the node, the ledger, the KMS and the deployment record disagree.
    """
    deployment = load_deployment(settings.deployment_file)
    _check_chain(settings, deployment)
    kms = open_kms(settings.kms)
    engine = open_engine(settings.ledger_url.get_secret_value())
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    app = create_app(settings, deployment, engine, kms)
    log.info(
        "started",
        chain_id=deployment.chain_id,
        rpc=mask_url(settings.rpc_url.get_secret_value()),
        schema=revision,
        host=settings.host,
        port=settings.port,
        public_url=settings.public_url,
        kms_key=kms.key_id,
        fee_bps=settings.fee_bps,
        allow_loopback=settings.allow_loopback,
    )
    return app


def _check_chain(settings: MarketSettings, deployment: Deployment) -> None:
    reader = ChainReader(Web3Transport(open_web3(settings.rpc_url.get_secret_value())))
    try:
        check_chain(reader, chain_id=deployment.chain_id, addresses={"payouts": deployment.payouts})
    except Retryable as error:
        # Requests need no node; contract wallets that sign in do.
        log.warning("chain_unchecked", error=str(error))
