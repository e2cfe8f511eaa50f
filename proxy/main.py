"""The proxy's composition root."""

from contextlib import closing

import structlog

from contracts.deployment import Deployment, load_deployment
from contracts.errors import Retryable
from contracts.reader import ChainReader, check_chain, mask_url
from contracts.transport import HttpTransport
from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate
from proxy.app import create_app
from proxy.settings import ProxySettings
from serving.http.front import Front

log = structlog.get_logger("proxy")


def build(settings: ProxySettings) -> Front:
    """Open everything, check that it belongs together, and return the application.

    Raises ``Fatal`` where the node, the ledger and the deployment record disagree.
    """
    deployment = load_deployment(settings.deployment_file)
    _check_chain(settings, deployment)
    engine = open_engine(settings.ledger_url.get_secret_value())
    revision = migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, deployment)
    app = create_app(settings, deployment, engine)
    log.info(
        "started",
        chain_id=deployment.chain_id,
        position=deployment.position,
        rpc=mask_url(settings.rpc_url.get_secret_value()),
        upstream=mask_url(settings.upstream_url.get_secret_value()),
        schema=revision,
        host=settings.host,
        port=settings.port,
        key_secrets=len(settings.key_secrets()),
    )
    return app


def _check_chain(settings: ProxySettings, deployment: Deployment) -> None:
    addresses = {"position": deployment.position}
    try:
        with closing(HttpTransport(settings.rpc_url.get_secret_value())) as node:
            check_chain(ChainReader(node), chain_id=deployment.chain_id, addresses=addresses)
    except Retryable as error:
        # Requests need no node, only the mirror, which has its own freshness; so go on without.
        log.warning("chain_unchecked", error=str(error))
