"""What an operator wishes of a deployment folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROXY_PORT: Final = 8402
SEVERAL_PORT: Final = 8410
"""From here on further proxies listen."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an operator is asked for."""

    domain: str
    """The host that buyers' browsers and clients show."""
    market_domain: str | None
    """Sellers' host; None: no market runs here."""
    rpc_urls: tuple[str, ...]
    heads_url: str | None
    deployment_file: Path
    ledger_url: str
    upstream_url: str | None
    """None: the market of this folder."""
    contact: str
    user: str
    executable: Path
    proxies: int = 1
    database_password: str | None = None
    """With it, all runs in containers, beside a PostgreSQL with this password."""

    @property
    def proxy_ports(self) -> list[int]:
        return [PROXY_PORT, *range(SEVERAL_PORT, SEVERAL_PORT + self.proxies - 1)]
