"""The proxy's composition root."""

import signal

import structlog
import uvicorn

from contracts.chain import ChainReader, check_chain, mask_url, open_web3
from contracts.deployment import Deployment, load_deployment
from contracts.errors import CurrentError, Retryable
from ledger.engine import open_engine, write
from ledger.logs import configure_logs
from ledger.schema import bind_deployment, migrate
from proxy.app import create_app
from proxy.front import Front
from proxy.protocol import build_protocol
from proxy.settings import ProxySettings

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
    reader = ChainReader(open_web3(settings.rpc_url.get_secret_value()))
    addresses = {"position": deployment.position}
    try:
        check_chain(reader, chain_id=deployment.chain_id, addresses=addresses)
    except Retryable as error:
        # Requests need no node, only the mirror, which has its own freshness; so go on without.
        log.warning("chain_unchecked", error=str(error))


def main() -> int:
    """Serve until SIGTERM or SIGINT. Return 0, or 2 where a person must act."""
    configure_logs()
    try:
        settings = ProxySettings.from_environment()
        configure_logs(level=settings.log_level)
        app = build(settings)
    except CurrentError as error:
        log.error("stopped", error=str(error), kind=type(error).__name__)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops gracefully, then raises the signal again; by then all is done.
        signal.signal(number, lambda *_: None)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=build_protocol(settings.headers_bytes_max),
        lifespan="on",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    return 0
