"""``current proxy``: serve buyers."""

from typing import Final

from serving.process.command_line import command

SETTINGS: Final = (
    "PROXY_RPC_URL",
    "PROXY_LEDGER_URL",
    "PROXY_DEPLOYMENT_FILE",
    "PROXY_KEY_SECRET",
    "PROXY_UPSTREAM_URL",
)


@command("proxy", settings=SETTINGS, is_service=True)
def proxy() -> None:
    """Serve buyers until stopped: keys, models, completions, positions, receipts."""
    from proxy.main import build
    from proxy.settings import ProxySettings
    from serving.http.run import run

    run(ProxySettings, build)
